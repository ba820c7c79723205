package sockets

import (
	"bytes"
	"slices"
	"time"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// Result is what one side said in a frame, how it closed a socket, or what it gave to Kafka.
type Result struct {
	Kind    string
	Body    []byte // JSON
	Latency time.Duration
	Error   bool
}

// entry is one frame or record, with what each side made of it.
type entry struct {
	kind, id string
	first    time.Time // when the first side came with it
	state    state
	has      [side.Count]bool
	results  [side.Count]*Result
	label    string  // of what is handed over
	repeats  bool    // see frame
	of       *socket // of a record: where a mirrored client asked for it
	size     int64   // of the entry and its bodies
}

type state int

const (
	stateOpen state = iota
	stateLeft       // it does not count
	stateDone       // it is handed over, or will be as soon as it is its turn; what comes now is late
)

func (e *entry) isComplete() bool { return !slices.Contains(e.has[:], false) }

// entrySize is about what an entry needs in memory beside its bodies.
const entrySize = 256

// table brings together what belongs together. A frame of a side is the oldest entry of its kind and id that has nothing
// of this side: so the n-th of one side meets the n-th of another.
type table struct {
	byID  map[string][]*entry
	order []*entry // by their first
}

func newTable() table { return table{byID: map[string][]*entry{}} }

func key(kind, id string) string { return kind + "/" + id }

// find gives the oldest entry for which free holds, or nil.
func (t *table) find(kind, id string, free func(*entry) bool) *entry {
	all := t.byID[key(kind, id)]
	if i := slices.IndexFunc(all, free); i >= 0 {
		return all[i]
	}
	return nil
}

func (t *table) add(kind, id string, now time.Time) *entry {
	e := &entry{kind: kind, id: id, first: now}
	k := key(kind, id)
	t.byID[k] = append(t.byID[k], e)
	t.order = append(t.order, e)
	return e
}

// forget takes out the entries for which old holds.
func (t *table) forget(old func(*entry) bool) {
	t.order = slices.DeleteFunc(t.order, func(e *entry) bool {
		if !old(e) {
			return false
		}
		k := key(e.kind, e.id)
		if rest := slices.DeleteFunc(t.byID[k], func(o *entry) bool { return o == e }); len(rest) > 0 {
			t.byID[k] = rest
		} else {
			delete(t.byID, k)
		}
		return true
	})
}

// isSame says that all sides made the same of it.
func (e *entry) isSame() bool {
	for _, r := range e.results {
		if r == nil || !bytes.Equal(r.Body, e.results[0].Body) {
			return false
		}
	}
	return true
}

// set notes what a side made of it, and shares the memory of the same body.
func (e *entry) set(s side.Side, r Result) (size int64) {
	for _, o := range e.results {
		if o != nil && bytes.Equal(o.Body, r.Body) {
			r.Body = o.Body
			e.results[s], e.has[s] = &r, true
			return 0
		}
	}
	e.results[s], e.has[s] = &r, true
	return int64(len(r.Body))
}
