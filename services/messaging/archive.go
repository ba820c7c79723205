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
	db *store.DB
	// messages: "<conversation>/<seq>"; what is stored
	// sends:    "<conversation>/<sender>/<client id>"; what became of each record
	// rosters:  "<conversation>"; who is in a group
	// heads:    "<conversation>"; a seq that is stored, mostly the last
	// buckets:  "<conversation>/<number>"; 50 messages
	// inboxes:  "<user>"; the conversations that the user is or was in
	messages, sends, rosters, heads, buckets, inboxes *mongo.Collection
}

func newArchive(db *store.DB) *archive {
	return &archive{
		db: db, messages: db.Collection("messages"), sends: db.Collection("sends"), rosters: db.Collection("rosters"),
		heads: db.Collection("heads"), buckets: db.Collection("buckets"), inboxes: db.Collection("inboxes"),
	}
}

func (a *archive) create(ctx context.Context) error {
	return a.db.Create(ctx, "messages", "sends", "rosters", "heads", "buckets", "inboxes")
}

// message is a stored message.
type message struct {
	ID           string           `bson:"_id"`
	Conversation string           `bson:"conversation"`
	Seq          int64            `bson:"seq"`
	Kind         string           `bson:"kind"`
	Sender       string           `bson:"sender"`
	ClientID     string           `bson:"client_id"`
	Body         string           `bson:"body"`
	Event        *wire.GroupEvent `bson:"event,omitempty"`
	At           time.Time        `bson:"at"`
}

func messageID(conversation string, seq int64) string {
	return conversation + "/" + strconv.FormatInt(seq, 10)
}

func newMessage(r wire.Record, seq int64) message {
	m := message{
		ID: messageID(r.Conversation, seq), Conversation: r.Conversation, Seq: seq, Kind: wire.Text,
		Sender: r.Sender, ClientID: r.ClientID, Body: r.Body, At: r.At.Time,
	}
	if r.Type == wire.RecordGroup {
		m.Kind, m.Body, m.Event = wire.Event, "", r.Event
	}
	return m
}

func (m message) wire() wire.Message {
	return wire.Message{
		Conversation: m.Conversation, Seq: m.Seq, Kind: m.Kind, Sender: m.Sender, ClientID: m.ClientID,
		Body: m.Body, Event: m.Event, At: wire.At(m.At),
	}
}

// send is what became of a record.
type send struct {
	ID      string  `bson:"_id"`
	Seqs    []int64 `bson:"seqs"`    // each was written before the message was inserted with it
	Refused string  `bson:"refused"` // the code of the refusal, which is final
}

func sendID(r wire.Record) string { return r.Conversation + "/" + r.Sender + "/" + r.ClientID }

// open reads where a conversation stands.
func (a *archive) open(ctx context.Context, id string) (*conversation, error) {
	last, err := a.last(ctx, id)
	if err != nil {
		return nil, err
	}
	c := &conversation{id: id, next: last + 1}
	c.group, err = a.roster(ctx, id)
	return c, err
}

func (a *archive) roster(ctx context.Context, id string) (r roster, err error) {
	if _, _, direct := wire.Direct(id); direct {
		return r, nil
	}
	r, _, err = store.Get[roster](ctx, a.rosters, id)
	return r, err
}

// last gives the seq of the last message, 0 if there is none. The head is a seq that is stored; from there on
// the end is searched for, which is one read if the head is up to date.
func (a *archive) last(ctx context.Context, id string) (int64, error) {
	type head struct {
		Seq int64 `bson:"seq"`
	}
	h, _, err := store.Get[head](ctx, a.heads, id)
	if err != nil {
		return 0, err
	}
	return search(h.Seq, func(seq int64) (bool, error) {
		_, ok, err := store.Get[message](ctx, a.messages, messageID(id, seq))
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

// index writes head and buckets of messages of one conversation.
func (a *archive) index(ctx context.Context, conversation string, messages []message) error {
	buckets := map[int64]bson.D{}
	var last int64
	for _, m := range messages {
		n := (m.Seq - 1) / bucketSize
		buckets[n] = append(buckets[n], bson.E{Key: "messages." + strconv.FormatInt(m.Seq, 10), Value: m})
		last = max(last, m.Seq)
	}
	for n, set := range buckets {
		if err := store.Upsert(ctx, a.buckets, bucketID(conversation, n), bson.D{{Key: "$set", Value: set}}); err != nil {
			return err
		}
	}
	return store.Upsert(ctx, a.heads, conversation, bson.D{{Key: "$max", Value: bson.D{{Key: "seq", Value: last}}}})
}

// page gives the messages from one seq to another, both included, of a conversation that has them.
func (a *archive) page(ctx context.Context, conversation string, from, to int64) ([]message, error) {
	if from > to {
		return nil, nil
	}
	type bucket struct {
		Messages map[string]message `bson:"messages"`
	}
	found := make([]message, to-from+1)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for n := (from - 1) / bucketSize; n <= (to-1)/bucketSize; n++ {
		g.Go(func() error {
			b, _, err := store.Get[bucket](ctx, a.buckets, bucketID(conversation, n))
			if err != nil {
				return err
			}
			// The bucket may lack the newest, or what a crash has kept from it.
			for seq := max(from, n*bucketSize+1); seq <= min(to, (n+1)*bucketSize); seq++ {
				m, ok := b.Messages[strconv.FormatInt(seq, 10)]
				if !ok {
					if m, ok, err = store.Get[message](ctx, a.messages, messageID(conversation, seq)); err != nil {
						return err
					}
					if !ok {
						return fmt.Errorf("message %s is missing", messageID(conversation, seq))
					}
				}
				found[seq-from] = m
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return found, nil
}
