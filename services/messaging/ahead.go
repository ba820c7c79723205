package messaging

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// A message is safe once the topic has it: whoever handles the topic from the last commit on comes to the same seqs, because each decision
// rests on the records before it alone. So what is plain is told as soon as it is decided, and stored meanwhile.
//
// Plain are sends and reads of conversations whose end is in memory, that nobody refuses, that did not come before and that no other
// instance can have handled (see swift). All else waits until what was told ahead is stored, and is stored before it is told, as the
// package's comment says. A record is committed when it is both.
//
// Whoever reads the database meanwhile might miss what was told already. So the requests of this instance wait for what was told before them
// (stored), and gateways give a new socket what was told ahead in the last seconds (bus.Ahead). What takes longer is told once more.
const (
	// maxAhead is how many messages may be told and not stored. Whoever comes then waits.
	maxAhead = 1000
	// aheadPause is the least time between two rounds of storing, unless somebody waits for one: a round costs the database more than the
	// messages in it do.
	aheadPause = 50 * time.Millisecond
	// window is how far back in its partition a send is recognized that comes again and does not say so (wire.Record.Again), in records.
	window = 5000
)

// batch is what was told, or is being told, and is to be stored.
type batch struct {
	records  []*kgo.Record
	epochs   map[int32]int
	sends    []send
	messages []message
	inboxes  []inboxed
	index    []indexed
	told     outcome
	since    time.Time
	telling  chan struct{} // closed when it is told
	err      error         // or why it is not
}

// inboxed is a conversation that is new to a user.
type inboxed struct{ user, conversation string }

// indexed is what is to be written behind.
type indexed struct {
	conversation string
	large        bool
	messages     []message
	marks        map[string]mark
}

// ahead stores what is told ahead, in order.
type ahead struct {
	archive *archive
	behind  *behind
	again   func(context.Context, []*kgo.Record) error // tells records once more
	late    time.Duration                              // after how long

	mu     sync.Mutex
	queue  []*batch      // to be stored, those included that are being stored
	size   int           // messages in queue
	added  int           // batches, ever
	stored int           // of those
	redo   []*batch      // of which another instance has made something else: to be handled by what is in the database
	wake   func()        // is told of redo
	haste  chan struct{} // is full when somebody waits
	change chan struct{} // closed, and made anew, at each change
}

func newAhead(a *archive, b *behind, late time.Duration, again func(context.Context, []*kgo.Record) error) *ahead {
	return &ahead{archive: a, behind: b, late: late, again: again, change: make(chan struct{}), haste: make(chan struct{}, 1), wake: func() {}}
}

