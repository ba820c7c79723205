package messaging

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

const (
	defaultPage = 50
	maxPage     = 200
	// Beyond these, presence is not worth telling to everyone.
	maxPeers     = 2000
	maxPeerGroup = 200
	// readsAtOnce is less than the connections to the database, which storing needs, too.
	readsAtOnce = 16
	// searchesAtOnce is less, since a search reads many documents.
	searchesAtOnce = 4
	// freshTime bounds how long a request waits to see all.
	freshTime = 5 * time.Second
	// maxResumed is how many messages one resume gives in all.
	maxResumed = 2000
)

// turns bounds how many requests are read for at once; the others wait in their order. If all were read for at once, then a few more than the
// database can serve within the time that callers have would have none of them served in time, and all of them come again.
type turns struct{ *semaphore.Weighted }

func newTurns(n int64) turns { return turns{semaphore.NewWeighted(n)} }

// answer writes what f has read, when it is its turn and all is stored that was told before.
func (s *messaging) answer(t turns, w http.ResponseWriter, r *http.Request, f func() (any, error)) error {
	v, err := t.do(r.Context(), func() (any, error) {
		if err := s.catchUp(r.Context()); err != nil {
			return nil, err
		}
		return f()
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, v)
}

// do runs f in turn. Who reads an answer slowly takes nobody's turn, so f writes none.
func (t turns) do(ctx context.Context, f func() (any, error)) (any, error) {
	if err := t.Acquire(ctx, 1); err != nil {
		return nil, service.Unavailable("messaging", err)
	}
	defer t.Release(1)
	return f()
}

// catchUp waits until all is stored that was told before.
func (s *messaging) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, freshTime)
	defer cancel()
	if err := s.ahead.wait(ctx); err != nil {
		return service.Unavailable("the database", err)
	}
	return nil
}

// answers makes a handler of what reads for a user.
func (s *messaging) answers(t turns, read func(r *http.Request, user string) (any, error)) http.Handler {
	return service.Authenticated(s.verifier, func(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
		return s.answer(t, w, r, func() (any, error) { return read(r, caller.User) })
	})
}

// sight is what a user may read of a conversation: from first to the head's seq, both included.
type sight struct {
	*conversation
	head  head
	first int64
}

// sight looks a conversation up for a user. ok is false for who is no member. The end is read before the roster: whatever stands
// below that end was said before any removal that the roster does not have yet.
func (a *archive) sight(ctx context.Context, user, id string) (v sight, ok bool, err error) {
	if v.conversation = (&conversation{id: id}); !v.open(user) {
		return v, false, nil
	}
	if v.head, err = a.end(ctx, id); err != nil {
		return v, false, err
	}
	ok, err = a.admit(ctx, user, &v)
	return v, ok, err
}

// earlier gives a page of messages, the last of them with seq to, and the sight of it, in fewer reads than sight and page take: where that page is
// there, the conversation goes at least as far, and no more has to be known of its end. ok is false where that is not enough to answer.
func (a *archive) earlier(ctx context.Context, user, id string, to, limit int64) (v sight, messages []message, ok bool, err error) {
	if v.conversation = (&conversation{id: id}); to < 1 || !v.open(user) {
		return v, nil, false, nil
	}
	if messages, ok, err = a.below(ctx, id, max(1, to-limit+1), to); err != nil || !ok {
		return v, nil, false, err
	}
	v.head.Seq = to
	if ok, err = a.admit(ctx, user, &v); err != nil || !ok {
		return v, nil, false, err
	}
	messages = slices.DeleteFunc(messages, func(m message) bool { return m.Seq < v.first })
	return v, messages, true, nil
}

// open says whether an id may be that of a conversation of the user's.
func (v sight) open(user string) bool {
	return wire.ValidConversation(v.id) && (!v.direct() || v.member(user))
}

