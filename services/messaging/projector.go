package messaging

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
)

// projector writes what makes reading cheap and follows from the messages: buckets of 50, heads, and how far members have read. It is behind, so that
// many messages of a busy conversation come into its bucket and its head in one write each. Until then whoever reads finds the messages
// themselves. A record is committed to Kafka after this, so what a crash keeps from being written is done again.
type projector struct {
	*database
	commit func([]source)                       // commits the records up to these
	full   func(conversation string, n int64)   // is told of buckets that are full
	skip   func(conversation string, err error) // is told of what cannot be written
	retry  retry

	writing sync.Mutex

	mu        sync.Mutex
	waiting   map[string]*projection
	size      int               // messages in waiting
	upTo      map[string]source // of each partition: the last record of which all is in waiting, or written
	taken     int64             // the last batch in waiting
	projected int64             // the last batch that is written
	wake      chan struct{}
	failed    attempts
}

// projection is what is not written yet of a conversation.
type projection struct {
	large    bool
	messages map[int64]message
	cursors  map[string]readCursor
}

const (
	// projectPause is the least time between two rounds. At rest there is no wait.
	projectPause = 500 * time.Millisecond
	// projectShare bounds the part of the time that the database works on this: after a round it has rest for so many times as long, and the
	// messages of a busy conversation come into its bucket in fewer writes.
	projectShare = 7
	// maxProjections is how many messages may wait. Whoever adds more waits until they are written.
	maxProjections = 10_000
	// projectAtOnce is how many conversations are written at once. The messages of others come in between.
	projectAtOnce = 2
)

func newProjector(d *database, retry retry, commit func([]source), full func(string, int64), skip func(string, error)) *projector {
	return &projector{database: d, retry: retry, commit: commit, full: full, skip: skip, failed: attempts{}, waiting: map[string]*projection{}, upTo: map[string]source{}, wake: make(chan struct{}, 1)}
}

// take takes a batch that is stored. It returns once there is room for another.
func (p *projector) take(ctx context.Context, b *batch) error {
	p.add(b)
	if !p.overfull() {
		return nil
	}
	return p.retry(ctx, p.write)
}

func (p *projector) add(b *batch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range b.effects {
		if e.outcome == accepted || (e.outcome == done && e.message != nil) {
			p.of(e).messages[e.message.Seq] = *e.message
			p.size++
		}
		for _, m := range e.changed {
			p.of(e).messages[m.Seq] = m
			p.size++
		}
		if e.cursor.Seq == 0 && len(e.cursors) > 0 { // what is said to be read is stored already
			p.of(e).advance(e.cursors)
		}
		if e.input.source.Log != "" {
			p.upTo[e.input.source.place()] = e.input.source
		}
	}
	p.taken = b.number
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// advance moves read cursors forward.
func (w *projection) advance(cursors map[string]readCursor) {
	for user, c := range cursors {
		old := w.cursors[user]
		if c.Seq <= old.Seq {
			c.Seq, c.Texts = old.Seq, old.Texts
		}
		if !old.source.before(c.source) {
			c.source = old.source
		}
		w.cursors[user] = c
	}
}

// of gives what waits of the conversation of e. The caller holds mu.
func (p *projector) of(e effects) *projection {
	id := e.conversation()
	w := p.waiting[id]
	if w == nil {
		w = &projection{messages: map[int64]message{}, cursors: map[string]readCursor{}}
		p.waiting[id] = w
	}
	w.large = w.large || (e.members != nil && e.members.Large)
	return w
}

func (p *projector) overfull() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size > maxProjections
}

// last gives the last batch that is written.
func (p *projector) last() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.projected
}

// run writes until ctx ends.
func (p *projector) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		}
		begin := time.Now()
		if p.retry(ctx, p.write) != nil || service.Sleep(ctx, max(projectPause, projectShare*time.Since(begin))) != nil {
			return // ctx has ended
		}
	}
}

