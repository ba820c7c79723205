package messaging

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// How a change is stored. It is a message with a seq of its own, so order and "once" hold for it as for a text. What the text has
// become follows from the changes of it that are stored: after a change is inserted, and before anyone is told, it is taken
// into the text's document, if it is not in it yet ("changed" is the seq of the last that is), and the document is copied into its
// bucket. Whoever comes again after a crash does so again, with the same result; whoever comes late, after another has done more,
// finds a higher "changed" and writes nothing. In a bucket "changed" stands once more, and only grows: a copy that came late is
// seen to be old, and the document is read instead.

// apply takes stored changes into their targets, and gives the texts and edits of which something else is true now, by seq.
func (a *archive) apply(ctx context.Context, conversation string, changes []message) (map[int64]message, error) {
	byTarget := map[int64][]message{}
	for _, c := range changes {
		byTarget[c.Target] = append(byTarget[c.Target], c)
	}
	now := map[int64]message{}
	for target, list := range byTarget {
		m, err := a.change(ctx, conversation, target, func(m *message) {
			for _, c := range list {
				m.apply(c)
			}
		})
		if err != nil {
			return nil, err
		}
		now[m.Seq] = m
		if m.now().Deleted.IsZero() {
			continue
		}
		// What the edits said goes, too.
		for _, seq := range m.now().Edits {
			e, err := a.change(ctx, conversation, seq, func(e *message) {
				if e.Changed == 0 {
					e.erase(m.Changed, m.now().Deleted)
				}
			})
			if err != nil {
				return nil, err
			}
			now[seq] = e
		}
	}
	for _, m := range now {
		if err := a.rebucket(ctx, m, slices.ContainsFunc(changes, func(c message) bool { return c.Kind == wire.Edit && c.Target == m.Seq })); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// change lets f change a message, and gives what it is then.
func (a *archive) change(ctx context.Context, conversation string, seq int64, f func(*message)) (m message, err error) {
	id := messageID(conversation, seq)
	for range 20 {
		m, ok, err := store.Get[message](ctx, a.messages, id)
		if err != nil {
			return m, err
		}
		if !ok {
			return m, fmt.Errorf("message %s is missing", id)
		}
		before := m.Changed
		if f(&m); m.Changed == before {
			return m, nil
		}
		matched, err := store.Update(ctx, a.messages, id, bson.D{{Key: "$set", Value: bson.D{
			{Key: "changed", Value: m.Changed}, {Key: "present", Value: m.Present}, {Key: "body", Value: m.Body}, {Key: "mentions", Value: m.Mentions},
		}}}, bson.E{Key: "changed", Value: before})
		if err != nil || matched {
			return m, err
		}
		// Another was faster, or it is of before there were changes.
		if _, err := store.Update(ctx, a.messages, id, bson.D{{Key: "$max", Value: bson.D{{Key: "changed", Value: 0}}}}); err != nil {
			return m, err
		}
	}
	return m, fmt.Errorf("change message %s: another instance changes it all the time", id)
}

// rebucket copies a changed message into its bucket. The words of an edit are looked for in it from then on.
func (a *archive) rebucket(ctx context.Context, m message, edited bool) error {
	key, n := strconv.FormatInt(m.Seq, 10), (m.Seq-1)/bucketSize
	if edited {
		if err := a.distrustWords(ctx, m.Conversation, n); err != nil {
			return err
		}
	}
	return store.Upsert(ctx, a.buckets, bucketID(m.Conversation, n), bson.D{
		{Key: "$set", Value: bson.D{{Key: "messages." + key, Value: m.entry()}}},
		{Key: "$max", Value: bson.D{{Key: "changed." + key, Value: m.Changed}}},
	})
}

// targetOf gives the seq of the message that a record points to, 0 if to none.
func targetOf(r wire.Record) int64 {
	if r.Type == wire.RecordSend {
		return r.ReplyTo
	}
	return r.Target
}

// targets reads the messages that records point to, by id. Those that are not there are left out.
func (p *worker) targets(ctx context.Context, items []*item) (map[string]*message, error) {
	found := map[string]*message{}
	for _, it := range items {
		if seq := targetOf(it.record); it.bad == nil && seq > 0 && seq < p.conversations[it.record.Conversation].next {
			found[messageID(it.record.Conversation, seq)] = nil
		}
	}
	ids := make([]string, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	messages := make([]*message, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, id := range ids {
		g.Go(func() error {
			m, ok, err := store.Get[message](ctx, p.archive.messages, id)
			if ok {
				messages[i] = &m
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, id := range ids {
		found[id] = messages[i]
	}
	return found, nil
}

// judge gives the code of a record's refusal, if it must be refused.
func (pl *plan) judge(c *conversation, r wire.Record) string {
	first, member := c.since(r.Sender)
	if !member {
		return wire.CodeNotMember
	}
	if r.Type != wire.RecordDelete && c.group.blocked(c.id, r.Sender) {
		return wire.CodeBlocked
	}
	if targetOf(r) == 0 {
		return ""
	}
	t := pl.message(c.id, targetOf(r))
	switch {
	case t == nil || t.Kind != wire.Text || t.Seq < first:
		return wire.CodeNotFound
	case r.Type == wire.RecordSend:
		return "" // an answer to a text, which may be gone
	case !t.alive():
		return wire.CodeNotFound
	}
	switch r.Type {
	case wire.RecordEdit:
		if t.Sender != r.Sender || len(t.now().Edits) >= wire.MaxEdits {
			return wire.CodeNotAllowed
		}
	case wire.RecordDelete:
		if t.Sender != r.Sender && !c.group.moderates(r.Sender) {
			return wire.CodeNotAllowed
		}
	case wire.RecordReact:
		if !r.On {
			break
		}
		list := t.now().Reactions
		known := slices.ContainsFunc(list, func(e reaction) bool { return e.Emoji == r.Emoji })
		if (!known && len(list) >= wire.MaxReactions) || t.now().reacted() >= wire.MaxReacted {
			return wire.CodeNotAllowed
		}
	}
	return ""
}

// said are the words for a refusal.
func said(code string) string {
	switch code {
	case wire.CodeNotFound:
		return "there is no such text, or it is deleted"
	case wire.CodeNotAllowed:
		return "this text is not yours, or it has as many changes as it can have"
	case wire.CodeBlocked:
		return "you can't write to this user"
	}
	return "you are no member of this conversation"
}