// admit reads who is in a conversation, and so what the user may see of it. ok is false for who is no member.
func (a *archive) admit(ctx context.Context, user string, v *sight) (ok bool, err error) {
	if !v.direct() {
		if v.group, err = a.roster(ctx, v.id); err != nil {
			return false, err
		}
	}
	v.first, ok = v.since(user)
	return ok, nil
}

// see gives messages as a user may see them. A change that was made since v was read may be one of after the user's removal, so then
// the roster is asked once more; ok is false for who is no member any more.
func (a *archive) see(ctx context.Context, user string, v sight, messages []message) (seen []wire.Message, ok bool, err error) {
	seen = make([]wire.Message, 0, len(messages))
	later := false
	for _, m := range messages {
		later = later || m.Changed > v.head.Seq
		seen = append(seen, seenFrom(m.wire(), v.first))
	}
	if !later || v.direct() {
		return seen, true, nil
	}
	r, err := a.roster(ctx, v.id)
	if err != nil {
		return nil, false, err
	}
	first, ok := r.since(user)
	return seen, ok && first == v.first, nil
}

// view gives what a user sees of a conversation. ok is false for who is no member.
// Its reads are given if all is asked for.
func (a *archive) view(ctx context.Context, user, id string, all bool) (v wire.Conversation, ok bool, err error) {
	c, ok, err := a.sight(ctx, user, id)
	if err != nil || !ok {
		return v, false, err
	}
	v = wire.Conversation{ID: id, Kind: "group", Title: c.group.Title, Members: c.members(), FirstSeq: c.first, LastSeq: c.head.Seq}
	if c.direct() {
		v.Kind = "direct"
	}
	if v.LastSeq == 0 {
		return v, true, nil
	}
	m, found, err := store.Get[message](ctx, a.messages, messageID(id, c.head.Shown))
	if err != nil || !found {
		return v, found, err
	}
	// What was just said is read by who said it, though the head may not know yet.
	if m.Kind == wire.Text && m.Seq > c.head.Reads[m.Sender].Seq {
		reads := map[string]mark{m.Sender: {Seq: m.Seq, Texts: m.Texts}}
		for user, read := range c.head.Reads {
			if user != m.Sender {
				reads[user] = read
			}
		}
		c.head.Reads = reads
	}
	read, err := a.read(ctx, user, c.head, c.conversation)
	if err != nil {
		return v, false, err
	}
	v.Read, v.Unread = read.Seq, c.head.Texts-read.Texts
	if all {
		v.Reads = c.reads()
	}
	seen, ok, err := a.see(ctx, user, c, []message{m})
	if ok {
		v.LastMessage = &seen[0]
	}
	return v, ok, err
}

// reads gives how far each member has read, for those conversations whose members are told.
func (v sight) reads() map[string]int64 {
	if v.group.Large {
		return nil
	}
	reads := map[string]int64{}
	for _, m := range v.members() {
		if r := v.head.Reads[m.User]; r.Seq > 0 {
			reads[m.User] = r.Seq
		}
	}
	return reads
}

func (s *messaging) conversation(r *http.Request, user string) (any, error) {
	v, ok, err := s.archive.view(r.Context(), user, r.PathValue("id"), true)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	if !ok {
		return nil, service.NotFound("conversation")
	}
	return v, nil
}

