package terraform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// State gives the stack's state: read from its file where it has one, which starts no terraform, else pulled from its
// backend, once until the stack runs again. The error wraps fs.ErrNotExist where there is none.
func (r *Runner) State(ctx context.Context, w stack.RunRequest, report event.Report) (*stack.State, error) {
	id := r.home(w.Stack)
	if !r.inBackend(id) {
		st, err := r.readState(ctx, id)
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

const (
	// writtenPoll is the time between two looks at a state that terraform is writing.
	writtenPoll = 5 * time.Millisecond
	// writtenWithin is how long it may be.
	writtenWithin = 5 * time.Second
)

// readState reads a state file. Terraform empties the file before it writes: one that is cut off while terraform is at work will be whole
// in a moment, and is no state that misses something.
func (r *Runner) readState(ctx context.Context, id string) (*stack.State, error) {
	path := StateFile(r.options.Dir, id)
	ctx, cancel := context.WithTimeout(ctx, writtenWithin)
	defer cancel()
	for {
		_, writing := r.process(id) // asked first: the state is whole when it has ended
		st, err := stack.ReadState(path)
		absent := errors.Is(err, fs.ErrNotExist) && !fileExists(filepath.Join(notesDir(r.options.Dir, id), goodNote))
		if err == nil || absent || !writing {
			return st, err
		}
		select {
		case <-ctx.Done():
			return st, err
		case <-time.After(writtenPoll):
		}
	}
}

// pull asks the backend, and gives nil where it holds nothing.
func (r *Runner) pull(ctx context.Context, w stack.RunRequest, report event.Report) (*stack.State, error) {
	data, err := r.pullRaw(ctx, w, report)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	return stack.ParseState("of stack "+w.Stack.ID, data)
}

// pullRaw reads the state from its backend: the one that it is in now, else the one where another machine may have put it. It
// works beside the stack's work directory and changes nothing, so that a run there is not disturbed.
func (r *Runner) pullRaw(ctx context.Context, w stack.RunRequest, report event.Report) ([]byte, error) {
	path, err := r.find(ctx, report)
	if err != nil {
		return nil, err
	}
	s := &session{runner: r, work: w, path: path, report: report}
	s.env, _ = r.environment(false)
	if s.log, err = openLog(r.options.Dir, w); err != nil {
		return nil, err
	}
	defer s.log.close()
	report.Doing("reading the state")
	id := r.home(w.Stack)
	if r.inBackend(id) {
		content, err := currentBackend(WorkDir(r.options.Dir, id))
		if err != nil {
			return nil, fmt.Errorf("read the state of stack %q: %w", w.Stack.ID, err)
		}
		var data []byte
		err = s.withScratchDir(ctx, content, func(in *session) (err error) {
			data, err = in.statePull(ctx)
			return err
		})
		return data, err
	}
	if w.Backend == nil || w.Backend.Type == "" {
		return nil, nil
	}
	content, err := encodeBackend(w.Backend)
	if err != nil {
		return nil, err
	}
	return s.pullFrom(ctx, w.Backend.Type, content)
}

// statePull gives the content of the state that terraform works on, or nothing where there is none.
func (s *session) statePull(ctx context.Context) ([]byte, error) {
	var data bytes.Buffer
	err := s.quiet(ctx, &data, "state", "pull")
	return bytes.TrimSpace(data.Bytes()), err
}

// quiet runs a command whose output is no log.
func (s *session) quiet(ctx context.Context, out io.Writer, args ...string) error {
	s.log.line("$ " + filepath.Base(s.path) + " " + strings.Join(args, " "))
	return s.explain(ctx, strings.Join(args[:min(2, len(args))], " "), &output{session: s}, s.start(ctx, out, args...))
}

// inBackend says whether the state of that id is in a backend: by terraform's note, or, where that is gone, by ours and the backend's
// file. A move that was cut off leaves our note alone behind, and the state here.
func (r *Runner) inBackend(id string) bool {
	dir := WorkDir(r.options.Dir, id)
	return remote(dir) || fileExists(filepath.Join(notesDir(r.options.Dir, id), backendNote)) && fileExists(filepath.Join(dir, backendFile))
}

// forget drops what was pulled of a stack that is about to run.
func (r *Runner) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.states, id)
}

// Forget drops what was pulled of all stacks.
func (r *Runner) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.states)
}

// Place gives the backend that the state of that id lies in, as this machine's last run left it; nil where it is in none.
func (r *Runner) Place(id string) (*stack.StateBackend, error) {
	if !r.inBackend(id) {
		return nil, nil
	}
	content, err := currentBackend(WorkDir(r.options.Dir, id))
	if err != nil {
		return nil, nil //nolint:nilerr // .terraform is gone, and the run makes it anew by what stack.hcl says
	}
	return decodeBackend(content)
}
