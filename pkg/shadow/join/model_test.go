package join

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// model is a join that keeps everything in memory, as simply as can be.
type model struct {
	results  map[Key]*[side.Count]*string
	complete map[string]*[side.Count]int64
	lines    []string
	stats    Stats
}

func (m *model) add(s side.Side, key Key, body string) {
	if key.Offset <= slices.Min(m.at(key.Stream)[:]) {
		m.stats.Late++
		return
	}
	if m.results[key] == nil {
		m.results[key] = &[side.Count]*string{}
	}
	switch before := m.results[key][s]; {
	case before == nil:
		m.results[key][s] = &body
	case *before == body:
		m.stats.Repeated++
	default:
		m.stats.Repeated++
		m.stats.Contradictions++
	}
}

func (m *model) at(stream string) *[side.Count]int64 {
	if m.complete[stream] == nil {
		m.complete[stream] = &[side.Count]int64{-1, -1, -1}
	}
	return m.complete[stream]
}

func (m *model) advance(s side.Side, stream string, upTo int64) {
	complete := m.at(stream)
	complete[s] = max(complete[s], upTo)
	var keys []Key
	for key := range m.results {
		if key.Stream == stream && key.Offset <= slices.Min(complete[:]) {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b Key) int { return int(a.Offset - b.Offset) })
	for _, key := range keys {
		m.emit(key)
	}
}

func (m *model) emit(key Key) {
	line, results := key.String(), m.results[key]
	same := !slices.Contains(results[:], nil) && *results[0] == *results[1] && *results[0] == *results[2]
	for _, body := range results {
		switch {
		case body == nil:
			line += " -"
		case same:
			line += " ="
		default:
			line += " " + *body
		}
	}
	m.lines = append(m.lines, line)
	m.stats.Emitted++
	delete(m.results, key)
}

// A join does what the model does, however the sides' results, positions and crashes come between each other.
func TestModel(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			r := start(t, Options{})
			if seed%4 != 0 {
				r.small()
			}
			m := &model{results: map[Key]*[side.Count]*string{}, complete: map[string]*[side.Count]int64{}}
			add := func(s side.Side, key Key, body string) {
				r.add(s, key, body)
				m.add(s, key, body)
			}
			type reader struct {
				side         side.Side
				stream       string
				next, commit int64
			}
			var readers []*reader
			streams := []string{"a/0", "a/1", "b"}[:1+rng.IntN(3)]
			for _, s := range side.All() {
				for _, stream := range streams {
					readers = append(readers, &reader{side: s, stream: stream})
				}
			}
			for _, stream := range streams {
				r.stream(stream).bodies.first = uint16(1<<16 - rng.IntN(20)) // their numbers begin again
			}
			gap := 1 + rng.Int64N(4)
			for range 3000 {
				w := readers[rng.IntN(len(readers))]
				body := fmt.Sprintf("%0*d", 1+rng.IntN(60), w.next)
				switch n := rng.IntN(87); {
				case n < 60:
					if rng.IntN(20) > 0 { // else it is missing
						if rng.IntN(4) > 0 {
							body = fmt.Sprint("body of ", w.next)
						}
						add(w.side, Key{Stream: w.stream, Offset: w.next}, body)
					}
					w.next += 1 + rng.Int64N(gap)
				case n < 80: // all before next have been added
					w.commit = w.next
					require.NoError(t, r.Advance(w.side, w.stream, w.commit-1))
					m.advance(w.side, w.stream, w.commit-1)
				case n < 83: // a crash: it begins again at its commit
					w.next = w.commit
				case n < 86: // out of order, perhaps late
					add(w.side, Key{Stream: w.stream, Offset: rng.Int64N(w.next + 10)}, body)
				default:
					earlier := rng.Int64N(w.commit + 1)
					require.NoError(t, r.Advance(w.side, w.stream, earlier-1))
					m.advance(w.side, w.stream, earlier-1)
				}
				require.Equal(t, len(m.results), int(r.Stats().Open))
			}
			for _, stream := range streams {
				for _, s := range side.All() {
					require.NoError(t, r.Advance(s, stream, 1<<40))
					m.advance(s, stream, 1<<40)
				}
			}
			require.Equal(t, m.lines, r.takeEmitted())
			m.stats.Open, m.stats.Disk = int64(len(m.results)), r.Stats().Disk
			require.Equal(t, m.stats, r.Stats())
			require.Len(t, r.late, int(m.stats.Late))
			require.Zero(t, r.Stats().Disk)
			require.Empty(t, r.files())
		})
	}
}

// Entries come back in order, whatever the order in which they came.
func TestOrdered(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var o ordered
		var want []int64
		for i := range int64(5000) {
			offset := rng.Int64N(1 << 20)
			if rng.IntN(2) == 0 { // as most come: at the end
				offset = 1<<20 + i
			}
			switch at, known := slices.BinarySearch(want, offset); {
			case known:
				require.Equal(t, offset, o.find(offset).offset)
			case rng.IntN(8) == 0 && o.count > 0:
				require.Equal(t, want[0], o.first().offset)
				want = want[1:]
				o.pop()
			default:
				require.Nil(t, o.find(offset))
				want = slices.Insert(want, at, offset)
				o.insert(entry{offset: offset})
			}
		}
		for _, offset := range want {
			require.Equal(t, offset, o.first().offset)
			o.pop()
		}
		require.Zero(t, o.count)
		require.Nil(t, o.first())
	}
}

// What comes in order leaves no room unused, and what comes after others were popped does not make small blocks.
func TestBlocksAreFull(t *testing.T) {
	var o ordered
	for offset := range int64(10 * blockEntries) {
		o.insert(entry{offset: 2 * offset})
	}
	require.Len(t, o.blocks, 10)
	for range blockEntries - 1 {
		o.pop()
	}
	for offset := range int64(blockEntries - 1) {
		o.insert(entry{offset: 2*offset - 1})
	}
	require.Len(t, o.blocks, 10)
	require.Equal(t, int64(-1), o.first().offset)
}

func TestBetweenFullBlocks(t *testing.T) {
	var o ordered
	for offset := range int64(3 * blockEntries) {
		o.insert(entry{offset: 2 * offset})
	}
	const between = 2*blockEntries - 1
	o.insert(entry{offset: between})
	require.NotNil(t, o.find(between))
	for previous := int64(-1); o.count > 0; o.pop() {
		require.Greater(t, o.first().offset, previous)
		previous = o.first().offset
	}
}
