// Package records reads what the three sides of a shadow make of the records of a topic.
//
// A result is all that a side writes because of one record: the records in its topics whose header `source` names that
// one. It is complete once the side has committed an offset behind the record and its topics are read up to where they
// ended after that: a side commits a record when all that follows from it is written. So no time decides.
package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

// Options say whose results are read, and from where.
type Options struct {
	// Kafka are the options of a client that may read the topics and the groups' offsets of all sides.
	Kafka []kgo.Opt
	// Service is the service that the sides are copies of.
	Service string
	// Sides are the names that set each side apart.
	Sides [side.Count]topics.Names
	// From are the first records whose results count: partition to offset.
	From map[int32]int64
	// Live is where the live side's topics are read from: topic to partition to offset, at or before what follows from
	// the records of From.
	Live kadm.ListedOffsets
}

// Result is what one side made of one record.
type Result struct {
	Partition int32
	Offset    int64
	Kind      string        // the type of the record, such as send, or its topic; empty where nothing follows from it
	Body      []byte        // JSON: {"outputs": [...]}, see Output
	Latency   time.Duration // from the record to the last output; 0 where there is none
	Dead      bool          // the record went to the dead letters
}

// Output is a record that a side wrote.
type Output struct {
	Topic string `json:"topic"` // as in services/topics
	Key   string `json:"key"`
	To    string `json:"to,omitempty"`
	// Reason is why a record went to the dead letters.
	Reason string `json:"reason,omitempty"`
	// Disordered says that the side wrote what follows from a later record of the partition before it, with the same key.
	Disordered bool `json:"disordered,omitempty"`
	// Times is how often the side wrote it, where that is more than once.
	Times int `json:"times,omitempty"`
	// Value is JSON as it was written, or a string of what is none.
	Value json.RawMessage `json:"value"`
}

// Sink takes results, those of a side and a partition in the order of their offsets.
type Sink interface {
	Add(side.Side, Result) error
	// Advance says that all results of a side up to and including an offset have been added.
	Advance(s side.Side, partition int32, upTo int64) error
}

// checkEvery is the time between two looks at how far the sides have come. Nothing depends on it but how soon results
// are seen.
const checkEvery = 200 * time.Millisecond

// Facts are what is known of the sides beside their results.
type Facts struct {
	// Lag is how many records of the topic a side has not handled yet.
	Lag [side.Count]int64
	// Lost is how many records of a side's topics were deleted before they were read.
	Lost [side.Count]int64
	// Repeated is how many outputs came again after their result was complete, as after a crash of the side.
	Repeated [side.Count]int64
}

// Reader reads results.
type Reader struct {
	o      Options
	input  string // the topic that the sides read
	client *kgo.Client
	admin  *kadm.Client
	sink   Sink
	inputs map[int32]*inputs
	sides  [side.Count]*assembler
	next   map[string]map[int32]int64 // of each topic that is read: the offset of the next record
	waits  map[string]bool            // topics that are not there yet

	mu    sync.Mutex
	facts Facts
}

// Open makes a reader. The brokers may be down yet.
func Open(o Options, sink Sink) (*Reader, error) {
	shared, ok := topics.Shared(o.Service)
	if !ok {
		return nil, fmt.Errorf("%s is in no consumer group, so no record of a topic is its to handle", o.Service)
	}
	client, err := kgo.NewClient(append(o.Kafka, kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		return nil, fmt.Errorf("read the results of %s: %w", o.Service, err)
	}
	r := &Reader{
		o: o, input: shared.Name, client: client, admin: kadm.NewClient(client), sink: sink,
		inputs: map[int32]*inputs{}, next: map[string]map[int32]int64{}, waits: map[string]bool{},
	}
	begin := map[string]map[int32]kgo.Offset{r.input: {}}
	r.next[r.input] = map[int32]int64{}
	for n, offset := range o.From {
		r.inputs[n] = &inputs{first: offset}
		begin[r.input][n] = kgo.NewOffset().At(offset)
		r.next[r.input][n] = offset
	}
	for _, s := range side.All() {
		r.sides[s] = newAssembler(s)
		for _, topic := range topics.Outputs(o.Service) {
			name := o.Sides[s].Writes(topic)
			if s != side.Live {
				r.waits[name] = true
				continue
			}
			begin[name], r.next[name] = map[int32]kgo.Offset{}, map[int32]int64{}
			for _, l := range o.Live[name] {
				begin[name][l.Partition] = kgo.NewOffset().At(l.Offset)
				r.next[name][l.Partition] = l.Offset
			}
		}
	}
	client.AddConsumePartitions(begin)
	return r, nil
}

// Facts gives what is known now.
func (r *Reader) Facts() Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts
}

