package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// restorer loads into the state what the decisions about the next records rest on.
type restorer struct {
	*database
	state *state
}

// readsAhead is how many documents are read at once for one batch of records, or for one request.
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
			return failureOf(id, err)
		}
		mu.Lock()
		defer mu.Unlock()
		r.state.conversations[id] = c
		unfinished = append(unfinished, found...)
		return nil
	})
	return unfinished, err
}

// isDone says whether the last message of a conversation follows from this record or a later one. Then the record was handled before, if it is one that may
// become a message: messaging publishes a message before it stores it, and publishes in the order of records (docs/adr/0018). A read takes no seq, so this says
// nothing of it.
//
// The sequencer finds that a record is done without its key, its target and the message that it repeats. So the restorer loads none of them: of a partition that
// is replayed most records are done, and each would cost two reads. A record that is done when its batch is loaded is done when it is applied, since the
// source of a conversation only grows.
func (c *conversation) isDone(at source) bool { return !c.source.before(at) }

// loadKeys loads the idempotency keys of records that may have come before, and are not done.
func (r *restorer) loadKeys(ctx context.Context, batch []input, replayed func(source) bool) error {
	wanted := map[string]string{} // to the conversation of each
	for _, in := range batch {
		if in.invalid != nil || !hasKey(in.record) || r.state.conversations[in.record.Conversation].isDone(in.source) {
			continue
		}
		id := keyID(in.record)
		_, known := r.state.keys[id]
		if !known && (in.record.Again || replayed(in.source)) {
			wanted[id] = in.record.Conversation
		}
	}
	var mu sync.Mutex
	return eachOf(ctx, readsAhead, slices.Collect(maps.Keys(wanted)), func(ctx context.Context, id string) error {
		k, ok, err := store.Get[idempotencyKey](ctx, r.sends, id)
		if err != nil || !ok {
			return failureOf(wanted[id], err)
		}
		mu.Lock()
		defer mu.Unlock()
		r.state.keys[id] = k
		r.state.hold(loaded{key: id})
		return nil
	})
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
			m, err := r.readMessage(ctx, p.c.id, p.seq)
			if err != nil {
				return failureOf(p.c.id, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if m.Changed >= p.c.next {
				delete(r.state.conversations, p.c.id)
				return errOvertaken
			}
			p.c.messages[p.seq] = &m
			r.state.hold(loaded{conversation: p.c, seq: p.seq})
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
	for _, in := range batch {
		if in.invalid != nil {
			continue
		}
		c := r.state.conversations[in.record.Conversation]
		if in.record.Type != wire.RecordRead && c.isDone(in.source) {
			continue
		}
		want := []int64{}
		if in.record.Type != wire.RecordRead || in.record.Target < c.next-1 {
			want = c.lacks(targetOf(in.record), in.record.Type == wire.RecordDelete || in.record.Type == wire.RecordErase)
		}
		if hasKey(in.record) {
			want = append(want, c.lacks(r.state.keys[keyID(in.record)].Seq, false)...)
		}
		for _, seq := range want {
			missing[place{c, seq}] = true
		}
	}
	return slices.Collect(maps.Keys(missing))
}

// lacks gives what is not in memory of a message that somebody points to: itself, or, where it is to be deleted, its edits.
func (c *conversation) lacks(seq int64, deletes bool) (missing []int64) {
	absent := func(seq int64) bool { return seq > 0 && seq < c.next && c.messages[seq] == nil }
	if absent(seq) {
		return []int64{seq}
	}
	if t := c.messages[seq]; t != nil && deletes {
		for _, edit := range t.now().Edits {
			if absent(edit) {
				missing = append(missing, edit)
			}
		}
	}
	return missing
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
	return nil, nil, fmt.Errorf("restore %s: %w: its roster is of a message that is not stored", id, errInconsistent)
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
		m, err := d.readMessage(ctx, id, last)
		if err != nil {
			return nil, nil, err
		}
		c.source = m.Source
	}
	for _, m := range tail {
		for want := c.lacks(m.Target, m.Kind == wire.Delete); len(want) > 0; want = c.lacks(m.Target, m.Kind == wire.Delete) {
			for _, seq := range want {
				t, err := d.readMessage(ctx, id, seq)
				if err != nil {
					return nil, nil, err
				}
				c.messages[seq] = &t
			}
		}
	}
	var unfinished []effects
	for _, m := range tail {
		unfinished = append(unfinished, effects{outcome: done, message: &m, consequences: c.take(&m), members: c.roster})
	}
	return c, unfinished, nil
}
