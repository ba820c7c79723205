package messaging

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// erasure is a deleted user, of whom the texts go: for each, a record says so in its conversation, whose sequencer takes it in order. Walked says up to
// which seq of a conversation that was done, so whoever goes on begins there. See docs/adr/0024-deleting-accounts.md.
type erasure struct {
	ID     string           `bson:"_id"`
	Walked map[string]int64 `bson:"walked"`
}

// erase erases what a deleted user has said up to now. Several instances may do it at once, and again.
func (s *messaging) erase(ctx context.Context, d wire.Deletion) error {
	if _, err := store.Insert(ctx, s.database.erasures, erasure{ID: d.User, Walked: map[string]int64{}}); err != nil {
		return err
	}
	e, _, err := store.Get[erasure](ctx, s.database.erasures, d.User)
	if err != nil {
		return err
	}
	ids, err := s.database.inbox(ctx, d.User)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, s.eraseIn(ctx, d.User, id, e.Walked[id]))
	}
	if err := errors.Join(errs...); err != nil || !d.Final {
		return err
	}
	if err := store.Delete(ctx, s.database.inboxes, d.User); err != nil {
		return err
	}
	_, err = store.Update(ctx, s.database.erasures, d.User, bson.D{{Key: "$unset", Value: bson.D{{Key: "walked", Value: ""}}}})
	return err
}

// eraseIn erases what a user has said in a conversation after a seq, a bucket at a time. It waits until that is stored, so that others in this
// partition do not wait for all of it.
func (s *messaging) eraseIn(ctx context.Context, user, id string, walked int64) error {
	last, err := s.database.lastSeq(ctx, id, walked)
	if err != nil {
		return err
	}
	for walked < last {
		to := min(last, (bucketOf(walked+1)+1)*bucketSize)
		messages, err := s.database.page(ctx, id, walked+1, to)
		if err != nil {
			return err
		}
		var records []*kgo.Record
		for _, m := range messages {
			if m.Sender == user && m.alive() {
				records = append(records, &kgo.Record{Topic: s.topic(), Key: []byte(id), Value: wire.Encode(wire.Record{
					Type: wire.RecordErase, Conversation: id, Sender: user, ClientID: wire.RecordErase, Target: m.Seq, At: wire.At(s.Now()),
				})})
			}
		}
		if err := s.putAndAwait(ctx, records); err != nil {
			return fmt.Errorf("erase in %s: %w", id, err)
		}
		walked = to
		if err := store.Upsert(ctx, s.database.erasures, user, bson.D{{Key: "$max", Value: bson.D{{Key: "walked." + id, Value: walked}}}}); err != nil {
			return err
		}
	}
	_, held, err := store.Get[hold](ctx, s.database.quarantines, id)
	if held {
		return fmt.Errorf("conversation %s is in quarantine, where texts may be kept; run `messaging release %s`", id, id)
	}
	return err
}

// putAndAwait writes records and waits until what follows from them is stored.
func (s *messaging) putAndAwait(ctx context.Context, records []*kgo.Record) error {
	if len(records) == 0 {
		return nil
	}
	results := s.kafka.ProduceSync(ctx, records...)
	if err := results.FirstErr(); err != nil {
		return fmt.Errorf("write to the topic %s: %w", s.topic(), err)
	}
	var to []source
	for _, r := range results {
		to = append(to, source{Log: *s.log.Load(), Partition: r.Record.Partition, Offset: r.Record.Offset})
	}
	return s.database.awaitStored(ctx, to...)
}