// patience is how long the brokers may be away.
const patience = 5 * time.Minute

// Run reads until ctx ends, the sink fails, or the brokers are away for too long.
func (r *Reader) Run(ctx context.Context) error {
	defer r.client.Close()
	var pending []checkpoint
	looked, well := time.Time{}, time.Now()
	for {
		err := r.take(r.poll(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && time.Since(looked) >= checkEvery {
			looked = time.Now()
			err = r.look(ctx, &pending)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			well = time.Now()
		case time.Since(well) > patience:
			return err
		}
		if err := r.settle(&pending); err != nil {
			return err
		}
	}
}

// poll waits for records, for a while.
func (r *Reader) poll(ctx context.Context) kgo.Fetches {
	ctx, cancel := context.WithTimeout(ctx, checkEvery)
	defer cancel()
	return r.client.PollRecords(ctx, 5000)
}

// take gives records to those who assemble results of them.
func (r *Reader) take(fetches kgo.Fetches) error {
	var failed error
	fetches.EachError(func(topic string, n int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
			failed = errors.Join(failed, fmt.Errorf("read partition %d of the topic %s: %w", n, topic, err))
		}
	})
	fetches.EachRecord(func(rec *kgo.Record) {
		next, known := r.next[rec.Topic]
		if !known {
			return
		}
		r.count(rec, next[rec.Partition])
		next[rec.Partition] = rec.Offset + 1
		if rec.Topic == r.input {
			if in := r.inputs[rec.Partition]; in != nil {
				in.add(rec)
			}
			return
		}
		topic, n, offset, ok := sourceOf(rec)
		if in := r.inputs[n]; !ok || topic != r.input || in == nil || offset < r.o.From[n] {
			return // it follows from something else, or from before the beginning
		}
		s, name := r.sideOf(rec.Topic)
		if !r.sides[s].add(name, n, offset, rec) {
			r.mu.Lock()
			r.facts.Repeated[s]++
			r.mu.Unlock()
		}
	})
	return failed
}

// count says what was deleted before it was read.
func (r *Reader) count(rec *kgo.Record, expected int64) {
	if gap := rec.Offset - expected; gap > 0 && rec.Topic != r.input {
		s, _ := r.sideOf(rec.Topic)
		r.mu.Lock()
		r.facts.Lost[s] += gap
		r.mu.Unlock()
	}
}

// sideOf gives whose a topic is, and its name in the table.
func (r *Reader) sideOf(topic string) (side.Side, string) {
	for _, s := range side.All() {
		for _, name := range topics.Outputs(r.o.Service) {
			if r.o.Sides[s].Writes(name) == topic {
				return s, name
			}
		}
	}
	return side.Live, topic
}

// checkpoint is how far a side had come at some time: what it had committed, and where its topics ended after that.
type checkpoint struct {
	side      side.Side
	committed map[int32]int64
	ends      map[string]map[int32]int64
}

// look notes how far the sides have come.
func (r *Reader) look(ctx context.Context, pending *[]checkpoint) error {
	// The commits first: what they say is done is in topics that are there then, before the ends that are asked for then.
	var found []checkpoint
	for _, s := range side.All() {
		committed, err := r.admin.FetchOffsets(ctx, r.o.Sides[s].Group)
		if err != nil && !errors.Is(err, kerr.GroupIDNotFound) { // the side has not joined it yet
			return fmt.Errorf("ask for the commits of the group %s: %w", r.o.Sides[s].Group, err)
		}
		c := checkpoint{side: s, committed: map[int32]int64{}, ends: map[string]map[int32]int64{}}
		for n := range r.inputs {
			if at, ok := committed.Lookup(r.input, n); ok {
				c.committed[n] = at.At
			}
		}
		found = append(found, c)
	}
	if err := r.find(ctx); err != nil {
		return err
	}
	ends, err := r.admin.ListEndOffsets(ctx, slices.Collect(maps.Keys(r.next))...)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return fmt.Errorf("ask for the ends of the topics of %s: %w", r.o.Service, err)
	}
	var lag [side.Count]int64
	for _, c := range found {
		ends.Each(func(l kadm.ListedOffset) {
			if l.Topic == r.input {
				if in := r.inputs[l.Partition]; in != nil {
					lag[c.side] += max(0, l.Offset-max(c.committed[l.Partition], r.o.From[l.Partition]))
				}
				return
			}
			if s, _ := r.sideOf(l.Topic); s == c.side {
				of := c.ends[l.Topic]
				if of == nil {
					of = map[int32]int64{}
					c.ends[l.Topic] = of
				}
				of[l.Partition] = l.Offset
			}
		})
	}
	r.mu.Lock()
	r.facts.Lag = lag
	r.mu.Unlock()
	for _, c := range found {
		if !r.isWaited(c.side) && !slices.ContainsFunc(*pending, func(p checkpoint) bool { return p.side == c.side }) {
			*pending = append(*pending, c)
		}
	}
	return nil
}

