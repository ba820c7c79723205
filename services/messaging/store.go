package messaging

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
)

// database is the database of messaging. Every access is by _id alone.
type database struct {
	// messages:  "<conversation>/<seq>"; what is stored
	// sends:     "<conversation>/<sender>/<client id>"; the idempotency keys
	// rosters:   "<conversation>"; who is in a group, or who of a direct conversation blocks the other
	// heads:     "<conversation>"; where it stood when it was projected, and how far the members have read
	// reads:     "<conversation>/<user>"; how far a member of a large group has read
	// buckets:   "<conversation>/<number>"; 50 messages
	// words:     "<conversation>/<number>"; the words of 64 buckets
	// inboxes:   "<user>"; the conversations that the user is or was in
	// positions: "messages"; up to where the topic is stored
	// settings:  the day of the last pruning
	// quarantines: "<conversation>"; those that cannot be handled now
	// heldRecords: "<conversation>/<source>"; what is kept of those
	// erasures:  "<user>"; the deleted users, for good: nothing of them may come back
	messages, sends, rosters, heads, reads, buckets, words, inboxes, positions, settings, quarantines, heldRecords, erasures *mongo.Collection

	// What all members of a large group ask for at once, after a break, is read for all of them together.
	endReads      store.Shared[head]
	rosterReads   store.Shared[*roster]
	bucketReads   store.Shared[bucket]
	tailReads     store.Shared[[]message]
	positionReads store.Shared[positions]

	known rosters // those that were read
}

func newDatabase(db *store.DB) *database {
	return &database{
		messages: db.Collection("messages"), sends: db.Collection("sends"), rosters: db.Collection("rosters"),
		heads: db.Collection("heads"), reads: db.Collection("reads"), buckets: db.Collection("buckets"), words: db.Collection("words"),
		inboxes: db.Collection("inboxes"), positions: db.Collection("positions"), settings: db.Collection("settings"),
		quarantines: db.Collection("quarantines"), heldRecords: db.Collection("held"),
		erasures: db.Collection("erasures"),
	}
}

// migrations have made the database what it is. One that has run anywhere stays as it is; a change is a new one at the end.
func migrations() []store.Migration {
	return []store.Migration{
		store.Collections("messages", "sends", "rosters", "heads", "reads", "buckets", "words", "inboxes", "settings"),
		{Version: 2, Name: "positions", Up: func(ctx context.Context, db *store.DB) error { return db.Create(ctx, "positions") }},
		{Version: 3, Name: "quarantine", Up: func(ctx context.Context, db *store.DB) error { return db.Create(ctx, "quarantines", "held") }},
		{Version: 4, Name: "erasures", Up: func(ctx context.Context, db *store.DB) error { return db.Create(ctx, "erasures") }},
	}
}

// idempotencyKey is what became of the record that said something first.
type idempotencyKey struct {
	ID      string    `bson:"_id"`
	Seq     int64     `bson:"seq"`     // of its message
	Refused string    `bson:"refused"` // or the code of its refusal, which is final
	At      time.Time `bson:"at"`
	Source  source    `bson:"source"`

	batch int64 // in which the sequencer touched it last
}

// errConflict is a message that is not what the log says: something else writes to the database.
var errConflict = errors.New("another message has this seq, of which the log knows nothing")

// store writes what follows from records. All of it may be written again, and by two instances at once, with the same result.
//
// The order is what a crash in between needs: keys before messages, so that what is refused stays refused; messages before what follows from
// them, so that whoever finds a message can bring up to date what it lacks (see restore).
func (d *database) store(ctx context.Context, all []effects) error {
	if err := d.storeEffects(ctx, all); err != nil {
		return err
	}
	return d.putPositions(ctx, positionsOf(all))
}

