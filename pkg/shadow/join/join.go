// Package join brings together what the three sides of a shadow made of the same record.
//
// Records are joined by their place in a stream, such as a partition of a topic. A side says how far in the stream all
// its results have been added; once all three are past an offset, its join is emitted. So it is order that decides when
// a join is complete, and never time.
//
// Memory and disk are bounded. In memory an open join has 56 bytes; bodies are in files, and are read back only where
// they differ. Bodies are compared by a digest of 64 bits with a random key: two different ones are taken for the same
// with a probability of 5e-20.
package join

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/shadow/side"
)

const (
	defaultDiskLimit = 1 << 30
	defaultOpenLimit = 1 << 20
	maxBody          = 4 << 20
	maxKinds         = 1 << 8
)

// Key says of which record a result is.
type Key struct {
	Stream string // such as "messages/3"
	Offset int64  // in its stream, from 0
}

func (k Key) String() string { return fmt.Sprintf("%s@%d", k.Stream, k.Offset) }

// Result is what a side made of a record.
type Result struct {
	Key     Key
	Kind    string        // a name, such as the type of a frame, of which there may be 256
	Body    []byte        // in canonical form, see package compare
	Latency time.Duration // kept to the microsecond, up to an hour
	Error   bool
}

// Joined is what is known of a record in the end.
type Joined struct {
	Key     Key
	Results [side.Count]*Result // by side; nil if the side has none. Sides with the same body share its memory
	// Same says that all three are there with the same body. Their Body is nil then: it was not read back.
	Same bool
	// Dropped says that a side may have no result here only because there was no room for it. It says nothing about the
	// side.
	Dropped bool
}

// Options are those of New.
type Options struct {
	// Dir is a directory for this join alone. Bodies are kept there in files that nobody else can read.
	Dir string
	// DiskLimit is how many bytes of bodies there may be, by default 1 GiB, and OpenLimit how many open joins, by
	// default 1,048,576. Of both a stream may take as much as it leaves free, so that one that stands still leaves room
	// for others.
	DiskLimit int64
	OpenLimit int
	// Emit is given what is joined, of a stream in the order of offsets, and owns it. Late is given results of records
	// that have been emitted already; it may be nil. Neither may call the join.
	Emit func(Joined) error
	Late func(side.Side, Result)
}

// Stats count what has come and gone.
type Stats struct {
	Open           int64 `json:"open"`           // joins that have not been emitted
	Emitted        int64 `json:"emitted"`        // joins
	Late           int64 `json:"late"`           // results that came after their join was emitted
	Repeated       int64 `json:"repeated"`       // results that a side had already, as after a crash
	Contradictions int64 `json:"contradictions"` // repeated results with another body than the first, which counts
	Dropped        int64 `json:"dropped"`        // results that there was no room for
	Disk           int64 `json:"disk"`           // bytes of bodies
}

// Join may be used by several goroutines at once.
type Join struct {
	options Options
	seed    maphash.Seed

	mu      sync.Mutex
	disk    *disk
	streams map[string]*stream
	kinds   []string
	kindOf  map[string]uint8
	stats   Stats
}

// stream is one order of records.
type stream struct {
	name     string
	bodies   *spill
	records  ordered
	complete [side.Count]int64 // up to where each side has added all
	// Between these offsets results have been dropped.
	dropped          bool
	dropLow, dropTop int64
}

// New takes the directory over, and removes what an earlier join has left there.
func New(o Options) (*Join, error) {
	if o.Emit == nil {
		return nil, errors.New("a join needs Emit, which takes what was joined")
	}
	if o.DiskLimit == 0 {
		o.DiskLimit = defaultDiskLimit
	}
	if o.OpenLimit == 0 {
		o.OpenLimit = defaultOpenLimit
	}
	disk, err := openDisk(o.Dir, o.DiskLimit)
	if err != nil {
		return nil, err
	}
	return &Join{options: o, seed: maphash.MakeSeed(), disk: disk, streams: map[string]*stream{}, kindOf: map[string]uint8{}}, nil
}

