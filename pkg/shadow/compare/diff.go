package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"unicode/utf8"
)

// Change is how a body differs from the live one at a place.
type Change string

const (
	Changed Change = "changed"
	Missing Change = "missing" // live has it
	Extra   Change = "extra"   // live does not have it
	Type    Change = "type"    // such as a string in place of a number, or of null
	// Truncated stands for all differences that were left out, since there are so many.
	Truncated Change = "truncated"
)

const (
	maxDifferences = 100
	maxExample     = 1 << 10 // bytes of a difference's example
)

// Difference is a place at which a body differs from the live one.
type Difference struct {
	Path   string `json:"path"` // with indices: of the live body, or of the other one where live has nothing
	Change Change `json:"change"`
	// What is there, in canonical form. Of a long value it is a string with its begin, which says that it was cut.
	Live     json.RawMessage `json:"live,omitempty"`
	Other    json.RawMessage `json:"other,omitempty"`
	Intended bool            `json:"intended,omitempty"` // a rule says that it is meant to differ
}

// place identifies differences of the same place and kind. A place that is now there and now not is one of its own:
// that a value differs between two runs of one version says nothing about a version that leaves it out.
type place struct {
	path  string // with stars in place of indices
	class Change
}

func (d Difference) place() place {
	class := d.Change
	if class == Extra {
		class = Missing
	}
	return place{generalize(d.Path), class}
}

// Diff gives the differences between two bodies, in the order of the live one: at most a hundred that are intended, and
// a hundred others. No body at all is missing, or extra, at $. Elements of lists are compared by their index. If a list
// has another length, equal elements at its begin and end are left out first. Indices in an unordered list are those
// after sorting it.
func (c *Comparer) Diff(live, other []byte) ([]Difference, error) {
	a, err := c.parse(live)
	if err != nil {
		return nil, fmt.Errorf("live: %w", err)
	}
	b, err := c.parse(other)
	if err != nil {
		return nil, fmt.Errorf("other: %w", err)
	}
	return truncate(differences(&a, &b)), nil
}

func differences(live, other *value) []Difference {
	var w walk
	w.compare(live, other)
	return w.found
}

// truncate leaves out intended differences apart from others, so that many of them do not hide one that counts.
func truncate(all []Difference) []Difference {
	count := map[bool]int{}
	out := all[:0]
	for _, d := range all {
		count[d.Intended]++
		switch n := count[d.Intended]; {
		case n <= maxDifferences:
			out = append(out, d)
		case n == maxDifferences+1:
			out = append(out, Difference{Path: "$", Change: Truncated, Intended: d.Intended})
		}
	}
	return out
}

// Contrast says where the candidate differs from live, and where the baseline does.
type Contrast struct {
	Candidate []Difference `json:"candidate,omitempty"` // where the baseline does not
	Baseline  []Difference `json:"baseline,omitempty"`  // where the candidate does not
	Noise     []string     `json:"noise,omitempty"`     // where both do: paths with stars in place of indices
	Intended  []Difference `json:"intended,omitempty"`  // of the candidate; those of the baseline are left out
}

// Contrast compares a candidate and a baseline with live. What differs for both is noise, such as a time or a generated
// id, and an element's noise is that of all elements of its list.
func (c *Comparer) Contrast(live, candidate, baseline []byte) (Contrast, error) {
	var values [3]value
	for i, side := range []struct {
		name string
		body []byte
	}{{"live", live}, {"candidate", candidate}, {"baseline", baseline}} {
		var err error
		if values[i], err = c.parse(side.body); err != nil {
			return Contrast{}, fmt.Errorf("%s: %w", side.name, err)
		}
	}
	ofCandidate, ofBaseline := differences(&values[0], &values[1]), differences(&values[0], &values[2])
	var out Contrast
	var noise []string
	out.Candidate, noise = without(ofCandidate, ofBaseline)
	out.Baseline, _ = without(ofBaseline, ofCandidate)
	slices.Sort(noise)
	out.Noise = slices.Compact(noise)
	for _, d := range ofCandidate {
		if d.Intended {
			out.Intended = append(out.Intended, d)
		}
	}
	out.Candidate, out.Baseline, out.Intended = truncate(out.Candidate), truncate(out.Baseline), truncate(out.Intended)
	return out, nil
}

// without gives the differences that are not intended and whose places others do not have, and the paths of the rest.
func without(all, others []Difference) (alone []Difference, shared []string) {
	places := make(map[place]bool, len(others))
	for _, d := range others {
		places[d.place()] = true
	}
	for _, d := range all {
		switch p := d.place(); {
		case d.Intended:
		case places[p]:
			shared = append(shared, p.path)
		default:
			alone = append(alone, d)
		}
	}
	return alone, shared
}

