package stack

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// ConfigError is everything that is wrong with the lab's configuration, found in one pass before anything runs. Its text
// names file, line and column, shows the line, and says what to do.
type ConfigError struct {
	Diagnostics hcl.Diagnostics

	sources map[string][]byte
	display func(path string) string
}

// Error renders all diagnostics, in the order of their files and lines.
func (e *ConfigError) Error() string {
	found := e.Findings()
	var parts []string
	wrong := 0
	for _, f := range found {
		parts = append(parts, f.String())
		if f.diag.Severity == hcl.DiagError {
			wrong++
		}
	}
	if wrong > 1 {
		parts = append(parts, fmt.Sprintf("%d errors in the configuration; nothing was run", wrong))
	}
	return strings.Join(parts, "\n\n")
}

// Has says whether one of the errors is of that kind, a code of Finding.Diagnostic.
func (e *ConfigError) Has(kind string) bool {
	return slices.ContainsFunc(e.Diagnostics, func(d *hcl.Diagnostic) bool { is, ok := d.Extra.(code); return ok && string(is) == kind })
}

// Findings gives what is wrong one by one, in the order of files and lines.
func (e *ConfigError) Findings() []Finding { return findings(e.Diagnostics, e.sources, e.display) }

// excerpt shows the line at which rng begins, with carets under what is meant.
func excerpt(src []byte, rng hcl.Range) string {
	lines := strings.Split(string(src), "\n")
	n := rng.Start.Line
	if len(src) == 0 || n < 1 || n > len(lines) {
		return ""
	}
	line := []rune(strings.TrimRight(lines[n-1], "\r"))
	from := min(max(rng.Start.Column-1, 0), len(line))
	to := len(line)
	if rng.End.Line == n {
		to = min(max(rng.End.Column-1, from), len(line))
	}
	pad := make([]rune, from)
	for i := range pad {
		pad[i] = ' '
		if line[i] == '\t' { // keeps the carets under the text whatever a tab's width
			pad[i] = '\t'
		}
	}
	num := fmt.Sprint(n)
	return fmt.Sprintf("\n  %s | %s\n  %s | %s%s", num, string(line), strings.Repeat(" ", len(num)), string(pad), strings.Repeat("^", max(to-from, 1)))
}

// code is the stable name of a kind of problem, for programs. It is the Extra of a diagnostic of our own.
type code string

// problem is a diagnostic of our own: what is wrong at rng, and what to do about it.
func problem(kind code, rng hcl.Range, hint, format string, a ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: fmt.Sprintf(format, a...), Detail: hint, Subject: &rng, Extra: kind}
}

// place shows where rng begins, as FILE:LINE:COLUMN.
func (l *loader) place(rng hcl.Range) string {
	return fmt.Sprintf("%s:%d:%d", l.display(rng.Filename), rng.Start.Line, rng.Start.Column)
}

// relative shows path as people know it: from the first of roots that holds it.
func relative(path string, roots ...string) string {
	for _, root := range roots {
		if rel, err := filepath.Rel(root, path); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return rel
		}
	}
	return path
}

// suggest gives a hint which names the known one that was probably meant, and all that there are.
func suggest(got, what string, known []string) string {
	if len(known) == 0 {
		return "There are no " + what + "."
	}
	known = append([]string(nil), known...)
	sort.Strings(known)
	all := "Known " + what + ": " + strings.Join(known, ", ") + "."
	best, bestDistance := "", len(got)/3+1
	for _, k := range known {
		if d := distance(got, k); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = k, d
		}
	}
	if best == "" {
		return all
	}
	return fmt.Sprintf("Did you mean %q? %s", best, all)
}

// distance is the Levenshtein distance between a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
