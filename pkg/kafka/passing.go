package kafka

import (
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Answers about topics that pass (Options.Passing) wait for no sync. Which they are, and what may have changed before the others, is seen in the
// requests: the broker answers those of a connection one after the other, in order.

const (
	produceKey = int16(kmsg.Produce)
	fetchKey   = int16(kmsg.Fetch)
	// named is the last version of both in which topics have names; later ones have ids.
	named = 12
)

// withNames keeps clients to versions of requests that name the topics.
func withNames() kfake.Opt {
	v := kversion.Tip()
	v.SetMaxKeyVersion(produceKey, named)
	v.SetMaxKeyVersion(fetchKey, named)
	return kfake.MaxVersions(v)
}

// synced is a connection to a client, who hears of nothing that is not durable, but of what passes.
type synced struct {
	net.Conn
	sync     *syncer
	requests requests
	left     error       // why nothing comes any more
	leaves   []byte      // what is said in the client's place then; see leave.go
	gone     atomic.Bool // nobody reads answers any more
}

func newSynced(c net.Conn, s *syncer) *synced {
	return &synced{Conn: c, sync: s, requests: requests{sync: s}}
}

func (c *synced) Read(b []byte) (int, error) {
	if c.left == nil {
		n, err := c.Conn.Read(b)
		c.requests.take(b[:n])
		if err == nil || n > 0 || errors.Is(err, net.ErrClosed) {
			return n, err
		}
		c.left, c.leaves = err, c.requests.leaves()
		c.gone.Store(len(c.leaves) > 0)
		c.requests.take(c.leaves)
	}
	if len(c.leaves) == 0 {
		return 0, c.left
	}
	n := copy(b, c.leaves)
	c.leaves = c.leaves[n:]
	return n, nil
}

// Write takes one answer.
func (c *synced) Write(b []byte) (int, error) {
	if !c.requests.answer() {
		if err := c.sync.flush(); err != nil {
			return 0, err
		}
	}
	if c.gone.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *synced) Close() error {
	c.requests.close()
	return c.Conn.Close()
}

// requests looks at what comes from a client.
type requests struct {
	sync *syncer

	// Of the request that is coming: its size is in the first four bytes, and the kind in the next two.
	head    []byte
	left    int    // bytes to come; the size is known
	body    []byte // what has come, if it is of a kind that is looked at
	ignored bool
	fetches bool // all that the fetch session of this connection is about passes

	mu      sync.Mutex
	answers []answer // to requests, to come
	closed  bool
}

// answer is what is known of an answer before it comes.
type answer struct {
	passes  bool
	changes []string // what may have changed before it
	joins   *joining // it is that to a member who joins a group
}

// take looks at bytes that have come.
func (r *requests) take(b []byte) {
	for len(b) > 0 {
		if len(r.head) < 6 {
			n := min(6-len(r.head), len(b))
			r.head, b = append(r.head, b[:n]...), b[n:]
			if len(r.head) < 6 {
				return
			}
			key := int16(binary.BigEndian.Uint16(r.head[4:])) //nolint:gosec // G115: a key is signed
			r.left = max(int(binary.BigEndian.Uint32(r.head))-2, 0)
			r.ignored, r.body = key != produceKey && key != fetchKey && key != joinKey, r.body[:0]
			if r.left > 0 {
				continue
			}
		}
		n := min(r.left, len(b))
		whole := b[:n]
		if !r.ignored && n < r.left+len(r.body) { // it comes in pieces
			r.body = append(r.body, b[:n]...)
			whole = r.body
		}
		b, r.left = b[n:], r.left-n
		if r.left <= 0 {
			r.end(whole)
		}
	}
}

// end is told of a whole request, but for its size and key.
func (r *requests) end(body []byte) {
	key := int16(binary.BigEndian.Uint16(r.head[4:])) //nolint:gosec // G115: a key is signed
	r.head = r.head[:0]
	if cap(r.body) > 1<<20 {
		r.body = nil
	}
	a, answered := answer{changes: []string{whole}}, true
	switch key {
	case produceKey:
		a, answered = r.produce(body)
	case fetchKey:
		a = r.fetch(body)
	case joinKey:
		a.joins = joins(body)
	}
	r.sync.begin(a.changes)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !answered || r.closed {
		r.sync.abandon(a.changes)
		return
	}
	r.answers = append(r.answers, a)
}

// close is told when no answer can come any more.
func (r *requests) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, a := range r.answers {
		r.sync.abandon(a.changes)
	}
	r.answers = nil
}

// answer says whether the next answer passes.
func (r *requests) answer() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) == 0 {
		return false
	}
	first := r.answers[0]
	r.answers = r.answers[1:]
	r.sync.end(first.changes)
	return first.passes
}

// read reads a request from behind its key.
func read(body []byte, req kmsg.Request) bool {
	b := kbin.Reader{Src: body}
	req.SetVersion(b.Int16())
	b.Int32()          // the number that its answer has, too
	b.NullableString() // the client's id
	if req.IsFlexible() {
		kmsg.SkipTags(&b)
	}
	return b.Ok() && req.ReadFrom(b.Src) == nil
}

func (r *requests) produce(body []byte) (a answer, answered bool) {
	req := kmsg.NewProduceRequest()
	if !read(body, &req) {
		return answer{changes: []string{whole}}, true
	}
	a.passes = len(req.Topics) > 0
	for _, t := range req.Topics {
		if slices.Contains(r.sync.passing, t.Topic) {
			continue
		}
		a.passes = false
		for _, p := range t.Partitions {
			a.changes = append(a.changes, r.sync.partition(t.Topic, p.Partition))
		}
	}
	return a, req.Acks != 0
}

// fetch knows the topics of a fetch session (KIP-227) from the request that begins it and those that are added to it.
func (r *requests) fetch(body []byte) answer {
	req := kmsg.NewFetchRequest()
	if !read(body, &req) {
		r.fetches = false
		return answer{changes: []string{whole}}
	}
	if req.SessionEpoch <= 0 { // the first of a session, or of none
		r.fetches = len(req.Topics) > 0
	}
	for _, t := range req.Topics {
		r.fetches = r.fetches && slices.Contains(r.sync.passing, t.Topic)
	}
	return answer{passes: r.fetches}
}
