package side

import "github.com/labctl/labctl/services/topics"

// NamesOf gives what sets the sides of a shadow of a service apart.
func NamesOf(service string) (names [Count]topics.Names) {
	handled, _ := topics.Shared(service)
	names[Live].Group = handled.Group
	names[Candidate], names[Baseline] = topics.NamesOf(service, topics.Candidate), topics.NamesOf(service, topics.Baseline)
	return names
}
