package graph

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/labctl/labctl/pkg/stack"
)

// columns is how wide the text form may become.
const columns = 80

func draw(l lab, format string) (string, error) {
	switch format {
	case "dot":
		return dot(l), nil
	case "mermaid":
		return mermaid(l), nil
	case "json":
		b, err := json.MarshalIndent(l, "", "  ")
		return string(b) + "\n", err
	default:
		return text(l), nil
	}
}

// text lists each stack with what it takes from the ones before it.
func text(l lab) string {
	var b strings.Builder
	fmt.Fprintf(&b, "lab %q, environment %q on target %q\n", l.Lab, l.Environment, l.Target)
	longest, secret := 0, false
	for _, e := range l.Edges {
		longest = max(longest, len(label(e)))
		secret = secret || e.Sensitive
	}
	longest = min(longest, columns/2)
	for _, n := range l.Stacks {
		fmt.Fprintf(&b, "\n%s\n", wrap(n.ID+"   ", parts(n), columns))
		for _, from := range n.Needs {
			fmt.Fprintf(&b, "  from %s\n", from)
			for _, e := range between(l.Edges, from, n.ID) {
				fmt.Fprintf(&b, "%s\n", wrap(fmt.Sprintf("    %-*s  ", longest, label(e)), uses(l.Edges, e), columns))
			}
		}
	}
	if secret {
		b.WriteString("\n* sensitive\n")
	}
	return b.String()
}

// parts says what a stack is made of.
func parts(n node) []string {
	var out []string
	if n.Terraform {
		out = append(out, "terraform")
	}
	for _, p := range []struct {
		one  string
		many []string
	}{{"image", n.Images}, {"release", n.Releases}, {"hook", n.Hooks}} {
		switch len(p.many) {
		case 0:
		case 1:
			out = append(out, p.one+" "+p.many[0])
		default:
			out = append(out, fmt.Sprintf("%d %ss", len(p.many), p.one))
		}
	}
	if n.Backend != "" {
		out = append(out, "state in "+n.Backend)
	}
	return out
}

// between gives one edge for each output that flows from one stack to another, sorted by the output.
func between(edges []stack.Edge, from, to string) []stack.Edge {
	var out []stack.Edge
	for _, e := range edges {
		if e.From == from && e.To == to && !slices.ContainsFunc(out, func(o stack.Edge) bool { return o.Output == e.Output }) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b stack.Edge) int { return strings.Compare(a.Output, b.Output) })
	return out
}

// uses says what the output of e is used for in its stack: "input url", "images auth, gateway".
func uses(edges []stack.Edge, e stack.Edge) []string {
	names := map[string][]string{}
	var kinds []string
	for _, o := range edges {
		if o.From != e.From || o.To != e.To || o.Output != e.Output {
			continue
		}
		if names[o.Kind] == nil {
			kinds = append(kinds, o.Kind)
		}
		names[o.Kind] = append(names[o.Kind], o.Name)
	}
	var out []string
	for _, kind := range kinds {
		what := kind
		if len(names[kind]) > 1 {
			what += "s"
		}
		out = append(out, what+" "+names[kind][0])
		out = append(out, names[kind][1:]...)
	}
	return out
}

func label(e stack.Edge) string {
	if e.Sensitive {
		return e.Output + " *"
	}
	return e.Output
}

// wrap writes head and the items, with commas, on as many lines as they need. Further lines begin below the first item.
func wrap(head string, items []string, width int) string {
	if len(items) == 0 {
		return strings.TrimRight(head, " ")
	}
	var lines []string
	line := head
	for i, item := range items {
		if i < len(items)-1 {
			item += ","
		}
		if i > 0 && len(line)+1+len(item) > width {
			lines = append(lines, line)
			line = strings.Repeat(" ", len(head)) + item
			continue
		}
		if i > 0 {
			line += " "
		}
		line += item
	}
	return strings.Join(append(lines, line), "\n")
}

func dot(l lab) string {
	var b strings.Builder
	fmt.Fprintf(&b, "digraph %s {\n  rankdir=LR;\n  node [shape=box];\n", strconv.Quote(l.Lab))
	for _, n := range l.Stacks {
		fmt.Fprintf(&b, "  %s;\n", strconv.Quote(n.ID))
	}
	for _, n := range l.Stacks {
		for _, from := range n.Needs {
			fmt.Fprintf(&b, "  %s -> %s [label=%s];\n", strconv.Quote(from), strconv.Quote(n.ID), strconv.Quote(strings.Join(labels(l.Edges, from, n.ID), "\n")))
		}
	}
	b.WriteString("}\n")
	return b.String()
}

func mermaid(l lab) string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for i, n := range l.Stacks {
		fmt.Fprintf(&b, "  s%d[\"%s\"]\n", i, n.ID)
	}
	for to, n := range l.Stacks {
		for _, id := range n.Needs {
			from := slices.IndexFunc(l.Stacks, func(o node) bool { return o.ID == id })
			fmt.Fprintf(&b, "  s%d -->|\"%s\"| s%d\n", from, strings.Join(labels(l.Edges, id, n.ID), "<br>"), to)
		}
	}
	return b.String()
}

func labels(edges []stack.Edge, from, to string) []string {
	var out []string
	for _, e := range between(edges, from, to) {
		out = append(out, label(e))
	}
	return out
}
