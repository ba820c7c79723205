package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	otel "go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// maxCached is how many conversations the worker remembers.
const maxCached = 50_000

// worker handles the records of the topic messages. It takes what has come of all partitions together: the database then writes once
// what it would write once for each, and a commit costs more than a message.
type worker struct {
	*messaging
	conversations map[string]*conversation // where those stand that were handled lately
	seen          map[int32]*seen          // what has come of each partition
	high          map[int32]int64          // the ends of partitions, as they were when records came last
	moved         atomic.Bool              // partitions have come or gone: others may have written meanwhile
}

// item is a record on its way.
type item struct {
	source *kgo.Record
	record wire.Record
	bad    error // it can never be handled

	first *item // the same record stands earlier in this batch

	claimed bool     // its document is there
	send    send     // the document
	was     *message // what an earlier attempt has stored it as; nil: none has
	anew    bool     // the document is of another message with its client id

	fate message // what it is stored as, now or earlier
	code string  // or the code of its refusal
	mark mark    // or how far its sender has read now
}

// takesSeq says whether a record becomes a message.
func (it *item) takesSeq() bool {
	return it.bad == nil && it.record.Type != wire.RecordRead && it.record.Type != wire.RecordBlock
}

// handle stores records, in order, and gives what is to be told of them. After an error all of it may run again. Nothing that was told
// ahead must be left to be stored.
//
// A change of a group ends a turn, so that the roster is written before anything that was said after the change: a reader who is
// still on a roster that was read after the messages may see all of them.
func (p *worker) handle(ctx context.Context, records []*kgo.Record) (told outcome, err error) {
	if p.moved.Swap(false) {
		clear(p.conversations)
		clear(p.seen)
		p.see(records, nil)
	}
	if p.behind.overfull() {
		if err := p.behind.write(ctx); err != nil {
			return outcome{}, err
		}
	}
	items := parse(records)
	for len(items) > 0 {
		n := 1 + slices.IndexFunc(items, func(it *item) bool { return it.bad == nil && it.record.Type == wire.RecordGroup })
		if n == 0 {
			n = len(items)
		}
		t, err := p.turn(ctx, records[:n])
		if err != nil {
			return outcome{}, err
		}
		told.items, told.records = append(told.items, t.items...), append(told.records, t.records...)
		items, records = items[n:], records[n:]
	}
	return told, nil
}

// outcome is what became of items, and the records that tell it.
type outcome struct {
	items   []*item
	records []*kgo.Record
}

// tell lets the users know, and counts.
func (p *worker) tell(ctx context.Context, o outcome) error {
	if err := ctx.Err(); err != nil {
		return err // those before were not told either
	}
	if err := p.kafka.ProduceSync(ctx, o.records...).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	p.count(o.items)
	p.note(o.items)
	return nil
}

func (p *worker) turn(ctx context.Context, records []*kgo.Record) (outcome, error) {
	for {
		o, err := p.attempt(ctx, parse(records))
		if err == nil {
			return o, nil
		}
		// What is in memory is of an attempt that did not come to its end.
		clear(p.conversations)
		if !errors.Is(err, errStale) {
			return outcome{}, err
		}
	}
}

