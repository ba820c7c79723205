package mongodb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The parts of MongoDB's wire protocol that the proxy reads
// (https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/).
const (
	headerSize      = 16
	maxMessage      = 48_000_000
	opMsg           = 2013
	flagChecksum    = 1 << 0
	flagMoreToCome  = 1 << 1
	sectionBody     = 0
	sectionSequence = 1
)

// accept serves clients until the listener closes.
func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.log.Error("mongodb stops accepting connections", "error", err)
			}
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = c.Close()
			return
		}
		s.open[c] = struct{}{}
		s.conns.Add(1)
		s.mu.Unlock()
		go func() {
			defer s.conns.Done()
			if err := s.serve(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.log.Debug("mongodb client gone", "error", err)
			}
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
			_ = c.Close()
		}()
	}
}

// serve passes one client's commands on, one after the other: drivers send the next one on a connection after the answer.
func (s *Server) serve(client net.Conn) error {
	backend, err := net.Dial("unix", s.backend)
	if err != nil {
		return fmt.Errorf("reach FerretDB: %w", err)
	}
	defer func() { _ = backend.Close() }()
	in, out := bufio.NewReader(client), bufio.NewReader(backend)
	var who session
	for {
		msg, err := readMessage(in)
		if err != nil {
			return err
		}
		answer, err := s.handle(&who, msg, backend, out)
		if err != nil {
			return err
		}
		if answer == nil {
			continue
		}
		if _, err := client.Write(answer); err != nil {
			return err
		}
	}
}

// handle gives the answer to one message, nil where none is due.
func (s *Server) handle(who *session, msg []byte, backend io.Writer, out *bufio.Reader) ([]byte, error) {
	pass := func(msg []byte) ([]byte, error) {
		if _, err := backend.Write(msg); err != nil {
			return nil, err
		}
		return readMessage(out)
	}
	cmd, ok := parse(msg)
	if s.users != nil {
		answer, err := s.users.admit(who, cmd, ok, msg)
		if answer != nil && cmd.flags&flagMoreToCome != 0 {
			return nil, nil // its client does not wait for an answer
		}
		if answer != nil || err != nil {
			return answer, err
		}
	}
	if !ok {
		return pass(msg) // OP_QUERY of the first handshake, or something for FerretDB to refuse
	}
	if cmd.flags&flagMoreToCome != 0 {
		// An unacknowledged write: FerretDB answers it, its client does not wait for it.
		_, err := pass(msg)
		return nil, err
	}
	if writes[cmd.name] {
		l := s.locks.of(cmd.database)
		l.Lock()
		defer l.Unlock()
	}
	switch cmd.name {
	case "update", "findAndModify", "findandmodify":
		// The index comes first here: an update looks its document up.
		s.ensure(cmd)
		if answer, done, err := s.conditional(cmd, msg, pass); done || err != nil {
			return answer, err
		}
	}
	answer, err := pass(msg)
	if err != nil {
		return nil, err
	}
	switch cmd.name {
	case "insert", "create", "createIndexes", "update", "findAndModify", "findandmodify":
		s.ensure(cmd)
	case "drop", "dropDatabase", "renameCollection":
		s.indexes.forget(cmd.database)
	}
	return answer, nil
}

func (s *Server) ensure(cmd command) {
	// Without the index all is slower and still right, so the command goes on.
	if err := s.indexes.ensure(context.Background(), cmd.database, cmd.collection); err != nil {
		s.log.Warn("mongodb goes on without an index", "error", err)
	}
}

// conditional handles an update of one document whose filter is a string _id and further fields to be equal to plain values:
// it reads the document by _id and tests the rest here, under the database's lock. done is false if cmd is none such.
func (s *Server) conditional(cmd command, msg []byte, pass func([]byte) ([]byte, error)) (answer []byte, done bool, err error) {
	if cmd.name != "update" || len(cmd.updates) != 1 {
		return nil, false, nil
	}
	var u struct {
		Q      bson.Raw      `bson:"q"`
		U      bson.RawValue `bson:"u"`
		Upsert bool          `bson:"upsert"`
	}
	if bson.Unmarshal(cmd.updates[0], &u) != nil || u.Upsert {
		return nil, false, nil
	}
	id, conditions, ok := split(u.Q)
	if !ok || len(conditions) == 0 {
		return nil, false, nil
	}
	query, err := bson.Marshal(bson.D{
		{Key: "find", Value: cmd.collection}, {Key: "filter", Value: bson.D{{Key: "_id", Value: id}}},
		{Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}, {Key: "$db", Value: cmd.database},
	})
	if err != nil {
		return nil, false, fmt.Errorf("read before update: %w", err)
	}
	found, err := pass(message(cmd.requestID, 0, query))
	if err != nil {
		return nil, false, err
	}
	reply, ok := parse(found)
	if !ok {
		return nil, false, nil
	}
	var page struct {
		OK     float64 `bson:"ok"`
		Cursor struct {
			FirstBatch []bson.Raw `bson:"firstBatch"`
		} `bson:"cursor"`
	}
	if bson.Unmarshal(reply.body, &page) != nil || page.OK != 1 {
		return nil, false, nil // let the update itself say what is wrong
	}
	if len(page.Cursor.FirstBatch) == 0 || !matches(page.Cursor.FirstBatch[0], conditions) {
		none, err := bson.Marshal(bson.D{{Key: "n", Value: int32(0)}, {Key: "nModified", Value: int32(0)}, {Key: "ok", Value: float64(1)}})
		if err != nil {
			return nil, false, fmt.Errorf("answer an update without a match: %w", err)
		}
		return message(0, cmd.requestID, none), true, nil
	}
	update, err := bson.Marshal(bson.D{
		{Key: "update", Value: cmd.collection},
		{Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: bson.D{{Key: "_id", Value: id}}}, {Key: "u", Value: u.U}}}},
		{Key: "$db", Value: cmd.database},
	})
	if err != nil {
		return nil, false, fmt.Errorf("write an update without its conditions: %w", err)
	}
	answer, err = pass(message(cmd.requestID, 0, update))
	return answer, true, err
}

