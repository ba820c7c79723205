// Package render is the one consumer of events. It shows the same stream in three ways: a block that is redrawn in place
// on a terminal, plain lines elsewhere, and one JSON object a line for programs. Progress goes to stderr; JSON goes to
// stdout, because there it is the result.
package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
)

const (
	frameEvery     = 100 * time.Millisecond // the block is redrawn at most ten times a second
	plainEvery     = 10 * time.Second       // without a terminal a running step says this often where it is
	jsonEvery      = 200 * time.Millisecond // progress of one step that comes faster is dropped from JSON
	spinnerFrames  = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
	barWidth       = 20
	minMessageRoom = 10
)

// Options say how to show.
type Options struct {
	Streams *iostreams.Streams
	JSON    bool      // one JSON object a line on stdout, nothing but warnings and errors on stderr
	Verbose bool      // show the lines of the tools, too
	Log     io.Writer // everything but progress and results, as plain lines; may be nil
	// Size gives the terminal's columns and rows; nil means 80 by 24. It is asked for every frame, so that a resize shows.
	Size func() (columns, rows int)
	Now  func() time.Time // nil means time.Now
	// Tick, where set, drives the frames instead of a clock.
	Tick <-chan time.Time
}

// Renderer shows events. It is a Sink; Close must be called.
type Renderer struct {
	opts  Options
	start time.Time

	mu      sync.Mutex
	steps   []*step  // running, in the order of their start
	above   []string // finished lines that the next frame puts above the block
	drawn   []string // the lines of the block as they stand on the terminal
	results []string
	plan    plan
	frame   int
	closed  bool

	quit chan struct{}
	idle chan struct{}
}

type step struct {
	name        string
	message     string
	done, total int64
	start       time.Time
	said        time.Time // when the plain log last had a line of it, or the JSON a progress event
}

// New starts showing.
func New(opts Options) *Renderer {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Size == nil {
		opts.Size = func() (int, int) { return 80, 24 }
	}
	r := &Renderer{opts: opts, start: opts.Now(), quit: make(chan struct{}), idle: make(chan struct{})}
	tick, stop := opts.Tick, func() {}
	if tick == nil {
		every := frameEvery
		if !r.live() {
			every = time.Second
		}
		t := time.NewTicker(every)
		tick, stop = t.C, t.Stop
	}
	go func() {
		defer close(r.idle)
		defer stop()
		for {
			select {
			case <-r.quit:
				return
			case <-tick:
				r.tick()
			}
		}
	}()
	return r
}

func (r *Renderer) live() bool { return r.opts.Streams.Terminal && !r.opts.JSON }

// Close shows what is still to be shown, removes the block and prints the results to stdout.
func (r *Renderer) Close() error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	r.mu.Unlock()
	close(r.quit)
	<-r.idle

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live() {
		r.steps = nil
		r.draw()
	}
	if len(r.results) == 0 {
		return nil
	}
	_, err := io.WriteString(r.opts.Streams.Out, strings.Join(r.results, "\n")+"\n")
	return err
}

// Emit takes an event.
func (r *Renderer) Emit(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	now := r.opts.Now()
	if e.Time.IsZero() {
		e.Time = now
	}
	r.plan.take(e)
	s := r.track(e, now)
	if e.Elapsed == 0 && s != nil && e.Kind != event.Started {
		e.Elapsed = now.Sub(s.start)
	}
	r.log(e)
	switch {
	case r.opts.JSON:
		r.emitJSON(e, s, now)
	case e.Kind == event.Result:
		r.results = append(r.results, e.Message)
	case r.live():
		r.emitLive(e)
	default:
		r.emitPlain(e, s, now)
	}
}

// track keeps the list of running steps. It gives the event's step, also when the event ends it.
func (r *Renderer) track(e event.Event, now time.Time) *step {
	if e.Step == "" {
		return nil
	}
	at := -1
	for i, s := range r.steps {
		if s.name == e.Step {
			at = i
		}
	}
	switch e.Kind {
	case event.Done, event.Skipped, event.Failed:
		if at < 0 {
			return nil
		}
		s := r.steps[at]
		r.steps = append(r.steps[:at], r.steps[at+1:]...)
		return s
	case event.Started, event.Progress:
		if at < 0 {
			r.steps = append(r.steps, &step{name: e.Step, start: now, said: now})
			at = len(r.steps) - 1
		}
		s := r.steps[at]
		s.message, s.done, s.total = iostreams.OneLine(e.Message), e.Done, e.Total
		return s
	}
	if at < 0 {
		return nil
	}
	return r.steps[at]
}

