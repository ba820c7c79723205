package render

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
)

// hand is a clock that a test turns.
type hand struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hand) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hand) turn(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

type fixture struct {
	*Renderer
	clock    *hand
	out, err *bytes.Buffer
}

func newFixture(t *testing.T, set func(*Options)) *fixture {
	t.Helper()
	streams, out, err := iostreams.Test()
	clock := &hand{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	// The channel never ticks: a test calls tick itself.
	opts := Options{Streams: streams, Now: clock.Now, Tick: make(chan time.Time)}
	if set != nil {
		set(&opts)
	}
	f := &fixture{Renderer: New(opts), clock: clock, out: out, err: err}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestPlainSaysWhatItDoesAndHowFarItIs(t *testing.T) {
	f := newFixture(t, nil)
	f.Emit(event.Event{Kind: event.Started, Step: "1-cluster"})
	f.Emit(event.Event{Kind: event.Progress, Step: "1-cluster", Message: "building kubernetes", Done: 100, Total: 400})
	f.clock.turn(9 * time.Second)
	f.tick()
	require.NotContains(t, f.err.String(), "building", "a step speaks at most every ten seconds")
	f.clock.turn(time.Second)
	f.tick()
	f.tick()
	f.Emit(event.Event{Kind: event.Warning, Step: "1-cluster", Message: "no conntrack"})
	f.Emit(event.Event{Kind: event.Log, Step: "1-cluster", Message: "a tool's line"})
	f.clock.turn(65 * time.Second)
	f.Emit(event.Event{Kind: event.Done, Step: "1-cluster", Message: "ready"})
	f.Emit(event.Event{Kind: event.Started, Step: "2-databases"})
	f.Emit(event.Event{Kind: event.Skipped, Step: "2-databases", Message: "unchanged"})
	f.Emit(event.Event{Kind: event.Started, Step: "5-release"})
	f.Emit(event.Event{Kind: event.Failed, Step: "5-release", Err: "the pod never got ready\nits log"})
	f.Emit(event.Event{Kind: event.Result, Message: "the chat is at http://127.0.0.1:8080"})
	require.NoError(t, f.Close())

	require.Equal(t, strings.Join([]string{
		"    0:00  1-cluster: started",
		"    0:10  1-cluster: 100/400 (25%) building kubernetes (10.0s)",
		"    0:10  1-cluster: warning: no conntrack",
		"    1:15  1-cluster: ready (1m15s)",
		"    1:15  2-databases: started",
		"    1:15  2-databases: unchanged",
		"    1:15  5-release: started",
		"    1:15  5-release: FAILED: the pod never got ready",
		"",
	}, "\n"), f.err.String())
	require.Equal(t, "the chat is at http://127.0.0.1:8080\n", f.out.String(), "only the result goes to stdout")
}

func TestVerboseShowsToolLines(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Verbose = true })
	f.Emit(event.Event{Kind: event.Log, Step: "1-cluster", Message: "a \x1b[31mtool's\x07 line"})
	require.Contains(t, f.err.String(), "1-cluster: | a [31mtool's line\n", "a tool cannot move the cursor")
}

func TestLogFileHoldsEverythingButProgress(t *testing.T) {
	var log bytes.Buffer
	f := newFixture(t, func(o *Options) { o.Log = &log })
	f.Emit(event.Event{Kind: event.Started, Step: "s"})
	f.Emit(event.Event{Kind: event.Progress, Step: "s", Message: "now"})
	f.Emit(event.Event{Kind: event.Log, Step: "s", Message: "line"})
	f.Emit(event.Event{Kind: event.Failed, Step: "s", Err: "why\nand how"})
	require.Equal(t, "2026-11-21T12:00:00.000Z s: started\n2026-11-21T12:00:00.000Z s: | line\n"+
		"2026-11-21T12:00:00.000Z s: FAILED: why\nand how\n", log.String())
	require.NotContains(t, f.err.String(), "line")
}

func TestResultsAreInNoLog(t *testing.T) {
	for name, json := range map[string]bool{"people": false, "programs": true} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			f := newFixture(t, func(o *Options) { o.Log, o.JSON, o.Verbose = &log, json, true })
			f.Emit(event.Event{Kind: event.Result, Message: "user ada password hunter2"})
			f.Emit(event.Event{Kind: event.Log, Step: "s", Message: "line"})
			require.NoError(t, f.Close())
			require.Contains(t, f.out.String(), "hunter2", "the user gets the result")
			require.NotContains(t, log.String(), "hunter2")
			require.NotContains(t, f.err.String(), "hunter2", "stderr is often kept")
			require.Contains(t, log.String(), "line")
		})
	}
}

