package messaging

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// quarantine keeps a conversation that cannot be handled from stopping all others (a bulkhead). From the first record
// that could not be handled on, its records are kept in the database, in order and with their sources, and the rest of
// the partition goes on. `messaging release` puts a record into the topic that has them handled after all. Since each
// has its source still, and the state is that of the last stored message, they come to what they would have come to
// before: see docs/adr/0019-quarantine-of-conversations.md.
type quarantine struct {
	*database
	now  func() time.Time
	tell func(hold, error) // is told of each conversation that goes into quarantine

	mu    sync.Mutex
	holds map[string]hold // by conversation: those of the partitions of this instance
}

// hold is a conversation in quarantine.
type hold struct {
	Conversation string    `bson:"_id"`
	From         source    `bson:"from"` // the first record that is kept
	Reason       string    `bson:"reason"`
	Since        time.Time `bson:"since"`
}

// heldRecord is a record that is kept.
type heldRecord struct {
	ID           string `bson:"_id"` // conversation/log/partition/offset
	Conversation string `bson:"conversation"`
	Source       source `bson:"source"`
	Value        []byte `bson:"value"` // a wire.Record, with Again as the sequencer has found it
}

func newQuarantine(d *database, now func() time.Time, tell func(hold, error)) *quarantine {
	return &quarantine{database: d, now: now, tell: tell, holds: map[string]hold{}}
}

// ownTries is how often something is tried whose failure is one conversation's own, before that goes into quarantine.
const ownTries = 3

// attempts counts, by conversation, what has failed.
type attempts map[string]int

// failure is an error that is one conversation's own.
type failure struct {
	conversation string
	err          error
}

func (f *failure) Error() string { return fmt.Sprintf("conversation %s: %v", f.conversation, f.err) }
func (f *failure) Unwrap() error { return f.err }

// failureOf gives err, of which is known where it happened, as the conversation's own if it can be.
func failureOf(conversation string, err error) error {
	if !isOwn(err) {
		return err
	}
	return &failure{conversation, err}
}

// errInconsistent are stored documents of a conversation that contradict each other.
var errInconsistent = errors.New("the stored documents of this conversation contradict each other")

// sharedCodes are the errors of a database that has to do with no document: it has no primary, no room, no time, or no
// rights for this service.
var sharedCodes = []int{
	1,              // InternalError, with which the embedded store says that of its disk
	6, 7, 89, 9001, // HostUnreachable, HostNotFound, NetworkTimeout, SocketException
	13, 18, // Unauthorized, AuthenticationFailed
	24, 43, 50, 112, 262, // LockTimeout, CursorNotFound, MaxTimeMSExpired, WriteConflict, ExceededTimeLimit
	64, 79, 100, // WriteConcernFailed, UnknownReplWriteConcern, UnsatisfiableWriteConcern
	91, 189, 10107, 11600, 11601, 11602, // ShutdownInProgress, PrimarySteppedDown, NotWritablePrimary, Interrupted…
	134, 13388, 13435, 13436, 8000, 16500, // ReadConcernMajorityNotAvailableYet, StaleConfig, NotPrimary…, AtlasError, throttled by Cosmos DB
	14031, // OutOfDiskSpace
}

// isOwn says whether an error may be one conversation's own: its documents cannot be read or contradict each other, or
// the database refuses a write, such as one of a document over 16 MB. All others are those of the whole database, or of
// Kafka, and nobody's own.
func isOwn(err error) bool {
	var server mongo.ServerError
	switch {
	case err == nil || mongo.IsTimeout(err) || mongo.IsNetworkError(err) || errors.Is(err, context.Canceled):
		return false
	case errors.As(err, &server):
		return !slices.ContainsFunc(sharedCodes, server.HasErrorCode)
	}
	var decode *bson.DecodeError
	var marshal mongo.MarshalError
	return errors.Is(err, errInconsistent) || errors.Is(err, errConflict) || errors.As(err, &decode) || errors.As(err, &marshal) ||
		errors.Is(err, kerr.MessageTooLarge) || errors.Is(err, kerr.InvalidRecord)
}

