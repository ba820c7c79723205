package messaging

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/labctl/labctl/services/internal/bus"
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
	// maxResumed is how many messages one resume gives in all.
	maxResumed = 2000
)

// bulkhead bounds how many requests are read for at once; the others wait in their order. If all were read for at once, then a few more than the
// database can serve within the time that callers have would have none of them served in time, and all of them come again.
type bulkhead struct{ *semaphore.Weighted }

func newBulkhead(n int64) bulkhead { return bulkhead{semaphore.NewWeighted(n)} }

// answer writes what f has read, when there is room for it.
func (s *messaging) answer(b bulkhead, w http.ResponseWriter, r *http.Request, f func() (any, error)) error {
	v, err := b.do(r.Context(), f)
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, v)
}

// do runs f when there is room for it. Who reads an answer slowly takes nobody's room, so f writes none.
func (b bulkhead) do(ctx context.Context, f func() (any, error)) (any, error) {
	if err := b.Acquire(ctx, 1); err != nil {
		return nil, service.Unavailable("messaging", err)
	}
	defer b.Release(1)
	return f()
}

// answers makes a handler of what reads for a user, once what the user was told of is there.
func (s *messaging) answers(b bulkhead, read func(r *http.Request, user string) (any, error)) http.Handler {
	return service.Authenticated(s.verifier, func(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
		if err := s.current(r); err != nil {
			return err
		}
		return s.answer(b, w, r, func() (any, error) { return read(r, caller.User) })
	})
}

// reach waits until all up to a position is stored. Whoever has one was told that it is there.
func (s *messaging) reach(ctx context.Context, position string) error {
	to, err := wire.ParsePosition(position)
	if err != nil {
		return service.BadRequest("position: %v", err)
	}
	return s.reachAll(ctx, to)
}

func (s *messaging) reachAll(ctx context.Context, to wire.Position) error {
	if len(to) == 0 {
		return nil
	}
	current := s.log.Load()
	if current == nil {
		return service.Unavailable("messaging", nil)
	}
	return s.await(ctx, func(ctx context.Context) (bool, error) {
		at, err := s.database.readPositions(ctx)
		if err != nil {
			return false, err
		}
		for partition, offset := range to {
			if !at.reached(source{Log: *current, Partition: partition, Offset: offset}) {
				return false, nil
			}
		}
		return true, nil
	})
}

// current waits until all is stored of which the one who asks was told: up to a position, or, of one conversation, a seq. It does so before there is
// room at the bulkhead, so that nobody holds others up by waiting.
func (s *messaging) current(r *http.Request) error {
	q := r.URL.Query()
	if q.Has("position") {
		if q.Get("position") == "" {
			return service.BadRequest("position is empty")
		}
		if err := s.reach(r.Context(), q.Get("position")); err != nil {
			return err
		}
	}
	id := cmp.Or(r.PathValue("id"), q.Get("conversation"))
	seq, err := number(q, "at_least", 0)
	if err != nil || seq < 0 {
		return service.BadRequest("at_least must be a seq")
	}
	if seq == 0 || !wire.ValidConversation(id) {
		return nil
	}
	return s.await(r.Context(), func(ctx context.Context) (bool, error) {
		h, err := s.database.end(ctx, id)
		return h.Seq >= seq, err
	})
}

// settleTime bounds how long settle waits: who is online is better shown soon than completely.
const settleTime = time.Second

// settle waits until all is stored that is in the topic now, if that is soon. It is for who asks about a user and can't know what the user was told.
func (s *messaging) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	ends, err := s.ends.Get(ctx, bus.Messages, func(ctx context.Context) (map[int32]int64, error) { return bus.Ends(ctx, s.kafka, bus.Messages) })
	if err != nil {
		return
	}
	at := wire.Position{}
	for partition, end := range ends {
		if end > 0 {
			at[partition] = end - 1
		}
	}
	_ = s.reachAll(ctx, at)
}

const (
	// freshTime bounds how long a request waits for what is not stored yet.
	freshTime = 5 * time.Second
	// freshPause is the first pause between two looks, and the last is twenty times as long.
	freshPause = 5 * time.Millisecond
)

// await looks again until it is so.
func (s *messaging) await(ctx context.Context, so func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, freshTime)
	defer cancel()
	for pause := freshPause; ; pause = min(2*pause, 20*freshPause) {
		ok, err := so(ctx)
		if err == nil && !ok {
			err = service.Sleep(ctx, pause)
		}
		if err != nil {
			return service.Unavailable("the database", err)
		}
		if ok {
			return nil
		}
	}
}

// view is what a user may read of a conversation: from first to the head's seq, both included.
type view struct {
	id     string
	roster *roster
	head   head
	first  int64
}

// view looks a conversation up for a user. ok is false for who is no member. The end is read before the roster: whatever stands
// below that end was said before any removal that the roster does not have.
func (d *database) view(ctx context.Context, user, id string) (v view, ok bool, err error) {
	if v.id = id; !v.open(user) {
		return v, false, nil
	}
	if v.head, err = d.end(ctx, id); err != nil {
		return v, false, err
	}
	ok, err = d.admit(ctx, user, &v)
	return v, ok, err
}

