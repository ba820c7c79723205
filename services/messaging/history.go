package messaging

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// head is where a conversation stood at a message. Its numbers only grow, together.
type head struct {
	Seq      int64                 `bson:"seq"`
	Texts    int64                 `bson:"texts"`
	Shown    int64                 `bson:"shown"`
	EventSeq int64                 `bson:"event_seq"` // see message
	Reads    map[string]readCursor `bson:"reads"`     // by user, but for large groups

	projected int64 // up to where Reads goes, if this is the end
}

// headOf is what a head says that stands at m.
func headOf(m message) bson.D {
	return bson.D{{Key: "seq", Value: m.Seq}, {Key: "texts", Value: m.Texts}, {Key: "shown", Value: m.lastShown()}, {Key: "event_seq", Value: m.EventSeq}}
}

// end gives the end of a conversation, with seq 0 if there is no message. The head that is stored is of a message that is stored; from there
// on the end is searched for, which is one read if the head is up to date.
func (d *database) end(ctx context.Context, id string) (head, error) {
	return d.endReads.Get(ctx, id, func(ctx context.Context) (head, error) {
		h, _, err := store.Get[head](ctx, d.heads, id)
		if err != nil {
			return h, err
		}
		h.projected = h.Seq
		_, err = search(h.Seq, func(seq int64) (bool, error) {
			m, ok, err := store.Get[message](ctx, d.messages, messageID(id, seq))
			if ok && seq > h.Seq {
				h.Seq, h.Texts, h.Shown, h.EventSeq = seq, m.Texts, m.lastShown(), m.EventSeq
			}
			return ok, err
		})
		if h.Shown == 0 {
			h.Shown = h.Seq // of before it was kept
		}
		return h, err
	})
}

// lastSeq gives the last seq of a conversation, given one that is stored, or 0.
func (d *database) lastSeq(ctx context.Context, id string, stored int64) (int64, error) {
	return search(stored, func(seq int64) (bool, error) {
		_, ok, err := store.Get[message](ctx, d.messages, messageID(id, seq))
		return ok, err
	})
}

// search finds the last seq that is stored, given one that is (or 0). Seqs have no holes.
func search(stored int64, exists func(seq int64) (bool, error)) (int64, error) {
	step := int64(1)
	for {
		ok, err := exists(stored + step)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		stored += step
		step *= 2
	}
	// stored is, stored+step is not.
	for step > 1 {
		step /= 2
		ok, err := exists(stored + step)
		if err != nil {
			return 0, err
		}
		if ok {
			stored += step
		}
	}
	return stored, nil
}

// readRoster reads who is in a group, or who of a direct conversation blocks the other. Nobody may change it.
func (d *database) readRoster(ctx context.Context, id string) (*roster, error) {
	return d.rosterReads.Get(ctx, id, func(ctx context.Context) (*roster, error) {
		r, _, err := store.Get[roster](ctx, d.rosters, id)
		r.ID = id
		return r.settle(), err
	})
}

// rosterAt reads the roster of a conversation as it is at an event or later: that event may be stored, and the roster not yet.
func (d *database) rosterAt(ctx context.Context, id string, event int64) (*roster, error) {
	if r := d.known.at(id, event); r != nil {
		return r, nil
	}
	r, err := d.readRoster(ctx, id)
	if err != nil || !wire.ValidGroupID(id) {
		return r, err
	}
	var events []message
	for event > r.Seq { // each names the one before it
		m, err := d.readMessage(ctx, id, event)
		if err != nil {
			return nil, err
		}
		if m.Kind != wire.Event {
			return nil, fmt.Errorf("message %s is no event", messageID(id, event))
		}
		events = append(events, m)
		event = m.LastEvent
	}
	for _, m := range slices.Backward(events) {
		r = r.with(id, &m)
	}
	if r.Seq > 0 {
		d.known.keep(r)
	}
	return r, nil
}

// maxTail is how many messages a view takes in that are not projected. Of who said something before those, and has read nothing since, it may not know
// yet that they have read up to there: that is for as long as a projection takes, while so much is said.
const maxTail = 200

// advanceReads moves a head's read cursors to what members have said that is not projected yet: who says a text has read up to it. shown is the head's last text
// or event.
func (d *database) advanceReads(ctx context.Context, id string, h *head, shown message) (err error) {
	from := max(h.projected+1, h.Seq-maxTail+1)
	tail := []message{shown}
	switch {
	case from > h.Seq:
		return nil
	case from < h.Seq || shown.Seq < h.Seq:
		tail, err = d.tailReads.Get(ctx, fmt.Sprintf("%s/%d/%d", id, from, h.Seq), func(ctx context.Context) ([]message, error) {
			return d.readMessages(ctx, id, from, h.Seq)
		})
	}
	reads := maps.Clone(h.Reads) // those of before belong to others, too
	if reads == nil {
		reads = map[string]readCursor{}
	}
	for _, m := range tail {
		if m.Kind == wire.Text && m.Seq > reads[m.Sender].Seq {
			reads[m.Sender] = readCursor{Seq: m.Seq, Texts: m.Texts}
		}
	}
	h.Reads = reads
	return err
}