// until waits until ok, which is called with mu held. hurry: nothing is to be paused for meanwhile.
func (a *ahead) until(ctx context.Context, hurry bool, ok func() bool) error {
	for {
		a.mu.Lock()
		if ok() {
			a.mu.Unlock()
			return nil
		}
		change := a.change
		a.mu.Unlock()
		if hurry {
			select {
			case a.haste <- struct{}{}:
			default:
			}
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changed tells those who wait. The caller holds mu.
func (a *ahead) changed() {
	close(a.change)
	a.change = make(chan struct{})
}

// add takes a batch, when there is room for it. ok is false if another instance has made something else of what was before it.
func (a *ahead) add(ctx context.Context, b *batch) (ok bool, err error) {
	err = a.until(ctx, true, func() bool {
		if ok = len(a.redo) == 0; !ok {
			return true
		}
		if a.size >= maxAhead {
			return false
		}
		a.queue, a.size, a.added = append(a.queue, b), a.size+len(b.messages), a.added+1
		a.changed()
		return true
	})
	return ok, err
}

// wait returns when all that was added before is stored.
func (a *ahead) wait(ctx context.Context) error {
	a.mu.Lock()
	added := a.added
	a.mu.Unlock()
	return a.until(ctx, true, func() bool { return a.stored >= added })
}

// drain waits until nothing is left, and gives the records that are to be handled again, but for those of partitions that have gone.
func (a *ahead) drain(ctx context.Context) (redo []*kgo.Record, err error) {
	now := a.behind.now()
	err = a.until(ctx, true, func() bool {
		if len(a.queue) > 0 {
			return false
		}
		for _, b := range a.redo {
			for _, r := range b.records {
				if b.epochs[r.Partition] == now[r.Partition] {
					redo = append(redo, r)
				}
			}
		}
		a.redo = nil
		return true
	})
	return redo, err
}

// watch has wake told when something is to be handled again.
func (a *ahead) watch(wake func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wake = wake
	if len(a.redo) > 0 {
		wake()
	}
}

// clean says whether nothing is to be handled again.
func (a *ahead) clean() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.redo) == 0
}

// run stores until ctx ends.
func (a *ahead) run(ctx context.Context, retry func(context.Context, func(context.Context) error) error) {
	for {
		var now []*batch
		if a.until(ctx, false, func() bool { now = a.queue; return len(now) > 0 }) != nil {
			return
		}
		err := retry(ctx, func(ctx context.Context) error {
			err := a.store(ctx, now)
			if errors.Is(err, errStale) {
				a.giveUp()
				now = nil
				return nil
			}
			return err
		})
		if err != nil {
			return // ctx has ended
		}
		for _, b := range now {
			if a.finish(ctx, retry, b) != nil {
				return
			}
		}
		pause := time.NewTimer(aheadPause)
		select {
		case <-pause.C:
		case <-a.haste:
		case <-ctx.Done():
			return
		}
		pause.Stop()
	}
}

// finish ends a batch that is stored.
func (a *ahead) finish(ctx context.Context, retry func(context.Context, func(context.Context) error) error, b *batch) error {
	for _, i := range b.index {
		a.behind.add(i.conversation, i.large, i.messages, i.marks)
	}
	select {
	case <-b.telling:
	case <-ctx.Done():
		return ctx.Err()
	}
	if b.err == nil {
		if time.Since(b.since) > a.late {
			if err := retry(ctx, func(ctx context.Context) error { return a.again(ctx, b.told.records) }); err != nil {
				return err
			}
		}
		a.behind.done(b.records, b.epochs)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue, a.size, a.stored = a.queue[1:], a.size-len(b.messages), a.stored+1
	a.changed()
	return nil
}

// giveUp leaves all that is not stored to be handled by what is in the database.
func (a *ahead) giveUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.redo = append(a.redo, a.queue...)
	a.wake()
	a.stored += len(a.queue)
	a.queue, a.size = nil, 0
	a.changed()
}

// store writes batches. It may run again, and beside another instance that does the same. The error is errStale if that one has stored
// something else.
func (a *ahead) store(ctx context.Context, batches []*batch) error {
	var sends []send
	var messages []message
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, b := range batches {
		sends, messages = append(sends, b.sends...), append(messages, b.messages...)
	}
	existing, err := a.archive.claim(ctx, sends)
	if err != nil {
		return err
	}
	for _, i := range existing {
		if err := a.archive.reclaim(ctx, sends[i]); err != nil {
			return err
		}
	}
	if err := a.archive.ensure(ctx, messages); err != nil {
		return err
	}
	for _, b := range batches {
		for _, i := range b.inboxes {
			g.Go(func() error { return a.archive.tell(gctx, i.user, i.conversation) })
		}
	}
	return g.Wait()
}

// reclaim makes the note of a send that has one already its own, unless it is.
func (a *archive) reclaim(ctx context.Context, s send) error {
	old, ok, err := store.Get[send](ctx, a.sends, s.ID)
	if err != nil || (ok && old.Partition == s.Partition && old.Offset == s.Offset) {
		return err
	}
	return a.renote(ctx, s)
}

// renote replaces what a note says.
func (a *archive) renote(ctx context.Context, s send) error {
	matched, err := store.Update(ctx, a.sends, s.ID, bson.D{{Key: "$set", Value: bson.D{
		{Key: "seqs", Value: s.Seqs}, {Key: "refused", Value: s.Refused}, {Key: "at", Value: s.At},
		{Key: "partition", Value: s.Partition}, {Key: "offset", Value: s.Offset},
	}}})
	if err == nil && !matched {
		err = fmt.Errorf("send %s is gone", s.ID)
	}
	return err
}

// ensure is add for messages that may be stored already. The error is errStale if one of the seqs is another's.
func (a *archive) ensure(ctx context.Context, messages []message) error {
	for len(messages) > 0 {
		_, err := a.messages.InsertMany(ctx, messages)
		if err == nil {
			return nil
		}
		var bulk mongo.BulkWriteException
		if !mongo.IsDuplicateKeyError(err) || !errors.As(err, &bulk) || len(bulk.WriteErrors) == 0 {
			return fmt.Errorf("insert messages: %w", err)
		}
		at := messages[bulk.WriteErrors[0].Index]
		m, ok, err := store.Get[message](ctx, a.messages, at.ID)
		if err != nil {
			return err
		}
		if !ok || m.Sender != at.Sender || m.ClientID != at.ClientID {
			return errStale
		}
		messages = messages[bulk.WriteErrors[0].Index+1:]
	}
	return nil
}

// seen is what is known of a partition since it came to this instance.
type seen struct {
	from    int64            // the first record
	horizon int64            // all records below may have been handled by another instance
	ids     map[string]int64 // the last records by what they are noted as
	order   []string         // of ids
	offsets []int64          // of order
}

// see takes notice of records that have come. high gives the end of each partition as it was when they came.
func (p *worker) see(records []*kgo.Record, high map[int32]int64) {
	for partition, end := range high {
		p.high[partition] = max(end, p.high[partition])
	}
	for _, r := range records {
		if p.seen[r.Partition] == nil {
			p.seen[r.Partition] = &seen{from: r.Offset, horizon: p.high[r.Partition], ids: map[string]int64{}}
		}
	}
}

// remember keeps what records were, for the next window.
func (p *worker) remember(items []*item) {
	for _, it := range items {
		if it.bad != nil || !it.takesSeq() {
			continue
		}
		s, id := p.seen[it.source.Partition], sendID(it.record)
		if s == nil {
			continue // it was moved meanwhile
		}
		s.ids[id] = it.source.Offset
		s.order, s.offsets = append(s.order, id), append(s.offsets, it.source.Offset)
		n := 0
		for ; it.source.Offset-s.offsets[n] >= window; n++ {
			if s.ids[s.order[n]] == s.offsets[n] {
				delete(s.ids, s.order[n])
			}
		}
		s.order, s.offsets = s.order[n:], s.offsets[n:]
	}
}

// first says whether a send is certain to be the first of its client id, as repeats says of one that has a note.
func (p *worker) first(it *item) bool {
	s := p.seen[it.source.Partition]
	if s == nil || it.source.Offset < s.horizon || (s.from > 0 && it.source.Offset-s.from < window) {
		return false
	}
	if it.record.Type == wire.RecordRead {
		return true
	}
	before, known := s.ids[sendID(it.record)]
	return !it.record.Again && (!known || it.source.Offset-before >= window)
}

// repeats says whether a record is one that has come before, which left that note. A send that does not say so is another message if it comes
// late: its decision must not rest on more than whoever tells ahead has in memory, or a second one would come to another.
func repeats(it *item, s send) bool {
	return it.record.Type != wire.RecordSend || it.record.Again || s.Offset == 0 || s.Partition != it.source.Partition ||
		it.source.Offset+1-s.Offset < window
}

// swift decides records by what is in memory. It gives nil if that is not enough for one of them.
func (p *worker) swift(ctx context.Context, records []*kgo.Record) *batch {
	if p.moved.Load() || len(p.conversations) > maxCached || p.behind.overfull() || !p.ahead.clean() {
		return nil
	}
	items := parse(records)
	for _, it := range items {
		plain := it.bad == nil && (it.record.Type == wire.RecordSend || it.record.Type == wire.RecordRead)
		if !plain || it.first != nil || !p.first(it) {
			return nil
		}
	}
	if _, err := p.open(ctx, items); err != nil {
		return nil
	}
	targets, err := p.targets(ctx, items)
	if err != nil {
		return nil
	}
	for _, t := range targets {
		if t == nil { // it may be one that is not stored yet
			return nil
		}
	}
	pl := p.plan(items, targets)
	b := &batch{records: records, messages: pl.messages, since: time.Now(), telling: make(chan struct{})}
	for _, it := range items {
		if it.code != "" {
			return nil
		}
		if it.takesSeq() {
			b.sends = append(b.sends, it.send)
		}
	}
	b.index = indexOf(pl, items, nil)
	for _, it := range items {
		for _, u := range newTo(it) {
			b.inboxes = append(b.inboxes, inboxed{u, it.record.Conversation})
		}
	}
	b.told = outcome{items: items, records: p.output(ctx, pl, items)}
	for _, r := range b.told.records {
		bus.Ahead(r)
	}
	p.settle(pl)
	return b
}
