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

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/stack"
)

// row is one output.
type row struct {
	stack  string // its name, "cluster"
	name   string
	hidden bool            // sensitive, and not asked for by name
	null   bool            // known to be null
	text   string          // a string as it is, everything else as JSON; empty where hidden
	value  json.RawMessage // nil where hidden
}

// pick gives the outputs of s, sorted: those that are in values and, where only is not empty, have that name. A value that
// was asked for by name is shown even when it is sensitive.
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
			v, _ = v.UnmarkDeep()
			value, err := readable(v)
			if err != nil {
				return nil, fmt.Errorf("output %q of stack %q: %w", name, s.ID, err)
			}
			r.null, r.value, r.text = v.IsNull(), value, string(value)
			if !v.IsNull() && v.Type() == cty.String {
				r.text = v.AsString()
			}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b row) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// readable gives a value as JSON with all digits of its numbers, as stack.JSON does, and with & < > as they are.
func readable(v cty.Value) (json.RawMessage, error) {
	data, err := stack.JSON(v)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	out, err := encode(value, "")
	return bytes.TrimRight(out, "\n"), err
}

func encode(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	err := encoder.Encode(value)
	return b.Bytes(), err
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

// shell gives the lines that set a variable for each output. Hidden values and null are left out. Two outputs that would set
// the same variable are an error.
func shell(rows []row) (string, error) {
	var b strings.Builder
	sources := map[string]row{}
	for _, r := range rows {
		if r.hidden || r.null || strings.ContainsRune(r.text, 0) { // a shell's variables cannot hold NUL
			continue
		}
		name := variable(r)
		if other, taken := sources[name]; taken {
			return "", &cli.Error{
				What: fmt.Sprintf("output %q of stack %q and output %q of stack %q both become the shell variable %s", other.name, other.stack, r.name, r.stack, name),
				Next: []string{"labctl outputs --json"},
			}
		}
		sources[name] = r
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(r.text, "'", `'\''`))
	}
	return b.String(), nil
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
	out := map[string]map[string]json.RawMessage{}
	for _, r := range rows {
		if out[r.stack] == nil {
			out[r.stack] = map[string]json.RawMessage{}
		}
		out[r.stack][r.name] = r.value
	}
	text, err := encode(out, "  ")
	return string(text), err
}
