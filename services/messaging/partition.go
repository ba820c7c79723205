package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// maxCached is how many conversations a partition remembers.
const maxCached = 5000

// partition handles the records of one partition of the topic messages.
type partition struct {
	*messaging
	conversations map[string]*conversation // where those stand that were handled lately
}

// item is a record on its way.
type item struct {
	source *kgo.Record
	record wire.Record
	bad    error // it can never be handled

	first *item // the same record stands earlier in this batch

	claimed bool  // its document is there
	send    send  // the document
	stored  int64 // the seq under which an earlier attempt has stored it; 0: none has

	fate message // what it is stored as, now or earlier
	code string  // or the code of its refusal
}

// handle brings records to their end, in order. After an error all of it may run again.
//
// A change of a group ends a turn, so that the roster is written before anything that was said after the change: a reader who is
// still on a roster that was read after the messages may see all of them.
func (p *partition) handle(ctx context.Context, records []*kgo.Record) error {
	items := parse(records)
	for len(items) > 0 {
		n := 1 + slices.IndexFunc(items, func(it *item) bool { return it.bad == nil && it.record.Type == wire.RecordGroup })
		if n == 0 {
			n = len(items)
		}
		if err := p.turn(ctx, records[:n]); err != nil {
			return err
		}
		items, records = items[n:], records[n:]
	}
	return nil
}

func (p *partition) turn(ctx context.Context, records []*kgo.Record) error {
	for {
		err := p.attempt(ctx, parse(records))
		if err == nil {
			return nil
		}
		// What is in memory is of an attempt that did not come to its end.
		clear(p.conversations)
		if !errors.Is(err, errStale) {
			return err
		}
	}
}

func (p *partition) attempt(ctx context.Context, items []*item) error {
	if len(p.conversations) > maxCached {
		clear(p.conversations)
	}
	// The end of each conversation is read before its sends are.
	if err := p.open(ctx, items); err != nil {
		return err
	}
	plan := p.plan(items)
	var fresh []send
	var claims []*item
	for _, it := range items {
		if it.bad == nil && it.first == nil {
			fresh, claims = append(fresh, it.send), append(claims, it)
		}
	}
	existing, err := p.archive.claim(ctx, fresh)
	if err != nil {
		return err
	}
	for _, it := range claims {
		it.claimed = true
	}
	if len(existing) > 0 {
		for _, i := range existing {
			if err := p.recall(ctx, claims[i]); err != nil {
				return err
			}
		}
		// Now that it is known what was stored earlier, the others get other seqs.
		plan = p.plan(items)
		if err := p.reclaim(ctx, claims); err != nil {
			return err
		}
	}

	if err := p.archive.add(ctx, plan.messages); err != nil {
		return err
	}
	if err := p.update(ctx, plan, items); err != nil {
		return err
	}
	if err := p.kafka.ProduceSync(ctx, p.output(plan, items)...).FirstErr(); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	if err := p.index(ctx, items); err != nil {
		return err
	}
	for id, c := range plan.conversations {
		p.conversations[id] = c
	}
	p.count(items)
	return nil
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
		id := sendID(it.record)
		if it.first = seen[id]; it.first == nil {
			seen[id] = it
		}
	}
	return items
}

// open reads where the conversations stand that are not known.
func (p *partition) open(ctx context.Context, items []*item) error {
	missing := map[string]bool{}
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
			mu.Lock()
			defer mu.Unlock()
			p.conversations[id] = c
			return nil
		})
	}
	return g.Wait()
}

// plan is what a batch comes to.
type plan struct {
	messages      []message                // to be stored, in order
	conversations map[string]*conversation // where they stand afterwards
}

// plan decides each record in order, by the membership at that point. It changes items and nothing else.
func (p *partition) plan(items []*item) plan {
	pl := plan{conversations: map[string]*conversation{}}
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
		it.fate, it.code = message{}, it.send.Refused
		switch {
		case it.stored > 0:
			it.fate = newMessage(r, it.stored)
			if r.Type == wire.RecordGroup && it.stored > c.group.Seq {
				c.group.apply(*r.Event, r.Sender, it.stored)
			}
			continue
		case it.code != "":
			continue
		case r.Type == wire.RecordSend && !c.member(r.Sender):
			it.code = wire.CodeNotMember
			if !it.claimed {
				it.send = send{ID: sendID(r), Seqs: []int64{}, Refused: it.code}
			}
			continue
		}
		it.fate = newMessage(r, c.next)
		if !it.claimed {
			it.send = send{ID: sendID(r), Seqs: []int64{c.next}}
		}
		if r.Type == wire.RecordGroup {
			c.group.ID = r.Conversation
			c.group.apply(*r.Event, r.Sender, c.next)
		}
		c.next++
		pl.messages = append(pl.messages, it.fate)
	}
	return pl
}