func (s *messaging) list(r *http.Request, user string) (any, error) {
	ids, err := s.archive.inbox(r.Context(), user)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	views := []wire.Conversation{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(8)
	for _, id := range ids {
		g.Go(func() error {
			v, ok, err := s.archive.view(ctx, user, id, false)
			if err != nil || !ok || v.LastMessage == nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			views = append(views, v)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, service.Unavailable("the database", err)
	}
	slices.SortFunc(views, func(a, b wire.Conversation) int {
		if c := b.LastMessage.At.Compare(a.LastMessage.At.Time); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return map[string][]wire.Conversation{"conversations": views}, nil
}

func (s *messaging) history(r *http.Request, user string) (any, error) {
	q := r.URL.Query()
	if !q.Has("conversation") {
		return nil, service.BadRequest("conversation is missing")
	}
	limit, err := number(q, "limit", defaultPage)
	if err != nil || limit < 1 || limit > maxPage {
		return nil, service.BadRequest("limit must be 1 to %d", maxPage)
	}
	before, err := number(q, "before", 0)
	if err != nil || before < 0 {
		return nil, service.BadRequest("before must be a seq")
	}
	after, err := number(q, "after", 0)
	if err != nil || after < 0 {
		return nil, service.BadRequest("after must be a seq")
	}
	if q.Has("before") && q.Has("after") {
		return nil, service.BadRequest("before and after exclude each other")
	}
	ctx, id := r.Context(), q.Get("conversation")
	if q.Has("before") {
		c, messages, ok, err := s.archive.earlier(ctx, user, id, before-1, limit)
		if err != nil {
			return nil, service.Unavailable("the database", err)
		}
		if ok {
			return s.page(ctx, user, c, messages, before-limit > c.first && before > c.first)
		}
	}
	c, ok, err := s.archive.sight(ctx, user, id)
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
	case q.Has("after"):
		from = max(first, min(after, last)+1)
		to = min(last, from+limit-1)
	case q.Has("before"):
		to = min(last, before-1)
		from = max(first, to-limit+1)
	default:
		from = max(first, to-limit+1)
	}
	messages, err := s.archive.page(ctx, id, from, to)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	more := from > first && to >= first
	if q.Has("after") {
		more = to < last
	}
	return s.page(ctx, user, c, messages, more)
}

// page is the answer to history.
func (s *messaging) page(ctx context.Context, user string, c sight, messages []message, more bool) (any, error) {
	seen, ok, err := s.archive.see(ctx, user, c, messages)
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

// resume gives gateways what a user has missed.
func (s *messaging) resume(w http.ResponseWriter, r *http.Request) error {
	var req wire.ResumeRequest
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if len(req.Have) > wire.MaxResume {
		return service.BadRequest("%d conversations; at most %d", len(req.Have), wire.MaxResume)
	}
	return s.answer(s.reading, w, r, func() (any, error) { return s.resumed(r.Context(), req) })
}

func (s *messaging) resumed(ctx context.Context, req wire.ResumeRequest) (any, error) {
	answer := wire.ResumeAnswer{Messages: []wire.Message{}, Behind: map[string]int64{}}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for id, have := range req.Have {
		g.Go(func() error {
			messages, behind, err := s.missed(ctx, req.User, id, have)
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
	}
	if err := g.Wait(); err != nil {
		return nil, service.Unavailable("the database", err)
	}
	return answer, nil
}

// missed gives what came after have, or the last seq if that is too much.
func (s *messaging) missed(ctx context.Context, user, id string, have int64) (seen []wire.Message, behind int64, err error) {
	c, ok, err := s.archive.sight(ctx, user, id)
	if err != nil || !ok {
		return nil, 0, err
	}
	last := c.head.Seq
	from := max(c.first, min(have, last)+1)
	if last-from+1 > wire.MaxMissed {
		return nil, last, nil
	}
	messages, err := s.archive.page(ctx, id, from, last)
	if err != nil {
		return nil, 0, err
	}
	if seen, ok, err = s.archive.see(ctx, user, c, messages); !ok {
		seen = nil
	}
	return seen, 0, err
}

// peers gives the users who share a conversation with one.
func (s *messaging) peers(r *http.Request) (any, error) {
	user := r.PathValue("user")
	ids, err := s.archive.inbox(r.Context(), user)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	found := map[string]bool{}
	for _, id := range ids {
		c := &conversation{id: id}
		if !c.direct() {
			if c.group, err = s.archive.roster(r.Context(), id); err != nil {
				return nil, service.Unavailable("the database", err)
			}
		}
		members := c.members()
		if !c.member(user) || len(members) > maxPeerGroup {
			continue
		}
		for _, m := range members {
			if m.User != user && len(found) < maxPeers {
				found[m.User] = true
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
