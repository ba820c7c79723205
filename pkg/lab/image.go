package lab

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// images builds the stack's images, as many at once as there are cores.
func (r *run) images(ctx context.Context, s *stack.Stack) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, img := range s.Images {
		group.Go(func() error {
			if inner.Err() != nil && ctx.Err() == nil {
				return nil // another image failed, and its error is the one to show
			}
			return r.image(inner, s, img)
		})
	}
	return group.Wait()
}

func (r *run) image(ctx context.Context, s *stack.Stack, img *stack.Image) error {
	name := imageStep(s, img)
	return r.step(ctx, name, func(ctx context.Context, report event.Report) (outcome, error) {
		registry, err := r.lab.graph.Registry(s, img, r.snapshot())
		if err != nil {
			return outcome{}, err
		}
		repository := "lab/" + img.Name
		before, _ := r.journal.get(name)
		var ref string
		err = r.record(name, entry{}, func(e *entry) error {
			err := r.retry.try(ctx, report, func() error {
				digest, err := r.lab.deps.Images.Build(ctx, ImageSpec{
					Name: img.Name, Root: r.lab.graph.Lab.Source, Source: img.Source, Repository: registry.Push + "/" + repository,
				}, report)
				ref = registry.Pull + "/" + repository + "@" + digest
				return err
			})
			if err != nil {
				return fmt.Errorf("build image %q from %s: %w", img.Name, img.Source, err)
			}
			e.Ref, e.Detail = ref, ref
			return nil
		})
		if err != nil {
			return outcome{}, err
		}
		r.learnImage(img.Name, ref)
		if before.State == Done && before.Ref == ref {
			return outcome{skipped: true, message: "nothing changed"}, nil
		}
		r.tally.note(s.ID, func(res *Result) { res.Images++ })
		return outcome{message: ref}, nil
	})
}
