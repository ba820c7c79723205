package compare

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Rules say what a comparison leaves out. The package's documentation has the syntax of paths.
type Rules struct {
	Ignore     []string        // what is not compared at all
	Unordered  []string        // lists whose order says nothing
	Tolerances []Tolerance     // of the ones for a place, the last counts
	Normalize  []Normalization // in this order
	Intended   []string        // what is meant to differ, with all below it: it is reported apart, and never counted
}

// Tolerance is by how much the numbers at a path may differ.
type Tolerance struct {
	Path   string
	Within float64
}

// Normalization replaces what matches a regular expression in the strings at a path. Replace may name groups: $1.
type Normalization struct {
	Path, Match, Replace string
}

// ParseRules reads rules from a YAML file. An error names the file and the line of each fault, and says what to write
// instead. A file for all of it:
//
//	ignore:
//	- users[*].frame.trace
//	unordered:
//	- users
//	tolerances:
//	  users[*].frame.score: 0.01
//	normalize:
//	- path: error.message
//	  match: request [0-9a-f]+
//	  replace: request ID
//	intended:
//	- "**.version"
func ParseRules(file string, data []byte) (Rules, error) {
	p := rulesParser{file: file}
	rules := p.document(data)
	return rules, errors.Join(p.faults...)
}

type rulesParser struct {
	file   string
	faults []error
}

func (p *rulesParser) fault(line int, err error) {
	p.faults = append(p.faults, fmt.Errorf("%s:%d: %w", p.file, line, err))
}

func (p *rulesParser) faultf(line int, format string, args ...any) {
	p.fault(line, fmt.Errorf(format, args...))
}

// syntaxError is how the library writes where a fault is.
var syntaxError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

func (p *rulesParser) document(data []byte) (rules Rules) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return rules
	case err != nil:
		line, reason := 1, err.Error()
		if found := syntaxError.FindStringSubmatch(reason); found != nil {
			reason = found[2]
			if n, err := strconv.Atoi(found[1]); err == nil {
				line = n
			}
		}
		p.faultf(line, "the file is not YAML: %s; a path that begins with * or [ is written in quotes", reason)
		return rules
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		p.faultf(max(second.Line, 1), "a second document follows; write all rules in one")
	}
	p.members(document.Content[0], "rules", func(key string, line int, n *yaml.Node) {
		switch key {
		case ruleIgnore:
			rules.Ignore = p.paths(key, n)
		case ruleUnordered:
			rules.Unordered = p.paths(key, n)
		case ruleIntended:
			rules.Intended = p.paths(key, n)
		case ruleTolerances:
			rules.Tolerances = p.tolerances(n)
		case ruleNormalize:
			rules.Normalize = p.normalizations(n)
		default:
			p.faultf(line, "there is no rule %q; write ignore, unordered, tolerances, normalize or intended", key)
		}
	})
	return rules
}

// members calls f for each member of a mapping.
func (p *rulesParser) members(n *yaml.Node, what string, f func(key string, line int, n *yaml.Node)) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		p.faultf(n.Line, "%s: write names with values, such as \"name: value\"", what)
		return
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if slices.Contains(seen, key.Value) {
			p.faultf(key.Line, "%s: %q is there twice; write it once", what, key.Value)
			continue
		}
		seen = append(seen, key.Value)
		f(key.Value, key.Line, n.Content[i+1])
	}
}

// elements calls f for each element of a list.
func (p *rulesParser) elements(n *yaml.Node, what, example string, f func(n *yaml.Node)) {
	if n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.SequenceNode {
		p.faultf(n.Line, "%s: write a list, such as %q", what, example)
		return
	}
	for _, element := range n.Content {
		f(element)
	}
}

// scalar gives a string, or what is written like one.
func (p *rulesParser) scalar(n *yaml.Node, what string) (string, bool) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		p.faultf(n.Line, "%s: write a string; one that begins with * or [ is written in quotes", what)
		return "", false
	}
	return n.Value, true
}

func (p *rulesParser) paths(rule string, n *yaml.Node) (paths []string) {
	p.elements(n, rule, "- users[*].frame.at", func(n *yaml.Node) {
		path, ok := p.scalar(n, rule)
		if !ok {
			return
		}
		if _, err := compile(rule, path); err != nil {
			p.fault(n.Line, err)
		}
		paths = append(paths, path)
	})
	return paths
}

func (p *rulesParser) tolerances(n *yaml.Node) (tolerances []Tolerance) {
	p.members(n, ruleTolerances, func(path string, line int, n *yaml.Node) {
		within, err := strconv.ParseFloat(n.Value, 64)
		if err != nil {
			p.faultf(n.Line, "%s: %s: write a number, such as 0.01", ruleTolerances, path)
			return
		}
		t := Tolerance{Path: path, Within: within}
		if _, err := t.compile(); err != nil {
			p.fault(line, err)
		}
		tolerances = append(tolerances, t)
	})
	return tolerances
}

func (p *rulesParser) normalizations(n *yaml.Node) (all []Normalization) {
	p.elements(n, ruleNormalize, "- {path: id, match: '[0-9]+', replace: N}", func(n *yaml.Node) {
		var one Normalization
		fields := map[string]*string{"path": &one.Path, "match": &one.Match, "replace": &one.Replace}
		before := len(p.faults)
		p.members(n, ruleNormalize, func(key string, line int, n *yaml.Node) {
			field := fields[key]
			if field == nil {
				p.faultf(line, "%s: there is no %q, or it is there twice; write path, match and replace", ruleNormalize, key)
				return
			}
			*field, _ = p.scalar(n, ruleNormalize+": "+key)
			delete(fields, key)
		})
		if len(p.faults) == before && len(fields) > 0 {
			p.faultf(n.Line, "%s: write path, match and replace; an empty replacement is ''", ruleNormalize)
		}
		if len(p.faults) == before {
			if _, err := one.compile(); err != nil {
				p.fault(n.Line, err)
			}
		}
		all = append(all, one)
	})
	return all
}
