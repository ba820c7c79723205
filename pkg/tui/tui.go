// Package tui shows a lab on a terminal. It draws snapshots and text that it is given, and has no I/O of its own but the
// terminal's: what opens a log or describes an object, its caller hands it.
package tui

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/labctl/labctl/pkg/status"
)

// Ask is what can be asked of a part.
type Ask string

// What can be asked.
const (
	AskLogs     Ask = "logs"
	AskYAML     Ask = "yaml"
	AskDescribe Ask = "describe"
)

// Options say what is shown, and where.
type Options struct {
	Snapshots <-chan *status.Snapshot
	// Open gives text about a part: it is read to its end, and closed. The error says what a part has nothing of.
	Open func(ctx context.Context, what Ask, part status.Part) (io.ReadCloser, error)
	// Actions gives what can be done about a part.
	Actions func(part status.Part) []Action
	// Line gives a command as it is typed for this lab.
	Line  func(command string) string
	In    io.Reader
	Out   io.Writer
	Color bool
	Now   func() time.Time // nil: time.Now
}

// Run shows the lab until the user leaves, or ctx ends, and waits for actions to end. The terminal is as it was before when it returns.
func Run(ctx context.Context, o Options) error {
	m := New(ctx, o)
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(o.In), tea.WithOutput(o.Out), tea.WithAltScreen(), tea.WithFPS(30), tea.WithoutSignalHandler())
	_, err := p.Run()
	m.settle()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, tea.ErrInterrupted):
		return nil // the user has seen enough
	case err != nil:
		return fmt.Errorf("show the lab: %w", err)
	}
	return nil
}

// settle stops the actions that go on, and waits until they have ended in order: one whose output nobody reads any more
// would be killed by that.
func (m *Model) settle() {
	for _, pg := range m.running {
		_, _ = fmt.Fprintf(m.opts.Out, "waiting for `%s` to end\n", pg.action.Command) // a word to the user, no more
		pg.close()
	}
	m.actions.Wait()
}