// earlier gives a page of messages, the last of them with seq to, and the view of it, in fewer reads than view and page take: where that page is
// there, the conversation goes at least as far, and no more has to be known of its end. ok is false where that is not enough to answer.
func (d *database) earlier(ctx context.Context, user, id string, to, limit int64) (v view, messages []message, ok bool, err error) {
	if v.id = id; to < 1 || !v.open(user) {
		return v, nil, false, nil
	}
	if messages, ok, err = d.below(ctx, id, max(1, to-limit+1), to); err != nil || !ok {
		return v, nil, false, err
	}
	v.head.Seq = to
	if ok, err = d.admit(ctx, user, &v); err != nil || !ok {
		return v, nil, false, err
	}
	messages = slices.DeleteFunc(messages, func(m message) bool { return m.Seq < v.first })
	return v, messages, true, nil
}

func (v view) direct() bool {
	_, _, direct := wire.Direct(v.id)
	return direct
}

// open says whether an id may be that of a conversation of the user's.
func (v view) open(user string) bool {
	return wire.ValidConversation(v.id) && (!v.direct() || (&roster{}).member(v.id, user))
}

// admit reads who is in a conversation, and so what the user may see of it. ok is false for who is no member.
func (d *database) admit(ctx context.Context, user string, v *view) (ok bool, err error) {
	v.roster = &roster{}
	if !v.direct() {
		if v.roster, err = d.rosterAt(ctx, v.id, v.head.EventSeq); err != nil {
			return false, err
		}
	}
	v.first, ok = v.roster.since(v.id, user)
	return ok, nil
}

// see gives messages as a user may see them. A change that was made since v was read may be one of after the user's removal, so then
// the roster is asked once more; ok is false for who is no member any more.
func (d *database) see(ctx context.Context, user string, v view, messages []message) (seen []wire.Message, ok bool, err error) {
	seen = make([]wire.Message, 0, len(messages))
	later := false
	for _, m := range messages {
		later = later || m.Changed > v.head.Seq
		seen = append(seen, seenFrom(m.wire(), v.first))
	}
	if !later || v.direct() {
		return seen, true, nil
	}
	r, err := d.readRoster(ctx, v.id)
	if err != nil {
		return nil, false, err
	}
	first, ok := r.since(v.id, user)
	return seen, ok && first == v.first, nil
}

// show gives what a user sees of a conversation. ok is false for who is no member.
// Its reads are given if all is asked for.
func (d *database) show(ctx context.Context, user, id string, all bool) (c wire.Conversation, ok bool, err error) {
	v, ok, err := d.view(ctx, user, id)
	if err != nil || !ok {
		return c, false, err
	}
	c = wire.Conversation{ID: id, Kind: "group", Title: v.roster.Title, Members: v.roster.list(id), FirstSeq: v.first, LastSeq: v.head.Seq}
	if v.direct() {
		c.Kind = "direct"
	}
	if c.LastSeq == 0 {
		return c, true, nil
	}
	m, found, err := store.Get[message](ctx, d.messages, messageID(id, v.head.Shown))
	if err != nil || !found {
		return c, found, err
	}
	// What was just said is read by who said it, though the head may not know yet.
	if m.Kind == wire.Text && m.Seq > v.head.Reads[m.Sender].Seq {
		v.head.Reads = maps.Clone(v.head.Reads)
		if v.head.Reads == nil {
			v.head.Reads = map[string]readCursor{}
		}
		v.head.Reads[m.Sender] = readCursor{Seq: m.Seq, Texts: m.Texts}
	}
	read, err := d.cursor(ctx, user, v.head, v)
	if err != nil {
		return c, false, err
	}
	c.Read, c.Unread = read.Seq, v.head.Texts-read.Texts
	if all {
		c.Reads = v.reads()
	}
	seen, ok, err := d.see(ctx, user, v, []message{m})
	if ok {
		c.LastMessage = &seen[0]
	}
	return c, ok, err
}

// reads gives how far each member has read, for those conversations whose members are told.
func (v view) reads() map[string]int64 {
	if v.roster.Large {
		return nil
	}
	reads := map[string]int64{}
	for _, u := range v.roster.users(v.id) {
		if r := v.head.Reads[u]; r.Seq > 0 {
			reads[u] = r.Seq
		}
	}
	return reads
}

func (s *messaging) conversation(r *http.Request, user string) (any, error) {
	v, ok, err := s.database.show(r.Context(), user, r.PathValue("id"), true)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	if !ok {
		return nil, service.NotFound("conversation")
	}
	return v, nil
}

func (s *messaging) list(r *http.Request, user string) (any, error) {
	ids, err := s.database.inbox(r.Context(), user)
	if err != nil {
		return nil, service.Unavailable("the database", err)
	}
	views := []wire.Conversation{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(8)
	for _, id := range ids {
		g.Go(func() error {
			v, ok, err := s.database.show(ctx, user, id, false)
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
	case q.Has("after"):
		from = max(first, min(after, last)+1)
		to = min(last, from+limit-1)
	case q.Has("before"):
		to = min(last, before-1)
		from = max(first, to-limit+1)
	default:
		from = max(first, to-limit+1)
	}
	messages, err := s.database.page(ctx, id, from, to)
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

// resume gives gateways what a user has missed.
func (s *messaging) resume(w http.ResponseWriter, r *http.Request) error {
	var req wire.ResumeRequest
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if len(req.Have) > wire.MaxResume {
		return service.BadRequest("%d conversations; at most %d", len(req.Have), wire.MaxResume)
	}
	if err := s.reach(r.Context(), req.Position); err != nil {
		return err
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
		v := view{id: id, roster: &roster{}}
		if !v.direct() {
			if v.roster, err = s.database.readRoster(r.Context(), id); err != nil {
				return nil, service.Unavailable("the database", err)
			}
		}
		members := v.roster.users(id)
		if !v.roster.member(id, user) || len(members) > maxPeerGroup {
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
