package join

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// recorder keeps what a join emits.
type recorder struct {
	*Join
	t       *testing.T
	dir     string
	emitted []Joined
	late    []string
}

func start(t *testing.T, o Options) *recorder {
	t.Helper()
	r := &recorder{t: t, dir: t.TempDir()}
	o.Dir = r.dir
	o.Emit = func(j Joined) error {
		r.emitted = append(r.emitted, j)
		return nil
	}
	o.Late = func(s side.Side, result Result) { r.late = append(r.late, fmt.Sprintf("%v %v", s, result.Key)) }
	var err error
	r.Join, err = New(o)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, r.Close())
		require.Empty(t, r.files())
	})
	return r
}

// small makes segments and buffers so small that a test has many.
func (r *recorder) small() *recorder {
	r.disk.segmentSize, r.disk.bufferSize = 300, 100
	return r
}

func (r *recorder) files() []string {
	files, err := filepath.Glob(filepath.Join(r.dir, "*"))
	require.NoError(r.t, err)
	return files
}

func (r *recorder) add(s side.Side, key Key, body string) {
	r.t.Helper()
	require.NoError(r.t, r.Add(s, Result{Key: key, Kind: "kind", Body: []byte(body)}))
}

func (r *recorder) advance(stream string, upTo int64) {
	r.t.Helper()
	for _, s := range side.All() {
		require.NoError(r.t, r.Advance(s, stream, upTo))
	}
}

// takeEmitted writes each join that was emitted since the last call in a line: its key, and each side's body.
func (r *recorder) takeEmitted() (lines []string) {
	for _, j := range r.emitted {
		line := j.Key.String()
		for _, result := range j.Results {
			switch {
			case result == nil:
				line += " -"
			case j.Same:
				line += " ="
			default:
				line += " " + string(result.Body)
			}
		}
		if j.Dropped {
			line += " dropped"
		}
		lines = append(lines, line)
	}
	r.emitted = nil
	return lines
}

func at(offset int64) Key { return Key{Stream: "messages/3", Offset: offset} }

func TestAnEntryIsSmall(t *testing.T) {
	require.EqualValues(t, entrySize, unsafe.Sizeof(entry{}))
	require.LessOrEqual(t, maxSegments+1, 1<<16/2, "the numbers of segments come again")
}

func TestOrderOfOffsetsDecides(t *testing.T) {
	r := start(t, Options{})
	r.add(side.Live, at(7), "a")
	r.add(side.Live, at(5), "a")
	r.add(side.Candidate, at(5), "a")
	r.add(side.Baseline, at(5), "a")
	r.add(side.Baseline, at(6), "b")
	r.add(side.Candidate, at(7), "")
	require.NoError(t, r.Advance(side.Live, "messages/3", 100))
	require.NoError(t, r.Advance(side.Baseline, "messages/3", 6))
	require.Empty(t, r.takeEmitted(), "the candidate has not said anything")
	require.NoError(t, r.Advance(side.Candidate, "messages/3", 5))
	require.Equal(t, []string{"messages/3@5 = = ="}, r.takeEmitted())
	require.NoError(t, r.Advance(side.Candidate, "messages/3", 4), "a lower one")
	require.NoError(t, r.Advance(side.Candidate, "messages/3", 7))
	require.Equal(t, []string{"messages/3@6 - - b"}, r.takeEmitted())
	require.NoError(t, r.Advance(side.Baseline, "messages/3", 7))
	require.Equal(t, []string{"messages/3@7 a  -"}, r.takeEmitted())
	require.Equal(t, Stats{Emitted: 3}, r.Stats())
}

func TestResults(t *testing.T) {
	r := start(t, Options{})
	require.NoError(t, r.Add(side.Live, Result{Key: at(0), Kind: "frame", Body: []byte("a"), Latency: 1500*time.Microsecond + 1}))
	require.NoError(t, r.Add(side.Candidate, Result{Key: at(0), Kind: "refusal", Body: []byte("b"), Latency: 100 * time.Hour, Error: true}))
	require.NoError(t, r.Add(side.Baseline, Result{Key: at(0), Kind: "frame", Body: []byte("a"), Latency: -time.Hour}))
	r.advance("messages/3", 0)
	require.Equal(t, []Joined{{Key: at(0), Results: [side.Count]*Result{
		{Key: at(0), Kind: "frame", Body: []byte("a"), Latency: 1500 * time.Microsecond},
		{Key: at(0), Kind: "refusal", Body: []byte("b"), Latency: (1<<32 - 1) * time.Microsecond, Error: true},
		{Key: at(0), Kind: "frame", Body: []byte("a")},
	}}}, r.emitted)
}

func TestRepeatedAndLate(t *testing.T) {
	r := start(t, Options{})
	r.add(side.Candidate, at(1), "a")
	r.add(side.Candidate, at(1), "a")
	r.add(side.Candidate, at(1), "b")
	r.advance("messages/3", 1)
	require.Equal(t, []string{"messages/3@1 - a -"}, r.takeEmitted(), "the first counts")
	r.add(side.Live, at(1), "a")
	r.add(side.Baseline, at(0), "a")
	r.add(side.Baseline, Key{Stream: "messages/4", Offset: 0}, "a")
	require.Equal(t, []string{"live messages/3@1", "baseline messages/3@0"}, r.late)
	require.Equal(t, Stats{Open: 1, Emitted: 1, Late: 2, Repeated: 2, Contradictions: 1, Disk: headerSize + 1}, r.Stats())
}

