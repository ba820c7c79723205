package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// restorer loads into the state what the decisions about the next records rest on.
type restorer struct {
	*database
	state *state
}

// readsAhead is how many documents are read at once for a batch.
const readsAhead = 8

// errOvertaken says that another instance has stored more of a conversation than the state has. It had this partition before, and its last
// writes come late.
var errOvertaken = errors.New("another instance has stored more of this conversation")

// load loads what records need. It gives what follows from messages that an instance has stored just before it was killed: that is to be
// stored with what follows from the records, also where the rest could not be loaded. replayed says of a record that it may have been handled
// before.
func (r *restorer) load(ctx context.Context, batch []input, replayed func(source) bool) (unfinished []effects, err error) {
	for {
		found, err := r.loadConversations(ctx, batch)
		unfinished = append(unfinished, found...)
		if err == nil {
			err = r.loadKeys(ctx, batch, replayed)
		}
		if err == nil {
			err = r.loadMessages(ctx, batch)
		}
		if !errors.Is(err, errOvertaken) {
			return unfinished, err
		}
	}
}

func (r *restorer) loadConversations(ctx context.Context, batch []input) (unfinished []effects, err error) {
	missing := map[string]bool{}
	for _, in := range batch {
		if in.invalid == nil && r.state.conversations[in.record.Conversation] == nil {
			missing[in.record.Conversation] = true
		}
	}
	var mu sync.Mutex
	err = eachOf(ctx, readsAhead, slices.Collect(maps.Keys(missing)), func(ctx context.Context, id string) error {
		c, found, err := r.restore(ctx, id)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		r.state.conversations[id] = c
		unfinished = append(unfinished, found...)
		return nil
	})
	return unfinished, err
}

