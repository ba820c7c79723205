package outputs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

// row is one output.
type row struct {
	stack  string // its name, "cluster"
	name   string
	hidden bool
	text   string // empty where hidden
	value  any    // as JSON has it; nil where hidden
}

// pick gives the outputs of s, sorted: those that are in values and, where only is not empty, have that name. The value
// that was asked for by name is shown even when it is sensitive.
func pick(s *stack.Stack, values map[string]cty.Value, only string) ([]row, error) {
	var out []row
	for name, v := range values {
		if only != "" && name != only {
			continue
		}
		r := row{stack: s.Name, name: name}
		declared := s.Outputs[name]
		r.hidden = only == "" && (v.ContainsMarked() || (declared != nil && declared.Sensitive))
		if !r.hidden {
			var err error
			if r.text, err = stack.Text(v); err == nil {
				r.value, err = stack.Plain(v)
			}
			if err != nil {
				return nil, fmt.Errorf("output %q of stack %q: %w", name, s.ID, err)
			}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

func table(rows []row) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "STACK\tOUTPUT\tVALUE") // a bytes.Buffer takes everything
	for _, r := range rows {
		value := "(sensitive)"
		if !r.hidden {
			value = oneLine(r.text)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.stack, r.name, value)
	}
	_ = w.Flush()
	return b.String()
}

// oneLine keeps a value from breaking the table, and from moving the terminal's cursor.
func oneLine(s string) string {
	line, _, more := strings.Cut(strings.TrimRight(s, "\n"), "\n")
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, line)
	if more {
		line += " …"
	}
	return line
}

func shell(rows []row) string {
	var b strings.Builder
	for _, r := range rows {
		if r.hidden || strings.ContainsRune(r.text, 0) { // a shell's variables cannot hold NUL
			continue
		}
		fmt.Fprintf(&b, "export %s='%s'\n", variable(r), strings.ReplaceAll(r.text, "'", `'\''`))
	}
	return b.String()
}

// variable is LAB_STACK_OUTPUT.
func variable(r row) string {
	return "LAB_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9'):
			return r
		}
		return '_'
	}, r.stack+"_"+r.name)
}

func asJSON(rows []row) (string, error) {
	out := map[string]map[string]any{}
	for _, r := range rows {
		if out[r.stack] == nil {
			out[r.stack] = map[string]any{}
		}
		out[r.stack][r.name] = r.value
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(out)
	return b.String(), err
}
