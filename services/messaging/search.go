package messaging

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

const (
	defaultFound = 20
	maxFound     = 100
	maxQuery     = 200 // characters
	maxWords     = 10
	// searchReads is how many documents one search may read of what was said. Then it gives what it has, and a cursor.
	searchReads = 1000
	// searchesAhead is how many conversations one search looks into at once.
	searchesAhead = 4
	// searchedTogether is how many conversations one search looks into. A user with more finds what is in the others by the cursor.
	searchedTogether = 1000
	// clockSkew is how far the clocks of two gateways are apart at most. Within a conversation a message may be older by so much than the one before it.
	clockSkew = 10 * time.Second
)

func (s *messaging) search(r *http.Request, user string) (func() (any, error), error) {
	v := r.URL.Query()
	limit, err := number(v, "limit", defaultFound)
	if err != nil || limit < 1 || limit > maxFound {
		return nil, service.BadRequest("limit must be 1 to %d", maxFound)
	}
	text := v.Get("q")
	q := newQuery(user, text, int(limit))
	if utf8.RuneCountInString(text) > maxQuery || len(q.words) == 0 || len(q.words) > maxWords {
		return nil, service.BadRequest("q must hold 1 to %d words, and at most %d characters", maxWords, maxQuery)
	}
	if v.Has("cursor") && q.parse(v.Get("cursor")) != nil {
		return nil, service.BadRequest("cursor must be what an answer called next")
	}
	var in []string
	if v.Has("conversation") {
		in = []string{v.Get("conversation")}
	}
	return func() (any, error) { return s.readSearch(r.Context(), q, in) }, nil
}

// readSearch gives texts with all the words of a query, newest first over all conversations, or those of one.
func (s *messaging) readSearch(ctx context.Context, q *query, ids []string) (_ any, err error) {
	if wait, ok := s.searches.Take(q.user); !ok {
		return nil, service.Busy("too many searches", wait)
	}
	if ids == nil {
		if ids, err = s.database.inbox(ctx, q.user); err != nil {
			return nil, service.Unavailable("the database", err)
		}
	} else if _, ok, err := s.database.view(ctx, q.user, ids[0]); err != nil {
		return nil, service.Unavailable("the database", err)
	} else if !ok {
		return nil, service.NotFound("conversation")
	}
	answer, err := s.find(ctx, q, ids)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	return answer, nil
}

// query is what is searched for, from where on.
type query struct {
	user  string
	words map[string]bool
	limit int

	together int   // conversations
	budget   int64 // reads

	from  string // the first conversation to look into
	after hit    // what comes before this was given already

	reads atomic.Int64
}

func newQuery(user, text string, limit int) *query {
	return &query{user: user, words: words(text), limit: limit, together: searchedTogether, budget: searchReads, after: hit{At: math.MaxInt64}}
}

// hit is the place of a text among all that are found: by time, the newest first.
type hit struct {
	At           int64 // in milliseconds
	Conversation string
	Seq          int64
}

func hitOf(m wire.Message) hit { return hit{m.At.UnixMilli(), m.Conversation, m.Seq} }

func (h hit) compare(o hit) int {
	return cmp.Or(cmp.Compare(o.At, h.At), cmp.Compare(h.Conversation, o.Conversation), cmp.Compare(o.Seq, h.Seq))
}

// cursor is where the next page begins. To clients its text means nothing.
type cursor struct {
	From  string
	After hit
}

func (c cursor) String() string { return base64.RawURLEncoding.EncodeToString(wire.Encode(c)) }

func (q *query) parse(s string) error {
	var c cursor
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	q.from, q.after = c.From, c.After
	return err
}

// found is the answer to a search.
type found struct {
	Messages []wire.Message `json:"messages"`
	More     bool           `json:"more"`
	Next     string         `json:"next,omitempty"`
}

// mixed is an order of conversations in which those of two users and those of groups take turns: by the end of their ids, which are random.
func mixed(a, b string) int {
	end := func(id string) string { return id[max(0, len(id)-12):] }
	return cmp.Or(strings.Compare(end(a), end(b)), strings.Compare(a, b))
}

