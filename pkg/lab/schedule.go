package lab

import (
	"context"
	"slices"

	"github.com/labctl/labctl/pkg/stack"
)

// schedule says in which order stacks are worked on and how many at once.
type schedule struct {
	stacks   []*stack.Stack                  // in the order in which they are taken where several may be
	after    map[*stack.Stack][]*stack.Stack // a stack is taken once all of these, as far as they are in stacks, ended well
	parallel int                             // at least 1
	failFast bool                            // the first failure ends the run: nothing more begins, what runs is interrupted
}

// run works on every stack, and calls blocked for those that cannot begin because one that they need did not end well. It
// returns when nothing runs any more.
func (s schedule) run(ctx context.Context, do func(context.Context, *stack.Stack) error, blocked func(st, by *stack.Stack)) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type end struct {
		stack *stack.Stack
		err   error
	}
	ends := make(chan end)
	state := map[*stack.Stack]State{}
	for _, st := range s.stacks {
		state[st] = Pending
	}
	running := 0
	for {
		if ctx.Err() == nil {
			for _, st := range s.stacks {
				if running >= max(s.parallel, 1) {
					break
				}
				if state[st] != Pending || slices.ContainsFunc(s.after[st], func(other *stack.Stack) bool {
					return state[other] == Pending || state[other] == Begun
				}) {
					continue
				}
				if at := slices.IndexFunc(s.after[st], func(other *stack.Stack) bool { return state[other] == Failed }); at >= 0 {
					state[st] = Failed
					blocked(st, s.after[st][at])
					continue
				}
				state[st] = Begun
				running++
				go func() { ends <- end{st, do(ctx, st)} }()
			}
		}
		if running == 0 {
			return
		}
		e := <-ends
		running--
		state[e.stack] = Done
		if e.err != nil {
			state[e.stack] = Failed
			if s.failFast {
				cancel()
			}
		}
	}
}