func (p *worker) attempt(ctx context.Context, items []*item) (o outcome, err error) {
	if len(p.conversations) > maxCached {
		clear(p.conversations)
	}
	// The end of each conversation is read before its sends are.
	opened, err := p.open(ctx, items)
	if err != nil {
		return o, err
	}
	targets, err := p.targets(ctx, items)
	if err != nil {
		return o, err
	}
	plan := p.plan(items, targets)
	// A refusal is final, so it does not rest on what is only remembered: another instance may have let someone in since.
	if p.doubt(items, opened) {
		if _, err := p.open(ctx, items); err != nil {
			return o, err
		}
		if targets, err = p.targets(ctx, items); err != nil {
			return o, err
		}
		plan = p.plan(items, targets)
	}
	var fresh []send
	var claims []*item
	for _, it := range items {
		if it.takesSeq() && it.first == nil {
			fresh, claims = append(fresh, it.send), append(claims, it)
		}
	}
	existing, err := p.archive.claim(ctx, fresh)
	if err != nil {
		return o, err
	}
	for _, it := range claims {
		it.claimed = true
	}
	if len(existing) > 0 {
		for _, i := range existing {
			if err := p.recall(ctx, claims[i]); err != nil {
				return o, err
			}
		}
		// Now that it is known what was stored earlier, the others get other seqs.
		plan = p.plan(items, targets)
		if err := p.reclaim(ctx, claims); err != nil {
			return o, err
		}
	}

	if err := p.archive.add(ctx, plan.messages); err != nil {
		return o, err
	}
	if err := p.update(ctx, plan, items); err != nil {
		return o, err
	}
	if slices.ContainsFunc(items, func(it *item) bool { return wire.Changes(it.fate.Kind) }) {
		p.behind.writing.Lock()
		defer p.behind.writing.Unlock()
	}
	now, err := p.change(ctx, items)
	if err != nil {
		return o, err
	}
	p.behind.replace(now)
	for _, i := range indexOf(plan, items, now) {
		p.behind.add(i.conversation, i.large, i.messages, i.marks)
	}
	o = outcome{items: items, records: p.output(ctx, plan, items)}
	p.settle(plan)
	return o, nil
}

// settle makes a plan what is so.
func (p *worker) settle(pl *plan) {
	for id, c := range pl.conversations {
		c.settle()
		p.conversations[id] = c
	}
}

// doubt forgets the conversations that this attempt has not opened and in which it would refuse something. It says whether there
// are any.
func (p *worker) doubt(items []*item, opened map[string]bool) (found bool) {
	for _, it := range items {
		if it.code != "" && !opened[it.record.Conversation] {
			delete(p.conversations, it.record.Conversation)
			found = true
		}
	}
	return found
}

func parse(records []*kgo.Record) []*item {
	items := make([]*item, 0, len(records))
	seen := map[string]*item{}
	for _, r := range records {
		it := &item{source: r}
		items = append(items, it)
		if err := json.Unmarshal(r.Value, &it.record); err != nil {
			it.bad = fmt.Errorf("not JSON as expected: %w", err)
			continue
		}
		if it.bad = it.record.Check(string(r.Key)); it.bad != nil {
			continue
		}
		if !it.takesSeq() {
			continue
		}
		id := sendID(it.record)
		if it.first = seen[id]; it.first == nil {
			seen[id] = it
		}
	}
	return items
}

// open reads where the conversations stand that are not known, and says which those were.
func (p *worker) open(ctx context.Context, items []*item) (missing map[string]bool, err error) {
	missing = map[string]bool{}
	for _, it := range items {
		if it.bad == nil && p.conversations[it.record.Conversation] == nil {
			missing[it.record.Conversation] = true
		}
	}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for id := range missing {
		g.Go(func() error {
			c, err := p.archive.open(ctx, id)
			if err != nil {
				return err
			}
			p.behind.known(c)
			mu.Lock()
			defer mu.Unlock()
			p.conversations[id] = c
			return nil
		})
	}
	return missing, g.Wait()
}

// plan is what a batch comes to.
type plan struct {
	messages      []message                // to be stored, in order
	conversations map[string]*conversation // where they stand afterwards

	targets map[string]*message // stored messages that the batch points to, by id
	now     map[string]*message // what it makes of them, and what it adds to them
}

// message gives a message that the batch points to, as the records before have left it. nil: there is none.
func (pl *plan) message(conversation string, seq int64) *message {
	id := messageID(conversation, seq)
	if m := pl.now[id]; m != nil {
		return m
	}
	return pl.targets[id]
}

