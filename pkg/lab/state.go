package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// moveState moves a state into the backend that the stack itself made, once it stands.
func (r *run) moveState(ctx context.Context, s *stack.Stack) error {
	if s.Backend == nil || !s.Backend.Own {
		return nil
	}
	config, err := r.lab.graph.BackendConfig(s, r.snapshot())
	if err != nil {
		return err
	}
	for _, v := range config {
		r.secrets.Add(stack.Secrets(v)...)
	}
	return r.step(ctx, s.ID+"/state", func(ctx context.Context, report event.Report) (outcome, error) {
		place := &stack.StateBackend{Type: s.Backend.Type, Config: config}
		moved, err := r.move(ctx, s, place, report)
		if err == nil {
			err = r.retry.try(ctx, report, func() error { return r.lockPlace(ctx, s, place, true) })
		}
		switch {
		case err != nil:
			return outcome{}, fmt.Errorf("move the state of stack %q to %s: %w", s.ID, s.Backend.Type, err)
		case !moved:
			return outcome{skipped: true, message: "it is in " + s.Backend.Type}, nil
		}
		r.tellWhere(s, config, report)
		// Terraform may have given it another lineage and serial.
		err = r.journal.follow(s.ID, func() (*stack.State, error) { return r.state(ctx, s, report) })
		return outcome{message: "moved to " + s.Backend.Type}, err
	})
}

// tellWhere says what other machines have to be told to find the state that has just moved.
func (r *run) tellWhere(s *stack.Stack, config map[string]ctyValue, report event.Report) {
	find := s.Backend.Find
	if find == nil {
		return
	}
	var missing []string
	for _, name := range find.Missing() {
		v, err := stack.Text(config[name])
		if err != nil || len(stack.Secrets(config[name])) > 0 {
			v = "(sensitive)"
		}
		missing = append(missing, name+" = "+v)
	}
	if len(missing) > 0 {
		report.Warn("only this machine knows where the state of %s is: find in %s lacks %s", s.ID, r.lab.graph.Path(find.Range.Filename), strings.Join(missing, ", "))
	}
}

// bringStateBack undoes moveState, so that a stack can be destroyed together with the place of its state.
func (r *run) bringStateBack(ctx context.Context, s *stack.Stack) error {
	if s.Backend == nil || !s.Backend.Own {
		return nil
	}
	return r.step(ctx, s.ID+"/state", func(ctx context.Context, report event.Report) (outcome, error) {
		if _, err := r.state(ctx, s, report); errors.Is(err, fs.ErrNotExist) {
			return outcome{skipped: true, message: "there is none"}, nil
		}
		if err := r.adoptState(ctx, s, report); err != nil {
			return outcome{}, fmt.Errorf("bring the state of stack %q back from %s: %w", s.ID, s.Backend.Type, err)
		}
		moved, err := r.move(ctx, s, nil, report)
		switch {
		case err != nil:
			return outcome{}, fmt.Errorf("bring the state of stack %q back from %s: %w", s.ID, s.Backend.Type, err)
		case !moved:
			return outcome{skipped: true, message: "it is here"}, nil
		}
		r.unlockRemote(s) // other machines find no state there any more, and its place is destroyed next
		return outcome{message: "moved back"}, nil
	})
}

// adoptState makes this machine know a state that another one has put into its backend: only then can it be moved.
func (r *run) adoptState(ctx context.Context, s *stack.Stack, report event.Report) error {
	if place, err := r.lab.deps.Terraform.Place(s.ID); err != nil || place != nil {
		return err
	}
	place, err := r.backend(s)
	if err != nil || place.Type == "" {
		return err
	}
	_, err = r.move(ctx, s, place, report)
	return err
}

func (r *run) move(ctx context.Context, s *stack.Stack, to *stack.StateBackend, report event.Report) (moved bool, err error) {
	w := r.request(s)
	w.Backend = to
	err = r.retry.try(ctx, report, func() error {
		done, err := r.lab.deps.Terraform.Move(ctx, w, report)
		moved = moved || done
		return err
	})
	return moved, err
}
