package stack

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf16"

	"github.com/hashicorp/hcl/v2"
)

// Finding is one thing that is wrong with the configuration, or that is probably not meant.
type Finding struct {
	diag   *hcl.Diagnostic
	source []byte // of the file that it is in; nil where it is in no file
	file   string // as people know it
}

// Diagnostic is a Finding in the form of the Language Server Protocol, with the file that it is in.
type Diagnostic struct {
	File     string `json:"file"`
	Range    Range  `json:"range"`
	Severity int    `json:"severity"` // 1 an error, 2 a warning
	Code     string `json:"code"`     // stable
	Source   string `json:"source"`   // "labctl"
	Message  string `json:"message"`
	Detail   string `json:"detail"`
}

// Range is from Start to before End.
type Range struct {
	Start Position `json:"start"`
	End   Position `json:"end"`
}

// Position is a place in a file. Both counts begin at 0; Character counts UTF-16 code units.
type Position struct {
	Line      int `json:"line"`
	Character int `json:"character"`
}

// findings gives diags in the order of their files and lines, those of no file first.
func findings(diags hcl.Diagnostics, sources map[string][]byte, display func(string) string) []Finding {
	out := make([]Finding, 0, len(diags))
	for _, d := range diags {
		f := Finding{diag: d}
		if d.Subject != nil && d.Subject.Filename != "" {
			f.file, f.source = display(d.Subject.Filename), sources[d.Subject.Filename]
		}
		out = append(out, f)
	}
	sort.SliceStable(out, func(i, j int) bool {
		a, b := out[i].diag.Subject, out[j].diag.Subject
		switch {
		case a == nil || b == nil:
			return a == nil && b != nil
		case a.Filename != b.Filename:
			return a.Filename < b.Filename
		case a.Start.Line != b.Start.Line:
			return a.Start.Line < b.Start.Line
		default:
			return a.Start.Column < b.Start.Column
		}
	})
	return out
}

// String says where it is, what it is, shows the line, and says what to do.
func (f Finding) String() string {
	d := f.diag
	var b strings.Builder
	if f.file != "" {
		b.WriteString(f.file)
		if d.Subject.Start.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", d.Subject.Start.Line, d.Subject.Start.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(strings.TrimSuffix(d.Summary, "."))
	if d.Subject != nil {
		b.WriteString(excerpt(f.source, *d.Subject))
	}
	if d.Detail != "" {
		b.WriteString("\n  " + strings.ReplaceAll(d.Detail, "\n", "\n  "))
	}
	return b.String()
}

// Diagnostic gives it for programs.
func (f Finding) Diagnostic() Diagnostic {
	out := Diagnostic{File: f.file, Severity: 1, Code: f.code(), Source: "labctl", Message: strings.TrimSuffix(f.diag.Summary, "."), Detail: f.diag.Detail}
	if f.diag.Severity == hcl.DiagWarning {
		out.Severity = 2
	}
	if s := f.diag.Subject; s != nil && s.Start.Line > 0 {
		out.Range = Range{Start: position(f.source, s.Start), End: position(f.source, s.End)}
		if out.Range.End.Line < out.Range.Start.Line {
			out.Range.End = out.Range.Start
		}
	}
	return out
}

// code is our own, or for what HCL itself says its summary as a word: "Unsupported argument" is unsupported-argument.
func (f Finding) code() string {
	if own, ok := f.diag.Extra.(code); ok {
		return string(own)
	}
	words := strings.FieldsFunc(strings.ToLower(f.diag.Summary), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return strings.Join(words, "-")
}

// position turns HCL's lines and bytes into the protocol's lines and UTF-16 code units.
func position(src []byte, pos hcl.Pos) Position {
	end := min(max(pos.Byte, 0), len(src))
	begin := strings.LastIndexByte(string(src[:end]), '\n') + 1
	units := 0
	for _, r := range string(src[begin:end]) {
		units += max(utf16.RuneLen(r), 1)
	}
	return Position{Line: max(pos.Line-1, 0), Character: units}
}
