package stack

import "github.com/zclconf/go-cty/cty"

// Plan is what terraform would do to a stack.
type Plan struct {
	Actions []Action             // what the plan does, resources first, by address
	Changes Changes              // how much of it
	Outputs map[string]cty.Value // as they are after it: unknown where only the apply tells, sensitive ones marked
}

// Any says whether an apply of the plan would do anything, if only to an output.
func (p *Plan) Any() bool { return p.Changes.Any() || len(p.Actions) > 0 }

// Action is what happens, or happened, to one resource or output.
type Action struct {
	Address string    `json:"address"`
	Verb    string    `json:"action"`            // create, update, delete, replace, …
	Unknown []Unknown `json:"unknown,omitempty"` // of a plan that was made before all inputs were known
}

// Unknown is an attribute whose value depends on an input that is not known yet.
type Unknown struct {
	Attribute string   `json:"attribute"`
	After     []string `json:"after"` // what makes it known: "1-cluster: kubeconfig"
}

// StateBackend is where a stack's state lives when it is not in the lab's own directory.
type StateBackend struct {
	Keep   bool   // wherever it is now; the rest says where it may be if it is nowhere on this machine
	Type   string // "" where nothing is known
	Config map[string]cty.Value
}

// UnplannableError says why nothing of a stack can be planned before all its inputs are known.
type UnplannableError struct {
	Why string
	Err error // what it was found by; may be nil
}

func (e *UnplannableError) Error() string { return e.Why }

func (e *UnplannableError) Unwrap() error { return e.Err }