// Add takes a side's result in.
//
// Where there is no room, the result is dropped: Stats counts it, and Joined.Dropped says where it may lack. After an
// error, such as one of the disk, the result may be added again.
func (j *Join) Add(s side.Side, r Result) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(r.Body) > maxBody {
		return fmt.Errorf("the body of %v on the %v side has %d bytes, and may have %d; cut it before it is added", r.Key, s, len(r.Body), maxBody)
	}
	st := j.stream(r.Key.Stream)
	if r.Key.Offset <= st.emitted() {
		j.stats.Late++
		if j.options.Late != nil {
			j.options.Late(s, r)
		}
		return nil
	}
	digest := maphash.Bytes(j.seed, r.Body)
	open := st.records.find(r.Key.Offset)
	if open != nil && open.has(s) {
		j.stats.Repeated++
		if open.digest[s] != digest {
			j.stats.Contradictions++
		}
		return nil
	}
	kind, err := j.kind(r.Kind)
	if err != nil {
		return err
	}
	if open == nil && st.records.count >= j.options.OpenLimit-int(j.stats.Open) {
		j.drop(st, r.Key.Offset)
		return nil
	}
	e := entry{offset: r.Key.Offset}
	if open != nil {
		e = *open
	}
	if !e.knows(digest) {
		if err := st.bodies.add(&e, s, r.Body); errors.Is(err, errDiskFull) {
			j.drop(st, r.Key.Offset)
			return nil
		} else if err != nil {
			return err
		}
	}
	e.set(s, digest, kind, r.Latency, r.Error)
	if open != nil {
		*open = e
		return nil
	}
	st.records.insert(e)
	st.bodies.hold(e.oldest)
	j.stats.Open++
	return nil
}

// drop counts a result that there is no room for.
func (j *Join) drop(st *stream, offset int64) {
	j.stats.Dropped++
	if !st.dropped {
		st.dropped, st.dropLow, st.dropTop = true, offset, offset
	}
	st.dropLow, st.dropTop = min(st.dropLow, offset), max(st.dropTop, offset)
}

// Advance says that all results of a side in a stream up to and including an offset have been added. It emits the joins
// that are complete by that. A lower offset than before changes nothing. After an error it may be called again: it goes
// on with the join that could not be read, or after the one that Emit refused.
func (j *Join) Advance(s side.Side, name string, upTo int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	st := j.stream(name)
	st.complete[s] = max(st.complete[s], upTo)
	for {
		e := st.records.first()
		if e == nil || e.offset > st.emitted() {
			break
		}
		joined, err := j.load(st, Key{Stream: name, Offset: e.offset}, e)
		if err != nil {
			return err
		}
		joined.Dropped = !e.isComplete() && st.dropped && st.dropLow <= e.offset && e.offset <= st.dropTop
		oldest := e.oldest
		st.records.pop()
		if err := j.emit(st, oldest, joined); err != nil {
			return err
		}
	}
	if st.dropped && st.dropTop <= st.emitted() {
		st.dropped = false
	}
	return nil
}

// Stats gives the counts so far.
func (j *Join) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	stats := j.stats
	stats.Disk = j.disk.used
	return stats
}

// Close removes the files. Joins that are still open are not emitted.
func (j *Join) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var err error
	for _, st := range j.streams {
		err = errors.Join(err, st.bodies.close())
	}
	clear(j.streams)
	return err
}

func (j *Join) stream(name string) *stream {
	st := j.streams[name]
	if st == nil {
		st = &stream{name: name, bodies: &spill{disk: j.disk}}
		for i := range st.complete {
			st.complete[i] = math.MinInt64
		}
		j.streams[name] = st
	}
	return st
}

func (j *Join) kind(name string) (uint8, error) {
	kind, known := j.kindOf[name]
	if !known {
		if len(j.kinds) == maxKinds {
			return 0, fmt.Errorf("%q would be another kind of result beside %d; a kind is a name such as a frame's type, and holds no ids", name, maxKinds)
		}
		kind = uint8(len(j.kinds))
		j.kinds = append(j.kinds, name)
		j.kindOf[name] = kind
	}
	return kind, nil
}

// emit hands on a join that has been taken out of its stream.
func (j *Join) emit(st *stream, oldest uint16, joined Joined) error {
	j.stats.Open--
	j.stats.Emitted++
	return errors.Join(st.bodies.release(oldest), j.options.Emit(joined))
}

// load makes an entry what the caller knows, with the bodies if they differ.
func (j *Join) load(st *stream, key Key, e *entry) (Joined, error) {
	joined := Joined{Key: key, Same: e.isSame()}
	results := new([side.Count]Result)
	for _, s := range side.All() {
		if e.has(s) {
			results[s] = Result{Key: key, Kind: j.kinds[e.kind[s]], Latency: time.Duration(e.latency[s]) * time.Microsecond, Error: e.state&(stateError<<s) != 0}
			joined.Results[s] = &results[s]
		}
	}
	if joined.Same {
		return joined, nil
	}
	bodies, err := st.bodies.load(e, func(s side.Side, body []byte) bool { return maphash.Bytes(j.seed, body) == e.digest[s] })
	if err != nil {
		return joined, fmt.Errorf("join %v: %w", key, err)
	}
	for _, s := range side.All() {
		if e.has(s) {
			results[s].Body = bodies[s]
		}
	}
	return joined, nil
}

// emitted is up to which offset joins have been emitted: up to where all sides have advanced.
func (st *stream) emitted() int64 { return min(st.complete[0], st.complete[1], st.complete[2]) }
