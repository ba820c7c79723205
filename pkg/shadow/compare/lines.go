package compare

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Line is a line of a body as people read it.
type Line struct {
	Text    string
	Differs bool
}

// LiveLines gives the live body, and which of its lines differ from the candidate's.
func (e Example) LiveLines() []Line {
	return lines(e.Live, e.Differences, func(d Difference) (json.RawMessage, bool) { return d.Live, d.Change != Extra })
}

// CandidateLines gives the candidate's body, and which of its lines differ from the live one's.
func (e Example) CandidateLines() []Line {
	return lines(e.Candidate, e.Differences, func(d Difference) (json.RawMessage, bool) { return d.Other, d.Change != Missing })
}

// BaselineLines gives the baseline's body.
func (e Example) BaselineLines() []Line { return lines(e.Baseline, nil, nil) }

// lines lays a body out. of gives what a difference says of it, or not ok.
func lines(body json.RawMessage, differences []Difference, of func(Difference) (is json.RawMessage, ok bool)) []Line {
	v, err := new(Comparer).parse(body)
	if err != nil || v.kind == absent {
		return nil
	}
	l := layout{differs: map[string]json.RawMessage{}}
	for _, d := range differences {
		if is, ok := of(d); ok && d.Change != Truncated {
			l.differs[d.Path] = is
		}
	}
	l.add(&v, "", "", false)
	return l.lines
}

// layout lays a value out.
type layout struct {
	differs map[string]json.RawMessage // by path
	steps   []step
	lines   []Line
}

// add adds a value's lines: before comes before its text, such as a member's name, and after behind it.
func (l *layout) add(v *value, before, after string, differs bool) {
	if is, ok := l.differs[formatPath(l.steps)]; ok {
		// In an unordered list, another element may be at the place. What is long was cut.
		full := v.append(nil)
		differs = differs || bytes.Equal(full, is) || len(full) > maxExample
	}
	line := func(text string) {
		l.lines = append(l.lines, Line{strings.Repeat("  ", len(l.steps)) + text, differs})
	}
	open, end := "[", "]"
	if v.kind == object {
		open, end = "{", "}"
	}
	if (v.kind != object && v.kind != list) || len(v.parts) == 0 {
		line(before + string(v.append(nil)) + after)
		return
	}
	line(before + open)
	for i := range v.parts {
		s, name, comma := step{index: i}, "", ","
		if v.kind == object {
			s, name = step{name: v.parts[i].name}, `"`+string(v.parts[i].name)+`": `
		}
		if i == len(v.parts)-1 {
			comma = ""
		}
		l.steps = append(l.steps, s)
		l.add(&v.parts[i], name, comma, differs)
		l.steps = l.steps[:len(l.steps)-1]
	}
	line(end + after)
}