// plan decides each record in order, by the membership at that point. It changes items and nothing else.
func (p *worker) plan(items []*item, targets map[string]*message) *plan {
	pl := &plan{conversations: map[string]*conversation{}, targets: targets, now: map[string]*message{}}
	pointed := slices.ContainsFunc(items, func(it *item) bool { return it.bad == nil && targetOf(it.record) > 0 })
	for _, it := range items {
		if it.bad != nil || it.first != nil {
			continue
		}
		r := it.record
		c := pl.conversations[r.Conversation]
		if c == nil {
			c = p.conversations[r.Conversation].clone()
			pl.conversations[r.Conversation] = c
		}
		it.fate, it.code, it.mark = message{}, "", mark{}
		if it.claimed {
			it.code = it.send.Refused
		}
		switch {
		case r.Type == wire.RecordBlock:
			c.group.block(r.Sender, r.ClientID, r.Event.Type == wire.Blocked)
			continue
		case r.Type == wire.RecordRead:
			it.mark = pl.read(c, r)
			continue
		case it.was != nil:
			it.fate = *it.was
			pl.follow(c, r, it.fate)
			continue
		case it.code != "":
			continue
		case r.Type != wire.RecordGroup:
			it.code = pl.judge(c, r)
		}
		if it.code != "" {
			if !it.claimed {
				it.send = p.noted(it)
				it.send.Refused = it.code
			}
			continue
		}
		it.fate = newMessage(r, c.next)
		if !it.claimed {
			it.send = p.noted(it, c.next)
		}
		it.fate.Mentions = c.mentioned(it.fate.Mentions)
		switch it.fate.Kind {
		case wire.Text:
			c.texts, c.shown = c.texts+1, c.next
		case wire.Event:
			c.shown = c.next
		}
		it.fate.Texts = c.texts
		if c.shown != c.next {
			it.fate.Shown = c.shown
		}
		if pointed {
			m := it.fate
			pl.now[m.ID] = &m
		}
		pl.follow(c, r, it.fate)
		c.next++
		pl.messages = append(pl.messages, it.fate)
	}
	return pl
}

// noted is the note of a record.
func (p *worker) noted(it *item, seqs ...int64) send {
	return send{ID: sendID(it.record), Seqs: append([]int64{}, seqs...), At: p.Now(), Partition: it.source.Partition, Offset: it.source.Offset + 1}
}

// follow draws the consequences of a message that is stored, now or earlier.
func (pl *plan) follow(c *conversation, r wire.Record, m message) {
	here := mark{Seq: m.Seq, Texts: m.Texts}
	switch {
	case r.Type == wire.RecordGroup:
		if m.Seq > c.group.Seq {
			c.group.ID = c.id
			c.group.apply(*r.Event, r.Sender, m.Seq)
		}
		if comes(r.Event) { // what was said before is not for them
			for _, u := range r.Event.Users {
				c.read(u, here)
			}
		}
	case m.Kind == wire.Text:
		c.read(m.Sender, here)
	case wire.Changes(m.Kind):
		if t := pl.message(c.id, m.Target); t != nil {
			changed := *t
			changed.apply(m)
			pl.now[t.ID] = &changed
		}
	}
}

// comes says whether an event brings users into a group.
func comes(e *wire.GroupEvent) bool { return e.Type == wire.Created || e.Type == wire.MemberAdded }

// read gives how far a member has read, if that is news.
func (pl *plan) read(c *conversation, r wire.Record) mark {
	to := mark{Seq: min(r.Target, c.next-1), Texts: c.texts}
	if to.Seq < 1 || !c.member(r.Sender) {
		return mark{}
	}
	if to.Seq < c.next-1 {
		m := pl.message(c.id, to.Seq)
		if m == nil {
			return mark{}
		}
		to.Texts = m.Texts
	}
	if !c.read(r.Sender, to) {
		return mark{}
	}
	return to
}