func TestJSONIsOneEventALine(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.JSON = true; o.Streams.Terminal = true })
	f.Emit(event.Event{Kind: event.Started, Step: "s"})
	for done := range int64(50) {
		f.Emit(event.Event{Kind: event.Progress, Step: "s", Done: done + 1, Total: 50})
	}
	f.Emit(event.Event{Kind: event.Log, Step: "s", Message: "hidden"})
	f.clock.turn(2 * time.Second)
	f.Emit(event.Event{Kind: event.Done, Step: "s"})
	f.Emit(event.Event{Kind: event.Result, Message: "r"})
	f.tick()
	require.NoError(t, f.Close())

	var kinds []event.Kind
	for line := range strings.Lines(f.out.String()) {
		var e event.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		require.False(t, e.Time.IsZero())
		kinds = append(kinds, e.Kind)
		if e.Kind == event.Done {
			require.Equal(t, 2*time.Second, e.Elapsed)
		}
		if e.Kind == event.Progress {
			require.EqualValues(t, 50, e.Done, "the last word passes, a flood does not")
		}
	}
	require.Equal(t, []event.Kind{event.Started, event.Progress, event.Done, event.Result}, kinds)
	require.Empty(t, f.err.String())
}

// screen is the least terminal that can tell what a user sees.
func screen(t *testing.T, columns int, output string) []string {
	t.Helper()
	lines := [][]rune{nil}
	row, col := 0, 0
	for i := 0; i < len([]rune(output)); i++ {
		c := []rune(output)[i]
		switch {
		case c == '\n':
			row, col = row+1, 0
		case c == '\r':
			col = 0
		case c == 0x1b:
			rest := string([]rune(output)[i:])
			end := strings.IndexAny(rest[2:], "ABCDEFGHJKmhl")
			sequence := rest[2 : 2+end+1]
			i += 2 + end
			switch {
			case strings.HasSuffix(sequence, "A"):
				n := 0
				for _, digit := range sequence[:len(sequence)-1] {
					n = 10*n + int(digit-'0')
				}
				require.GreaterOrEqual(t, row, n, "the cursor leaves the screen")
				row -= n
			case sequence == "J":
				lines = lines[:row+1]
				lines[row] = lines[row][:min(col, len(lines[row]))]
			}
			continue
		default:
			require.Less(t, col, columns, "a line wraps: %q", string(lines[row]))
			lines[row] = append(lines[row][:col], c)
			col++
		}
		for len(lines) <= row {
			lines = append(lines, nil)
		}
	}
	var out []string
	for _, line := range lines {
		out = append(out, string(line))
	}
	return out
}

func TestLiveBlock(t *testing.T) {
	columns := 60
	f := newFixture(t, func(o *Options) {
		o.Streams.Terminal, o.Streams.Color = true, true
		o.Size = func() (int, int) { return columns, 6 }
	})
	f.Emit(event.Event{Kind: event.Started, Step: "1-cluster"})
	f.tick()
	f.Emit(event.Event{Kind: event.Progress, Step: "1-cluster", Done: 3, Total: 4,
		Message: "compiling k8s.io/kubernetes/pkg/kubelet/cm/devicemanager/checkpoint"})
	f.Emit(event.Event{Kind: event.Progress, Step: "5-release/image auth", Message: "waiting"})
	f.clock.turn(75 * time.Second)
	f.tick()
	require.Equal(t, []string{
		"⠹ 1-cluster  ███████████████░░░░░ 3/4 compiling k8s…  1m15s",
		"⠹ 5-release/image auth  waiting  1m15s",
		"",
	}, screen(t, columns, f.err.String()))

	f.Emit(event.Event{Kind: event.Done, Step: "1-cluster"})
	f.Emit(event.Event{Kind: event.Failed, Step: "5-release/image auth", Message: "does not compile"})
	f.Emit(event.Event{Kind: event.Warning, Message: "careful"})
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		f.Emit(event.Event{Kind: event.Started, Step: name})
	}
	f.tick()
	require.Equal(t, []string{
		"✓ 1-cluster  1m15s",
		"✗ 5-release/image auth: does not compile  1m15s",
		"! careful",
		"⠸ a  0.0s", "⠸ b  0.0s", "⠸ c  0.0s", "⠸ d  0.0s", "  and 2 more",
		"",
	}, screen(t, columns, f.err.String()), "the block never outgrows the terminal")

	f.Emit(event.Event{Kind: event.Result, Message: "done"})
	require.NoError(t, f.Close())
	require.NoError(t, f.Close(), "closing twice is closing once")
	require.Equal(t, []string{"✓ 1-cluster  1m15s", "✗ 5-release/image auth: does not compile  1m15s", "! careful", ""},
		screen(t, columns, f.err.String()), "the block goes, what ended stays")
	require.Equal(t, "done\n", f.out.String())
	require.Equal(t, strings.Count(f.err.String(), hide), strings.Count(f.err.String(), show), "the cursor is back")
	require.True(t, strings.HasSuffix(f.err.String(), show))
}