// storeEffects stores all but the position.
func (d *database) storeEffects(ctx context.Context, all []effects) error {
	var keys []idempotencyKey
	var messages []message
	var joined []joining
	rosters := map[string]*roster{}
	changed := map[string]message{}
	read := map[string]*projection{}
	var ended []string
	for _, e := range all {
		if e.key != nil {
			keys = append(keys, *e.key)
		}
		if e.outcome == accepted {
			messages = append(messages, *e.message)
		}
		for _, u := range e.joined {
			joined = append(joined, joining{u, e.conversation(), e.origin()})
		}
		if e.roster != nil {
			rosters[e.roster.ID] = e.roster
		}
		for _, m := range e.changed {
			changed[m.ID] = m
		}
		if e.cursor.Seq > 0 {
			p := read[e.conversation()]
			if p == nil {
				p = &projection{cursors: map[string]readCursor{}}
				read[e.conversation()] = p
			}
			p.large = p.large || e.members.Large
			p.advance(e.cursors)
		}
		if e.outcome == released {
			ended = append(ended, e.conversation())
		}
	}
	if err := d.putKeys(ctx, keys); err != nil {
		return err
	}
	if err := d.putMessages(ctx, messages); err != nil {
		return err
	}
	// A message that was changed after it was inserted may be one of those, so only now. Rosters come before changed texts: whoever sees a change
	// of after a removal finds the removal.
	if err := eachOf(ctx, writesAtOnce, slices.Collect(maps.Values(rosters)), d.putRoster); err != nil {
		return err
	}
	if err := eachOf(ctx, writesAtOnce, joined, d.putInbox); err != nil {
		return err
	}
	if err := eachOf(ctx, writesAtOnce, slices.Collect(maps.Values(changed)), d.putChanged); err != nil {
		return err
	}
	// What somebody says to have read is no message: for who asks with a position it must be here, not with the projections.
	if err := eachOf(ctx, writesAtOnce, slices.Collect(maps.Keys(read)), func(ctx context.Context, id string) error {
		return d.putHead(ctx, id, nil, read[id])
	}); err != nil {
		return err
	}
	return eachOf(ctx, writesAtOnce, ended, d.endQuarantine)
}

// writesAtOnce is how many documents are written at once.
const writesAtOnce = 4

// joining is a user to whom a conversation is new.
type joining struct {
	user, conversation string
	source             source
}

const duplicateKey = 11000

// putKeys writes idempotency keys. One that is there is replaced by that of a later record, which is another message.
func (d *database) putKeys(ctx context.Context, keys []idempotencyKey) error {
	if len(keys) == 0 {
		return nil
	}
	_, err := d.sends.InsertMany(ctx, keys, options.InsertMany().SetOrdered(false))
	if err == nil {
		return nil
	}
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError != nil {
		return fmt.Errorf("insert idempotency keys: %w", err)
	}
	for _, e := range bulk.WriteErrors {
		if !e.HasErrorCode(duplicateKey) {
			return fmt.Errorf("insert idempotency keys: %w", err)
		}
		k := keys[e.Index]
		old, ok, err := store.Get[idempotencyKey](ctx, d.sends, k.ID)
		if err != nil {
			return err
		}
		if !ok || !old.Source.before(k.Source) {
			continue
		}
		if _, err := store.Update(ctx, d.sends, k.ID, bson.D{{Key: "$set", Value: bson.D{
			{Key: "seq", Value: k.Seq}, {Key: "refused", Value: k.Refused}, {Key: "at", Value: k.At}, {Key: "source", Value: k.Source},
		}}}); err != nil {
			return err
		}
	}
	return nil
}

// putMessages inserts messages, some of which may be there. It does so in order: the seqs that are stored have no holes.
func (d *database) putMessages(ctx context.Context, messages []message) error {
	for len(messages) > 0 {
		_, err := d.messages.InsertMany(ctx, messages)
		if err == nil {
			return nil
		}
		var bulk mongo.BulkWriteException
		if !mongo.IsDuplicateKeyError(err) || !errors.As(err, &bulk) || len(bulk.WriteErrors) == 0 {
			return fmt.Errorf("insert messages: %w", err)
		}
		n := bulk.WriteErrors[0].Index
		there, ok, err := store.Get[message](ctx, d.messages, messages[n].ID)
		if err != nil {
			return err
		}
		if !ok || there.Source != messages[n].Source {
			return fmt.Errorf("store message %s: %w", messages[n].ID, errConflict)
		}
		messages = messages[n+1:]
	}
	return nil
}

// putRoster writes a roster, unless one as new is there. The seq of that one is read and must still be the same, instead of being compared by the
// database: FerretDB finds a document by its _id and values that it equals, and reads the whole collection for an operator.
func (d *database) putRoster(ctx context.Context, r *roster) error {
	set := bson.D{
		{Key: "seq", Value: r.Seq}, {Key: "version", Value: r.Version}, {Key: "title", Value: r.Title}, {Key: "stays", Value: r.Members},
		{Key: "large", Value: r.Large}, {Key: "source", Value: r.Source},
	}
	if len(r.Blocks) > 0 { // as an insert writes it
		set = append(set, bson.E{Key: "blocks", Value: r.Blocks})
	}
	for { // each time another instance has written a newer one meanwhile
		there, ok, err := store.Get[roster](ctx, d.rosters, r.ID)
		if err != nil || there.Seq >= r.Seq {
			return err
		}
		var done bool
		if ok {
			done, err = store.Update(ctx, d.rosters, r.ID, bson.D{{Key: "$set", Value: set}}, bson.E{Key: "seq", Value: there.Seq})
		} else {
			done, err = store.Insert(ctx, d.rosters, r)
		}
		if err != nil || done {
			return err
		}
	}
}

