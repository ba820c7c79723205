package lab

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// Up brings the chosen stacks up, in the order of their numbers, or several at once where they do not need each other.
// Steps whose inputs did not change and whose results are well are skipped. A stack that fails stops those that need it;
// the others go on. The error is a *LockedError where another labctl works on the lab, a *FailedError where stacks failed,
// and wraps context.Canceled after an interrupt. The Summary is there whenever anything was begun.
func (l *Lab) Up(ctx context.Context, o Options) (*Summary, error) {
	stacks, err := o.Selection.choose(l.graph, needs)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.end()
	r.moves = true
	if err := r.engine(ctx); err != nil {
		return nil, r.failed(ctx, err)
	}
	if err := r.inspect(); err != nil {
		return nil, r.failed(ctx, err)
	}
	if !o.Selection.Whole() { // the others' outputs are those of their last run
		if err := r.recall(ctx, vouched); err != nil {
			return nil, r.failed(ctx, err)
		}
	}
	r.announce(stacks)
	return r.over(ctx, start, course{
		stacks: stacks, after: dependencies(l.graph),
		do: func(ctx context.Context, s *stack.Stack) error {
			return r.within(ctx, s, "up", func(ctx context.Context) error { return r.stack(ctx, s) })
		},
		last: func(ctx context.Context) error {
			strays := r.lookForStrays(ctx)
			for _, stray := range strays {
				if stray.Orphan {
					event.For(r.sink, "").Warn("%s", stray)
				}
			}
			return r.removeStrays(ctx, strays, "up", func(stray Stray) bool { return !stray.Orphan && among(stacks, stray.Stack) })
		},
	})
}

func among(stacks []*stack.Stack, id string) bool {
	return slices.ContainsFunc(stacks, func(s *stack.Stack) bool { return s.ID == id })
}

// engine refuses an engine that lab.hcl does not want, before anything runs. It may be another one in each stack's directory.
func (r *run) engine(ctx context.Context) error {
	if r.lab.graph.Lab.Engine == nil {
		return nil
	}
	for _, s := range r.lab.graph.Stacks {
		if !s.HasTerraform() {
			continue
		}
		version, err := r.lab.deps.Terraform.Version(ctx, s, event.For(r.sink, ""))
		if err != nil {
			return err
		}
		if err := r.lab.graph.CheckEngine(version); err != nil {
			return err
		}
	}
	return nil
}

// course is what a run does to stacks.
type course struct {
	stacks      []*stack.Stack
	after       map[*stack.Stack][]*stack.Stack // in which order
	do          func(context.Context, *stack.Stack) error
	first, last func(context.Context) error // before all stacks, and after all of them, if nothing failed; nil for nothing
}

// over works on stacks and sums up.
func (r *run) over(ctx context.Context, start time.Time, c course) (*Summary, error) {
	r.tally = newTally(c.stacks)
	if c.first == nil || c.first(ctx) == nil {
		r.eachStack(ctx, c)
		if c.last != nil && r.tally.err() == nil && ctx.Err() == nil {
			_ = c.last(ctx) // the tally has its failure
		}
	}
	summary := &Summary{Command: r.options.Command, Results: r.tally.in(c.stacks), Elapsed: time.Since(start)}
	return summary, r.failed(ctx, r.tally.err())
}

func (r *run) eachStack(ctx context.Context, c course) {
	s := schedule{stacks: c.stacks, after: c.after, parallel: r.options.Parallel, failFast: r.options.FailFast}
	s.run(ctx, func(ctx context.Context, st *stack.Stack) error {
		begun := time.Now()
		err := c.do(ctx, st)
		r.tally.note(st.ID, func(res *Result) {
			res.Elapsed, res.Log = time.Since(begun), r.logs.path(st.ID)
			res.Ending = EndUnchanged
			if res.Changes.Any() || res.Images+res.Charts > 0 {
				res.Ending = EndChanged
			}
			if err != nil {
				res.Ending, res.Err = EndFailed, r.secrets.Error(err)
			}
		})
		if err != nil && ctx.Err() == nil {
			r.tally.fail(st.ID, r.secrets.Error(err))
		}
		return err
	}, func(st, by *stack.Stack) {
		detail := fmt.Sprintf("it needs %s, which did not end well", by.ID)
		r.tally.note(st.ID, func(res *Result) { res.Ending, res.Detail = EndBlocked, detail })
		r.sink.Emit(event.Event{Time: time.Now(), Kind: event.Skipped, Step: st.ID, Message: detail})
	})
}

// stack brings one stack up: its steps, kind by kind.
func (r *run) stack(ctx context.Context, s *stack.Stack) error {
	if !s.HasTerraform() {
		r.learn(s.Name, map[string]ctyValue{})
	}
	for _, k := range kinds {
		if err := k.bringUp(ctx, r, s); err != nil {
			return err
		}
	}
	return r.afterwards(ctx, s, "up")
}
