package compare

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// maxSegments is how many there may be in a rule's path: a match has a bit for each, and one more.
const maxSegments = 63

type segmentKind int

const (
	oneName segmentKind = iota
	anyName
	anyElement
	anyDepth
)

// segment is a part of a rule's path.
type segment struct {
	kind segmentKind
	name string // in canonical form, without quotes
}

func parsePath(path string) ([]segment, error) {
	if path == "" {
		return nil, fmt.Errorf("a path is empty; write the names that lead to a place, such as users[*].frame.at")
	}
	if path == "$" {
		return nil, nil
	}
	var segments []segment
	for rest := path; rest != ""; {
		switch {
		case strings.HasPrefix(rest, "[*]"):
			segments = append(segments, segment{kind: anyElement})
			rest = rest[len("[*]"):]
		case strings.HasPrefix(rest, `["`):
			n := quoted(rest[1:])
			if n == 0 || !strings.HasPrefix(rest[1+n:], "]") || !json.Valid([]byte(rest[1:1+n])) {
				return nil, fmt.Errorf(`%q has a name that does not end; write it as a JSON string, such as ["a.b"]`, path)
			}
			name := canonicalString([]byte(rest[1 : 1+n]))
			segments = append(segments, segment{name: string(name[1 : len(name)-1])})
			rest = rest[1+n+1:]
		case rest[0] == '[':
			return nil, fmt.Errorf(`%q names an element by something else than a star; write [*] for each element, or ["a.b"] for a name`, path)
		default:
			if len(segments) > 0 {
				if rest[0] != '.' {
					return nil, fmt.Errorf("%q lacks a dot before %q; write one", path, rest)
				}
				rest = rest[1:]
			}
			n := strings.IndexAny(rest, ".[")
			if n < 0 {
				n = len(rest)
			}
			s, err := parseName(path, rest[:n])
			if err != nil {
				return nil, err
			}
			segments = append(segments, s)
			rest = rest[n:]
		}
	}
	if len(segments) > maxSegments {
		return nil, fmt.Errorf("%q has more than %d parts; write ** for some of them", path, maxSegments)
	}
	return segments, nil
}

func parseName(path, name string) (segment, error) {
	switch {
	case name == "":
		return segment{}, fmt.Errorf("%q has an empty name; write a name, * for any one, or ** for any depth", path)
	case name == "*":
		return segment{kind: anyName}, nil
	case name == "**":
		return segment{kind: anyDepth}, nil
	case !isPlain(name):
		return segment{}, fmt.Errorf(`%q has the name %q, which has characters of its own meaning; write it as a JSON string, such as ["a.b"]`, path, name)
	}
	text := canonicalString([]byte(`"` + name + `"`))
	return segment{name: string(text[1 : len(text)-1])}, nil
}

// isPlain says whether a name is written without quotes.
func isPlain(name string) bool {
	return name != "" && name != "$" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`.[]*"\`, r) })
}

// quoted gives the length of the JSON string that s begins with, and 0 if it does not end.
func quoted[T string | []byte](s T) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// match is how far a rule's path agrees with the place at which a reader is: bit i says that the first i segments do.
// There may be several, because ** agrees with any number of names and elements.
type match struct {
	pattern *pattern
	bits    uint64
}

func begin(p *pattern) match {
	m := match{pattern: p, bits: 1}
	m.skip()
	return m
}

// skip lets each ** agree with nothing.
func (m *match) skip() {
	for i, s := range m.pattern.path {
		if s.kind == anyDepth && m.bits&(1<<i) != 0 {
			m.bits |= 1 << (i + 1)
		}
	}
}

// complete says whether the whole path agrees.
func (m match) complete() bool { return m.bits&(1<<len(m.pattern.path)) != 0 }

// member gives what still agrees at a member.
func (m match) member(name []byte) match {
	return m.next(func(s segment) bool { return s.kind == anyName || s.kind == oneName && s.name == string(name) })
}

// element gives what still agrees at the elements of a list.
func (m match) element() match {
	return m.next(func(s segment) bool { return s.kind == anyElement })
}

func (m match) next(agrees func(segment) bool) match {
	next := match{pattern: m.pattern}
	for i, s := range m.pattern.path {
		switch {
		case m.bits&(1<<i) == 0:
		case s.kind == anyDepth:
			next.bits |= 1 << i
		case agrees(s):
			next.bits |= 1 << (i + 1)
		}
	}
	next.skip()
	return next
}

// step is one of those that lead to a place in a body: a member's name, or an element's index.
type step struct {
	name  []byte // in canonical form, without quotes; nil for an element
	index int
}

// formatPath writes the path of a place.
func formatPath(steps []step) string {
	if len(steps) == 0 {
		return "$"
	}
	var path []byte
	for _, s := range steps {
		switch {
		case s.name == nil:
			path = append(path, '[')
			path = strconv.AppendInt(path, int64(s.index), 10)
			path = append(path, ']')
		case !isPlain(string(s.name)):
			path = append(path, `["`...)
			path = append(path, s.name...)
			path = append(path, `"]`...)
		default:
			if len(path) > 0 {
				path = append(path, '.')
			}
			path = append(path, s.name...)
		}
	}
	return string(path)
}

// generalize puts a star for each index in the path of a difference.
func generalize(path string) string {
	var out strings.Builder
	for {
		at := strings.IndexByte(path, '[')
		if at < 0 {
			break
		}
		out.WriteString(path[:at])
		path = path[at:]
		if strings.HasPrefix(path, `["`) {
			n := 1 + quoted(path[1:])
			out.WriteString(path[:n])
			path = path[n:]
			continue
		}
		_, rest, ended := strings.Cut(path, "]")
		if !ended {
			break
		}
		out.WriteString("[*]")
		path = rest
	}
	out.WriteString(path)
	return out.String()
}
