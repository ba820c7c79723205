package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// HookSpec is a command that a stack wants to be run beside it.
type HookSpec struct {
	Dir     string // the stack's directory
	Command []string
	Env     map[string]string // beside the little that every hook gets; may hold secrets
}

// Hooks runs commands of stacks.
type Hooks interface {
	// Run returns once the command has ended, and everything that it started. Its output goes to the report, line by line.
	Run(ctx context.Context, spec HookSpec, report event.Report) error
}

func hookStep(s *stack.Stack, h *stack.Hook) string { return s.ID + "/hook " + h.Name }

// hooks gives those of s that run on verb ("up" or "down") at the time when ("before", "after" or "error").
func hooks(s *stack.Stack, verb, when string) []*stack.Hook {
	var out []*stack.Hook
	for _, h := range s.Hooks {
		if h.When == when && slices.Contains(h.On, verb) {
			out = append(out, h)
		}
	}
	return out
}

// touch is called before the first thing that a run does to a stack, and again before each other. It runs the hooks that
// come before, and notes that those that come after are due, whatever happens to this process until then.
func (r *run) touch(ctx context.Context, s *stack.Stack, verb string) error {
	if _, already := r.touched.Load(s.ID); already {
		return nil
	}
	if r.options.MayChange != nil {
		if err := r.options.MayChange(s.ID); err != nil {
			return err
		}
	}
	if _, already := r.touched.LoadOrStore(s.ID, true); already {
		return nil
	}
	for _, h := range hooks(s, verb, "after") {
		if err := r.journal.put(hookStep(s, h), entry{State: Begun, At: time.Now().UTC()}); err != nil {
			return err
		}
	}
	for _, h := range hooks(s, verb, "before") {
		if err := r.hook(ctx, s, h, verb, ""); err != nil {
			return err
		}
	}
	return nil
}

// afterwards runs the hooks that come after, where the stack was touched now or in a run that did not get this far.
func (r *run) afterwards(ctx context.Context, s *stack.Stack, verb string) error {
	for _, h := range hooks(s, verb, "after") {
		if e, ok := r.journal.get(hookStep(s, h)); !ok || e.State == Done {
			continue
		}
		if err := r.hook(ctx, s, h, verb, ""); err != nil {
			return err
		}
	}
	return nil
}

// onError runs the hooks of a stack that failed. One that fails itself is a warning: the first error is the one that counts.
func (r *run) onError(ctx context.Context, s *stack.Stack, verb string, cause error) {
	for _, h := range hooks(s, verb, "error") {
		if err := r.hook(ctx, s, h, verb, r.secrets.Redact(cause.Error())); err != nil {
			event.For(r.sink, hookStep(s, h)).Warn("%s", err)
		}
	}
}

func (r *run) hook(ctx context.Context, s *stack.Stack, h *stack.Hook, verb, cause string) error {
	name := hookStep(s, h)
	return r.step(ctx, name, func(ctx context.Context, report event.Report) (outcome, error) {
		known := r.snapshot()
		command, err := r.lab.graph.HookCommand(s, h, known)
		if err != nil {
			return outcome{}, err
		}
		env, sensitive, err := r.lab.graph.HookEnv(s, h, known)
		if err != nil {
			return outcome{}, err
		}
		r.secrets.Add(sensitive...)
		all := map[string]string{"LABCTL_LAB": r.lab.graph.Lab.Name, "LABCTL_ENV": r.lab.graph.Env.Name, "LABCTL_STACK": s.ID, "LABCTL_COMMAND": verb}
		if cause != "" {
			all["LABCTL_ERROR"] = cause
		}
		for k, v := range env {
			all[k] = v
		}
		report.Doing("%s", command[0])
		err = r.record(name, entry{}, func(*entry) error {
			if err := r.lab.deps.Hooks.Run(ctx, HookSpec{Dir: s.Dir, Command: command, Env: all}, report); err != nil {
				return fmt.Errorf("hook %q of stack %q (%s:%d): %w", h.Name, s.ID, r.lab.graph.Path(h.Range.Filename), h.Range.Start.Line, err)
			}
			return nil
		})
		return outcome{message: command[0]}, err
	})
}

// TimeoutError says that a stack took longer than it may.
type TimeoutError struct {
	Stack string
	Limit time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("stack %q took longer than its timeout of %s", e.Stack, e.Limit)
}

// Is makes it a deadline for those who look for one.
func (e *TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// within gives the stack its time, and runs its error hooks where it failed.
func (r *run) within(ctx context.Context, s *stack.Stack, verb string, do func(context.Context) error) error {
	inner := ctx
	if s.Timeout > 0 {
		limit := &TimeoutError{s.ID, s.Timeout}
		var cancel context.CancelFunc
		inner, cancel = context.WithTimeoutCause(ctx, s.Timeout, limit)
		defer cancel()
	}
	err := do(inner)
	var late *TimeoutError
	if err != nil && ctx.Err() == nil && inner.Err() != nil && !errors.As(err, &late) {
		err = fmt.Errorf("%w: %w", context.Cause(inner), err)
	}
	if err != nil && ctx.Err() == nil {
		r.onError(ctx, s, verb, err)
	}
	return err
}
