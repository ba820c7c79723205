package messaging

import (
	"context"
	"net/http"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/labctl/labctl/services/internal/service"
)

// bulkhead bounds how many requests are read for at once; the others wait in their order. If all were read for at once, then a few more than the
// database can serve within the time that callers have would have none of them served in time, and all of them come again.
//
// Of each user only some are read for at once. The user's others wait for these, outside, so that they hold up nobody else.
type bulkhead struct {
	all  *semaphore.Weighted
	each int64

	mu    sync.Mutex
	users map[string]*userReads
}

// userReads are the requests of one user.
type userReads struct {
	room *semaphore.Weighted
	n    int // those that are read for or wait
}

// newBulkhead makes one for so many requests in all, and of each user.
func newBulkhead(all, each int64) *bulkhead {
	return &bulkhead{all: semaphore.NewWeighted(all), each: each, users: map[string]*userReads{}}
}

// The bulkheads of messaging. They have room for fewer requests than there are connections to the database: storing needs some, too. Lists and searches
// have their own, since one of them reads hundreds of documents.
func newReading() *bulkhead   { return newBulkhead(16, 4) }
func newListing() *bulkhead   { return newBulkhead(4, 1) }
func newSearching() *bulkhead { return newBulkhead(4, 1) }
func newExporting() *bulkhead { return newBulkhead(2, 1) }

// answer writes what f has read, when there is room for it.
func (b *bulkhead) answer(w http.ResponseWriter, r *http.Request, user string, f func() (any, error)) error {
	v, err := b.do(r.Context(), user, f)
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, v)
}

// do runs f when there is room for it. Who reads an answer slowly takes nobody's room, so f writes none.
func (b *bulkhead) do(ctx context.Context, user string, f func() (any, error)) (any, error) {
	own := b.come(user)
	defer b.leave(user)
	for _, room := range []*semaphore.Weighted{own, b.all} {
		if err := room.Acquire(ctx, 1); err != nil {
			return nil, service.Unavailable("messaging", err)
		}
		defer room.Release(1)
	}
	return f()
}

func (b *bulkhead) come(user string) *semaphore.Weighted {
	b.mu.Lock()
	defer b.mu.Unlock()
	u := b.users[user]
	if u == nil {
		u = &userReads{room: semaphore.NewWeighted(b.each)}
		b.users[user] = u
	}
	u.n++
	return u.room
}

func (b *bulkhead) leave(user string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u := b.users[user]; u.n > 1 {
		u.n--
		return
	}
	delete(b.users, user)
}