// split takes a filter apart into a string _id and fields to be equal to plain values. ok is false for any other filter.
func split(q bson.Raw) (id string, conditions []bson.RawElement, ok bool) {
	elements, err := q.Elements()
	if err != nil {
		return "", nil, false
	}
	for _, e := range elements {
		v := e.Value()
		switch {
		case e.Key() == "_id" && v.Type == bson.TypeString:
			id, ok = v.StringValue(), true
		case len(e.Key()) == 0 || e.Key()[0] == '$' || bytes.ContainsRune([]byte(e.Key()), '.'):
			return "", nil, false
		case v.Type == bson.TypeString, v.Type == bson.TypeInt32, v.Type == bson.TypeInt64, v.Type == bson.TypeBoolean:
			conditions = append(conditions, e)
		default:
			return "", nil, false
		}
	}
	return id, conditions, ok
}

// matches says whether doc has all the conditions' values. Integers compare as numbers, whatever their width, as in MongoDB.
func matches(doc bson.Raw, conditions []bson.RawElement) bool {
	for _, c := range conditions {
		have, err := doc.LookupErr(c.Key())
		if err != nil {
			return false
		}
		want := c.Value()
		w, wn := want.AsInt64OK()
		h, hn := have.AsInt64OK()
		if wn && hn {
			if w != h {
				return false
			}
			continue
		}
		if have.Type != want.Type || !bytes.Equal(have.Value, want.Value) {
			return false
		}
	}
	return true
}

// command is what the proxy knows of an OP_MSG. In an answer only body is of use.
type command struct {
	requestID  int32
	flags      uint32
	name       string
	collection string
	database   string
	body       bson.Raw
	updates    []bson.Raw // of an update command
}

// parse reads an OP_MSG, request or answer. ok is false for another kind of message and for a broken one.
func parse(msg []byte) (c command, ok bool) {
	if len(msg) < headerSize+5 || binary.LittleEndian.Uint32(msg[12:]) != opMsg {
		return c, false
	}
	c.requestID = int32(binary.LittleEndian.Uint32(msg[4:])) //nolint:gosec // the same 32 bits
	c.flags = binary.LittleEndian.Uint32(msg[headerSize:])
	rest := msg[headerSize+4:]
	if c.flags&flagChecksum != 0 {
		if len(rest) < 4 {
			return c, false
		}
		rest = rest[:len(rest)-4]
	}
	for len(rest) > 0 {
		kind := rest[0]
		rest = rest[1:]
		if len(rest) < 4 {
			return c, false
		}
		size := int(binary.LittleEndian.Uint32(rest))
		if size < 5 || size > len(rest) {
			return c, false
		}
		section := rest[:size]
		rest = rest[size:]
		switch kind {
		case sectionBody:
			if c.body != nil {
				return c, false
			}
			c.body = bson.Raw(section)
		case sectionSequence:
			name, docs, found := bytes.Cut(section[4:], []byte{0})
			if !found {
				return c, false
			}
			if string(name) == "documents" || string(name) == "deletes" {
				continue
			}
			if string(name) != "updates" {
				return c, false
			}
			for len(docs) > 0 {
				if len(docs) < 4 {
					return c, false
				}
				n := int(binary.LittleEndian.Uint32(docs))
				if n < 5 || n > len(docs) {
					return c, false
				}
				c.updates = append(c.updates, bson.Raw(docs[:n]))
				docs = docs[n:]
			}
		default:
			return c, false
		}
	}
	first, err := c.body.IndexErr(0)
	if err != nil {
		return c, false
	}
	c.name = first.Key()
	c.collection, _ = first.Value().StringValueOK()
	c.database, _ = c.body.Lookup("$db").StringValueOK()
	if list, isArray := c.body.Lookup("updates").ArrayOK(); isArray {
		values, err := list.Values()
		if err != nil {
			return c, false
		}
		for _, v := range values {
			if d, isDoc := v.DocumentOK(); isDoc {
				c.updates = append(c.updates, d)
			}
		}
	}
	return c, true
}

// message makes an OP_MSG of one body.
func message(id, responseTo int32, body []byte) []byte {
	msg := make([]byte, 0, headerSize+5+len(body))
	msg = binary.LittleEndian.AppendUint32(msg, uint32(headerSize+5+len(body))) //nolint:gosec // far below 4 GiB
	msg = binary.LittleEndian.AppendUint32(msg, uint32(id))                     //nolint:gosec // the same 32 bits
	msg = binary.LittleEndian.AppendUint32(msg, uint32(responseTo))             //nolint:gosec // the same 32 bits
	msg = binary.LittleEndian.AppendUint32(msg, opMsg)
	msg = binary.LittleEndian.AppendUint32(msg, 0)
	msg = append(msg, sectionBody)
	return append(msg, body...)
}

func readMessage(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(head)
	if size < headerSize || size > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	msg := make([]byte, size)
	_, err = io.ReadFull(r, msg)
	return msg, err
}

// writes are the commands of which a database handles one at a time.
var writes = map[string]bool{"insert": true, "update": true, "findAndModify": true, "findandmodify": true, "delete": true}

// locks has one lock for each database.
type locks struct {
	mu sync.Mutex
	m  map[string]*sync.Mutex
}

func (l *locks) of(name string) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = map[string]*sync.Mutex{}
	}
	if l.m[name] == nil {
		l.m[name] = new(sync.Mutex)
	}
	return l.m[name]
}