// recall finds out what became of a record that comes again.
func (p *worker) recall(ctx context.Context, it *item) error {
	id := sendID(it.record)
	s, ok, err := store.Get[send](ctx, p.archive.sends, id)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("send %s is there and is not", id)
	}
	if !repeats(it, s) {
		it.send, it.anew = p.noted(it), true
		return nil
	}
	it.send = s
	for _, seq := range s.Seqs {
		m, ok, err := store.Get[message](ctx, p.archive.messages, messageID(it.record.Conversation, seq))
		if err != nil {
			return err
		}
		if ok && m.Sender == it.record.Sender && m.ClientID == it.record.ClientID && (m.Kind == wire.Event) == (it.record.Type == wire.RecordGroup) {
			it.was = &m // whatever the client says now
			return nil
		}
	}
	return nil
}

// reclaim adds the seqs and refusals that the second plan gave to the documents that lack them.
func (p *worker) reclaim(ctx context.Context, items []*item) error {
	for _, it := range items {
		var change bson.D
		switch {
		case it.was != nil:
			continue
		case it.anew:
			it.send.Refused = it.code
			if it.code == "" {
				it.send.Seqs = []int64{it.fate.Seq}
			}
			if err := p.archive.renote(ctx, it.send); err != nil {
				return err
			}
			continue
		case it.code != "":
			if it.send.Refused != "" {
				continue
			}
			change = bson.D{{Key: "$set", Value: bson.D{{Key: "refused", Value: it.code}}}}
		case !slices.Contains(it.send.Seqs, it.fate.Seq):
			change = bson.D{{Key: "$addToSet", Value: bson.D{{Key: "seqs", Value: it.fate.Seq}}}}
		default:
			continue
		}
		matched, err := store.Update(ctx, p.archive.sends, it.send.ID, change)
		if err != nil {
			return err
		}
		if !matched {
			return fmt.Errorf("send %s is gone", it.send.ID)
		}
	}
	return nil
}

// update brings rosters and inboxes to where the messages are.
func (p *worker) update(ctx context.Context, pl *plan, items []*item) error {
	for id, c := range pl.conversations {
		if before := p.conversations[id].group.Seq; c.group.Seq > before {
			c.group.ID = id
			if err := p.archive.putRoster(ctx, c.group, before); err != nil {
				return err
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, it := range items {
		for _, u := range newTo(it) {
			g.Go(func() error { return p.archive.tell(ctx, u, it.record.Conversation) })
		}
	}
	return g.Wait()
}

// newTo gives the users to whom a conversation is new with a record that was not refused.
func newTo(it *item) []string {
	switch a, b, direct := wire.Direct(it.record.Conversation); {
	case it.fate.Seq == 0:
		return nil
	case direct && it.fate.Seq == 1:
		return []string{a, b}
	case it.record.Type == wire.RecordGroup && comes(it.record.Event):
		return it.record.Event.Users
	}
	return nil
}

// output makes the records that tell what became of the items, in order, each within the trace of the record that it follows from.
func (p *worker) output(ctx context.Context, pl *plan, items []*item) (out []*kgo.Record) {
	for _, it := range items {
		records := p.tidings(pl, it)
		if p.tracer.On() {
			for _, r := range records {
				r.Context = trace.Within(ctx, it.source.Context)
			}
		}
		out = append(out, records...)
	}
	return out
}

// tidings makes the records that tell what became of an item.
func (p *worker) tidings(pl *plan, it *item) (out []*kgo.Record) {
	if it.bad != nil {
		trace.Log(it.source.Context, p.Log).Error("a record goes to the dead letters", "topic", it.source.Topic, "partition", it.source.Partition,
			"offset", it.source.Offset, "reason", it.bad)
		return []*kgo.Record{{
			Topic: bus.Dead, Key: it.source.Key, Value: it.source.Value,
			Headers: append(slices.Clone(it.source.Headers),
				kgo.RecordHeader{Key: deadReason, Value: []byte(it.bad.Error())},
				kgo.RecordHeader{Key: deadSource, Value: []byte(it.source.Topic + "/" + strconv.Itoa(int(it.source.Partition)) + "/" + strconv.FormatInt(it.source.Offset, 10))},
			),
		}}
	}
	if it.mark.Seq > 0 {
		return p.told(pl, it)
	}
	if !it.takesSeq() {
		return nil
	}
	is := it
	if it.first != nil {
		is = it.first
	}
	if is.code != "" {
		return []*kgo.Record{{Topic: bus.Users, Key: []byte(it.record.Sender), Value: wire.Encode(wire.ErrorFrame{
			Type: wire.FrameError, Code: is.code, Message: said(is.code),
			ClientID: it.record.ClientID, Conversation: it.record.Conversation,
		})}}
	}
	message := is.fate.said()
	value := wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: message})
	c := pl.conversations[it.record.Conversation]
	var all, later []string // later: who came after what it changes
	for user, first := range c.audience(is.fate.Seq) {
		if message.Target > 0 && message.Target < first {
			later = append(later, user)
		} else {
			all = append(all, user)
		}
	}
	if len(all) > 0 {
		out = append(out, bus.For(c.id, all, value))
	}
	if len(later) > 0 {
		out = append(out, bus.For(c.id, later, wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: seenFrom(message, message.Target+1)})))
	}
	return out
}

