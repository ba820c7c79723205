package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// bucketSize is how many messages a bucket holds.
const bucketSize = 50

// errStale says that another instance has written to a conversation since it was read.
var errStale = errors.New("another instance has written to this conversation")

// archive is the database of messaging. Every access is by _id alone.
type archive struct {
	// messages: "<conversation>/<seq>"; what is stored
	// sends:    "<conversation>/<sender>/<client id>"; what became of each record
	// rosters:  "<conversation>"; who is in a group, or who of a direct conversation blocks the other
	// heads:    "<conversation>"; a seq that is stored, mostly the last, and how far the members have read
	// reads:    "<conversation>/<user>"; how far a member of a large group has read
	// buckets:  "<conversation>/<number>"; 50 messages
	// words:    "<conversation>/<number>"; the words of 64 buckets
	// inboxes:  "<user>"; the conversations that the user is or was in
	// settings: the day of the last pruning
	messages, sends, rosters, heads, reads, buckets, words, inboxes, settings *mongo.Collection

	// What all members of a large group ask for at once, after a break, is read for all of them together.
	endReads    store.Shared[head]
	rosterReads store.Shared[roster]
	bucketReads store.Shared[bucket]
}

func newArchive(db *store.DB) *archive {
	return &archive{
		messages: db.Collection("messages"), sends: db.Collection("sends"), rosters: db.Collection("rosters"),
		heads: db.Collection("heads"), reads: db.Collection("reads"), buckets: db.Collection("buckets"), words: db.Collection("words"),
		inboxes: db.Collection("inboxes"), settings: db.Collection("settings"),
	}
}

// migrations have made the database what it is. One that has run anywhere stays as it is; a change is a new one at the end.
func migrations() []store.Migration {
	return []store.Migration{store.Collections("messages", "sends", "rosters", "heads", "reads", "buckets", "words", "inboxes", "settings")}
}

// send is what became of a record.
type send struct {
	ID      string    `bson:"_id"`
	Seqs    []int64   `bson:"seqs"`    // each was written before the message was inserted with it
	Refused string    `bson:"refused"` // the code of the refusal, which is final
	At      time.Time `bson:"at"`

	// Where its record is in the topic messages: the partition, and the offset plus one. 0: it is of before that was noted.
	Partition int32 `bson:"partition,omitempty"`
	Offset    int64 `bson:"offset,omitempty"`
}

// sendID is where it is noted what became of a record. A group's event has no user in it, so that no client id can be in its way.
func sendID(r wire.Record) string {
	if r.Type == wire.RecordGroup {
		return r.Conversation + "/group/" + r.ClientID
	}
	return r.Conversation + "/" + r.Sender + "/" + r.ClientID
}

