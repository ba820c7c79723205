package messaging

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

const (
	// maxListed is how many of a user's conversations a page of the list looks at.
	maxListed = 500
	// maxListedMembers is how many members the conversations of a page have in all, but for those of the last ones: they are most of the answer.
	maxListedMembers = 50_000
	// listAhead is how many conversations a list reads at once.
	listAhead = 4
	// listStep is how many it reads before it looks at how large the answer is.
	listStep = 20
)

// listed is a page of conversations, and the cursor of the next one if there is one.
type listed struct {
	Conversations []wire.Conversation `json:"conversations"`
	Next          string              `json:"next,omitempty"`
}

func (s *messaging) list(r *http.Request, user string) (func() (any, error), error) {
	q := r.URL.Query()
	limit, err := number(q, "limit", maxListed)
	if err != nil || limit < 1 || limit > maxListed {
		return nil, service.BadRequest("limit must be 1 to %d", maxListed)
	}
	after := q.Get("cursor")
	if q.Has("cursor") && !wire.ValidConversation(after) {
		return nil, service.BadRequest("cursor must be what an answer called next")
	}
	return func() (any, error) { return s.readList(r.Context(), user, after, int(limit)) }, nil
}

// readList gives a page of a user's conversations. Pages are in the order of the ids: that one stays as it is while messages arrive, and needs no look at
// conversations that are on other pages.
func (s *messaging) readList(ctx context.Context, user, after string, limit int) (any, error) {
	ids, err := s.database.inbox(ctx, user)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	begin, there := slices.BinarySearch(ids, after)
	if there {
		begin++
	}
	ids = ids[begin:]
	views := []wire.Conversation{}
	members, n := 0, 0
	for n < min(len(ids), limit) && members < maxListedMembers {
		step := ids[n:min(n+listStep, len(ids), limit)]
		found, err := s.database.showAll(ctx, user, step)
		if err != nil {
			return nil, service.Unavailable("the database", err)
		}
		for _, v := range found {
			members += len(v.Members)
		}
		views = append(views, found...)
		n += len(step)
	}
	slices.SortFunc(views, func(a, b wire.Conversation) int {
		return cmp.Or(b.LastMessage.At.Compare(a.LastMessage.At.Time), strings.Compare(a.ID, b.ID))
	})
	answer := listed{Conversations: views}
	if n < len(ids) {
		answer.Next = ids[n-1]
	}
	return answer, nil
}

// showAll gives what a user sees of those conversations that the user is in, and in which something was said.
func (d *database) showAll(ctx context.Context, user string, ids []string) ([]wire.Conversation, error) {
	all := make([]wire.Conversation, len(ids))
	at := make([]int, len(ids))
	for i := range at {
		at[i] = i
	}
	err := eachOf(ctx, listAhead, at, func(ctx context.Context, i int) error {
		v, ok, err := d.show(ctx, user, ids[i], false)
		if ok {
			all[i] = v
		}
		return err
	})
	return slices.DeleteFunc(all, func(v wire.Conversation) bool { return v.LastMessage == nil }), err
}
