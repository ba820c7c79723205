package stack

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// State is what labctl reads of a Terraform state file, so that it need not start terraform to know the outputs.
type State struct {
	Lineage   string
	Serial    uint64
	Outputs   map[string]cty.Value // sensitive ones marked
	Resources []Resource           // managed resources, one for each instance
}

// Resource is one instance of a managed resource.
type Resource struct {
	Address    string
	Type       string
	Tainted    bool
	Attributes json.RawMessage
}

// Record is a state that records something: resources, or outputs.
type Record struct {
	ID        string `json:"stack"`
	Resources int    `json:"resources"` // -1: not known, because the state is in a backend
}

// String says it as people do.
func (r Record) String() string {
	switch r.Resources {
	case -1:
		return r.ID + " (its state is in a backend)"
	case 1:
		return r.ID + " (1 resource)"
	}
	return fmt.Sprintf("%s (%d resources)", r.ID, r.Resources)
}

// IsEmpty says whether the state records nothing.
func (s *State) IsEmpty() bool { return len(s.Resources) == 0 && len(s.Outputs) == 0 }

type stateFile struct {
	Version int    `json:"version"`
	Serial  uint64 `json:"serial"`
	Lineage string `json:"lineage"`
	Outputs map[string]struct {
		Value     json.RawMessage `json:"value"`
		Type      json.RawMessage `json:"type"`
		Sensitive bool            `json:"sensitive"`
	} `json:"outputs"`
	Resources []struct {
		Module    string `json:"module"`
		Mode      string `json:"mode"`
		Type      string `json:"type"`
		Name      string `json:"name"`
		Instances []struct {
			IndexKey   any             `json:"index_key"`
			Status     string          `json:"status"`
			Attributes json.RawMessage `json:"attributes"`
		} `json:"instances"`
	} `json:"resources"`
}

// ReadState reads a state file of format 4, the one since Terraform 0.12. Where there is none, or an empty one, the error
// wraps os.ErrNotExist.
func ReadState(path string) (*State, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read terraform state: %w", err)
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("read terraform state: %s is empty: %w", path, os.ErrNotExist)
	}
	return ParseState(path, data)
}

// ParseState reads the content of a state file; path is for errors only.
func ParseState(path string, data []byte) (*State, error) {
	var f stateFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("read terraform state %s: %w", path, err)
	}
	if f.Version != 4 {
		return nil, fmt.Errorf("read terraform state %s: format version %d, want 4", path, f.Version)
	}
	st := &State{Lineage: f.Lineage, Serial: f.Serial, Outputs: map[string]cty.Value{}}
	for name, o := range f.Outputs {
		t, err := ctyjson.UnmarshalType(o.Type)
		if err != nil {
			return nil, fmt.Errorf("read terraform state %s: type of output %q: %w", path, name, err)
		}
		v, err := ctyjson.Unmarshal(o.Value, t)
		if err != nil {
			return nil, fmt.Errorf("read terraform state %s: the value of output %q does not fit its type", path, name)
		}
		if o.Sensitive {
			v = v.Mark(Sensitive)
		}
		st.Outputs[name] = v
	}
	for _, r := range f.Resources {
		if r.Mode != "managed" {
			continue
		}
		address := r.Type + "." + r.Name
		if r.Module != "" {
			address = r.Module + "." + address
		}
		for _, in := range r.Instances {
			a := address
			if in.IndexKey != nil {
				key, err := json.Marshal(in.IndexKey)
				if err != nil {
					return nil, fmt.Errorf("read terraform state %s: key of %s: %w", path, address, err)
				}
				a += "[" + string(key) + "]"
			}
			st.Resources = append(st.Resources, Resource{Address: a, Type: r.Type, Tainted: in.Status == "tainted", Attributes: in.Attributes})
		}
	}
	return st, nil
}
