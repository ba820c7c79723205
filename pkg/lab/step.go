package lab

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// step is one thing that a stack is made of: its Terraform, an image, a release. Up, plan, drift, down and what asks for the state of a
// lab know no more of it. Each kind has a file of its own and an entry in kinds.
type step interface {
	id() string // unique in an environment; the journal and the events call the step by it
	// sources are the files and directories that it is made of, absolute, beside the stack's own directory.
	sources(g *stack.Graph) []string
	// recall learns what later steps need to know of it, as it stands.
	recall(ctx context.Context, r *run, which trust) error
	// up brings it to what the lab's files say.
	up(ctx context.Context, r *run) error
	// plan says what up would do to it. The stack's earlier steps have had their say in p.
	plan(ctx context.Context, r *run, p *planning, report event.Report) error
	// drift says what has changed outside labctl since up.
	drift(ctx context.Context, r *run, d *StackDrift, report event.Report) error
	// down takes it down. It may be half up, or not at all.
	down(ctx context.Context, r *run) error
}

// kind is a kind of step.
type kind struct {
	name  string
	steps func(s *stack.Stack) []step
	// atOnce says that the steps of a stack do not need each other, and take enough time to be brought up at once.
	atOnce bool
}

// kinds are all kinds of steps, in the order in which those of a stack are brought up. They are taken down in reverse.
var kinds = []kind{
	{name: KindTerraform, steps: terraformSteps},
	{name: KindImage, steps: imageSteps, atOnce: true},
	{name: KindRelease, steps: releaseSteps},
}

// stepsOf gives the steps of a stack in order.
func stepsOf(s *stack.Stack) []step {
	var all []step
	for _, k := range kinds {
		all = append(all, k.steps(s)...)
	}
	return all
}

// limit is how many steps of a stack that are of this kind are worked on at once.
func (k kind) limit() int {
	if k.atOnce {
		return runtime.GOMAXPROCS(0)
	}
	return 1
}

// announce tells which steps are to come.
func (r *run) announce(stacks []*stack.Stack) {
	plan := []event.Step{}
	for _, s := range stacks {
		for _, k := range kinds {
			for _, st := range k.steps(s) {
				e, _ := r.journal.get(st.id())
				plan = append(plan, event.Step{Name: st.id(), Stack: s.ID, Kind: k.name, Done: e.State == Done, Took: r.journal.took(st.id()), AtOnce: k.limit()})
			}
		}
	}
	r.sink.Emit(event.Event{Time: time.Now(), Kind: event.Planned, Plan: plan})
}

// bringUp brings up the steps of a stack that are of one kind.
func (k kind) bringUp(ctx context.Context, r *run, s *stack.Stack) error {
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(k.limit())
	for _, st := range k.steps(s) {
		group.Go(func() error {
			if inner.Err() != nil && ctx.Err() == nil {
				return nil // another step failed, and its error is the one to show
			}
			return st.up(inner, r)
		})
	}
	return group.Wait()
}

// goal is what a step is to be brought to, where digests tell whether its inputs changed.
type goal interface {
	// dependsOn are the digests of all that the result depends on.
	dependsOn() digests
	// check says why there is something to do. Why is what the digests say; where it is "", the world is looked at. E is the journal's entry
	// of the step.
	check(ctx context.Context, e entry, why string) (string, error)
	// apply does it. It is called again after a failure that passes, and adds to e what is to be remembered.
	apply(ctx context.Context, e *entry, report event.Report) error
	// outcome says what apply did.
	outcome() outcome
}

// reach brings a step of s to its goal, where it is not there yet.
func (r *run) reach(ctx context.Context, s *stack.Stack, name string, find func(ctx context.Context, report event.Report) (goal, error)) error {
	return r.step(ctx, name, func(ctx context.Context, report event.Report) (outcome, error) {
		g, err := find(ctx, report)
		if err != nil {
			return outcome{}, err
		}
		e, ok := r.journal.get(name)
		why, err := g.check(ctx, e, e.changedInputs(ok, g.dependsOn()))
		if err != nil {
			return outcome{}, err
		}
		if why == "" {
			return outcome{skipped: true, message: "nothing changed"}, nil
		}
		report.Doing("%s", why)
		if err := r.touch(ctx, s, "up"); err != nil {
			return outcome{}, err
		}
		err = r.record(name, entry{Digests: g.dependsOn()}, func(e *entry) error {
			return r.retry.try(ctx, report, func() error { return g.apply(ctx, e, report) })
		})
		if err != nil {
			return outcome{}, err
		}
		done := g.outcome()
		done.message = because(r.options.Why, done.message, why)
		return done, nil
	})
}

func because(say bool, what, why string) string {
	if !say || why == "" {
		return what
	}
	return what + " (" + why + ")"
}