// isWaited says whether a topic of a side is not there yet, or the client does not know yet that it is.
func (r *Reader) isWaited(s side.Side) bool {
	return slices.ContainsFunc(topics.Outputs(r.o.Service), func(topic string) bool { return r.waits[r.o.Sides[s].Writes(topic)] })
}

// find begins to read topics that have come to be.
func (r *Reader) find(ctx context.Context) error {
	if len(r.waits) == 0 {
		return nil
	}
	there, err := r.admin.ListTopics(ctx, slices.Collect(maps.Keys(r.waits))...)
	if err != nil {
		return fmt.Errorf("look for the topics of the shadow of %s: %w", r.o.Service, err)
	}
	for _, t := range there {
		if t.Err != nil || len(t.Partitions) == 0 {
			continue
		}
		from := map[int32]kgo.Offset{}
		r.next[t.Topic] = map[int32]int64{}
		for n := range t.Partitions {
			from[n] = kgo.NewOffset().AtStart()
			r.next[t.Topic][n] = 0
		}
		r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{t.Topic: from})
		delete(r.waits, t.Topic)
	}
	return nil
}

// settle gives the sink the results that are complete.
func (r *Reader) settle(pending *[]checkpoint) error {
	var left []checkpoint
	for _, c := range *pending {
		if !r.reached(c) {
			left = append(left, c)
			continue
		}
		for n, upTo := range c.committed {
			if err := r.give(c.side, n, upTo); err != nil {
				return err
			}
		}
	}
	*pending = left
	for n, in := range r.inputs {
		first := in.end()
		for _, a := range r.sides {
			first = min(first, max(a.given[n], in.first))
		}
		in.trim(first)
	}
	return nil
}

// reached says whether all is read that a checkpoint asks for.
func (r *Reader) reached(c checkpoint) bool {
	for topic, of := range c.ends {
		for n, end := range of {
			if r.next[topic][n] < end {
				return false
			}
		}
	}
	for n, committed := range c.committed {
		if r.next[r.input][n] < committed {
			return false
		}
	}
	return true
}

// give gives the sink a side's results before an offset.
func (r *Reader) give(s side.Side, n int32, before int64) error {
	a, in := r.sides[s], r.inputs[n]
	from := max(a.given[n], in.first)
	if before <= from {
		return nil
	}
	for _, i := range in.between(from, before) {
		result, err := a.result(n, i)
		if err != nil {
			return err
		}
		if err := r.sink.Add(s, result); err != nil {
			return err
		}
	}
	a.advance(n, before)
	return r.sink.Advance(s, n, before-1)
}

func sourceOf(r *kgo.Record) (topic string, n int32, offset int64, ok bool) {
	for _, h := range r.Headers {
		if h.Key == topics.SourceHeader {
			return topics.ParseSource(string(h.Value))
		}
	}
	return "", 0, 0, false
}
