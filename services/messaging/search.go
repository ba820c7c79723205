package messaging

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	// searchReads is how many documents one search may read, beyond which it says that there may be more.
	searchReads = 1000
	// searchesAhead is how many conversations one search looks into at once.
	searchesAhead = 4
)

// search gives texts with all the words of a query.
func (s *messaging) search(r *http.Request, user string) (any, error) {
	q := r.URL.Query()
	limit, err := number(q, "limit", defaultFound)
	if err != nil || limit < 1 || limit > maxFound {
		return nil, service.BadRequest("limit must be 1 to %d", maxFound)
	}
	text := q.Get("q")
	wanted := words(text)
	if utf8.RuneCountInString(text) > maxQuery || len(wanted) == 0 || len(wanted) > maxWords {
		return nil, service.BadRequest("q must hold 1 to %d words, and at most %d characters", maxWords, maxQuery)
	}
	if wait, ok := s.searches.Take(user); !ok {
		return nil, service.Busy("too many searches", wait)
	}
	ids := []string{q.Get("conversation")}
	if !q.Has("conversation") {
		if ids, err = s.database.inbox(r.Context(), user); err != nil {
			return nil, service.Unavailable("the database", err)
		}
	} else if _, ok, err := s.database.view(r.Context(), user, ids[0]); err != nil {
		return nil, service.Unavailable("the database", err)
	} else if !ok {
		return nil, service.NotFound("conversation")
	}

	answer := struct {
		Messages []wire.Message `json:"messages"`
		More     bool           `json:"more"`
	}{Messages: []wire.Message{}}
	var mu sync.Mutex
	var reads atomic.Int64
	err = eachOf(r.Context(), searchesAhead, ids, func(ctx context.Context, id string) error {
		found, more, err := s.find(ctx, user, id, wanted, int(limit), &reads)
		mu.Lock()
		defer mu.Unlock()
		answer.Messages, answer.More = append(answer.Messages, found...), answer.More || more
		return err
	})
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	slices.SortFunc(answer.Messages, func(a, b wire.Message) int {
		if c := b.At.Compare(a.At.Time); c != 0 {
			return c
		}
		if c := strings.Compare(a.Conversation, b.Conversation); c != 0 {
			return c
		}
		return int(b.Seq - a.Seq)
	})
	if int64(len(answer.Messages)) > limit {
		answer.Messages, answer.More = answer.Messages[:limit], true
	}
	return answer, nil
}

// find gives the newest texts of a conversation that a user may see and that have all words, newest first, and whether older ones were
// not looked at. reads counts the documents that it reads.
func (s *messaging) find(ctx context.Context, user, id string, wanted map[string]bool, limit int, reads *atomic.Int64) (found []wire.Message, more bool, err error) {
	d := s.database
	v, ok, err := d.view(ctx, user, id)
	if err != nil || !ok || v.head.Seq < v.first {
		return nil, false, err
	}
	reads.Add(2)
	var matches []message
	var words filters
	at := int64(-1) // the document that words is
	first := (v.first - 1) / bucketSize
	for n := (v.head.Seq - 1) / bucketSize; n >= first; n-- {
		if len(matches) >= limit || reads.Load() >= searchReads {
			more = true
			break
		}
		if n/filtersEach != at {
			at = n / filtersEach
			reads.Add(1)
			if words, _, err = store.Get[filters](ctx, d.words, filtersID(id, n)); err != nil {
				return nil, false, err
			}
		}
		may, known := words.may(n, wanted)
		if !may {
			continue
		}
		if !known && (n+1)*bucketSize <= v.head.Seq {
			s.filterSoon(id, n, n)
		}
		reads.Add(1)
		messages, err := d.bucket(ctx, id, n, v.first, v.head.Seq)
		if err != nil {
			return nil, false, err
		}
		for _, m := range slices.Backward(messages) {
			if m.alive() && has(m, wanted) {
				matches = append(matches, m)
			}
		}
	}
	if len(matches) > limit {
		matches, more = matches[:limit], true
	}
	found, ok, err = d.see(ctx, user, v, matches)
	if err != nil || !ok {
		return nil, false, err
	}
	return found, more, nil
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
