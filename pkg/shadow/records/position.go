package records

import (
	"maps"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// Position is where a Reader begins, and how far one has come: a Reader that begins where another has ended gives the
// results that the other has not given of all sides, each as the other would have.
type Position struct {
	// Counted are the first records whose results count, and First the first of them whose results have not been given of
	// all sides: partition to offset.
	Counted map[int32]int64 `json:"counted"`
	First   map[int32]int64 `json:"first"`
	// Complete says of each side before which record of a partition its results are complete. What it writes after that
	// because of such a record is a repetition.
	Complete [side.Count]map[int32]int64 `json:"complete"`
	// Topics are those of the sides that are read, and their partitions.
	Topics map[string]map[int32]Place `json:"topics"`
	// Lost and Repeated are as in Facts.
	Lost     [side.Count]int64 `json:"lost"`
	Repeated [side.Count]int64 `json:"repeated"`
}

// Place is how far a partition of a side's topic is read.
type Place struct {
	// From is the first record that a result needs which has not been given of all sides, and Next the first that has
	// not been read.
	From int64 `json:"from"`
	Next int64 `json:"next"`
	// Repetitions are the records between the two that came after their result was complete.
	Repetitions []int64 `json:"repetitions,omitempty"`
}

// Begin gives the position from which nothing has been read: counted are the first records whose results count, and
// live is where the live side's topics are read from, at or before what follows from those.
func Begin(counted map[int32]int64, live kadm.ListedOffsets) Position {
	p := Position{Counted: counted, First: counted, Topics: map[string]map[int32]Place{}}
	live.Each(func(l kadm.ListedOffset) {
		if p.Topics[l.Topic] == nil {
			p.Topics[l.Topic] = map[int32]Place{}
		}
		p.Topics[l.Topic][l.Partition] = Place{From: l.Offset, Next: l.Offset}
	})
	return p
}

// Position gives how far the reader has come. It may be called by Settled, and when Run has returned nil.
func (r *Reader) Position() Position {
	p := Position{Counted: r.o.Begin.Counted, First: map[int32]int64{}, Topics: map[string]map[int32]Place{}}
	for n := range r.inputs {
		p.First[n] = r.first(n)
	}
	for s, a := range r.sides {
		p.Complete[s] = maps.Clone(a.complete)
	}
	for topic, of := range r.read {
		if topic == r.input {
			continue
		}
		p.Topics[topic] = map[int32]Place{}
		for n, read := range of {
			p.Topics[topic][n] = read.place()
		}
	}
	facts := r.Facts()
	p.Lost, p.Repeated = facts.Lost, facts.Repeated
	return p
}

// first gives the first record of a partition whose result has not been given of all sides.
func (r *Reader) first(n int32) int64 {
	first := r.sides[0].given[n]
	for _, a := range r.sides {
		first = min(first, a.given[n])
	}
	return first
}

// partition is what is read of a topic's partition.
type partition struct {
	next int64 // the offset of the next record
	// Of a side's topic: open are the outputs whose results have not been given of all sides, in their order. Those
	// before known an earlier reader has read, too, and repetitions are those of them that came too late for it.
	open        []follower
	known       int64
	repetitions map[int64]bool
}

// follower is an output, and from which record it follows.
type follower struct {
	offset   int64
	input    int32
	source   int64
	repeated bool // it came after its result was complete
}

func at(place Place) *partition {
	p := &partition{next: place.From, known: place.Next, repetitions: map[int64]bool{}}
	for _, offset := range place.Repetitions {
		p.repetitions[offset] = true
	}
	return p
}

func (p *partition) place() Place {
	place := Place{From: p.next, Next: max(p.next, p.known)}
	if len(p.open) > 0 {
		place.From = p.open[0].offset
	}
	for _, f := range p.open {
		if f.repeated {
			place.Repetitions = append(place.Repetitions, f.offset)
		}
	}
	for offset := range p.repetitions {
		if offset >= p.next { // not read again yet
			place.Repetitions = append(place.Repetitions, offset)
		}
	}
	return place
}

// trim forgets the outputs before the first whose result has not been given of all sides.
func (p *partition) trim(first func(input int32) int64) {
	i := 0
	for i < len(p.open) && p.open[i].source < first(p.open[i].input) {
		i++
	}
	p.open = p.open[i:]
}