// loadKeys loads the idempotency keys of records that may have come before.
func (r *restorer) loadKeys(ctx context.Context, batch []input, replayed func(source) bool) error {
	var ids []string
	seen := map[string]bool{}
	for _, in := range batch {
		if in.invalid != nil || !hasKey(in.record) {
			continue
		}
		id := keyID(in.record)
		_, known := r.state.keys[id]
		may := in.record.Again || seen[id] || replayed(in.source) || r.state.window(in.source).has(id, in.source.Offset)
		if may && !known {
			ids = append(ids, id)
			r.state.keys[id] = idempotencyKey{}
		}
		seen[id] = true
	}
	var mu sync.Mutex
	err := eachOf(ctx, readsAhead, ids, func(ctx context.Context, id string) error {
		k, ok, err := store.Get[idempotencyKey](ctx, r.sends, id)
		if err != nil || !ok {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		r.state.keys[id] = k
		return nil
	})
	for _, id := range ids {
		if err != nil || r.state.keys[id].ID == "" {
			delete(r.state.keys, id)
		} else {
			r.state.hold(held{key: id})
		}
	}
	return err
}

// place is where a message stands.
type place struct {
	c   *conversation
	seq int64
}

// loadMessages loads the messages that records point to, those that they repeat, and the edits of those that they delete.
func (r *restorer) loadMessages(ctx context.Context, batch []input) error {
	for {
		missing := r.missing(batch)
		if len(missing) == 0 {
			return nil
		}
		var mu sync.Mutex
		err := eachOf(ctx, readsAhead, missing, func(ctx context.Context, p place) error {
			m, ok, err := store.Get[message](ctx, r.messages, messageID(p.c.id, p.seq))
			if err == nil && !ok {
				err = fmt.Errorf("message %s is missing", messageID(p.c.id, p.seq))
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if m.Changed >= p.c.next {
				delete(r.state.conversations, p.c.id)
				return errOvertaken
			}
			p.c.messages[p.seq] = &m
			r.state.hold(held{conversation: p.c, seq: p.seq})
			return nil
		})
		if err != nil {
			return err
		}
	}
}

// missing gives the messages that records need and the state lacks.
func (r *restorer) missing(batch []input) []place {
	missing := map[place]bool{}
	want := func(c *conversation, seq int64) {
		if seq > 0 && seq < c.next && c.messages[seq] == nil {
			missing[place{c, seq}] = true
		}
	}
	for _, in := range batch {
		if in.invalid != nil {
			continue
		}
		c := r.state.conversations[in.record.Conversation]
		if in.record.Type != wire.RecordRead || in.record.Target < c.next-1 {
			want(c, targetOf(in.record))
		}
		if t := c.messages[in.record.Target]; t != nil && in.record.Type == wire.RecordDelete {
			for _, seq := range t.now().Edits {
				want(c, seq)
			}
		}
		if hasKey(in.record) {
			want(c, r.state.keys[keyID(in.record)].Seq)
		}
	}
	return slices.Collect(maps.Keys(missing))
}

// eachOf calls f for all of list, for so many of them at once.
func eachOf[T any](ctx context.Context, atOnce int, list []T, f func(context.Context, T) error) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, v := range list {
		g.Go(func() error { return f(inner, v) })
	}
	return g.Wait()
}

// restore reads where a conversation stands: as it was projected last, and with the messages since then taken in as they were when they
// were decided. So what a killed instance stored of a message, and what not, comes to the same.
func (d *database) restore(ctx context.Context, id string) (c *conversation, unfinished []effects, err error) {
	for range 100 { // each time another instance has stored more meanwhile
		c, unfinished, err = d.tryRestore(ctx, id)
		if !errors.Is(err, errOvertaken) {
			return c, unfinished, err
		}
	}
	return nil, nil, fmt.Errorf("restore %s: its roster is of a message that is not stored", id)
}

func (d *database) tryRestore(ctx context.Context, id string) (*conversation, []effects, error) {
	h, _, err := store.Get[head](ctx, d.heads, id)
	if err != nil {
		return nil, nil, err
	}
	last, err := d.lastSeq(ctx, id, h.Seq)
	if err != nil {
		return nil, nil, err
	}
	r, err := d.readRoster(ctx, id)
	if err != nil {
		return nil, nil, err
	}
	if r.Version > 0 && r.Seq > last {
		return nil, nil, errOvertaken
	}
	c := newConversation(id)
	c.next, c.texts, c.shown, c.event, c.roster = h.Seq+1, h.Texts, h.Shown, h.EventSeq, r
	maps.Copy(c.cursors, h.Reads)
	tail, err := d.readMessages(ctx, id, h.Seq+1, last)
	if err != nil {
		return nil, nil, err
	}
	if len(tail) == 0 && last > 0 {
		m, _, err := store.Get[message](ctx, d.messages, messageID(id, last))
		if err != nil {
			return nil, nil, err
		}
		c.source = m.Source
	}
	for _, m := range tail {
		if !wire.Changes(m.Kind) {
			continue
		}
		if err := d.loadChanged(ctx, c, m); err != nil {
			return nil, nil, err
		}
	}
	var unfinished []effects
	for _, m := range tail {
		unfinished = append(unfinished, effects{outcome: done, message: &m, consequences: c.take(&m), members: c.roster})
	}
	return c, unfinished, nil
}

// loadChanged loads the text that a message changes, and its edits if it deletes it, as far as they come before the messages that are taken in.
func (d *database) loadChanged(ctx context.Context, c *conversation, m message) error {
	get := func(seq int64) error {
		if seq >= c.next || c.messages[seq] != nil {
			return nil
		}
		t, ok, err := store.Get[message](ctx, d.messages, messageID(c.id, seq))
		if ok {
			c.messages[seq] = &t
		}
		return err
	}
	if err := get(m.Target); err != nil || m.Kind != wire.Delete || c.messages[m.Target] == nil {
		return err
	}
	for _, seq := range c.messages[m.Target].now().Edits {
		if err := get(seq); err != nil {
			return err
		}
	}
	return nil
}
