// Package seed gives a shadow the state that the live service has: a copy of its database, beside which the service
// goes on, and the offsets of its consumer group from before the copy (docs/adr/0026-shadows.md).
package seed

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

// Start is where a shadow begins.
type Start struct {
	// Live is where the live service's own topics ended before the copy was made.
	Live kadm.ListedOffsets
	// Counted are the first records whose results are compared: those that came after the copy was made.
	Counted map[int32]int64
	// Documents is how many were copied.
	Documents int
}

// Take gives the candidate and the baseline of a service what they begin with: it notes the live group's commits, copies
// the live database, notes where the topic ends after that, and commits for their groups what it noted at first. order
// are the live database's collections in the order in which they are to be read; see messaging.CopyOrder. A copy that is
// there is replaced. progress, if any, hears how many documents are copied.
func Take(ctx context.Context, service string, kafka *kadm.Client, db *mongo.Client, order []string, progress func(documents int)) (start Start, err error) {
	shared, ok := topics.Shared(service)
	if !ok {
		return start, fmt.Errorf("%s is in no consumer group", service)
	}
	offsets, err := commits(ctx, kafka, shared)
	if err != nil {
		return start, err
	}
	live, copies := db.Database(service), []*mongo.Database{}
	names := side.NamesOf(service)
	for _, s := range copied() {
		copies = append(copies, db.Database(names[s].Group))
	}
	if start.Live, err = outputs(ctx, kafka, service); err != nil {
		return start, err
	}
	for _, to := range copies {
		if err := to.Drop(ctx); err != nil {
			return start, fmt.Errorf("drop the database %s, to copy %s anew: %w", to.Name(), live.Name(), err)
		}
	}
	for _, name := range order {
		n, err := copyCollection(ctx, live.Collection(name), copies)
		if err != nil {
			return start, fmt.Errorf("copy the collection %s of the database %s: %w", name, live.Name(), err)
		}
		start.Documents += n
		if progress != nil {
			progress(start.Documents)
		}
	}
	if start.Counted, err = ends(ctx, kafka, shared.Name); err != nil {
		return start, err
	}
	for _, s := range copied() {
		if err := kafka.CommitAllOffsets(ctx, names[s].Group, offsets); err != nil {
			return start, fmt.Errorf("commit for the consumer group %s what the live one has handled: %w", names[s].Group, err)
		}
	}
	return start, nil
}

// HasBegun says whether the candidate and the baseline of a service are at work: members of their consumer groups.
func HasBegun(ctx context.Context, kafka *kadm.Client, service string) (bool, error) {
	names := side.NamesOf(service)
	for _, s := range copied() {
		groups, err := kafka.DescribeGroups(ctx, names[s].Group)
		if err != nil {
			return false, fmt.Errorf("look at the consumer group %s: %w", names[s].Group, err)
		}
		if g := groups[names[s].Group]; len(g.Members) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// Now gives a start at the ends of the topics as they are, for sides that run already.
func Now(ctx context.Context, service string, kafka *kadm.Client) (start Start, err error) {
	if start.Live, err = outputs(ctx, kafka, service); err != nil {
		return start, err
	}
	shared, _ := topics.Shared(service)
	start.Counted, err = ends(ctx, kafka, shared.Name)
	return start, err
}

// outputs gives where the live service's own topics end.
func outputs(ctx context.Context, kafka *kadm.Client, service string) (kadm.ListedOffsets, error) {
	all, err := kafka.ListEndOffsets(ctx, topics.Outputs(service)...)
	if err == nil {
		err = all.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of the topics of %s: %w", service, err)
	}
	return all, nil
}

// ends gives where a topic ends.
func ends(ctx context.Context, kafka *kadm.Client, topic string) (map[int32]int64, error) {
	all, err := kafka.ListEndOffsets(ctx, topic)
	if err == nil {
		err = all.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the ends of the topic %s: %w", topic, err)
	}
	found := map[int32]int64{}
	all.Each(func(o kadm.ListedOffset) { found[o.Partition] = o.Offset })
	return found, nil
}

// copied are the sides that begin with a copy.
func copied() []side.Side { return []side.Side{side.Candidate, side.Baseline} }

// commits gives what a group has committed of its topic, and the start of partitions of which it has committed nothing.
func commits(ctx context.Context, kafka *kadm.Client, topic topics.Topic) (offsets kadm.Offsets, err error) {
	starts, err := kafka.ListStartOffsets(ctx, topic.Name)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the starts of the topic %s: %w", topic.Name, err)
	}
	committed, err := kafka.FetchOffsets(ctx, topic.Group)
	if err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, fmt.Errorf("ask for the commits of the group %s: %w", topic.Group, err)
	}
	starts.Each(func(o kadm.ListedOffset) {
		next := kadm.Offset{Topic: topic.Name, Partition: o.Partition, At: o.Offset, LeaderEpoch: -1}
		if at, ok := committed.Lookup(topic.Name, o.Partition); ok && at.At >= 0 {
			next.At = at.At
		}
		offsets.Add(next)
	})
	if len(offsets) == 0 {
		return nil, errors.New("the topic " + topic.Name + " has no partitions")
	}
	return offsets, nil
}

