package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

type valueKind uint8

const (
	absent valueKind = iota // there is no body
	null
	boolean
	number
	text
	list
	object
)

// value is a part of a body in canonical form.
type value struct {
	kind      valueKind
	ignored   bool
	unordered bool
	intended  bool     // it, or what it is a part of
	tolerance *big.Rat // nil if there is none
	name      []byte   // of a member, in canonical form, without quotes
	text      []byte   // in canonical form; of lists and objects only if they are elements of an unordered list
	parts     []value  // members sorted by name, or elements
}

// reader reads a body that is known to be valid JSON.
type reader struct {
	in     []byte
	at     int
	active []match // a stack: of each value that is being read, what still agrees with its place
}

// value reads a value and the white space behind it. active is what agrees with its place.
func (r *reader) value(active []match, intended bool, depth int) (v value, err error) {
	if depth > maxDepth {
		return v, fmt.Errorf("the body is nested deeper than %d levels, which is as deep as bodies are compared", maxDepth)
	}
	v.intended = intended
	for _, m := range active {
		if !m.complete() {
			continue
		}
		switch m.pattern.kind {
		case ruleIgnore:
			v.ignored = true
		case ruleUnordered:
			v.unordered = true
		case ruleIntended:
			v.intended = true
		case ruleTolerances:
			v.tolerance = m.pattern.tolerance
		}
	}
	switch c := r.in[r.at]; c {
	case '{':
		v.kind = object
		err = r.members(&v, active, depth)
	case '[':
		v.kind = list
		err = r.elements(&v, active, depth)
	case '"':
		v.kind = text
		v.text = normalize(r.string(), active)
	case 't', 'f':
		v.kind = boolean
		v.text = r.word()
	case 'n':
		v.kind = null
		v.text = r.word()
	default:
		v.kind = number
		v.text = canonicalNumber(r.word())
	}
	r.space()
	return v, err
}

// members keeps a name that comes twice twice: a body that has it once is another one.
func (r *reader) members(v *value, active []match, depth int) error {
	r.open()
	for r.more('}') {
		name := r.string()
		name = name[1 : len(name)-1]
		r.space()
		r.at++ // the colon
		r.space()
		bottom := len(r.active)
		for _, m := range active {
			if next := m.member(name); next.bits != 0 {
				r.active = append(r.active, next)
			}
		}
		member, err := r.value(r.active[bottom:], v.intended, depth+1)
		if err != nil {
			return err
		}
		r.active = r.active[:bottom]
		if !member.ignored {
			member.name = name
			v.parts = append(v.parts, member)
		}
	}
	slices.SortStableFunc(v.parts, func(a, b value) int { return bytes.Compare(a.name, b.name) })
	return nil
}

func (r *reader) elements(v *value, active []match, depth int) error {
	r.open()
	bottom := len(r.active)
	for _, m := range active {
		if next := m.element(); next.bits != 0 {
			r.active = append(r.active, next)
		}
	}
	agree := r.active[bottom:]
	for r.more(']') {
		element, err := r.value(agree, v.intended, depth+1)
		if err != nil {
			return err
		}
		if !element.ignored {
			v.parts = append(v.parts, element)
		}
	}
	r.active = r.active[:bottom]
	if v.unordered {
		for i := range v.parts {
			v.parts[i].text = v.parts[i].append(nil)
		}
		slices.SortStableFunc(v.parts, func(a, b value) int { return bytes.Compare(a.text, b.text) })
	}
	return nil
}

// open goes past the bracket that begins a list or an object.
func (r *reader) open() {
	r.at++
	r.space()
}

// more says whether another part follows, goes past the comma before it, or past the closing bracket.
func (r *reader) more(closing byte) bool {
	switch r.in[r.at] {
	case closing:
		r.at++
		return false
	case ',':
		r.at++
		r.space()
	}
	return true
}

func (r *reader) space() {
	for r.at < len(r.in) && (r.in[r.at] == ' ' || r.in[r.at] == '\t' || r.in[r.at] == '\n' || r.in[r.at] == '\r') {
		r.at++
	}
}

// string reads a string and gives it in canonical form, with its quotes.
func (r *reader) string() []byte {
	begin := r.at
	r.at += quoted(r.in[begin:])
	return canonicalString(r.in[begin:r.at])
}

// word reads a number, true, false or null.
func (r *reader) word() []byte {
	begin := r.at
	for r.at < len(r.in) && strings.IndexByte(" \t\n\r,]}", r.in[r.at]) < 0 {
		r.at++
	}
	return r.in[begin:r.at]
}

// normalize replaces what the rules say in a string. A string that would be changed again by the same rules stays as it
// is: whatever they make of it would hide more, or less, the second time.
func normalize(quoted []byte, active []match) []byte {
	replace := func(s string) string {
		for _, m := range active {
			if m.pattern.kind == ruleNormalize && m.complete() {
				s = m.pattern.match.ReplaceAllString(s, m.pattern.replace)
			}
		}
		return s
	}
	if !slices.ContainsFunc(active, func(m match) bool { return m.pattern.kind == ruleNormalize && m.complete() }) {
		return quoted
	}
	var before string
	if json.Unmarshal(quoted, &before) != nil {
		return quoted // it is JSON, so this does not happen
	}
	after := replace(before)
	if after == before || replace(after) != after {
		return quoted
	}
	return appendQuoted(nil, after)
}

// append writes the value in canonical form.
func (v *value) append(out []byte) []byte {
	if v.text != nil {
		return append(out, v.text...)
	}
	opening, closing := byte('['), byte(']')
	switch v.kind {
	case absent:
		return out
	case object:
		opening, closing = '{', '}'
	}
	out = append(out, opening)
	for i := range v.parts {
		if i > 0 {
			out = append(out, ',')
		}
		if v.kind == object {
			out = append(out, '"')
			out = append(out, v.parts[i].name...)
			out = append(out, `":`...)
		}
		out = v.parts[i].append(out)
	}
	return append(out, closing)
}
