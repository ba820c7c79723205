package messaging

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

const (
	defaultPage = 50
	maxPage     = 200
	// Beyond these, presence is not worth telling to everyone.
	maxPeers     = 2000
	maxPeerGroup = 200
	// maxResumed is how many messages one resume gives in all.
	maxResumed = 2000
)

// answers makes a handler of what reads for a user. parse reads all parameters, before anything is waited for: a request that is bad is answered at
// once. What it gives reads the answer, when the database has what the user was told of.
func (s *messaging) answers(b *bulkhead, parse func(r *http.Request, user string) (read func() (any, error), err error)) http.Handler {
	return service.Authenticated(s.verifier, func(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
		told, err := parseTold(r)
		if err != nil {
			return err
		}
		read, err := parse(r, caller.User)
		if err != nil {
			return err
		}
		if err := s.awaitTold(r.Context(), told); err != nil {
			return err
		}
		return b.answer(w, r, caller.User, read)
	})
}

func (s *messaging) conversation(r *http.Request, user string) (func() (any, error), error) {
	return func() (any, error) {
		v, ok, err := s.database.show(r.Context(), user, r.PathValue("id"), true)
		if err != nil {
			return nil, service.Unavailable("the database", err)
		}
		if !ok {
			return nil, service.NotFound("conversation")
		}
		return v, nil
	}, nil
}

// span is the part of a conversation's history that somebody asks for: before a seq, after one, or, without either, the last messages.
type span struct {
	conversation  string
	limit         int64
	before, after *int64
}

func (s *messaging) history(r *http.Request, user string) (func() (any, error), error) {
	q := r.URL.Query()
	if !q.Has("conversation") {
		return nil, service.BadRequest("conversation is missing")
	}
	limit, err := number(q, "limit", defaultPage)
	if err != nil || limit < 1 || limit > maxPage {
		return nil, service.BadRequest("limit must be 1 to %d", maxPage)
	}
	asked := span{conversation: q.Get("conversation"), limit: limit}
	if asked.before, err = seqOf(q, "before"); err != nil {
		return nil, err
	}
	if asked.after, err = seqOf(q, "after"); err != nil {
		return nil, err
	}
	if asked.before != nil && asked.after != nil {
		return nil, service.BadRequest("before and after exclude each other")
	}
	return func() (any, error) { return s.readHistory(r.Context(), user, asked) }, nil
}

func (s *messaging) readHistory(ctx context.Context, user string, asked span) (any, error) {
	if err := checkHistory(); err != nil {
		return nil, err
	}
	id, limit := asked.conversation, asked.limit
	if asked.before != nil {
		before := *asked.before
		c, messages, ok, err := s.database.earlier(ctx, user, id, before-1, limit)
		if err != nil {
			return nil, service.Unavailable("the database", err)
		}
		if ok {
			return s.page(ctx, user, c, messages, before-limit > c.first && before > c.first)
		}
	}
	c, ok, err := s.database.view(ctx, user, id)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	if !ok {
		return nil, service.NotFound("conversation")
	}
	first, last := c.first, c.head.Seq
	to := last
	var from int64
	switch {
	case asked.after != nil:
		from = max(first, min(*asked.after, last)+1)
		to = min(last, from+limit-1)
	case asked.before != nil:
		to = min(last, *asked.before-1)
		from = max(first, to-limit+1)
	default:
		from = max(first, to-limit+1)
	}
	messages, err := s.database.page(ctx, id, from, to)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	more := from > first && to >= first
	if asked.after != nil {
		more = to < last
	}
	return s.page(ctx, user, c, messages, more)
}

// page is the answer to history.
func (s *messaging) page(ctx context.Context, user string, c view, messages []message, more bool) (any, error) {
	seen, ok, err := s.database.see(ctx, user, c, messages)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	if !ok {
		return nil, service.NotFound("conversation")
	}
	return struct {
		Messages []wire.Message `json:"messages"`
		More     bool           `json:"more"`
	}{seen, more}, nil
}

// number gives a number of a query, or another one where it is absent.
func number(q url.Values, name string, absent int64) (int64, error) {
	if !q.Has(name) {
		return absent, nil
	}
	return strconv.ParseInt(q.Get(name), 10, 64)
}

// seqOf gives a seq of a query, nil where it is absent.
func seqOf(q url.Values, name string) (*int64, error) {
	if !q.Has(name) {
		return nil, nil
	}
	seq, err := number(q, name, 0)
	if err != nil || seq < 0 {
		return nil, service.BadRequest("%s must be a seq", name)
	}
	return &seq, nil
}

// resume gives gateways what a user has missed.
func (s *messaging) resume(w http.ResponseWriter, r *http.Request) error {
	var req wire.ResumeRequest
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if len(req.Have) > wire.MaxResume {
		return service.BadRequest("%d conversations; at most %d", len(req.Have), wire.MaxResume)
	}
	position, err := parsePosition(req.Position)
	if err != nil {
		return err
	}
	if err := s.reach(r.Context(), position); err != nil {
		return err
	}
	return s.reading.answer(w, r, req.User, func() (any, error) { return s.resumed(r.Context(), req) })
}

func (s *messaging) resumed(ctx context.Context, req wire.ResumeRequest) (any, error) {
	answer := wire.ResumeAnswer{Messages: []wire.Message{}, Behind: map[string]int64{}}
	var mu sync.Mutex
	err := eachOf(ctx, readsAhead, slices.Collect(maps.Keys(req.Have)), func(ctx context.Context, id string) error {
		messages, behind, err := s.missed(ctx, req.User, id, req.Have[id])
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case behind > 0:
			answer.Behind[id] = behind
		case len(messages) > 0 && len(answer.Messages)+len(messages) > maxResumed:
			answer.Behind[id] = messages[len(messages)-1].Seq
		default:
			answer.Messages = append(answer.Messages, messages...)
		}
		return nil
	})
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	return answer, nil
}

// missed gives what came after have, or the last seq if that is too much.
func (s *messaging) missed(ctx context.Context, user, id string, have int64) (seen []wire.Message, behind int64, err error) {
	c, ok, err := s.database.view(ctx, user, id)
	if err != nil || !ok {
		return nil, 0, err
	}
	last := c.head.Seq
	from := max(c.first, min(have, last)+1)
	if last-from+1 > wire.MaxMissed {
		return nil, last, nil
	}
	messages, err := s.database.page(ctx, id, from, last)
	if err != nil {
		return nil, 0, err
	}
	if seen, ok, err = s.database.see(ctx, user, c, messages); !ok {
		seen = nil
	}
	return seen, 0, err
}

// peers gives the users who share a conversation with one.
func (s *messaging) peers(r *http.Request) (any, error) {
	user := r.PathValue("user")
	ids, err := s.database.inbox(r.Context(), user)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	found := map[string]bool{}
	for _, id := range ids {
		v, ok, err := s.database.view(r.Context(), user, id)
		if err != nil {
			return nil, service.Unavailable("the database", err)
		}
		members := v.roster.users(id)
		if !ok || len(members) > maxPeerGroup {
			continue
		}
		for _, u := range members {
			if u != user && len(found) < maxPeers {
				found[u] = true
			}
		}
	}
	users := make([]string, 0, len(found))
	for u := range found {
		users = append(users, u)
	}
	slices.Sort(users)
	return wire.Users{Users: users}, nil
}