// change brings the texts to where the changes of them are. It gives those that are otherwise now, by conversation and seq.
func (p *worker) change(ctx context.Context, items []*item) (map[string]map[int64]message, error) {
	changes := map[string][]message{}
	for _, it := range items {
		if wire.Changes(it.fate.Kind) {
			changes[it.fate.Conversation] = append(changes[it.fate.Conversation], it.fate)
		}
	}
	var mu sync.Mutex
	now := map[string]map[int64]message{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for id, list := range changes {
		g.Go(func() error {
			found, err := p.archive.apply(ctx, id, list)
			mu.Lock()
			defer mu.Unlock()
			now[id] = found
			return err
		})
	}
	return now, g.Wait()
}

// indexOf gives what is to be written behind: messages, or what became of them, and how far the members have read.
func indexOf(pl *plan, items []*item, now map[string]map[int64]message) (all []indexed) {
	messages := map[string][]message{}
	for _, it := range items {
		if it.fate.Seq > 0 {
			m, changed := now[it.fate.Conversation][it.fate.Seq]
			if !changed {
				m = it.fate
			}
			messages[m.Conversation] = append(messages[m.Conversation], m)
		}
	}
	for id, c := range pl.conversations {
		all = append(all, indexed{id, c.group.Large, messages[id], c.marks})
	}
	return all
}

func (p *worker) count(items []*item) {
	for _, it := range items {
		switch {
		case it.bad != nil:
			p.dead.Inc()
		case !it.takesSeq():
		case it.first != nil || it.was != nil:
			p.repeated.Inc()
		case it.code != "":
			p.refused.Inc()
		default:
			p.stored.Inc()
		}
	}
}

// note says at the span of each record what became of it.
func (p *worker) note(items []*item) {
	if !p.tracer.On() {
		return
	}
	for _, it := range items {
		span := otel.SpanFromContext(it.source.Context)
		if it.bad != nil {
			trace.Fail(span, "dead letter")
			continue
		}
		is := it
		if it.first != nil {
			is = it.first
		}
		span.SetAttributes(trace.Conversation(it.record.Conversation), trace.Kind(it.record.Type))
		if is.fate.Seq > 0 {
			span.SetAttributes(trace.Seq(is.fate.Seq))
		}
		if it.record.Target > 0 {
			span.SetAttributes(trace.Target(it.record.Target))
		}
		if is.code != "" {
			trace.Refused(it.source.Context, is.code)
		}
	}
}
