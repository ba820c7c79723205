package sockets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/topics"
)

// clientFrame is what is known of a client's frame that leads to a record in the topic messages. What it says is not
// kept.
type clientFrame struct {
	Type         string `json:"type"`
	Conversation string `json:"conversation"`
	ClientID     string `json:"client_id"`
	Seq          int64  `json:"seq"`
}

// leads says whether the frame may lead to a record.
func (f clientFrame) leads() bool {
	switch f.Type {
	case "send", "edit", "delete", "react":
		return f.ClientID != ""
	}
	return f.Type == "read"
}

// id gives the id of the record to which the frame leads.
func (f clientFrame) id(user string) string {
	return recordID(f.Type, f.Conversation, user, f.ClientID, f.Seq)
}

func recordID(kind, conversation, sender, clientID string, target int64) string {
	if kind == "read" {
		clientID = "read-" + strconv.FormatInt(target, 10)
	}
	return strings.Join([]string{conversation, sender, clientID}, "/")
}

const recordKind = "record"

// want has a record be looked for, since a mirrored client asked for it. The caller holds mu.
func (s *Sockets) want(id string, m *socket) {
	e := s.records.find(recordKind, id, func(e *entry) bool { return e.of == nil && e.state == stateOpen })
	if e == nil {
		if e = s.add(&s.records, recordKind, id, s.o.Now()); e == nil {
			return
		}
	}
	e.of = m
	m.wanted++
}

// record takes what a side gave to Kafka.
func (s *Sockets) record(of side.Side, r *kgo.Record) {
	var v struct {
		Type         string `json:"type"`
		Conversation string `json:"conversation"`
		Sender       string `json:"sender"`
		ClientID     string `json:"client_id"`
		Target       int64  `json:"target"`
	}
	if json.Unmarshal(r.Value, &v) != nil && of == side.Live {
		return // no gateway wrote it
	}
	body, err := recordBody(r)
	if err != nil {
		return
	}
	id := recordID(v.Type, v.Conversation, v.Sender, v.ClientID, v.Target)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.records.find(recordKind, id, func(e *entry) bool { return !e.has[of] })
	if e == nil {
		if of == side.Live && s.users[v.Sender] == 0 {
			return // of a client who is not mirrored
		}
		if e = s.add(&s.records, recordKind, id, s.o.Now()); e == nil {
			return
		}
	}
	s.set(e, of, Result{Kind: recordKind + " " + v.Type, Body: body}, func() string { return key(recordKind, id) })
}

func recordBody(r *kgo.Record) ([]byte, error) {
	b := struct {
		Key     string          `json:"key"`
		Request string          `json:"request,omitempty"`
		Value   json.RawMessage `json:"value"`
	}{Key: string(r.Key), Value: jsonOf(r.Value)}
	for _, h := range r.Headers {
		if h.Key == "request" {
			b.Request = string(h.Value)
		}
	}
	return json.Marshal(b)
}

// expireRecord hands over a record that a side lacks. Live's records that no mirrored client asked for are none of ours.
func (s *Sockets) expireRecord(e *entry) {
	none := e.has == [side.Count]bool{}
	ours := e.of != nil || e.has[side.Candidate] || e.has[side.Baseline]
	switch {
	case none || !ours:
		s.leave(e)
	case e.of != nil && e.of.excused(e):
		s.counts.After++
		s.leave(e)
	default:
		s.hand(e, key(recordKind, e.id))
	}
}

// reader reads the topic messages of all sides.
type reader struct {
	s      *Sockets
	client *kgo.Client
	sides  map[string]side.Side // by topic
}

// openReader begins at the ends of the topics as they are. The copies have made theirs.
func (s *Sockets) openReader(ctx context.Context) (*reader, error) {
	client, err := kgo.NewClient(s.o.Kafka...)
	if err != nil {
		return nil, fmt.Errorf("read what the sides give to Kafka: %w", err)
	}
	r := &reader{s: s, client: client, sides: map[string]side.Side{
		topics.Messages: side.Live,
		topics.NamesOf(mirror.Service, topics.Candidate).Writes(topics.Messages): side.Candidate,
		topics.NamesOf(mirror.Service, topics.Baseline).Writes(topics.Messages):  side.Baseline,
	}}
	from := map[string]map[int32]kgo.Offset{}
	for topic := range r.sides {
		ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
		if err == nil {
			err = ends.Error()
		}
		if err != nil {
			client.Close()
			return nil, fmt.Errorf("ask for the end of the topic %s: %w", topic, err)
		}
		from[topic] = map[int32]kgo.Offset{}
		ends.Each(func(o kadm.ListedOffset) { from[topic][o.Partition] = kgo.NewOffset().At(o.Offset) })
	}
	client.AddConsumePartitions(from)
	return r, nil
}

// patience is how long the brokers may be away.
const patience = 5 * time.Minute

// run reads until ctx ends, or the brokers are away for too long.
func (r *reader) run(ctx context.Context) error {
	defer r.client.Close()
	well := time.Now()
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failed error
		fetches.EachError(func(topic string, n int32, err error) {
			failed = errors.Join(failed, fmt.Errorf("read partition %d of the topic %s: %w", n, topic, err))
		})
		switch {
		case failed == nil:
			well = time.Now()
		case time.Since(well) > patience:
			return failed
		}
		fetches.EachRecord(func(rec *kgo.Record) { r.s.record(r.sides[rec.Topic], rec) })
	}
}
