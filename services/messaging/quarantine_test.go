package messaging

import (
	"context"
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
	"github.com/labctl/labctl/test/scope"
)

// release is the record that releases a conversation.
func release(c *crowd, conversation string, offset int) *kgo.Record {
	r := wire.Record{Type: wire.RecordRelease, Conversation: conversation, Sender: c.users[0], ClientID: "release", At: wire.At(time.Unix(1, 0))}
	return &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(offset), Key: []byte(conversation), Value: wire.Encode(r)}
}

// incidental are what may differ: the read cursors of a head, since who has read a message that does not exist yet has read more when asked again, and
// a field that has no value, or is not there.
var incidental = regexp.MustCompile(`"reads":\{("[^"]*":\{[^}]*\},?)*\},|"blocks":null,`)

// faults are what can be wrong with one conversation, and its end.
func faults(c *crowd) map[string]struct {
	conversation string
	break_, mend func(*testing.T, *database)
} {
	set := func(collection func(*database) *mongo.Collection, id string, doc bson.D) func(*testing.T, *database) {
		return func(t *testing.T, d *database) {
			t.Helper()
			require.NoError(t, store.Upsert(t.Context(), collection(d), id, bson.D{{Key: "$set", Value: doc}}))
		}
	}
	remove := func(collection func(*database) *mongo.Collection, id string) func(*testing.T, *database) {
		return func(t *testing.T, d *database) {
			t.Helper()
			_, err := collection(d).DeleteOne(t.Context(), bson.D{{Key: "_id", Value: id}})
			require.NoError(t, err)
		}
	}
	buckets := func(d *database) *mongo.Collection { return d.buckets }
	rosters := func(d *database) *mongo.Collection { return d.rosters }
	messages := func(d *database) *mongo.Collection { return d.messages }
	return map[string]struct {
		conversation string
		break_, mend func(*testing.T, *database)
	}{
		"changes cannot be written":      {c.g, set(buckets, c.g+"/0", bson.D{{Key: "changed", Value: "x"}}), set(buckets, c.g+"/0", bson.D{{Key: "changed", Value: bson.D{}}})},
		"the roster cannot be read":      {c.dm, set(rosters, c.dm, bson.D{{Key: "seq", Value: "x"}}), remove(rosters, c.dm)},
		"a message is not what was said": {c.g, set(messages, c.g+"/7", bson.D{{Key: "sender", Value: "x"}}), remove(messages, c.g+"/7")},
	}
}

// One conversation cannot be handled. The others do not notice. Once that is mended, its records come to what they would have come to, in their order: also
// where instances are killed meanwhile, at any write of the database.
func TestQuarantineLosesNothing(t *testing.T) {
	const n, early = 150, 120 // records, and where the conversation is released in vain
	for name := range faults(newCrowd(0)) {
		t.Run(name, func(t *testing.T) {
			for seed := range scope.Of[uint64](1, 4) {
				c := newCrowd(300 + seed)
				fault, records := faults(c)[name], c.records(t, n)
				for _, r := range records[early:] {
					r.Offset++
				}
				records = slices.Insert(records, early, release(c, fault.conversation, early))
				want, end := reference(t, records)
				random := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // to be repeated
				d, die := newMortalDatabase(t)
				told, heard := map[int64]decided{}, map[int64]int{}
				committed := int64(0)
				live := func(records []*kgo.Record, deaths int) {
					for alive := false; !alive; {
						ctx, cancel := context.WithCancel(t.Context())
						i := newInstance(t, d, committed, int64(len(records)))
						require.NoError(t, i.quarantine.load(ctx, []int32{partitionOfAll}))
						if deaths--; deaths > 0 {
							die(int64(1+random.IntN(25)), cancel)
						}
						err := i.live(ctx, random, records, func(e effects) {
							now := tell(t, e)
							if e.outcome == quarantined {
								require.Equal(t, fault.conversation, e.conversation())
								heard[e.input.source.Offset]++
								return
							}
							told[e.input.source.Offset] = now
						})
						committed = i.committed
						alive = err == nil
						if !alive {
							require.ErrorIs(t, ctx.Err(), context.Canceled, "%v", err)
						}
						cancel()
					}
				}
				fault.break_(t, d)
				inQuarantine := func(n int) {
					holds, err := d.listQuarantine(t.Context())
					require.NoError(t, err)
					require.Len(t, holds, n)
				}
				live(records[:early], 20)
				require.EqualValues(t, early, committed, "the partition goes on")
				require.NotEmpty(t, heard, "senders are told")
				inQuarantine(1)
				live(records[:early+1], 10)
				inQuarantine(1)

				fault.mend(t, d)
				live(records, 10) // it is mended, but what was kept comes first
				inQuarantine(1)
				live(append(records, release(c, fault.conversation, len(records))), 10)
				inQuarantine(0)
				for i, w := range want {
					require.Equal(t, w.Message, told[int64(i)].Message, "seed %d, record %d", seed, i)
					require.Equal(t, w.Code, told[int64(i)].Code, "seed %d, record %d", seed, i)
				}
				left, err := d.heldRecords.CountDocuments(t.Context(), bson.D{})
				require.NoError(t, err)
				require.Zero(t, left)
				got := strings.ReplaceAll(dump(t, d), `"log/3":151`, `"log/3":150`)
				require.Equal(t, incidental.ReplaceAllString(end, ""), incidental.ReplaceAllString(got, ""), "seed %d", seed)
			}
		})
	}
}

