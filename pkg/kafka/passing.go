package kafka

import (
	"encoding/binary"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// Answers about topics that pass (Options.Passing) wait for no sync. Which they are is seen in the requests: the broker answers those of a
// connection one after the other, in order.

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
}

func (c *synced) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.requests.take(b[:n])
	return n, err
}

// Write takes one answer.
func (c *synced) Write(b []byte) (int, error) {
	if !c.requests.passes() {
		if err := c.sync.flush(); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// requests looks at what comes from a client.
type requests struct {
	passing []string // topics

	// Of the request that is coming: its size is in the first four bytes, and the kind in the next two.
	head    []byte
	left    int    // bytes to come; the size is known
	body    []byte // what has come, if it is of a kind that is looked at
	ignored bool
	fetches bool // all that the fetch session of this connection is about passes

	mu      sync.Mutex
	answers []bool // of the requests that are not answered: whether the answer passes
}

// take looks at bytes that have come.
func (r *requests) take(b []byte) {
	if len(r.passing) == 0 {
		return
	}
	for len(b) > 0 {
		if len(r.head) < 6 {
			n := min(6-len(r.head), len(b))
			r.head, b = append(r.head, b[:n]...), b[n:]
			if len(r.head) < 6 {
				return
			}
			key := int16(binary.BigEndian.Uint16(r.head[4:])) //nolint:gosec // G115: a key is signed
			r.left = max(int(binary.BigEndian.Uint32(r.head))-2, 0)
			r.ignored, r.body = key != produceKey && key != fetchKey, r.body[:0]
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
	passes, answered := false, true
	switch key {
	case produceKey:
		passes, answered = r.produce(body)
	case fetchKey:
		passes = r.fetch(body)
	}
	if !answered {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = append(r.answers, passes)
}

// passes says whether the next answer does.
func (r *requests) passes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) == 0 {
		return false
	}
	first := r.answers[0]
	r.answers = r.answers[1:]
	return first
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

func (r *requests) produce(body []byte) (passes, answered bool) {
	req := kmsg.NewProduceRequest()
	if !read(body, &req) {
		return false, true
	}
	for _, t := range req.Topics {
		if !slices.Contains(r.passing, t.Topic) {
			return false, req.Acks != 0
		}
	}
	return len(req.Topics) > 0, req.Acks != 0
}

// fetch knows the topics of a fetch session (KIP-227) from the request that begins it and those that are added to it.
func (r *requests) fetch(body []byte) bool {
	req := kmsg.NewFetchRequest()
	if !read(body, &req) {
		r.fetches = false
		return false
	}
	if req.SessionEpoch <= 0 { // the first of a session, or of none
		r.fetches = len(req.Topics) > 0
	}
	for _, t := range req.Topics {
		r.fetches = r.fetches && slices.Contains(r.passing, t.Topic)
	}
	return r.fetches
}