// walk goes through two bodies at once.
type walk struct {
	steps []step
	found []Difference
}

func (w *walk) compare(live, other *value) {
	switch {
	case live.kind == absent && other.kind == absent:
	case other.kind == absent:
		w.add(Missing, live, nil)
	case live.kind == absent:
		w.add(Extra, nil, other)
	case live.kind != other.kind:
		w.add(Type, live, other)
	case live.kind == object:
		w.members(live.parts, other.parts)
	case live.kind == list && live.unordered:
		w.unordered(live.parts, other.parts)
	case live.kind == list:
		w.elements(live.parts, other.parts)
	case bytes.Equal(live.text, other.text):
	case live.tolerance != nil && live.kind == number && near(live.text, other.text, live.tolerance):
	default:
		w.add(Changed, live, other)
	}
}

// at compares what is at a step, where one of the two may be nil.
func (w *walk) at(s step, live, other *value) {
	w.steps = append(w.steps, s)
	switch {
	case other == nil:
		w.add(Missing, live, nil)
	case live == nil:
		w.add(Extra, nil, other)
	default:
		w.compare(live, other)
	}
	w.steps = w.steps[:len(w.steps)-1]
}

// members merges two sorted lists. A name that is there twice is compared with the other's first and second.
func (w *walk) members(live, other []value) {
	for len(live) > 0 || len(other) > 0 {
		order := 0
		switch {
		case len(other) == 0:
			order = -1
		case len(live) == 0:
			order = 1
		default:
			order = bytes.Compare(live[0].name, other[0].name)
		}
		switch {
		case order < 0:
			w.at(step{name: live[0].name}, &live[0], nil)
			live = live[1:]
		case order > 0:
			w.at(step{name: other[0].name}, nil, &other[0])
			other = other[1:]
		default:
			w.at(step{name: live[0].name}, &live[0], &other[0])
			live, other = live[1:], other[1:]
		}
	}
}

func (w *walk) elements(live, other []value) {
	begin := 0
	if len(live) != len(other) {
		same := func(a, b *value) bool { return bytes.Equal(a.append(nil), b.append(nil)) }
		for begin < min(len(live), len(other)) && same(&live[begin], &other[begin]) {
			begin++
		}
		for min(len(live), len(other)) > begin && same(&live[len(live)-1], &other[len(other)-1]) {
			live, other = live[:len(live)-1], other[:len(other)-1]
		}
	}
	for i := begin; i < max(len(live), len(other)); i++ {
		w.at(step{index: i}, nth(live, i), nth(other, i))
	}
}

// unordered compares two sorted lists: first it takes out pairs of equal elements, then what is left has its order.
func (w *walk) unordered(live, other []value) {
	var left, right []int
	i, j := 0, 0
	for i < len(live) && j < len(other) {
		switch order := bytes.Compare(live[i].text, other[j].text); {
		case order < 0:
			left = append(left, i)
			i++
		case order > 0:
			right = append(right, j)
			j++
		default:
			i, j = i+1, j+1
		}
	}
	for ; i < len(live); i++ {
		left = append(left, i)
	}
	for ; j < len(other); j++ {
		right = append(right, j)
	}
	for n := range max(len(left), len(right)) {
		switch {
		case n >= len(right):
			w.at(step{index: left[n]}, &live[left[n]], nil)
		case n >= len(left):
			w.at(step{index: right[n]}, nil, &other[right[n]])
		default:
			w.at(step{index: left[n]}, &live[left[n]], &other[right[n]])
		}
	}
}

func nth(values []value, i int) *value {
	if i >= len(values) {
		return nil
	}
	return &values[i]
}

func (w *walk) add(change Change, live, other *value) {
	d := Difference{Path: formatPath(w.steps), Change: change}
	if live != nil {
		d.Live, d.Intended = excerpt(live.append(nil), maxExample), live.intended
	}
	if other != nil {
		d.Other, d.Intended = excerpt(other.append(nil), maxExample), d.Intended || other.intended
	}
	w.found = append(w.found, d)
}

// excerpt gives a canonical body if it is short, else a string that has its begin and says how long it is.
func excerpt(body []byte, limit int) json.RawMessage {
	if len(body) <= limit {
		return body
	}
	for limit > 0 && !utf8.RuneStart(body[limit]) {
		limit--
	}
	return appendQuoted(nil, fmt.Sprintf("%s… (cut after %d of %d bytes)", body[:limit], limit, len(body)))
}
