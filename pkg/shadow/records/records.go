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
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
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
	// Begin is where the reader begins.
	Begin Position
	// Settled, if any, is called by Run after it has given results. There is the place to keep the reader's Position
	// beside what was made of the results.
	Settled func()
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
	// Times is how often the side wrote it in a row, where that is more than once.
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
	// Repeated is how many outputs came again because a side has handled records or sent a batch once more, as after a
	// crash of its own or of a broker.
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
	read   map[string]map[int32]*partition // of each topic that is read
	waits  map[string]bool                 // topics that are not there yet

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
		inputs: map[int32]*inputs{}, read: map[string]map[int32]*partition{}, waits: map[string]bool{},
		facts: Facts{Lost: o.Begin.Lost, Repeated: o.Begin.Repeated},
	}
	for _, s := range side.All() {
		r.sides[s] = newAssembler(s, o.Begin)
		for _, topic := range topics.Outputs(o.Service) {
			name := o.Sides[s].Writes(topic)
			if places, ok := o.Begin.Topics[name]; ok {
				r.consume(name, places)
			} else if s != side.Live {
				r.waits[name] = true
			}
		}
	}
	places := map[int32]Place{}
	for n, offset := range o.Begin.First {
		r.inputs[n] = &inputs{}
		places[n] = Place{From: offset}
	}
	r.consume(r.input, places)
	return r, nil
}

// consume begins to read a topic.
func (r *Reader) consume(topic string, places map[int32]Place) {
	from := map[int32]kgo.Offset{}
	r.read[topic] = map[int32]*partition{}
	for n, p := range places {
		from[n] = kgo.NewOffset().At(p.From)
		r.read[topic][n] = at(p)
	}
	r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
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
		if r.o.Settled != nil {
			r.o.Settled()
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
		p := r.read[rec.Topic][rec.Partition]
		if p == nil {
			return
		}
		gap := rec.Offset - p.next
		p.next = rec.Offset + 1
		if rec.Topic != r.input {
			r.takeOutput(rec, p, gap)
		} else if in := r.inputs[rec.Partition]; in != nil {
			in.add(rec)
		}
	})
	return failed
}

// takeOutput takes a record of a side's topic, before which some were deleted before they were read.
func (r *Reader) takeOutput(rec *kgo.Record, p *partition, deleted int64) {
	s, name := r.sideOf(rec.Topic)
	r.mu.Lock()
	r.facts.Lost[s] += max(0, deleted)
	r.mu.Unlock()
	topic, n, offset, ok := sourceOf(rec)
	if !ok || topic != r.input || r.inputs[n] == nil || offset < r.o.Begin.Counted[n] {
		return // it follows from something else, or from before the beginning
	}
	a, isKnown := r.sides[s], rec.Offset < p.known
	if isKnown && offset < r.o.Begin.First[n] {
		return // an earlier reader has given its result
	}
	f := follower{offset: rec.Offset, input: n, source: offset}
	isLate := offset < a.complete[n] && !isKnown
	if f.repeated = isLate || p.repetitions[rec.Offset] || !a.add(name, n, offset, rec); f.repeated && !isKnown {
		r.mu.Lock()
		r.facts.Repeated[s]++
		r.mu.Unlock()
	}
	p.open = append(p.open, f)
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
		in.trim(r.first(n))
	}
	for _, of := range r.read {
		for _, p := range of {
			p.trim(r.first)
		}
	}
	return nil
}

// give gives the sink a side's results before an offset.
func (r *Reader) give(s side.Side, n int32, before int64) error {
	a := r.sides[s]
	if before <= a.given[n] {
		return nil
	}
	for _, i := range r.inputs[n].between(a.given[n], before) {
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
