// Package event is the one model of what a lab is doing. Adapters report progress, the pipeline turns it into events,
// and every view (the live terminal, the plain log, --json) draws from the same stream.
package event

import (
	"fmt"
	"time"
)

// Kind says what an Event is about.
type Kind string

// The kinds, in the order in which a step goes through them.
const (
	Planned  Kind = "planned"  // a run begins, and Plan has the steps that it goes through
	Started  Kind = "started"  // a step begins
	Progress Kind = "progress" // a step is at Done of Total, doing Message
	Log      Kind = "log"      // one line of a tool that the step runs; shown with --verbose, kept in the log file
	Warning  Kind = "warning"  // the step goes on, but the user should know
	Done     Kind = "done"     // the step ended well
	Skipped  Kind = "skipped"  // nothing to do: Message says why
	Failed   Kind = "failed"   // the step ended with Err
	Result   Kind = "result"   // the command's own result, for stdout alone: it may hold passwords, so no log keeps it
)

// Event is one thing that happened. Step is the step's stable name, such as "1-cluster" or "5-release/image auth".
type Event struct {
	Time    time.Time     `json:"time"`
	Run     string        `json:"run,omitempty"` // the same for all events of one run of the engine
	Kind    Kind          `json:"kind"`
	Step    string        `json:"step,omitempty"`
	Message string        `json:"message,omitempty"`
	Done    int64         `json:"done,omitempty"`
	Total   int64         `json:"total,omitempty"` // 0: not known
	Elapsed time.Duration `json:"elapsed,omitempty"`
	Err     string        `json:"error,omitempty"`
	Plan    []Step        `json:"plan,omitempty"`
}

// Step is a step that a run goes through.
type Step struct {
	Name  string `json:"name"`  // "5-release/image auth"
	Stack string `json:"stack"` // "5-release"
	Kind  string `json:"kind"`  // "image"
	// Done says that the step was done before: where nothing of it changed, it takes no time.
	Done bool `json:"done,omitempty"`
	// Took is how long it took when it was done last; 0: nobody knows.
	Took   time.Duration `json:"took,omitempty"`
	AtOnce int           `json:"atOnce"` // how many of the stack's steps of this kind run at once
}

// Sink takes events. It must be safe for concurrent use and must not block for long.
type Sink interface{ Emit(Event) }

// SinkFunc is a Sink made of a function.
type SinkFunc func(Event)

// Emit calls f.
func (f SinkFunc) Emit(e Event) { f(e) }

// Report is what an adapter calls to say what it is doing now. A nil Report is allowed: use the methods, which check.
type Report func(Event)

// Doing says what happens now, without a measure.
func (r Report) Doing(format string, a ...any) {
	r.send(Event{Kind: Progress, Message: fmt.Sprintf(format, a...)})
}

// At says what happens now and how far it is. Total is 0 where it is not known.
func (r Report) At(done, total int64, format string, a ...any) {
	r.send(Event{Kind: Progress, Done: done, Total: total, Message: fmt.Sprintf(format, a...)})
}

// Line passes on one line that a tool printed.
func (r Report) Line(line string) { r.send(Event{Kind: Log, Message: line}) }

// Warn tells the user something that does not stop the step.
func (r Report) Warn(format string, a ...any) {
	r.send(Event{Kind: Warning, Message: fmt.Sprintf(format, a...)})
}

func (r Report) send(e Event) {
	if r == nil {
		return
	}
	e.Time = time.Now()
	r(e)
}

// For gives a Report that sends to sink under the name of step.
func For(sink Sink, step string) Report {
	return func(e Event) {
		e.Step = step
		sink.Emit(e)
	}
}