func TestNarrowTerminals(t *testing.T) {
	for columns := 5; columns < 90; columns += 3 {
		f := newFixture(t, func(o *Options) {
			o.Streams.Terminal = true
			o.Size = func() (int, int) { return columns, 24 }
		})
		f.Emit(event.Event{Kind: event.Progress, Step: "5-release/image frontend", Done: 70_000_000, Total: 90_000_000,
			Message: "compiling something long enough to be cut"})
		f.tick()
		for _, line := range screen(t, columns, f.err.String()) {
			require.Less(t, len([]rune(line)), columns)
		}
	}
}

func TestANarrowedTerminalIsCleared(t *testing.T) {
	columns := 60
	f := newFixture(t, func(o *Options) {
		o.Streams.Terminal = true
		o.Size = func() (int, int) { return columns, 24 }
	})
	f.Emit(event.Event{Kind: event.Progress, Step: "step", Message: strings.Repeat("m", 80)})
	f.tick()
	f.err.Reset()
	columns = 20
	f.tick()
	require.Contains(t, f.err.String(), "\x1b[3A", "59 columns wrapped at 20 are three rows")
}

func TestConcurrentEvents(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Streams.Terminal = true })
	var wg sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		wg.Go(func() {
			f.Emit(event.Event{Kind: event.Started, Step: name})
			for range 100 {
				f.Emit(event.Event{Kind: event.Progress, Step: name, Message: name})
				f.tick()
			}
			f.Emit(event.Event{Kind: event.Done, Step: name})
		})
	}
	wg.Wait()
	require.NoError(t, f.Close())
	require.Equal(t, 4, strings.Count(f.err.String(), "✓"))
}

// A run whose steps are known beforehand says how far it is, and how long it goes on as far as that is known.
func TestLiveSaysWhatIsLeft(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.Streams.Terminal = true })
	image := func(name string, took time.Duration) event.Step {
		return event.Step{Name: "5-release/image " + name, Stack: "5-release", Kind: "image", Took: took, AtOnce: 2}
	}
	f.Emit(event.Event{Kind: event.Planned, Plan: []event.Step{
		{Name: "1-cluster", Stack: "1-cluster", Kind: "terraform", Done: true, Took: time.Hour, AtOnce: 1},
		image("auth", 10*time.Second), image("groups", 20*time.Second), image("gateway", 30*time.Second),
		{Name: "5-release/release chat", Stack: "5-release", Kind: "release", Took: 40 * time.Second, AtOnce: 1},
	}})
	require.Empty(t, f.block(80, 24), "nothing runs yet")
	f.Emit(event.Event{Kind: event.Skipped, Step: "1-cluster"})
	f.Emit(event.Event{Kind: event.Started, Step: "5-release/image auth"})
	f.clock.turn(5 * time.Second)
	last := func() string {
		lines := f.block(80, 24)
		return lines[len(lines)-1]
	}
	require.Equal(t, "  1 of 5 steps, about 1m08s left", last(), "27.5 s of images, two at once, and the release")
	require.Contains(t, f.block(80, 24)[0], "██████████░░░░░░░░░░", "half of what it took before")
	f.Emit(event.Event{Kind: event.Done, Step: "5-release/image auth"})
	f.Emit(event.Event{Kind: event.Started, Step: "5-release/release chat"})
	require.Equal(t, "  2 of 5 steps, about 1m05s left", last())

	f.Emit(event.Event{Kind: event.Planned, Plan: []event.Step{{Name: "1-cluster"}, {Name: "5-release/release chat"}}})
	require.Equal(t, "  0 of 2 steps", last(), "nobody knows how long they take")
}
