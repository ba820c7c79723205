package records

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

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
	ends, err := r.admin.ListEndOffsets(ctx, slices.Collect(maps.Keys(r.read))...)
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
				if r.inputs[l.Partition] != nil {
					lag[c.side] += max(0, l.Offset-max(c.committed[l.Partition], r.o.Begin.First[l.Partition]))
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
		places := map[int32]Place{}
		for n := range t.Partitions {
			places[n] = Place{}
		}
		r.consume(t.Topic, places)
		delete(r.waits, t.Topic)
	}
	return nil
}

// reached says whether all is read that a checkpoint asks for.
func (r *Reader) reached(c checkpoint) bool {
	for topic, of := range c.ends {
		for n, end := range of {
			if r.read[topic][n].next < end {
				return false
			}
		}
	}
	for n, committed := range c.committed {
		if r.read[r.input][n].next < committed {
			return false
		}
	}
	return true
}