func (r *Renderer) emitJSON(e event.Event, s *step, now time.Time) {
	switch {
	case e.Kind == event.Log && !r.opts.Verbose:
		return
	case e.Kind == event.Progress && s != nil:
		// The last word of a measured step always passes, so that a reader sees it reach its total.
		if now.Sub(s.said) < jsonEvery && (e.Total == 0 || e.Done < e.Total) {
			return
		}
		s.said = now
	}
	// An Event holds nothing that JSON cannot, and a reader that went away misses the rest: that ends nothing in the middle.
	line, err := json.Marshal(e)
	if err == nil {
		_, _ = r.opts.Streams.Out.Write(append(line, '\n'))
	}
}

func (r *Renderer) emitLive(e event.Event) {
	if line := r.finished(e); line != "" {
		r.above = append(r.above, line)
	}
}

// finished gives the line that stays above the block, or nothing.
func (r *Renderer) finished(e event.Event) string {
	switch e.Kind {
	case event.Done:
		return r.paint(green, "✓") + " " + join(e.Step, iostreams.OneLine(e.Message)) + r.paint(faint, "  "+short(e.Elapsed))
	case event.Skipped:
		return r.paint(faint, "- "+join(e.Step, iostreams.OneLine(e.Message)))
	case event.Failed:
		return r.paint(red, "✗") + " " + join(e.Step, iostreams.OneLine(e.Message)) + r.paint(faint, "  "+short(e.Elapsed))
	case event.Warning:
		return r.paint(yellow, "!") + " " + join(e.Step, iostreams.OneLine(e.Message))
	case event.Log:
		if r.opts.Verbose {
			return r.paint(faint, "  "+join(e.Step, iostreams.OneLine(e.Message)))
		}
	}
	return ""
}

func (r *Renderer) emitPlain(e event.Event, s *step, now time.Time) {
	text := plainText(e, r.opts.Verbose)
	if text == "" {
		return
	}
	if s != nil {
		s.said = now
	}
	r.plainLine(now, text)
}

func (r *Renderer) plainLine(now time.Time, text string) {
	_, _ = fmt.Fprintf(r.opts.Streams.Err, "%8s  %s\n", clock(now.Sub(r.start)), text)
}

// plainText is the line of an event in the plain log; progress has none of its own, the clock shows it.
func plainText(e event.Event, verbose bool) string {
	message := iostreams.OneLine(e.Message)
	switch e.Kind {
	case event.Started:
		return join(e.Step, cmp.Or(message, "started"))
	case event.Done:
		return join(e.Step, cmp.Or(message, "done")) + " (" + short(e.Elapsed) + ")"
	case event.Skipped:
		return join(e.Step, cmp.Or(message, "nothing to do"))
	case event.Failed:
		return join(e.Step, "FAILED"+prefixed(": ", cmp.Or(firstLine(e.Err), message)))
	case event.Warning:
		return join(e.Step, "warning: "+message)
	case event.Log:
		if verbose {
			return join(e.Step, "| "+message)
		}
	}
	return ""
}

// tick redraws, or lets the running steps say where they are.
func (r *Renderer) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.opts.JSON {
		return
	}
	if r.live() {
		r.frame++
		r.draw()
		return
	}
	now := r.opts.Now()
	for _, s := range r.steps {
		if now.Sub(s.said) < plainEvery {
			continue
		}
		s.said = now
		text := cmp.Or(s.message, "working")
		if s.total > 0 {
			text = fmt.Sprintf("%d/%d (%d%%) %s", s.done, s.total, 100*s.done/s.total, s.message)
		} else if s.done > 0 {
			text = fmt.Sprintf("%d %s", s.done, s.message)
		}
		r.plainLine(now, join(s.name, strings.TrimSpace(text))+" ("+short(now.Sub(s.start))+")")
	}
}

// log writes the event to the run's log file. It leaves out progress, which would drown the rest, and the result, which
// may hold passwords and belongs to the user's stdout alone.
func (r *Renderer) log(e event.Event) {
	if r.opts.Log == nil || e.Kind == event.Progress || e.Kind == event.Result {
		return
	}
	text := plainText(e, true)
	if text == "" {
		return
	}
	if e.Kind == event.Failed && e.Err != "" {
		text = join(e.Step, "FAILED: "+e.Err)
	}
	_, _ = fmt.Fprintf(r.opts.Log, "%s %s\n", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), text)
}

func join(step, message string) string {
	switch {
	case step == "":
		return message
	case message == "":
		return step
	}
	return step + ": " + message
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return iostreams.OneLine(line)
}

// short gives a duration as people say it: 0.4s, 12.3s, 3m05s, 1h02m.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// clock gives the time since the start of the run: 0:04, 12:31.
func clock(d time.Duration) string {
	return fmt.Sprintf("%d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}