// write writes all that waits, and commits. After an error all of it waits again.
func (p *projector) write(ctx context.Context) error {
	p.writing.Lock() // what is committed is all written
	defer p.writing.Unlock()
	p.mu.Lock()
	now, size, upTo, taken := p.waiting, p.size, maps.Clone(p.upTo), p.taken
	p.waiting, p.size = map[string]*projection{}, 0
	p.mu.Unlock()
	err := eachOf(ctx, projectAtOnce, slices.Collect(maps.Keys(now)), func(ctx context.Context, id string) error {
		return p.settle(id, p.project(ctx, id, now[id]))
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.size += size
		for id, old := range now {
			w := p.waiting[id]
			if w == nil {
				p.waiting[id] = old
				continue
			}
			w.large = w.large || old.large
			maps.Copy(old.messages, w.messages)
			w.messages = old.messages
			w.advance(old.cursors)
		}
		return err
	}
	p.projected = taken
	p.commit(slices.Collect(maps.Values(upTo)))
	maps.DeleteFunc(p.upTo, func(place string, s source) bool { return upTo[place] == s })
	return nil
}

// settle gives the error of a projection that is to be tried again. One that is a conversation's own is, after some tries, that conversation's alone: its messages
// are stored, and `messaging rebuild` makes all from them.
func (p *projector) settle(id string, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !isOwn(err) {
		if err == nil {
			delete(p.failed, id)
		}
		return err
	}
	if p.failed[id]++; p.failed[id] < ownTries {
		return err
	}
	delete(p.failed, id)
	p.skip(id, err)
	return nil
}

// bucketSize is how many messages a bucket holds.
const bucketSize = 50

func bucketOf(seq int64) int64 { return (seq - 1) / bucketSize }

func bucketID(conversation string, n int64) string {
	return conversation + "/" + strconv.FormatInt(n, 10)
}

// project writes what waits of a conversation: the head last, since restore takes what comes after it from the messages.
func (p *projector) project(ctx context.Context, id string, w *projection) error {
	messages := slices.SortedFunc(maps.Values(w.messages), func(a, b message) int { return int(a.Seq - b.Seq) })
	buckets := map[int64]bson.D{}
	sources := map[int64][]source{}
	var full []int64
	for _, m := range messages {
		n := bucketOf(m.Seq)
		buckets[n] = append(buckets[n], bson.E{Key: "messages." + strconv.FormatInt(m.Seq, 10), Value: m.entry()})
		sources[n] = append(sources[n], m.changedBy)
		if m.Seq == (n+1)*bucketSize {
			full = append(full, n)
		}
	}
	for n, set := range buckets {
		change := bson.D{{Key: "$set", Value: set}}
		if from := upTo(sources[n]...); len(from) > 0 {
			change = append(change, bson.E{Key: "$max", Value: from})
		}
		if err := store.Upsert(ctx, p.buckets, bucketID(id, n), change); err != nil {
			return err
		}
	}
	var newest *message
	if len(messages) > 0 {
		newest = &messages[len(messages)-1]
	}
	if err := p.putHead(ctx, id, newest, w); err != nil {
		return err
	}
	for _, n := range full {
		p.full(id, n)
	}
	return nil
}

// putHead writes a head, if there is anything new of it, and how far members have read. newest is the last message, nil if that is no other.
func (d *database) putHead(ctx context.Context, id string, newest *message, w *projection) error {
	var fields bson.D
	var from []source
	if newest != nil {
		fields, from = headOf(*newest), []source{newest.Source}
	}
	for user, c := range w.cursors {
		if w.large {
			if err := d.putCursor(ctx, id, user, c); err != nil {
				return err
			}
			continue
		}
		fields = append(fields, bson.E{Key: "reads." + user + ".seq", Value: c.Seq}, bson.E{Key: "reads." + user + ".texts", Value: c.Texts})
		from = append(from, c.source)
	}
	if len(fields) == 0 {
		return nil
	}
	return store.Upsert(ctx, d.heads, id, bson.D{{Key: "$max", Value: append(fields, upTo(from...)...)}})
}

// putCursor notes how far a member of a large group has read. In the head it would make that a large document.
func (d *database) putCursor(ctx context.Context, conversation, user string, c readCursor) error {
	return store.Upsert(ctx, d.reads, cursorID(conversation, user), bson.D{{Key: "$max", Value: append(bson.D{
		{Key: "seq", Value: c.Seq}, {Key: "texts", Value: c.Texts},
	}, upTo(c.source)...)}})
}

func cursorID(conversation, user string) string { return conversation + "/" + user }