// recall finds out what became of a record that comes again.
func (p *partition) recall(ctx context.Context, it *item) error {
	id := sendID(it.record)
	s, ok, err := store.Get[send](ctx, p.archive.sends, id)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("send %s is there and is not", id)
	}
	it.send = s
	for _, seq := range s.Seqs {
		m, ok, err := store.Get[message](ctx, p.archive.messages, messageID(it.record.Conversation, seq))
		if err != nil {
			return err
		}
		if ok && m.Sender == it.record.Sender && m.ClientID == it.record.ClientID {
			it.stored = seq
			// As it was first stored, whatever the client says now.
			it.record.Body, it.record.At = m.Body, wire.At(m.At)
			return nil
		}
	}
	return nil
}

// reclaim adds the seqs and refusals that the second plan gave to the documents that lack them.
func (p *partition) reclaim(ctx context.Context, items []*item) error {
	for _, it := range items {
		var change bson.D
		switch {
		case it.stored > 0:
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
func (p *partition) update(ctx context.Context, pl plan, items []*item) error {
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
		if it.fate.Seq == 0 {
			continue
		}
		var users []string
		switch a, b, direct := wire.Direct(it.record.Conversation); {
		case direct && it.fate.Seq == 1:
			users = []string{a, b}
		case it.record.Type == wire.RecordGroup && (it.record.Event.Type == wire.Created || it.record.Event.Type == wire.MemberAdded):
			users = it.record.Event.Users
		}
		for _, u := range users {
			g.Go(func() error { return p.archive.tell(ctx, u, it.record.Conversation) })
		}
	}
	return g.Wait()
}

// output makes the records that tell what became of the items, in order.
func (p *partition) output(pl plan, items []*item) (out []*kgo.Record) {
	for _, it := range items {
		if it.bad != nil {
			p.Log.Error("a record goes to the dead letters", "topic", it.source.Topic, "partition", it.source.Partition,
				"offset", it.source.Offset, "reason", it.bad)
			out = append(out, &kgo.Record{
				Topic: bus.Dead, Key: it.source.Key, Value: it.source.Value,
				Headers: append(slices.Clone(it.source.Headers),
					kgo.RecordHeader{Key: "reason", Value: []byte(it.bad.Error())},
					kgo.RecordHeader{Key: "source", Value: []byte(it.source.Topic + "/" + strconv.Itoa(int(it.source.Partition)) + "/" + strconv.FormatInt(it.source.Offset, 10))},
				),
			})
			continue
		}
		is := it
		if it.first != nil {
			is = it.first
		}
		if is.code != "" {
			out = append(out, &kgo.Record{Topic: bus.Users, Key: []byte(it.record.Sender), Value: wire.Encode(wire.ErrorFrame{
				Type: wire.FrameError, Code: is.code, Message: "you are no member of this conversation",
				ClientID: it.record.ClientID, Conversation: it.record.Conversation,
			})})
			continue
		}
		value := wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: is.fate.wire()})
		for _, user := range pl.conversations[it.record.Conversation].audience(is.fate.Seq) {
			out = append(out, &kgo.Record{Topic: bus.Users, Key: []byte(user), Value: value})
		}
	}
	return out
}

// index writes heads and buckets.
func (p *partition) index(ctx context.Context, items []*item) error {
	byConversation := map[string][]message{}
	for _, it := range items {
		if it.fate.Seq > 0 {
			byConversation[it.record.Conversation] = append(byConversation[it.record.Conversation], it.fate)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for id, messages := range byConversation {
		g.Go(func() error { return p.archive.index(ctx, id, messages) })
	}
	return g.Wait()
}

func (p *partition) count(items []*item) {
	for _, it := range items {
		switch {
		case it.bad != nil:
			p.dead.Inc()
		case it.first != nil || it.stored > 0:
			p.repeated.Inc()
		case it.code != "":
			p.refused.Inc()
		default:
			p.stored.Inc()
		}
	}
}
