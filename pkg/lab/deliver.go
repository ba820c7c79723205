package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// delivered gives the releases that Argo CD makes of what Git holds.
func (l *Lab) delivered() []releaseStep {
	var out []releaseStep
	for _, s := range l.graph.Stacks {
		for _, rel := range s.Releases {
			if rel.Applications != nil {
				out = append(out, releaseStep{s, rel})
			}
		}
	}
	return out
}

// Deliver writes what the lab's files say of the releases that Argo CD makes to Git, and waits until it is what runs. Images are those that
// were built last.
func (l *Lab) Deliver(ctx context.Context, o Options) error {
	if _, err := os.Stat(l.graph.Dir); errors.Is(err, fs.ErrNotExist) {
		return ErrNotUp
	}
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return err
	}
	defer r.end()
	if err := r.recall(ctx, vouched); err != nil {
		return r.failed(ctx, err)
	}
	r.insist = true
	for _, rel := range l.delivered() {
		if err := rel.up(ctx, r); err != nil {
			if errors.Is(err, stack.ErrNotKnown) {
				err = fmt.Errorf("%w: %w", ErrNotUp, err)
			}
			return r.failed(ctx, err)
		}
	}
	return nil
}

// Deliveries gives the releases that Argo CD makes, as the lab's files describe them now.
func (l *Lab) Deliveries(ctx context.Context, report event.Report) ([]ReleaseSpec, error) {
	r, err := l.reader()
	if err != nil {
		return nil, err
	}
	if err := r.recall(ctx, recorded); err != nil {
		return nil, err
	}
	var out []ReleaseSpec
	for _, rel := range l.delivered() {
		spec, err := r.releaseSpec(ctx, rel.stack, rel.Release, report)
		if errors.Is(err, stack.ErrNotKnown) {
			return nil, fmt.Errorf("%w: %w", ErrNotUp, err)
		}
		if err != nil {
			return nil, r.secrets.Error(err)
		}
		out = append(out, spec)
	}
	return out, nil
}
