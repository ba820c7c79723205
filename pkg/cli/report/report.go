// Package report shows what a run did to each stack: as a table for people, and for programs that collect results.
package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/lab"
)

// Formats are those that Write knows.
func Formats() []string { return []string{"json", "junit", "md"} }

// Flag is --report: a format, and after "=" a file.
type Flag struct{ format, path string }

// Set takes json, junit or md, with or without =FILE.
func (f *Flag) Set(s string) error {
	f.format, f.path, _ = strings.Cut(s, "=")
	if !slices.Contains(Formats(), f.format) {
		return fmt.Errorf("use %s, with =FILE after it for a file", strings.Join(Formats(), ", "))
	}
	return nil
}

// String gives it back.
func (f *Flag) String() string {
	if f.path == "" {
		return f.format
	}
	return f.format + "=" + f.path
}

// Type is what the help calls it.
func (f *Flag) Type() string { return "FORMAT[=FILE]" }

// ToStdout says whether the report is the command's result.
func (f *Flag) ToStdout() bool { return f.format != "" && f.path == "" }

// Write writes the report that was asked for, if one was.
func (f *Flag) Write(s *lab.Summary, environment string, stdout io.Writer) (err error) {
	if f.format == "" || s == nil {
		return nil
	}
	w := stdout
	if f.path != "" {
		file, err := os.Create(f.path)
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		defer func() {
			if e := file.Close(); err == nil && e != nil {
				err = fmt.Errorf("write the report: %w", e)
			}
		}()
		w = file
	}
	switch f.format {
	case "json":
		err = writeJSON(w, s, environment)
	case "junit":
		err = writeJUnit(w, s, environment)
	default:
		err = writeMarkdown(w, s, environment)
	}
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// Table is the report for people, without its last newline.
func Table(s *lab.Summary) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "STACK\tRESULT\tADDED\tCHANGED\tDESTROYED\tTIME\t") // to memory: never fails
	for _, r := range s.Results {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t\n", r.Stack, word(r), number(r.Changes.Added), number(r.Changes.Changed), number(r.Changes.Destroyed), took(r))
	}
	_ = w.Flush()
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// word says how a stack ended, with what is in no other column.
func word(r lab.Result) string {
	var more []string
	if r.Images > 0 {
		more = append(more, plural(r.Images, "image"))
	}
	if r.Charts > 0 {
		more = append(more, plural(r.Charts, "release"))
	}
	if len(more) == 0 {
		return string(r.Ending)
	}
	return string(r.Ending) + " (" + strings.Join(more, ", ") + ")"
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func number(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func took(r lab.Result) string {
	if r.Elapsed == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fs", r.Elapsed.Seconds())
}

type jsonReport struct {
	Command     string       `json:"command"`
	Environment string       `json:"environment"`
	Seconds     float64      `json:"seconds"`
	Stacks      []jsonResult `json:"stacks"`
}

type jsonResult struct {
	Stack     string  `json:"stack"`
	Result    string  `json:"result"`
	Added     int     `json:"added"`
	Changed   int     `json:"changed"`
	Destroyed int     `json:"destroyed"`
	Images    int     `json:"images,omitempty"`
	Releases  int     `json:"releases,omitempty"`
	Seconds   float64 `json:"seconds"`
	Why       string  `json:"why,omitempty"`
	Error     string  `json:"error,omitempty"`
	Log       string  `json:"log,omitempty"`
}

func writeJSON(w io.Writer, s *lab.Summary, environment string) error {
	out := jsonReport{Command: s.Command, Environment: environment, Seconds: seconds(s.Elapsed), Stacks: []jsonResult{}}
	for _, r := range s.Results {
		j := jsonResult{
			Stack: r.Stack, Result: string(r.Ending), Added: r.Changes.Added, Changed: r.Changes.Changed, Destroyed: r.Changes.Destroyed,
			Images: r.Images, Releases: r.Charts, Seconds: seconds(r.Elapsed), Why: r.Detail, Log: r.Log,
		}
		if r.Err != nil {
			j.Error = r.Err.Error()
		}
		out.Stacks = append(out.Stacks, j)
	}
	return cli.WriteJSON(w, out)
}

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// The elements of JUnit's XML that the systems which read it agree on: a suite, and a case with failure or skipped.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Time    string     `xml:"time,attr"`
	Failure *junitText `xml:"failure,omitempty"`
	Skipped *junitText `xml:"skipped,omitempty"`
	Out     string     `xml:"system-out,omitempty"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func writeJUnit(w io.Writer, s *lab.Summary, environment string) error {
	out := junitSuite{Name: s.Command, Tests: len(s.Results), Time: fmt.Sprintf("%.3f", s.Elapsed.Seconds())}
	for _, r := range s.Results {
		c := junitCase{Class: environment, Name: r.Stack, Time: fmt.Sprintf("%.3f", r.Elapsed.Seconds())}
		switch r.Ending {
		case lab.EndFailed:
			out.Failures++
			text := r.Err.Error()
			first, _, _ := strings.Cut(text, "\n")
			c.Failure = &junitText{Message: first, Text: text}
		case lab.EndBlocked, lab.NotStarted:
			out.Skipped++
			c.Skipped = &junitText{Message: strings.TrimSpace(string(r.Ending) + " " + r.Detail)}
		default:
			c.Out = word(r) + ": " + r.Changes.String()
		}
		out.Cases = append(out.Cases, c)
	}
	data, err := xml.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}

func writeMarkdown(w io.Writer, s *lab.Summary, environment string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### `%s` (%s): %.1f s\n\n| stack | result | added | changed | destroyed | time |\n|---|---|--:|--:|--:|--:|\n", s.Command, environment, s.Elapsed.Seconds())
	for _, r := range s.Results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Stack, word(r), number(r.Changes.Added), number(r.Changes.Changed), number(r.Changes.Destroyed), took(r))
	}
	for _, r := range s.Results {
		if r.Err != nil {
			fmt.Fprintf(&b, "\n**%s** failed:\n\n", r.Stack)
			for line := range strings.Lines(r.Err.Error()) { // an indented block, which no text inside can end
				b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
