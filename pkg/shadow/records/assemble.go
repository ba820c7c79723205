package records

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

// assembler puts together what one side wrote because of each record.
type assembler struct {
	side side.Side
	// Of each partition: the results before given were given, and those before complete are complete. Both are the same
	// but for results that an earlier reader has given.
	given, complete map[int32]int64
	open            map[int32]map[int64][]written
	last            map[place]int64 // of each key: the last record from which something with that key follows
}

// written is an output, when and by which producer it was written, and the last time at which offset of its partition.
type written struct {
	Output
	at     time.Time
	by     producer
	offset int64
}

// producer is another one for each process, and for one that could not be sure of what it has written.
type producer struct {
	id    int64
	epoch int16
}

// place is a key among what follows from one partition. Records with one key reach devices in their order.
type place struct {
	topic, key string
	partition  int32
}

func newAssembler(s side.Side, begin Position) *assembler {
	a := &assembler{
		side: s, given: maps.Clone(begin.First), complete: maps.Clone(begin.First),
		open: map[int32]map[int64][]written{}, last: map[place]int64{},
	}
	maps.Copy(a.complete, begin.Complete[s])
	return a
}

// add takes an output. ok is false where it came again because the side has handled the record once more, as after a
// crash, or has sent a batch once more: consumers take it once. What a side writes twice in a row, its result says. Where
// it was handled once more, only those count who were not told before.
func (a *assembler) add(topic string, n int32, offset int64, r *kgo.Record) (ok bool) {
	by := producer{r.ProducerID, r.ProducerEpoch}
	o := Output{Topic: topic, Key: string(r.Key), Value: valueOf(r.Value)}
	for _, h := range r.Headers {
		switch h.Key {
		case "to":
			o.To = string(h.Value)
		case "reason":
			o.Reason = string(h.Value)
		}
	}
	of := a.open[n]
	if of == nil {
		of = map[int64][]written{}
		a.open[n] = of
	}
	if i := slices.IndexFunc(of[offset], func(w written) bool { return w.same(o) }); i >= 0 {
		before := &of[offset][i]
		if before.by != by || before.offset+1 != r.Offset {
			return false
		}
		before.Times, before.offset = max(1, before.Times)+1, r.Offset
		return true
	}
	if again := told(of[offset], o, by); again != nil {
		// The process that did it once more knew the members as they were by then.
		o.To = strings.Join(without(strings.Split(o.To, ","), again), ",")
		if o.To == "" {
			return false
		}
	}
	at := place{topic, o.Key, n}
	o.Disordered = a.last[at] > offset
	a.last[at] = max(a.last[at], offset)
	of[offset] = append(of[offset], written{o, r.Timestamp, by, r.Offset})
	return true
}

func (o Output) same(other Output) bool { return o.To == other.To && o.alike(other) }

// alike is same, whoever is told.
func (o Output) alike(other Output) bool {
	return o.Topic == other.Topic && o.Key == other.Key && o.Reason == other.Reason && bytes.Equal(o.Value, other.Value)
}

// told gives the users whom other processes have told the same before.
func told(before []written, o Output, by producer) (users []string) {
	for _, w := range before {
		if w.by != by && w.To != "" && o.To != "" && w.alike(o) {
			users = append(users, strings.Split(w.To, ",")...)
		}
	}
	return users
}

func without(users, others []string) []string {
	return slices.DeleteFunc(users, func(u string) bool { return slices.Contains(others, u) })
}

// valueOf gives a record's value as JSON.
func valueOf(v []byte) json.RawMessage {
	if json.Valid(v) && utf8.Valid(v) {
		return v
	}
	text, err := json.Marshal(string(v))
	if err != nil {
		return json.RawMessage("null")
	}
	return text
}

// result gives what the side made of a record. The order of outputs with different keys says nothing.
func (a *assembler) result(n int32, in input) (Result, error) {
	all := a.open[n][in.offset]
	slices.SortStableFunc(all, func(x, y written) int {
		return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Key, y.Key))
	})
	r := Result{Partition: n, Offset: in.offset}
	if len(all) > 0 {
		r.Kind = in.kind
	}
	outputs := make([]Output, len(all))
	for i, w := range all {
		outputs[i] = w.Output
		r.Latency = max(r.Latency, w.at.Sub(in.at))
		r.Dead = r.Dead || w.Topic == topics.Dead
	}
	body, err := json.Marshal(struct {
		Outputs []Output `json:"outputs"`
	}{outputs})
	if err != nil {
		return r, fmt.Errorf("result of %s for partition %d, offset %d: %w", a.side, n, in.offset, err)
	}
	r.Body = body
	return r, nil
}

// advance forgets what was given.
func (a *assembler) advance(n int32, before int64) {
	a.given[n], a.complete[n] = before, max(before, a.complete[n])
	for offset := range a.open[n] {
		if offset < before {
			delete(a.open[n], offset)
		}
	}
	for at, offset := range a.last {
		if at.partition == n && offset < before { // nothing that comes now is earlier
			delete(a.last, at)
		}
	}
}
