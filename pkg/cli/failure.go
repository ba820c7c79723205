package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Explain turns any error into what failed, why, where and what to type next.
func Explain(err error) *Error {
	var usage *UsageError
	if errors.As(err, &usage) {
		next := "labctl help"
		if usage.Command != "" {
			next = usage.Command + " --help"
		}
		return &Error{Err: err, Next: append(slices.Clone(usage.Meant), next), Code: ExitFailed}
	}
	var own *Error
	if errors.As(err, &own) {
		out := *own
		if error(own) != err {
			// Something was wrapped around it on the way up, and says more than the part alone.
			out.What, out.Err = "", err
		}
		known := classify(err)
		if out.Code == ExitOK {
			out.Code = known.Code
		}
		if len(out.Next) == 0 {
			out.Next = known.Next
		}
		return &out
	}
	return classify(err)
}

// Print writes an error for people. Lines of the reason are indented, so that a long one stays one paragraph. The commands
// to type are about the lab that f has chosen.
func Print(w io.Writer, e *Error, f *Factory, color bool) {
	if e.Shown || isReaderGone(e) {
		return
	}
	paint := func(code, s string) string {
		if !color {
			return s
		}
		return "\x1b[" + code + "m" + s + "\x1b[0m"
	}
	what, why := e.What, ""
	if e.Err != nil {
		why = strings.TrimSpace(e.Err.Error())
	}
	if what == "" {
		what, why = why, ""
		if first, rest, many := strings.Cut(what, "\n"); many {
			what, why = first, rest
		}
	}
	what, why = f.addressed(what), f.addressed(why)
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", paint("31;1", "error:"), what)
	for line := range strings.Lines(why) {
		fmt.Fprintf(&b, "  %s\n", strings.TrimRight(line, "\n"))
	}
	if e.Where != "" {
		fmt.Fprintf(&b, "%s %s\n", paint("1", "where:"), e.Where)
	}
	label := "next: "
	given := map[string]bool{}
	for _, next := range e.Next {
		line := f.Line(next)
		command, _, _ := strings.Cut(line, "   (")
		if given[command] {
			continue
		}
		given[command] = true
		fmt.Fprintf(&b, "%s %s\n", paint("1", label), line)
		label = "or:   "
	}
	_, _ = io.WriteString(w, b.String())
}
