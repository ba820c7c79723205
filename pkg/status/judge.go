package status

import (
	"fmt"
	"slices"
	"strings"
)

// judge derives the lab's state and problems from the parts of the snapshot, and what helps.
func (s *Snapshot) judge() {
	s.Problems, s.Next = nil, ""
	s.sum()
	switch s.State {
	case Down:
		s.Next = "labctl up"
	case Partial:
		s.Next = s.help()
	}
}

// help is the command that helps first in a lab that is partial.
func (s *Snapshot) help() string {
	if len(s.Findings) == len(s.Problems) { // they are all that is wrong
		for _, f := range s.Findings {
			if f.Next != "" {
				return f.Next
			}
		}
	}
	for _, p := range s.Parts()[1:] {
		if p.State != Up && p.Next != "" {
			return p.Next
		}
	}
	return "labctl up"
}

// sum derives the state and the problems.
func (s *Snapshot) sum() {
	for _, src := range s.Sources {
		if src.State == Unknown && src.Name != clusterSource && !src.beside { // of the cluster, its own condition tells
			s.problem("%s", src.Reason)
		}
	}
	for _, f := range s.Findings {
		s.problem("%s", f.Text)
	}
	if !s.Complete() {
		s.State = Unknown
		return
	}
	unread := len(s.Problems) > 0
	open, begun := s.judgeStacks()
	there := s.Cluster.State != Down && s.Cluster.State != Unknown && s.Cluster.Declared
	missing := len(open) > 0 || s.Cluster.Declared
	if !begun && missing && !there && len(s.Cluster.Components) == 0 && !unread {
		s.State, s.Problems = Down, nil
		return
	}
	if len(open) > 0 {
		s.problem("not started: %s", strings.Join(open, ", "))
	}
	s.judgeCluster()
	for _, a := range s.Applications {
		if a.State == Failed {
			s.because("application "+a.Name+" is not as Git has it", a.Reason)
		}
	}
	s.State = Up
	if len(s.Problems) > 0 {
		s.State = Partial
	}
}

func (s *Snapshot) problem(format string, a ...any) {
	s.Problems = append(s.Problems, fmt.Sprintf(format, a...))
}

// because adds a problem with its reason, where there is one.
func (s *Snapshot) because(what, reason string) {
	s.problem("%s", strings.TrimSuffix(what+": "+reason, ": "))
}

// judgeStacks gives the steps that were not begun, and whether any stack was.
func (s *Snapshot) judgeStacks() (open []string, begun bool) {
	for _, stack := range s.Stacks {
		begun = begun || stack.State != Pending
		for _, step := range stack.Steps {
			switch step.State {
			case Up:
			case Pending:
				open = append(open, step.Name)
			case Working:
				s.because(step.Name+" is not done", step.Reason)
			default:
				s.because(step.Name+" failed", step.Reason)
			}
		}
	}
	return open, begun
}

func (s *Snapshot) judgeCluster() {
	for _, c := range s.Cluster.Components {
		if c.State != Up {
			s.because(c.Name+" is not running", c.Reason)
		}
	}
	if s.Cluster.Declared && (s.Cluster.State == Down || s.Cluster.State == Unknown) {
		s.because("the cluster cannot be reached", s.Cluster.Reason)
		return // what was seen last may not be so any more
	}
	for _, n := range s.Cluster.Nodes {
		switch n.State {
		case Up:
		case Partial:
			s.problem("node %s: %s", n.Name, n.Reason)
		default:
			s.because("node "+n.Name+" is not ready", n.Reason)
		}
	}
	if s.Cluster.State == Partial {
		s.problem("%s", s.Cluster.Reason)
	}
	for _, n := range s.Namespaces {
		for _, w := range n.Workloads {
			if w.State != Up {
				s.because(fmt.Sprintf("%s/%s in namespace %s is not ready", w.Kind, w.Name, n.Name), w.Reason)
			}
		}
	}
}

// stacks groups the steps by stack and sums up each stack.
func stacks(steps []Step) []Stack {
	out := []Stack{}
	for _, step := range steps {
		i := slices.IndexFunc(out, func(s Stack) bool { return s.ID == step.Stack })
		if i < 0 {
			i = len(out)
			out = append(out, Stack{ID: step.Stack})
		}
		s := &out[i]
		s.Steps = append(s.Steps, step)
		if step.Since.After(s.Since) {
			s.Since = step.Since
		}
	}
	for i := range out {
		out[i].sum()
	}
	return out
}

// sum derives the condition of a stack from its steps: a failed step decides first, then a running one, then a pending one.
func (s *Stack) sum() {
	if len(s.Steps) == 1 {
		only := s.Steps[0]
		s.Condition, s.Detail = only.Condition, only.Detail
		return
	}
	done := 0
	for _, state := range []State{Failed, Working, Up} {
		for _, step := range s.Steps {
			switch {
			case step.State != state:
			case state == Up:
				done++
			default:
				s.State, s.Reason, s.Next = state, step.Short(), step.Next
				return
			}
		}
	}
	switch done {
	case len(s.Steps):
		s.State, s.Detail = Up, fmt.Sprintf("%d steps", done)
	case 0:
		s.State = Pending
	default:
		s.State, s.Reason, s.Next = Partial, fmt.Sprintf("%d of %d steps done", done, len(s.Steps)), "labctl up"
	}
}
