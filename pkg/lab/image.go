package lab

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// imageStep is an image that is built and pushed. Building finds out by itself whether there is anything to do.
type imageStep struct {
	stack *stack.Stack
	*stack.Image
}

func imageSteps(s *stack.Stack) []step {
	var steps []step
	for _, img := range s.Images {
		steps = append(steps, imageStep{s, img})
	}
	return steps
}

func (i imageStep) id() string { return i.stack.ID + "/image " + i.Name }

func (i imageStep) sources(g *stack.Graph) []string {
	return []string{filepath.Join(g.Lab.Source, i.Source)}
}

func (i imageStep) recall(_ context.Context, r *run, _ trust) error {
	if e, ok := r.journal.get(i.id()); ok && e.Ref != "" {
		r.learnImage(i.Name, e.Ref)
	}
	return nil
}

func (i imageStep) plan(_ context.Context, _ *run, p *planning, _ event.Report) error {
	p.Images = append(p.Images, i.Name)
	return nil
}

// drift finds none: a reference has its image's digest in it.
func (i imageStep) drift(context.Context, *run, *StackDrift, event.Report) error { return nil }

// down forgets the image. It is in a registry that goes with its cluster, or that others use, too.
func (i imageStep) down(_ context.Context, r *run) error { return r.journal.remove(i.id()) }

func (i imageStep) up(ctx context.Context, r *run) error {
	name := i.id()
	return r.step(ctx, name, func(ctx context.Context, report event.Report) (outcome, error) {
		registry, err := r.lab.graph.Registry(i.stack, i.Image, r.snapshot())
		if err != nil {
			return outcome{}, err
		}
		repository := "lab/" + i.Name
		before, _ := r.journal.get(name)
		var ref string
		err = r.record(name, entry{}, func(e *entry) error {
			err := r.retry.try(ctx, report, func() error {
				digest, err := r.lab.deps.Images.Build(ctx, ImageSpec{
					Name: i.Name, Root: r.lab.graph.Lab.Source, Source: i.Source, Repository: registry.Push + "/" + repository,
				}, report)
				ref = registry.Pull + "/" + repository + "@" + digest
				return err
			})
			if err != nil {
				return fmt.Errorf("build image %q from %s: %w", i.Name, i.Source, err)
			}
			e.Ref, e.Detail = ref, ref
			return nil
		})
		if err != nil {
			return outcome{}, err
		}
		r.learnImage(i.Name, ref)
		if before.State == Done && before.Ref == ref {
			return outcome{skipped: true, message: "nothing changed"}, nil
		}
		r.tally.note(i.stack.ID, func(res *Result) { res.Images++ })
		return outcome{message: ref}, nil
	})
}