// putInbox puts a conversation into a user's inbox. It stays there; who is no member any more is left out when it is read.
func (d *database) putInbox(ctx context.Context, j joining) error {
	change := bson.D{{Key: "$set", Value: bson.D{{Key: "conversations." + j.conversation, Value: true}}}}
	if from := upTo(j.source); len(from) > 0 {
		change = append(change, bson.E{Key: "$max", Value: from})
	}
	return store.Upsert(ctx, d.inboxes, j.user, change)
}

// inbox gives the conversations that a user is or was in.
func (d *database) inbox(ctx context.Context, user string) (ids []string, err error) {
	type inbox struct {
		Conversations map[string]bool `bson:"conversations"`
	}
	in, _, err := store.Get[inbox](ctx, d.inboxes, user)
	for id := range in.Conversations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, err
}

// putChanged writes what a text is now, unless it is changed further already. In its bucket the change stands alone at first: so whoever
// reads there sees that the text in it is an old one, and reads the document.
func (d *database) putChanged(ctx context.Context, m message) error {
	// The greater of the two stays, without a look at the one that is there: FerretDB reads the whole collection where more than the _id is asked for.
	change := bson.D{{Key: "$max", Value: bson.D{{Key: "latest", Value: latest{Changed: m.Changed, Present: m.Present}}}}}
	if !m.now().Deleted.IsZero() { // for good
		change = append(change, bson.E{Key: "$set", Value: bson.D{{Key: "body", Value: ""}, {Key: "mentions", Value: nil}, {Key: "present", Value: nil}}})
	}
	if _, err := store.Update(ctx, d.messages, m.ID, change); err != nil {
		return err
	}
	n := bucketOf(m.Seq)
	if len(m.now().Edits) > 0 {
		if err := d.distrustWords(ctx, m.Conversation, n); err != nil {
			return err
		}
	}
	return store.Upsert(ctx, d.buckets, bucketID(m.Conversation, n), bson.D{
		{Key: "$max", Value: append(bson.D{{Key: "changed." + strconv.FormatInt(m.Seq, 10), Value: m.Changed}}, upTo(m.changedBy)...)},
	})
}

// upTo are the fields of an update with $max that say from which records the document follows: of each partition up to that one. A partition goes by
// the id of its topic.
func upTo(records ...source) (fields bson.D) {
	last := positions{}
	for _, at := range records {
		if at.Log != "" {
			last.add(at)
		}
	}
	for place, offset := range last {
		fields = append(fields, bson.E{Key: "sources." + place, Value: offset})
	}
	return fields
}

// positions are up to where each partition is stored: by source.place, the offset of the last record.
type positions map[string]int64

// place is the log and the partition of a source.
func (s source) place() string { return string(s.Log) + "/" + strconv.Itoa(int(s.Partition)) }

// positionsOf are up to where all is stored once these effects are.
func positionsOf(all []effects) positions {
	p := positions{}
	for _, e := range all {
		if e.input.source.Log != "" {
			p.add(e.input.source)
		}
	}
	return p
}

func (p positions) add(at source) {
	if stored, ok := p[at.place()]; !ok || stored < at.Offset {
		p[at.place()] = at.Offset
	}
}

// reached says whether a record and all before it are stored.
func (p positions) reached(at source) bool {
	stored, ok := p[at.place()]
	return ok && stored >= at.Offset
}

// storedPoll is the time between two looks of awaitStored.
const storedPoll = 50 * time.Millisecond

// awaitStored waits until records and all before them are stored, by whichever instance.
func (d *database) awaitStored(ctx context.Context, records ...source) error {
	for {
		stored, err := d.readPositions(ctx)
		if err != nil || !slices.ContainsFunc(records, func(at source) bool { return !stored.reached(at) }) {
			return err
		}
		if err := service.Sleep(ctx, storedPoll); err != nil {
			return err
		}
	}
}

// positionsID is the document with all positions: one write for what is stored together.
const positionsID = "messages"

type positionsDoc struct {
	Stored positions `bson:"stored"`
}

func (d *database) putPositions(ctx context.Context, p positions) error {
	if len(p) == 0 {
		return nil
	}
	var stored bson.D
	for place, offset := range p {
		stored = append(stored, bson.E{Key: "stored." + place, Value: offset})
	}
	return store.Upsert(ctx, d.positions, positionsID, bson.D{{Key: "$max", Value: stored}})
}

func (d *database) readPositions(ctx context.Context) (positions, error) {
	return d.positionReads.Get(ctx, positionsID, func(ctx context.Context) (positions, error) {
		doc, _, err := store.Get[positionsDoc](ctx, d.positions, positionsID)
		return doc.Stored, err
	})
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
