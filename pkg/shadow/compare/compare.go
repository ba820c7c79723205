// Package compare says what differs between two results, and what may.
//
// A result is a JSON body. Bodies are compared by their canonical form: members sorted by name, numbers by their exact
// value, strings by their characters. Rules leave out what says nothing: see Rules, and Path syntax below.
//
// # Path syntax
//
// A path names places in a body by the names that lead there, divided by dots:
//
//	users[*].frame.at   the member "at" of the member "frame" of each element of the list "users"
//	*                   any one name
//	**                  any number of names and elements, also none: **.at is each "at"
//	[*]                 each element of a list
//	["a.b"]             a name with other characters, as a JSON string
//	$                   the body itself
//
// A difference's path is written in the same way, with the element's index in place of the star.
package compare

import (
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
)

const (
	maxBody  = 4 << 20 // bytes; a value in memory is larger than its text
	maxDepth = 100     // lists and objects in each other
)

// Comparer compares bodies by its rules. Any number of goroutines may use it at once.
type Comparer struct {
	start []match // at the body itself
}

// pattern is a rule's path, and what the rule does at the places that it names.
type pattern struct {
	path      []segment
	kind      string
	tolerance *big.Rat       // of tolerances
	match     *regexp.Regexp // of normalize
	replace   string
}

// The names of the rules, as they are in the file.
const (
	ruleIgnore     = "ignore"
	ruleUnordered  = "unordered"
	ruleTolerances = "tolerances"
	ruleNormalize  = "normalize"
	ruleIntended   = "intended"
)

// New returns an error that names the rule which cannot be used, and what to write instead.
func New(rules Rules) (*Comparer, error) {
	var c Comparer
	add := func(p *pattern, err error) error {
		if err != nil {
			return err
		}
		c.start = append(c.start, begin(p))
		return nil
	}
	for _, rule := range []struct {
		kind  string
		paths []string
	}{{ruleIgnore, rules.Ignore}, {ruleUnordered, rules.Unordered}, {ruleIntended, rules.Intended}} {
		for _, path := range rule.paths {
			if err := add(compile(rule.kind, path)); err != nil {
				return nil, err
			}
		}
	}
	for _, t := range rules.Tolerances {
		if err := add(t.compile()); err != nil {
			return nil, err
		}
	}
	// Normalizations come in their order: one may work on what another has left.
	for _, n := range rules.Normalize {
		if err := add(n.compile()); err != nil {
			return nil, err
		}
	}
	return &c, nil
}

func compile(kind, path string) (*pattern, error) {
	segments, err := parsePath(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kind, err)
	}
	p := &pattern{path: segments, kind: kind}
	if (kind == ruleIgnore || kind == ruleIntended) && begin(p).complete() {
		return nil, fmt.Errorf("%s: %q is the whole body, so nothing would be compared; write the path of a member", kind, path)
	}
	return p, nil
}

func (t Tolerance) compile() (*pattern, error) {
	p, err := compile(ruleTolerances, t.Path)
	if err != nil {
		return nil, err
	}
	// The shortest decimal number that stands for the float is the one that somebody wrote.
	within, ok := new(big.Rat).SetString(strconv.FormatFloat(t.Within, 'g', -1, 64))
	if !ok || within.Sign() <= 0 {
		return nil, fmt.Errorf("%s: %s: %v is no tolerance; write by how much the numbers may differ, such as 0.01", ruleTolerances, t.Path, t.Within)
	}
	p.tolerance = within
	return p, nil
}

func (n Normalization) compile() (*pattern, error) {
	p, err := compile(ruleNormalize, n.Path)
	if err != nil {
		return nil, err
	}
	if p.match, err = regexp.Compile(n.Match); err != nil {
		return nil, fmt.Errorf("%s: %s: match is no regular expression of Go: %w; see https://pkg.go.dev/regexp/syntax", ruleNormalize, n.Path, err)
	}
	if p.match.ReplaceAllString(n.Replace, n.Replace) != n.Replace {
		return nil, fmt.Errorf("%s: %s: match %q matches its own replacement %q; write a replacement that it does not match", ruleNormalize, n.Path, n.Match, n.Replace)
	}
	p.replace = n.Replace
	return p, nil
}

// Canonical gives a body in canonical form: without what is ignored, with strings normalized and unordered lists
// sorted. Bodies whose canonical form is the same do not differ. The canonical form of a canonical form is itself, and
// that of no body is empty. A body that is not JSON, too large or too deeply nested is an error.
func (c *Comparer) Canonical(body []byte) ([]byte, error) {
	v, err := c.parse(body)
	if err != nil {
		return nil, err
	}
	return v.append(make([]byte, 0, len(body))), nil
}

func (c *Comparer) parse(body []byte) (value, error) {
	if len(body) == 0 {
		return value{}, nil
	}
	if len(body) > maxBody {
		return value{}, fmt.Errorf("the body has %d bytes, and bodies of at most %d are compared; compare its begin as a string", len(body), maxBody)
	}
	if !json.Valid(body) {
		var raw json.RawMessage
		return value{}, fmt.Errorf("the body is not JSON: %w", json.Unmarshal(body, &raw))
	}
	r := reader{in: body}
	r.space()
	return r.value(c.start, false, 0)
}