// load learns which conversations of partitions are in quarantine.
func (q *quarantine) load(ctx context.Context, partitions []int32) error {
	all, err := q.listQuarantine(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range all {
		if slices.Contains(partitions, h.From.Partition) {
			q.holds[h.Conversation] = h
		}
	}
	return err
}

// drop forgets the conversations of partitions that go.
func (q *quarantine) drop(partitions []int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.holds, func(_ string, h hold) bool { return slices.Contains(partitions, h.From.Partition) })
}

// hold puts a conversation into quarantine, from a record on.
func (q *quarantine) hold(conversation string, from source, err error) {
	h := hold{Conversation: conversation, From: from, Reason: err.Error(), Since: q.now()}
	q.mu.Lock()
	old, known := q.holds[conversation]
	if !known || from.before(old.From) {
		q.holds[conversation] = h
	}
	q.mu.Unlock()
	if !known {
		q.tell(h, err)
	}
}

// lift lets the records of a conversation through that come from now on.
func (q *quarantine) lift(conversation string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.holds, conversation)
}

// size is how many conversations of this instance are in quarantine.
func (q *quarantine) size() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.holds)
}

// blocks says whether a record is kept, or, without a source, what a killed instance left undone.
func (q *quarantine) blocks(conversation string, at source) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	h, ok := q.holds[conversation]
	return ok && (h.From == at || h.From.before(at))
}

// blame counts an error for the conversation whose own it is, if it is one's, and puts that into quarantine if it fails
// too often. It gives the error, after which one has to try again.
func (q *quarantine) blame(err error, inputs []input, tries attempts) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	if tries[f.conversation]++; tries[f.conversation] < ownTries {
		return err
	}
	for _, in := range inputs {
		if in.source.Log != "" && in.invalid == nil && in.record.Conversation == f.conversation {
			q.hold(f.conversation, in.source, f.err)
			break
		}
	}
	return err
}

// held is what follows from a record in quarantine: it is kept.
func held(in input) effects {
	switch {
	case in.source.Log == "": // restore finds again what was left undone
		return effects{outcome: done}
	case in.record.Type == wire.RecordRelease: // in vain
		return effects{input: in, outcome: noted}
	}
	return effects{input: in, outcome: quarantined}
}

// divert has records kept that were decided before their conversation went into quarantine.
func (q *quarantine) divert(batches []*batch) {
	for _, b := range batches {
		for i, e := range b.effects {
			if e.outcome != invalid && q.blocks(e.conversation(), e.input.source) {
				b.effects[i] = held(e.input)
			}
		}
	}
}

// store stores what follows from records, and keeps those in quarantine. After an error one has to try again. What is
// kept is written with the database that refused something else, so nothing goes on where all writes are refused.
func (q *quarantine) store(ctx context.Context, batches []*batch, tries attempts) error {
	q.divert(batches)
	all := allEffects(batches)
	if err := q.keep(ctx, all); err != nil {
		return err
	}
	err := q.database.store(ctx, all)
	if !isOwn(err) {
		return err
	}
	return q.storeEach(ctx, all, tries, err)
}