func TestDroppedResultsAreNotMissing(t *testing.T) {
	r := start(t, Options{OpenLimit: 4})
	for _, offset := range []int64{0, 6, 5, 3} { // of which there is room for two
		r.add(side.Live, at(offset), "a")
	}
	r.add(side.Candidate, at(0), "b")
	r.advance("messages/3", 2)
	require.Equal(t, []string{"messages/3@0 a b -"}, r.takeEmitted(), "before the first that was dropped")
	r.add(side.Candidate, at(3), "a")
	r.advance("messages/3", 3)
	require.Equal(t, []string{"messages/3@3 - a - dropped"}, r.takeEmitted())
	for _, s := range side.All() {
		r.add(s, at(4), "a")
	}
	r.advance("messages/3", 4)
	require.Equal(t, []string{"messages/3@4 = = ="}, r.takeEmitted(), "it is complete")
	r.add(side.Baseline, at(5), "a")
	r.advance("messages/3", 6)
	require.Equal(t, []string{"messages/3@5 - - a dropped", "messages/3@6 a - -"}, r.takeEmitted(), "after the last that was dropped")
	for _, offset := range []int64{7, 8, 9} {
		r.add(side.Live, at(offset), "a")
	}
	r.advance("messages/3", 9)
	require.Equal(t, []string{"messages/3@7 a - -", "messages/3@8 a - -"}, r.takeEmitted(), "only the ninth was dropped")
}

func TestTooManyOpenJoinsDropResults(t *testing.T) {
	r := start(t, Options{OpenLimit: 4})
	for offset := range int64(3) {
		r.add(side.Live, at(offset), "a")
	}
	require.EqualValues(t, 1, r.Stats().Dropped)
	r.add(side.Candidate, at(1), "a")
	r.advance("messages/3", 0)
	r.add(side.Candidate, at(2), "a")
	r.add(side.Baseline, at(2), "a")
	r.advance("messages/3", 2)
	require.Equal(t, []string{"messages/3@0 a - -", "messages/3@1 a a -", "messages/3@2 - a a dropped"}, r.takeEmitted())
}

func TestErrorsSayWhatToDo(t *testing.T) {
	_, err := New(Options{Dir: t.TempDir()})
	require.ErrorContains(t, err, "a join needs Emit")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	emit := func(Joined) error { return nil }
	_, err = New(Options{Dir: file, Emit: emit})
	require.ErrorContains(t, err, "give the join another one")
	_, err = New(Options{Dir: t.TempDir(), DiskLimit: -1, Emit: emit})
	require.ErrorContains(t, err, "the limit of a join's disk is -1 bytes; write one of at most")

	r := start(t, Options{})
	err = r.Add(side.Live, Result{Key: at(1), Body: make([]byte, maxBody+1)})
	require.ErrorContains(t, err, "the body of messages/3@1 on the live side has 4194305 bytes, and may have 4194304")
	for i := range maxKinds {
		require.NoError(t, r.Add(side.Live, Result{Key: at(int64(i)), Kind: fmt.Sprint(i)}))
	}
	require.ErrorContains(t, r.Add(side.Live, Result{Key: at(maxKinds), Kind: "id-5"}), `"id-5" would be another kind of result beside 256`)
}

func TestEmitMayFail(t *testing.T) {
	broken := errors.New("broken")
	var got []int64
	j, err := New(Options{Dir: t.TempDir(), Emit: func(j Joined) error {
		got = append(got, j.Key.Offset)
		if j.Key.Offset == 1 {
			return broken
		}
		return nil
	}})
	require.NoError(t, err)
	for offset := range int64(3) {
		require.NoError(t, j.Add(side.Live, Result{Key: at(offset)}))
	}
	require.NoError(t, j.Advance(side.Live, "messages/3", 2))
	require.NoError(t, j.Advance(side.Candidate, "messages/3", 2))
	require.ErrorIs(t, j.Advance(side.Baseline, "messages/3", 2), broken)
	require.NoError(t, j.Advance(side.Baseline, "messages/3", 2))
	require.Equal(t, []int64{0, 1, 2}, got)
	require.NoError(t, j.Close())
}

// Each side is a goroutine of its own.
func TestSidesAtOnce(t *testing.T) {
	r := start(t, Options{}).small()
	var sides sync.WaitGroup
	for _, s := range side.All() {
		sides.Go(func() {
			for offset := range int64(2000) {
				for _, stream := range []string{"a", "b"} {
					body := fmt.Sprint(offset)
					if s == side.Candidate && offset%10 == 0 {
						body = "other"
					}
					if r.Add(s, Result{Key: Key{Stream: stream, Offset: offset}, Body: []byte(body)}) != nil || r.Advance(s, stream, offset) != nil {
						panic("the join failed")
					}
				}
			}
		})
	}
	sides.Wait()
	require.Equal(t, Stats{Emitted: 4000}, r.Stats())
	next := map[string]int64{}
	for _, j := range r.emitted {
		require.Equal(t, next[j.Key.Stream], j.Key.Offset)
		next[j.Key.Stream]++
		require.Equal(t, j.Key.Offset%10 != 0, j.Same)
	}
}
