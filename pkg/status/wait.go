package status

import (
	"fmt"
	"slices"
	"strings"
)

// Goal is a state that a part of a lab is to reach.
type Goal struct {
	Part  string // as Part.String gives it, or without the namespace; "" is the lab
	State State
}

func (g Goal) String() string {
	if g.Part == "" {
		return string(g.State)
	}
	return g.Part + "=" + string(g.State)
}

var (
	kinds = []Kind{KindStack, KindStep, KindCluster, KindComponent, KindNode, KindDeployment, KindStatefulSet, KindDaemonSet, KindPod,
		KindApplication, KindService, KindGroup, KindShadow, KindSource}
	states = []State{Up, Working, Pending, Partial, Failed, Down, Unknown}
)

// ParseGoal reads STATE, KIND/NAME=STATE or KIND/NAMESPACE/NAME=STATE. Without a state it is up.
func ParseGoal(text string) (Goal, error) {
	if slices.Contains(states, State(text)) {
		return Goal{State: State(text)}, nil
	}
	part, state, has := strings.Cut(text, "=")
	if !has {
		state = string(Up)
	}
	kind, name, _ := strings.Cut(part, "/")
	switch {
	case !slices.Contains(states, State(state)):
		return Goal{}, fmt.Errorf("%q is no state; the states are %s", state, words(states))
	case !slices.Contains(kinds, Kind(kind)) || name == "":
		return Goal{}, fmt.Errorf("%q is no part of a lab: it is written KIND/NAME, and the kinds are %s", part, words(kinds))
	}
	return Goal{part, State(state)}, nil
}

func words[T ~string](all []T) string {
	var texts []string
	for _, w := range all {
		texts = append(texts, string(w))
	}
	return strings.Join(texts, ", ")
}

// Reached says whether a snapshot has a part in the state of a goal. Where it has not, why tells how the part is.
func (s *Snapshot) Reached(g Goal) (yes bool, why string) {
	if g.Part == "" {
		return s.State == g.State, strings.TrimSuffix(fmt.Sprintf("the lab is %s: %s", s.State, strings.Join(s.Problems, "; ")), ": ")
	}
	var found []Part
	for _, p := range s.Parts() {
		if p.String() == g.Part || p.Namespace != "" && string(p.Kind)+"/"+p.Name == g.Part {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 0 && g.State == Down && s.Complete():
		return true, ""
	case len(found) == 0:
		return false, "there is no " + g.Part
	}
	for _, p := range found {
		if p.State != g.State {
			return false, strings.TrimSuffix(fmt.Sprintf("%s is %s: %s", p, p.State, p.Reason), ": ")
		}
	}
	return true, ""
}