// storeEach stores what follows from records by conversation, after it could not be stored together, to find out which
// ones cannot. If that is so of all, it is the database's own matter.
func (q *quarantine) storeEach(ctx context.Context, all []effects, tries attempts, cause error) error {
	of := map[string][]effects{}
	var ids []string // in order
	for _, e := range all {
		if !e.writes() {
			continue
		}
		id := e.conversation()
		if of[id] == nil {
			ids = append(ids, id)
		}
		of[id] = append(of[id], e)
	}
	var failed []error
	for _, id := range ids {
		err := failureOf(id, q.storeEffects(ctx, of[id]))
		var f *failure
		if err != nil && !errors.As(err, &f) {
			return err
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	if len(failed) == 0 {
		return q.putPositions(ctx, positionsOf(all))
	}
	if len(failed) == len(ids) && len(ids) > 1 {
		return cause
	}
	inputs := make([]input, len(all))
	for i, e := range all {
		inputs[i] = e.input
	}
	for _, err := range failed {
		cause = q.blame(err, inputs, tries)
	}
	return cause
}

// keep writes records in quarantine into the database: the conversation first, so that a successor keeps them, too.
func (q *quarantine) keep(ctx context.Context, all []effects) error {
	var records []heldRecord
	for _, e := range all {
		if e.outcome != quarantined {
			continue
		}
		id, at := e.input.record.Conversation, e.input.source
		records = append(records, heldRecord{
			ID: id + "/" + at.place() + "/" + strconv.FormatInt(at.Offset, 10), Conversation: id, Source: at, Value: wire.Encode(e.input.record),
		})
	}
	if len(records) == 0 {
		return nil
	}
	q.mu.Lock()
	holds := maps.Clone(q.holds)
	q.mu.Unlock()
	written := map[string]bool{}
	for _, r := range records {
		h, ok := holds[r.Conversation]
		if !ok || written[h.Conversation] {
			continue
		}
		if err := store.Upsert(ctx, q.quarantines, h.Conversation, bson.D{
			{Key: "$set", Value: bson.D{{Key: "reason", Value: h.Reason}}},
			{Key: "$setOnInsert", Value: bson.D{{Key: "from", Value: h.From}, {Key: "since", Value: h.Since}}},
		}); err != nil {
			return err
		}
		written[h.Conversation] = true
	}
	_, err := q.heldRecords.InsertMany(ctx, records, options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	if errors.As(err, &bulk) && bulk.WriteConcernError == nil && !slices.ContainsFunc(bulk.WriteErrors, func(e mongo.BulkWriteError) bool {
		return !e.HasErrorCode(duplicateKey)
	}) {
		return nil // they are there
	}
	if err != nil {
		return fmt.Errorf("keep records in quarantine: %w", err)
	}
	return nil
}

// listQuarantine gives the conversations in quarantine, those that are longest in it first. There are few, so all are
// read.
func (d *database) listQuarantine(ctx context.Context) (all []hold, err error) {
	cursor, err := d.quarantines.Find(ctx, bson.D{})
	if err == nil {
		err = cursor.All(ctx, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read the quarantine: %w", err)
	}
	slices.SortFunc(all, func(a, b hold) int { return a.Since.Compare(b.Since) })
	return all, nil
}

// heldOf gives the records of a conversation that are kept, in order. What becomes of them now follows from the record
// that releases them.
func (d *database) heldOf(ctx context.Context, conversation string, release *kgo.Record) (all []input, err error) {
	var docs []heldRecord
	cursor, err := d.heldRecords.Find(ctx, bson.D{{Key: "conversation", Value: conversation}})
	if err == nil {
		err = cursor.All(ctx, &docs)
	}
	if err != nil {
		return nil, fmt.Errorf("read the quarantine of %s: %w", conversation, err)
	}
	slices.SortFunc(docs, func(a, b heldRecord) int { return cmp.Compare(a.Source.Offset, b.Source.Offset) })
	for _, doc := range docs {
		r := &kgo.Record{
			Topic: release.Topic, Partition: doc.Source.Partition, Offset: doc.Source.Offset, Key: []byte(conversation), Value: doc.Value, Context: release.Context,
		}
		in := parse(r, doc.Source.Log)
		if in.invalid == nil {
			in.raw = release
		}
		all = append(all, in)
	}
	return all, nil
}

// endQuarantine forgets what was kept of a conversation, all of which is stored now. The conversation goes last, so
// that whoever is killed in between leaves it in quarantine, to be released again.
func (d *database) endQuarantine(ctx context.Context, conversation string) error {
	if _, err := d.heldRecords.DeleteMany(ctx, bson.D{{Key: "conversation", Value: conversation}}); err != nil {
		return fmt.Errorf("release %s: %w", conversation, err)
	}
	if err := store.Delete(ctx, d.quarantines, conversation); err != nil {
		return fmt.Errorf("release %s: %w", conversation, err)
	}
	return nil
}
