package stack

import "github.com/zclconf/go-cty/cty"

// Plan is what terraform would do to a stack.
type Plan struct {
	Actions []Action             // what the plan does, in terraform's order
	Changes Changes              // how much of it
	Outputs map[string]cty.Value // as they are after it: unknown where only the apply tells, sensitive ones marked
}

// Any says whether an apply of the plan would do anything, if only to an output.
func (p *Plan) Any() bool { return p.Changes.Any() || len(p.Actions) > 0 }

// Action is what happens, or happened, to one resource or output.
type Action struct {
	Address string `json:"address"`
	Verb    string `json:"action"` // create, update, delete, replace, …
}

// StateBackend is where a stack's state lives when it is not in the lab's own directory.
type StateBackend struct {
	Keep   bool // wherever it is now; the rest does not count
	Type   string
	Config map[string]cty.Value
}