// open reads where a conversation stands.
func (a *archive) open(ctx context.Context, id string) (*conversation, error) {
	h, err := a.last(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &conversation{id: id, next: h.Seq + 1, texts: h.Texts, shown: h.Shown, reads: h.Reads}
	if c.reads == nil {
		c.reads = map[string]mark{}
	}
	c.group, _, err = store.Get[roster](ctx, a.rosters, id)
	return c, err
}

// roster reads who is and was in a group, or who of a direct conversation blocks the other. Nobody may change it.
func (a *archive) roster(ctx context.Context, id string) (roster, error) {
	return a.rosterReads.Get(ctx, id, func(ctx context.Context) (roster, error) {
		r, _, err := store.Get[roster](ctx, a.rosters, id)
		return r, err
	})
}

// end is last for those who change nothing of it.
func (a *archive) end(ctx context.Context, id string) (head, error) {
	return a.endReads.Get(ctx, id, func(ctx context.Context) (head, error) { return a.last(ctx, id) })
}

// head is where a conversation stands. Its numbers only grow, together.
type head struct {
	Seq   int64           `bson:"seq"`
	Texts int64           `bson:"texts"` // see message
	Shown int64           `bson:"shown"` // the seq of the last text or event
	Reads map[string]mark `bson:"reads"` // by user, but for large groups
}

// mark is how far a user has read: to Seq, with Texts texts up to it.
type mark struct {
	Seq   int64 `bson:"seq"`
	Texts int64 `bson:"texts"`
}

// last gives the end of a conversation, with seq 0 if there is no message. The stored head is a seq that is stored; from there on
// the end is searched for, which is one read if the head is up to date.
func (a *archive) last(ctx context.Context, id string) (head, error) {
	h, _, err := store.Get[head](ctx, a.heads, id)
	if err != nil {
		return h, err
	}
	_, err = search(h.Seq, func(seq int64) (bool, error) {
		m, ok, err := store.Get[message](ctx, a.messages, messageID(id, seq))
		if ok && seq > h.Seq {
			h.Seq, h.Texts, h.Shown = seq, m.Texts, m.shown()
		}
		return ok, err
	})
	if h.Shown == 0 {
		h.Shown = h.Seq // of before it was kept
	}
	return h, err
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

// claim writes the documents of new records. It gives the indexes of those that have one already.
func (a *archive) claim(ctx context.Context, sends []send) (existing []int, err error) {
	if len(sends) == 0 {
		return nil, nil
	}
	_, err = a.sends.InsertMany(ctx, sends, options.InsertMany().SetOrdered(false))
	if err == nil {
		return nil, nil
	}
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		return nil, fmt.Errorf("insert sends: %w", err)
	}
	for _, e := range bulk.WriteErrors {
		if !e.HasErrorCode(duplicateKey) {
			return nil, fmt.Errorf("insert sends: %w", err)
		}
		existing = append(existing, e.Index)
	}
	return existing, nil
}

const duplicateKey = 11000

// add stores messages in order. The error is errStale if one of the seqs is taken; those before it are stored then.
func (a *archive) add(ctx context.Context, messages []message) error {
	if len(messages) == 0 {
		return nil
	}
	_, err := a.messages.InsertMany(ctx, messages)
	if mongo.IsDuplicateKeyError(err) {
		return errStale
	}
	if err != nil {
		return fmt.Errorf("insert messages: %w", err)
	}
	return nil
}

// putRoster writes a roster whose last known state had the seq before.
func (a *archive) putRoster(ctx context.Context, r roster, before int64) error {
	if before == 0 {
		added, err := store.Insert(ctx, a.rosters, r)
		if err != nil || added {
			return err
		}
	} else {
		matched, err := store.Update(ctx, a.rosters, r.ID, bson.D{{Key: "$set", Value: bson.D{
			{Key: "seq", Value: r.Seq}, {Key: "title", Value: r.Title}, {Key: "stays", Value: r.Stays},
			{Key: "large", Value: r.Large}, {Key: "blocks", Value: r.Blocks},
		}}}, bson.E{Key: "seq", Value: before})
		if err != nil || matched {
			return err
		}
	}
	return errStale
}

// tell puts a conversation into a user's inbox. It stays there; who is no member any more is left out when it is read.
func (a *archive) tell(ctx context.Context, user, conversation string) error {
	return store.Upsert(ctx, a.inboxes, user, bson.D{{Key: "$set", Value: bson.D{{Key: "conversations." + conversation, Value: true}}}})
}

// inbox gives the conversations that a user is or was in.
func (a *archive) inbox(ctx context.Context, user string) (ids []string, err error) {
	type inbox struct {
		Conversations map[string]bool `bson:"conversations"`
	}
	in, _, err := store.Get[inbox](ctx, a.inboxes, user)
	for id := range in.Conversations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, err
}

func bucketID(conversation string, n int64) string {
	return conversation + "/" + strconv.FormatInt(n, 10)
}

// index writes head and buckets of messages of one conversation. It gives the buckets that are full now.
func (a *archive) index(ctx context.Context, conversation string, messages []message, reads map[string]mark) (full []int64, err error) {
	buckets := map[int64]bson.D{}
	var last bson.D
	for _, m := range messages {
		n := (m.Seq - 1) / bucketSize
		buckets[n] = append(buckets[n], bson.E{Key: "messages." + strconv.FormatInt(m.Seq, 10), Value: m.entry()})
		if m.Seq == (n+1)*bucketSize {
			full = append(full, n)
		}
		last = bson.D{{Key: "seq", Value: m.Seq}, {Key: "texts", Value: m.Texts}, {Key: "shown", Value: m.shown()}}
	}
	for n, set := range buckets {
		if err := store.Upsert(ctx, a.buckets, bucketID(conversation, n), bson.D{{Key: "$set", Value: set}}); err != nil {
			return nil, err
		}
	}
	for user, r := range reads {
		last = append(last, bson.E{Key: "reads." + user + ".seq", Value: r.Seq}, bson.E{Key: "reads." + user + ".texts", Value: r.Texts})
	}
	return full, store.Upsert(ctx, a.heads, conversation, bson.D{{Key: "$max", Value: last}})
}

// bucket is messages by seq. Of one whose entry in Changed is higher than what the message says, a change is not in it.
type bucket struct {
	Messages map[string]entry `bson:"messages"`
	Changed  map[string]int64 `bson:"changed"`
}

// bucket reads the messages from one seq to another of one bucket, both included. Nobody may change what they refer to.
func (a *archive) bucket(ctx context.Context, conversation string, n, from, to int64) ([]message, error) {
	b, err := a.readBucket(ctx, conversation, n)
	if err != nil {
		return nil, err
	}
	return a.pick(ctx, b, conversation, n, from, to)
}

func (a *archive) readBucket(ctx context.Context, conversation string, n int64) (bucket, error) {
	id := bucketID(conversation, n)
	return a.bucketReads.Get(ctx, id, func(ctx context.Context) (bucket, error) {
		b, _, err := store.Get[bucket](ctx, a.buckets, id)
		return b, err
	})
}

// pick gives the messages from one seq to another of a bucket that was read. The bucket may lack the newest, what a crash has kept from it, or
// the last change of one: those are read alone.
func (a *archive) pick(ctx context.Context, b bucket, conversation string, n, from, to int64) (found []message, err error) {
	for seq := max(from, n*bucketSize+1); seq <= min(to, (n+1)*bucketSize); seq++ {
		key := strconv.FormatInt(seq, 10)
		e, ok := b.Messages[key]
		m := e.message(conversation, seq)
		if !ok || m.Changed < b.Changed[key] {
			if m, ok, err = store.Get[message](ctx, a.messages, messageID(conversation, seq)); err != nil {
				return nil, err
			}
			if !ok {
				return nil, fmt.Errorf("message %s is missing", messageID(conversation, seq))
			}
		}
		found = append(found, m)
	}
	return found, nil
}

// below gives the messages from one seq to another, both included, if the last of them stands in its bucket: then the conversation has them all.
func (a *archive) below(ctx context.Context, conversation string, from, to int64) (found []message, ok bool, err error) {
	begin, end := (from-1)/bucketSize, (to-1)/bucketSize
	buckets := make([]bucket, end-begin+1)
	g, gctx := errgroup.WithContext(ctx)
	for i := range buckets {
		g.Go(func() (err error) {
			buckets[i], err = a.readBucket(gctx, conversation, begin+int64(i))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, false, err
	}
	if _, ok = buckets[len(buckets)-1].Messages[strconv.FormatInt(to, 10)]; !ok {
		return nil, false, nil
	}
	for i, b := range buckets {
		messages, err := a.pick(ctx, b, conversation, begin+int64(i), from, to)
		if err != nil {
			return nil, false, err
		}
		found = append(found, messages...)
	}
	return found, true, nil
}

// page gives the messages from one seq to another, both included, of a conversation that has them.
func (a *archive) page(ctx context.Context, conversation string, from, to int64) ([]message, error) {
	if from > to {
		return nil, nil
	}
	found := make([]message, to-from+1)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for n := (from - 1) / bucketSize; n <= (to-1)/bucketSize; n++ {
		g.Go(func() error {
			messages, err := a.bucket(ctx, conversation, n, from, to)
			for _, m := range messages {
				found[m.Seq-from] = m
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return found, nil
}