// cursor gives how far a user has read of a conversation. What was said before they came is not theirs to read: that holds from the event on that
// added them, though it may be stored some time before their read cursor is.
func (d *database) cursor(ctx context.Context, user string, v view) (readCursor, error) {
	c := v.head.Reads[user]
	if v.roster.Large {
		own, _, err := store.Get[readCursor](ctx, d.reads, cursorID(v.id, user))
		if err != nil {
			return c, err
		}
		if own.Seq > c.Seq {
			c = own
		}
	}
	if first, ok := v.joined(user); ok && c.Seq < first {
		m, err := d.readMessage(ctx, v.id, first)
		return readCursor{Seq: first, Texts: m.Texts}, err
	}
	return c, nil
}

// bucket is messages by seq. Of one whose entry in Changed is higher than what the message says, a change is not in it.
type bucket struct {
	Messages map[string]entry `bson:"messages"`
	Changed  map[string]int64 `bson:"changed"`
}

// bucket reads the messages from one seq to another of one bucket, both included. Nobody may change what they refer to.
func (d *database) bucket(ctx context.Context, conversation string, n, from, to int64) ([]message, error) {
	b, err := d.readBucket(ctx, conversation, n)
	if err != nil {
		return nil, err
	}
	return d.pick(ctx, b, conversation, n, from, to)
}

func (d *database) readBucket(ctx context.Context, conversation string, n int64) (bucket, error) {
	id := bucketID(conversation, n)
	return d.bucketReads.Get(ctx, id, func(ctx context.Context) (bucket, error) {
		b, _, err := store.Get[bucket](ctx, d.buckets, id)
		return b, err
	})
}

// pick gives the messages from one seq to another of a bucket that was read. The bucket may lack the newest, or the last change of one: those
// are read alone.
func (d *database) pick(ctx context.Context, b bucket, conversation string, n, from, to int64) (found []message, err error) {
	for seq := max(from, n*bucketSize+1); seq <= min(to, (n+1)*bucketSize); seq++ {
		key := strconv.FormatInt(seq, 10)
		e, ok := b.Messages[key]
		m := e.message(conversation, seq)
		if !ok || m.Changed < b.Changed[key] {
			if m, err = d.readMessage(ctx, conversation, seq); err != nil {
				return nil, err
			}
		}
		found = append(found, m)
	}
	return found, nil
}

// below gives the messages from one seq to another, both included, if the last of them stands in its bucket: then the conversation has them all.
func (d *database) below(ctx context.Context, conversation string, from, to int64) (found []message, ok bool, err error) {
	begin, end := bucketOf(from), bucketOf(to)
	buckets := make([]bucket, end-begin+1)
	numbers := make([]int, len(buckets))
	for i := range numbers {
		numbers[i] = i
	}
	if err := eachOf(ctx, len(numbers), numbers, func(ctx context.Context, i int) (err error) {
		buckets[i], err = d.readBucket(ctx, conversation, begin+int64(i))
		return err
	}); err != nil {
		return nil, false, err
	}
	if _, ok = buckets[len(buckets)-1].Messages[strconv.FormatInt(to, 10)]; !ok {
		return nil, false, nil
	}
	for i, b := range buckets {
		messages, err := d.pick(ctx, b, conversation, begin+int64(i), from, to)
		if err != nil {
			return nil, false, err
		}
		found = append(found, messages...)
	}
	return found, true, nil
}

// page gives the messages from one seq to another, both included, of a conversation that has them.
func (d *database) page(ctx context.Context, conversation string, from, to int64) ([]message, error) {
	if from > to {
		return nil, nil
	}
	found := make([]message, to-from+1)
	var numbers []int64
	for n := bucketOf(from); n <= bucketOf(to); n++ {
		numbers = append(numbers, n)
	}
	err := eachOf(ctx, 4, numbers, func(ctx context.Context, n int64) error {
		messages, err := d.bucket(ctx, conversation, n, from, to)
		for _, m := range messages {
			found[m.Seq-from] = m
		}
		return err
	})
	return found, err
}

// readMessage reads the document of a message that is there.
func (d *database) readMessage(ctx context.Context, conversation string, seq int64) (message, error) {
	m, ok, err := store.Get[message](ctx, d.messages, messageID(conversation, seq))
	if err == nil && (!ok || m.Seq != seq) {
		err = fmt.Errorf("%w: message %s is missing or another", errInconsistent, messageID(conversation, seq))
	}
	return m, err
}

// readMessages reads the documents of messages, from one seq to another, both included.
func (d *database) readMessages(ctx context.Context, conversation string, from, to int64) ([]message, error) {
	if from > to {
		return nil, nil
	}
	seqs := make([]int64, 0, to-from+1)
	for seq := from; seq <= to; seq++ {
		seqs = append(seqs, seq)
	}
	found := make([]message, len(seqs))
	err := eachOf(ctx, readsAhead, seqs, func(ctx context.Context, seq int64) (err error) {
		found[seq-from], err = d.readMessage(ctx, conversation, seq)
		return err
	})
	return found, err
}