// chunk is how many documents are written at once.
const chunk = 500

// copyCollection copies documents as they are.
func copyCollection(ctx context.Context, from *mongo.Collection, copies []*mongo.Database) (n int, err error) {
	for _, to := range copies { // also one that is empty
		if err := to.CreateCollection(ctx, from.Name()); err != nil {
			return 0, err
		}
	}
	cursor, err := from.Find(ctx, bson.D{}, options.Find().SetBatchSize(chunk))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, cursor.Close(context.WithoutCancel(ctx))) }()
	var docs []any
	flush := func() error {
		if len(docs) == 0 {
			return nil
		}
		for _, to := range copies {
			if _, err := to.Collection(from.Name()).InsertMany(ctx, docs, options.InsertMany().SetOrdered(false)); err != nil {
				return err
			}
		}
		n += len(docs)
		docs = docs[:0]
		return nil
	}
	for cursor.Next(ctx) {
		docs = append(docs, append(bson.Raw(nil), cursor.Current...))
		if len(docs) == chunk {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := cursor.Err(); err != nil {
		return n, err
	}
	return n, flush()
}

// Clean removes all that the candidate, the baseline and the comparer of a service have in Kafka and in the database. What
// is not there is no error.
func Clean(ctx context.Context, kafka *kadm.Client, db *mongo.Client, service string) error {
	names := side.NamesOf(service)
	there, err := kafka.ListTopics(ctx)
	if err != nil {
		return fmt.Errorf("look for the topics of the shadow of %s: %w", service, err)
	}
	for _, s := range copied() {
		for _, topic := range there.Names() {
			if !strings.HasPrefix(topic, names[s].WritePrefix) {
				continue
			}
			if r, err := kafka.DeleteTopic(ctx, topic); err != nil && !errors.Is(r.Err, kerr.UnknownTopicOrPartition) {
				return fmt.Errorf("delete the topic %s: %w", topic, err)
			}
		}
		if _, ok := topics.Shared(service); ok {
			r, err := kafka.DeleteGroup(ctx, names[s].Group)
			if err = errors.Join(err, r.Err); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
				return fmt.Errorf("delete the consumer group %s: %w", names[s].Group, err)
			}
		}
	}
	if !topics.Follows(service) {
		return nil
	}
	for _, name := range []string{names[side.Candidate].Group, names[side.Baseline].Group, topics.Comparer(service)} {
		if err := db.Database(name).Drop(ctx); err != nil {
			return fmt.Errorf("drop the database %s: %w", name, err)
		}
	}
	return nil
}