// find looks into each conversation from its end on, always into the one that may have the newest text, until it has enough of which it knows that no
// newer ones are to come.
func (s *messaging) find(ctx context.Context, q *query, ids []string) (found, error) {
	slices.SortFunc(ids, mixed)
	if q.from != "" {
		at, _ := slices.BinarySearchFunc(ids, q.from, mixed)
		ids = ids[at:]
	}
	var rest []string
	if len(ids) > q.together {
		ids, rest = ids[:q.together], ids[q.together:]
	}
	open, err := s.begin(ctx, q, ids)
	if err != nil {
		return found{}, err
	}
	answer := found{Messages: []wire.Message{}}
	next := func(c cursor) (found, error) {
		answer.More, answer.Next = true, c.String()
		return answer, nil
	}
	var more bool
	for {
		open = slices.DeleteFunc(open, func(c *searched) bool { return c.next < c.last })
		if len(open) == 0 {
			break
		}
		slices.SortFunc(open, func(a, b *searched) int { return cmp.Compare(b.newest, a.newest) })
		newest := open[0].newest // that is not found yet
		if n := len(answer.Messages); n >= q.limit && answer.Messages[n-1].At.UnixMilli() > newest {
			return next(cursor{q.from, hitOf(answer.Messages[n-1])})
		}
		if q.reads.Load() >= q.budget && newest < q.after.At {
			answer.Messages = slices.DeleteFunc(answer.Messages, func(m wire.Message) bool { return m.At.UnixMilli() <= newest })
			return next(cursor{q.from, hit{At: newest}})
		}
		now := open[:min(len(open), searchesAhead)]
		if err := eachOf(ctx, searchesAhead, now, func(ctx context.Context, c *searched) error { return s.look(ctx, q, c) }); err != nil {
			return found{}, err
		}
		for _, c := range now {
			answer.Messages = append(answer.Messages, c.found...)
			c.found = nil
		}
		slices.SortFunc(answer.Messages, func(a, b wire.Message) int { return hitOf(a).compare(hitOf(b)) })
		if len(answer.Messages) > q.limit {
			answer.Messages, more = answer.Messages[:q.limit], true
		}
	}
	switch {
	case more:
		return next(cursor{q.from, hitOf(answer.Messages[q.limit-1])})
	case len(rest) > 0:
		return next(cursor{rest[0], hit{At: math.MaxInt64}})
	}
	return answer, nil
}

// searched is a conversation that is searched, from its end on.
type searched struct {
	view
	next, last int64 // the next bucket to look into, and the last one
	newest     int64 // no text in those buckets is newer; in milliseconds
	words      filters
	at         int64 // the document that words is
	found      []wire.Message
}

// begin gives those conversations that the user may read, each at the bucket in which there may be something that was not given yet.
func (s *messaging) begin(ctx context.Context, q *query, ids []string) (open []*searched, err error) {
	var mu sync.Mutex
	err = eachOf(ctx, searchesAhead, ids, func(ctx context.Context, id string) error {
		v, ok, err := s.database.view(ctx, q.user, id)
		if err != nil || !ok || v.head.Seq < v.first {
			return err
		}
		c := &searched{view: v, next: bucketOf(v.head.Seq), last: bucketOf(v.first), newest: q.after.At, at: -1}
		for low := c.last; low < c.next && q.after.At < math.MaxInt64; {
			middle := (low + c.next + 1) / 2
			q.reads.Add(1)
			m, err := s.database.readMessage(ctx, id, middle*bucketSize+1)
			if err != nil {
				return err
			}
			if m.At.UnixMilli() > q.after.At+clockSkew.Milliseconds() { // and so is all that comes after it
				c.next = middle - 1
			} else {
				low = middle
			}
		}
		mu.Lock()
		defer mu.Unlock()
		open = append(open, c)
		return nil
	})
	return open, err
}

// look looks into the next bucket that may have all words.
func (s *messaging) look(ctx context.Context, q *query, c *searched) error {
	d := s.database
	for ; c.next >= c.last; c.next-- {
		if (c.next+1)*bucketSize <= c.head.Seq { // it is full, so it may have a filter
			if c.next/filtersEach != c.at {
				c.at = c.next / filtersEach
				q.reads.Add(1)
				var err error
				if c.words, _, err = store.Get[filters](ctx, d.words, filtersID(c.id, c.next)); err != nil {
					return err
				}
			}
			may, known := c.words.may(c.next, q.words)
			if !may {
				continue
			}
			if !known {
				s.filterSoon(c.id, c.next, c.next)
			}
		}
		q.reads.Add(1)
		messages, err := d.bucket(ctx, c.id, c.next, c.first, c.head.Seq)
		if err != nil {
			return err
		}
		c.next--
		c.newest = min(c.newest, messages[0].At.Add(clockSkew).UnixMilli())
		matches := slices.DeleteFunc(messages, func(m message) bool {
			return !m.alive() || hitOf(m.said()).compare(q.after) <= 0 || !has(m, q.words)
		})
		seen, ok, err := d.see(ctx, q.user, c.view, matches)
		if err != nil {
			return err
		}
		if !ok { // no member any more
			c.next = c.last - 1
			return nil
		}
		c.found = seen
		return nil
	}
	return nil
}

// has says whether a text has all words now.
func has(m message, wanted map[string]bool) bool {
	its := words(m.wire().Body)
	for w := range wanted {
		if !its[w] {
			return false
		}
	}
	return true
}