// A conversation with which the sequencer panics is alone with that.
func TestAPanicIsAConversationsOwn(t *testing.T) {
	d := newTestDatabase(t)
	c := newCrowd(0)
	say := func(offset int64, conversation string) *kgo.Record {
		r := wire.Record{Type: wire.RecordSend, Conversation: conversation, Sender: c.users[0], ClientID: wire.NewID(), Body: "hello", At: wire.At(time.Unix(1, 0))}
		return &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: offset, Key: []byte(conversation), Value: wire.Encode(r)}
	}
	other := wire.DirectID(c.users[0], c.users[2])
	i := newInstance(t, d, 0, 0)
	_, err := i.decide(t.Context(), []*kgo.Record{say(0, c.dm), say(1, other)})
	require.NoError(t, err)
	i.state.conversations[c.dm].cursors = nil
	got, err := i.decide(t.Context(), []*kgo.Record{say(2, c.dm), say(3, other)})
	require.NoError(t, err)
	require.Equal(t, quarantined, got[0].outcome)
	require.EqualValues(t, 2, got[1].message.Seq)
	require.Contains(t, string(frames(got[0])[0].Value), wire.CodeHeld)
	got, err = i.decide(t.Context(), []*kgo.Record{say(4, c.dm), release(c, c.dm, 5), say(6, c.dm)})
	require.NoError(t, err)
	require.NoError(t, i.drain(t.Context()))
	var seqs []int64
	for _, e := range got {
		if e.outcome == accepted {
			seqs = append(seqs, e.message.Seq)
		}
	}
	require.Equal(t, []int64{2, 3, 4}, seqs)
}

// Errors of the whole database are nobody's own.
func TestWhoseErrorItIs(t *testing.T) {
	for name, tt := range map[string]struct {
		err error
		own bool
	}{
		"no primary":       {mongo.CommandError{Code: 10107}, false},
		"no room":          {mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 14031}}}, false},
		"no connection":    {mongo.CommandError{Labels: []string{"NetworkError"}}, false},
		"no time":          {context.DeadlineExceeded, false},
		"nobody knows":     {errors.New("x"), false},
		"too large":        {mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: 17419}}}, true},
		"not what is said": {errConflict, true},
	} {
		require.Equal(t, tt.own, isOwn(tt.err), name)
	}
}

// A database that refuses all conversations has a fault of its own, and nobody goes into quarantine.
func TestADatabaseThatRefusesAll(t *testing.T) {
	d := newTestDatabase(t)
	c := newCrowd(0)
	var inputs []*kgo.Record
	for n, to := range c.users[1:3] {
		id := wire.DirectID(c.users[0], to)
		_, err := d.messages.InsertOne(t.Context(), bson.D{{Key: "_id", Value: id + "/1"}, {Key: "sender", Value: "another"}})
		require.NoError(t, err)
		r := wire.Record{Type: wire.RecordSend, Conversation: id, Sender: c.users[0], ClientID: "1", Body: "hello", At: wire.At(time.Unix(1, 0))}
		inputs = append(inputs, &kgo.Record{Topic: "messages", Partition: partitionOfAll, Offset: int64(n), Key: []byte(id), Value: wire.Encode(r)})
	}
	i := newInstance(t, d, 0, 0)
	for n := range inputs { // as if nothing were there
		i.state.conversations[string(inputs[n].Key)] = newConversation(string(inputs[n].Key))
	}
	_, err := i.decide(t.Context(), inputs)
	require.NoError(t, err)
	tries := attempts{}
	for range 2 * ownTries {
		require.ErrorIs(t, i.quarantine.store(t.Context(), i.published, tries), errConflict)
	}
	require.Zero(t, i.quarantine.size())
}
