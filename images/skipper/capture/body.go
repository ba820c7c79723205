package capture

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	maxBody = 64 << 10 // of what is copied of a body
	maxHead = 16 << 10 // of the target and the selected header
)

// budget bounds the memory of all copies for one comparer.
type budget struct {
	left atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.left.Add(-int64(n)) >= 0 {
		return true
	}
	b.left.Add(int64(n))
	return false
}

func (b *budget) give(n int) { b.left.Add(int64(n)) }

// pending is an exchange that is not whole yet. It ends once.
type pending struct {
	sender   *sender
	exchange Exchange

	request, answer copied
	ended           atomic.Bool
	stop            func() bool // ends the watch over the live request
}

// finish ends the exchange while the live request goes on.
func (p *pending) finish(reason string) {
	p.stop()
	p.end(reason)
}

// end hands the exchange to the sender, or counts it out for the reason given. Only the first call counts.
func (p *pending) end(reason string) {
	if !p.ended.CompareAndSwap(false, true) {
		return
	}
	whyRequest := p.request.seal() // the service may answer before it has read all of it
	whyAnswer := p.answer.seal()
	size := p.request.size + p.answer.size
	if reason = cmp.Or(reason, whyRequest, whyAnswer); reason != "" {
		p.sender.budget.give(size)
		p.sender.leaveOut(reason)
		return
	}
	p.exchange.Request.Body, p.exchange.Answer.Body = p.request.body, p.answer.body
	p.sender.offer(queued{exchange: &p.exchange, size: size})
}

// copied is the copy of a request or an answer, as far as it came through.
type copied struct {
	budget *budget
	length int64 // of the whole body, -1 if only its end will tell

	mu     sync.Mutex // the transport may still read a request's body while the answer comes
	size   int        // bytes of the budget
	body   []byte
	seen   int64 // bytes of the body that came
	whole  bool
	why    string // there is no copy, and why
	sealed bool
}

// addHead takes memory for what is copied beside the body.
func (c *copied) addHead(header http.Header, others ...string) {
	n := len(strings.Join(others, ""))
	for name, values := range header {
		for _, value := range values {
			n += len(name) + len(value)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserve(n, n > maxHead)
}

// addBody copies a part of the body. The error is the reader's.
func (c *copied) addBody(b []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen += int64(len(b))
	c.whole = c.whole || c.seen == c.length || errors.Is(err, io.EOF)
	if c.reserve(len(b), len(c.body)+len(b) > maxBody) {
		c.body = append(c.body, b...)
	}
}

// reserve takes memory, or drops the copy.
func (c *copied) reserve(n int, isTooLarge bool) bool {
	switch {
	case c.sealed || c.why != "":
		return false
	case isTooLarge:
		c.why = tooLarge
	case !c.budget.take(n):
		c.why = dropped
	default:
		c.size += n
		return true
	}
	c.budget.give(c.size)
	c.size, c.body = 0, nil
	return false
}

// seal ends the copy, and says why there is none. Its size and body do not change any more.
func (c *copied) seal() (why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	if c.why == "" && !c.whole {
		return incomplete
	}
	return c.why
}

// tee copies a body while it is read.
type tee struct {
	io.ReadCloser
	copy   *copied
	finish func(reason string) // of an answer, whose end is that of the exchange
}

func (t *tee) Read(b []byte) (int, error) {
	n, err := t.ReadCloser.Read(b)
	t.copy.addBody(b[:n], err)
	if t.finish != nil && errors.Is(err, io.EOF) {
		t.finish("")
	}
	return n, err
}

// Close without an end before it means that the service or the client broke off.
func (t *tee) Close() error {
	err := t.ReadCloser.Close()
	if t.finish != nil {
		t.finish(incomplete)
	}
	return err
}
