package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// State gives the stack's state: read from its file where it has one, which starts no terraform, else pulled from its
// backend, once until the stack runs again. The error wraps fs.ErrNotExist where there is none.
func (r *Runner) State(ctx context.Context, w stack.RunRequest, report event.Report) (*stack.State, error) {
	dir := WorkDir(r.options.Dir, w.Stack.ID)
	if !remote(dir) && (w.Backend == nil || w.Backend.Keep) {
		st, err := stack.ReadState(StateFile(r.options.Dir, w.Stack.ID))
		if w.Backend == nil || w.Backend.Type == "" || !errors.Is(err, fs.ErrNotExist) {
			return st, err
		}
	}
	r.mu.Lock()
	st, pulled := r.states[w.Stack.ID]
	r.mu.Unlock()
	if !pulled {
		var err error
		if st, err = r.pull(ctx, w, report); err != nil {
			return nil, err
		}
		r.mu.Lock()
		if r.states == nil {
			r.states = map[string]*stack.State{}
		}
		r.states[w.Stack.ID] = st
		r.mu.Unlock()
	}
	if st == nil {
		return nil, fmt.Errorf("read the state of stack %q: %w", w.Stack.ID, fs.ErrNotExist)
	}
	return st, nil
}

// pull asks the backend, and gives nil where it holds nothing.
func (r *Runner) pull(ctx context.Context, w stack.RunRequest, report event.Report) (*stack.State, error) {
	data, err := r.pullRaw(ctx, w, report)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return stack.ParseState("of stack "+w.Stack.ID, data)
}

func (r *Runner) pullRaw(ctx context.Context, w stack.RunRequest, report event.Report) ([]byte, error) {
	version, err := r.Version(ctx, report)
	if err != nil {
		return nil, err
	}
	if w.Backend == nil { // asking moves nothing
		w.Backend = &stack.StateBackend{Keep: true}
	}
	s, err := r.open(ctx, w, report)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.init(ctx, version); err != nil {
		return nil, err
	}
	if !remote(s.dir) && w.Backend.Keep { // it was looked for, and is nowhere
		return nil, nil
	}
	report.Doing("reading the state")
	var data string
	_, err = s.run(ctx, "state pull", func(_ io.Writer, _ tfexec.ReattachInfo) error {
		s.tf.SetStdout(io.Discard) // the state is no log
		data, err = s.tf.StatePull(ctx)
		return err
	})
	return []byte(data), err
}

// forget drops what was pulled of a stack that is about to run.
func (r *Runner) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.states, id)
}
