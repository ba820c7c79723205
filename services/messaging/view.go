package messaging

import (
	"context"
	"slices"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

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
	if err := d.advanceReads(ctx, id, &v.head, m); err != nil {
		return c, false, err
	}
	read, err := d.cursor(ctx, user, v)
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
		seq := v.head.Reads[u].Seq
		if first, ok := v.joined(u); ok {
			seq = max(seq, first)
		}
		if seq > 0 {
			reads[u] = seq
		}
	}
	return reads
}

// joined gives the event with which a user became a member, and up to which they have read therefore. In a direct conversation there is none.
func (v view) joined(user string) (seq int64, ok bool) {
	if v.direct() {
		return 0, false
	}
	return v.roster.since(v.id, user)
}
