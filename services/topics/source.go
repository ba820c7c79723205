package topics

import (
	"slices"
	"strconv"
	"strings"
)

// SourceHeader is the header of a record that names the record from which it follows: topic/partition/offset.
const SourceHeader = "source"

// ParseSource reads the header's value.
func ParseSource(v string) (topic string, partition int32, offset int64, ok bool) {
	topic, at, _ := strings.Cut(v, "/")
	n, o, _ := strings.Cut(at, "/")
	p, bad := strconv.ParseInt(n, 10, 32)
	offset, worse := strconv.ParseInt(o, 10, 64)
	return topic, int32(p), offset, bad == nil && worse == nil
}

// Outputs gives the topics that a service writes, by their names in the table, but for the one whose records it handles.
func Outputs(service string) (names []string) {
	handled, _ := Shared(service)
	for _, t := range All() {
		if slices.Contains(t.Writers, service) && t.Name != handled.Name {
			names = append(names, t.Name)
		}
	}
	return names
}
