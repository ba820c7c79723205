package terraform

import (
	"regexp"
	"strings"
)

// place matches the lines in which terraform's text names a place in a file or quotes its code.
var place = regexp.MustCompile(`^[\s│╷╵]*(?:on \S+ line \d+\b.*|\d+: .*)$`)

// Messages gives what terraform says is wrong, without file names, line numbers and code. Programs may look for words in
// them.
func (e *Error) Messages() []string {
	var out []string
	for _, d := range e.Diagnostics {
		out = append(out, d.Summary+"\n"+d.Detail)
	}
	if len(out) > 0 {
		return out
	}
	var lines []string
	for line := range strings.Lines(e.Output) {
		if line = strings.TrimRight(line, "\n"); !place.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return []string{strings.Join(lines, "\n")}
}
