package shadow

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

// page is what a report says, however it is written.
type page struct {
	Title      string
	State      verdict.State
	Why        string
	Facts      []fact
	Conditions table
	Policy     string
	Sides      table
	// Differing are the results that differ. None says so where there are none, and Others tells of those that are not kept.
	Differing    []differing
	None, Others string
}

type table struct {
	Head []string
	Rows [][]string
}

// differing are the results that differ in the same way, with an example.
type differing struct {
	Title, Where string
	Differences  []compare.Difference
	Bodies       []body
}

// body is what a side wrote in an example.
type body struct {
	Side  string
	Lines []compare.Line
}

func newPage(e shadow.Evidence) page {
	v := e.Verdict
	p := page{Title: fmt.Sprintf("Shadow of %s: %s", e.Service, v.State), State: v.State, Why: v.Why}
	add := func(name, format string, a ...any) { p.Facts = append(p.Facts, fact{name, fmt.Sprintf(format, a...)}) }
	add("candidate", "%s", e.Version)
	add("began", "%s, by %s", e.Started.UTC().Format(time.RFC3339), e.By)
	add("looked at", "%s", e.At.UTC().Format(time.RFC3339))
	add("compared", "%d results; %s of the candidate's and %s of the baseline's agree with live", v.Samples, percent(v.Agreement.Candidate), percent(v.Agreement.Baseline))
	p.Facts = append(p.Facts, countedFacts(e)...)
	if e.Ended != "" {
		add("ended", "%s", e.Ended)
	}
	p.Facts = append(p.Facts, troubleFacts(e)...)
	p.Conditions.Head = []string{"condition", "state", "value", "lower", "upper", "limit", "results", "why"}
	for _, c := range v.Conditions {
		number := func(x float64) string { return fmt.Sprintf("%.5g", x) }
		p.Conditions.Rows = append(p.Conditions.Rows, []string{
			strings.TrimSpace(c.Name + " " + c.Kind), string(c.State), number(c.Value), number(c.Lower), number(c.Upper), number(c.Limit), fmt.Sprint(c.Samples), c.Why,
		})
	}
	p.Policy = fmt.Sprintf("alpha %g, prior %g, tolerance %g (of one kind %g), at least %d results", v.Policy.Alpha, v.Policy.Prior, v.Policy.Tolerance, v.Policy.KindTolerance, v.Policy.Least)
	p.Sides.Head = []string{"side", "behind", "lost", "restarts", "memory"}
	for _, s := range side.All() {
		f := e.Sides[s.String()]
		p.Sides.Rows = append(p.Sides.Rows, []string{s.String(), fmt.Sprint(f.Lag), fmt.Sprint(f.Lost), fmt.Sprint(f.Restarts), memory(f)})
	}
	for _, s := range e.Differing.Shapes {
		p.Differing = append(p.Differing, newDiffering(s))
	}
	if len(p.Differing) == 0 {
		p.None = fmt.Sprintf("No difference in %d results.", v.Samples)
	}
	if n := e.Differing.Others; n > 0 {
		p.Others = fmt.Sprintf("%d more results differ in other ways; after %d of them no more are kept.", n, e.Differing.Limit)
	}
	return p
}

func newDiffering(s *compare.ShapeCount) differing {
	d := differing{Title: fmt.Sprintf("%d results: %s", s.Count, s.Shape), Where: fmt.Sprintf("first %s, last %s", s.First, s.Last), Differences: s.Example.Differences}
	for _, b := range []body{{"live", s.Example.LiveLines()}, {"candidate", s.Example.CandidateLines()}, {"baseline", s.Example.BaselineLines()}} {
		if len(b.Lines) > 0 {
			d.Bodies = append(d.Bodies, b)
		}
	}
	return d
}

//go:embed report.html
var reportHTML string

// writeHTML writes a file that needs no others. What people said is escaped by the template.
func (p page) writeHTML(out io.Writer) error {
	t, err := template.New("report").Parse(reportHTML)
	if err != nil {
		return err
	}
	return t.Execute(out, p)
}

func (p page) writeMarkdown(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", p.Title, p.Why)
	for _, f := range p.Facts {
		fmt.Fprintf(&b, "- %s: %s\n", f.Name, f.Is)
	}
	b.WriteString("\n## Conditions\n\n")
	p.Conditions.writeMarkdown(&b)
	fmt.Fprintf(&b, "\n%s\n\n## Sides\n\n", p.Policy)
	p.Sides.writeMarkdown(&b)
	b.WriteString("\n## Differences\n")
	for _, text := range []string{p.None, p.Others} {
		if text != "" {
			fmt.Fprintf(&b, "\n%s\n", text)
		}
	}
	for _, d := range p.Differing {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n", d.Title, d.Where)
		if len(d.Differences) > 0 {
			b.WriteString("\n```\n")
			for _, difference := range d.Differences {
				if err := writeDifference(&b, difference); err != nil {
					return err
				}
			}
			b.WriteString("```\n")
		}
		for _, body := range d.Bodies {
			fmt.Fprintf(&b, "\n%s:\n\n```\n", body.Side)
			for _, l := range body.Lines { // JSON, so no line ends the block
				mark := "  "
				if l.Differs {
					mark = "> "
				}
				b.WriteString(mark + l.Text + "\n")
			}
			b.WriteString("```\n")
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (t table) writeMarkdown(b *strings.Builder) {
	for i, row := range append([][]string{t.Head}, t.Rows...) {
		for _, cell := range row {
			b.WriteString("| " + strings.NewReplacer("|", `\|`, "\n", " ").Replace(cell) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("| --- ", len(row)) + "|\n")
		}
	}
}
