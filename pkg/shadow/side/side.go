// Package side names the three sides of a shadow.
package side

import "fmt"

// Side is one of those that handle the same records and requests.
type Side int

const (
	Live      Side = iota // serves
	Candidate             // is the new version
	Baseline              // is a second copy of the live one
)

// Count is how many sides there are.
const Count = 3

var names = [Count]string{"live", "candidate", "baseline"}

// All gives the sides in their order.
func All() [Count]Side { return [Count]Side{Live, Candidate, Baseline} }

func (s Side) String() string {
	if s < 0 || s >= Count {
		return fmt.Sprintf("side %d", int(s))
	}
	return names[s]
}

func (s Side) MarshalText() ([]byte, error) {
	if s < 0 || s >= Count {
		return nil, fmt.Errorf("there is no side %d; use %v, %v or %v", int(s), Live, Candidate, Baseline)
	}
	return []byte(names[s]), nil
}

func (s *Side) UnmarshalText(text []byte) error {
	for i, name := range names {
		if name == string(text) {
			*s = Side(i)
			return nil
		}
	}
	return fmt.Errorf("there is no side %q; write %v, %v or %v", text, Live, Candidate, Baseline)
}
