package chart

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"

	"github.com/labctl/labctl/pkg/secret"
)

// ValuesError says which values of a release a chart's schema refuses.
type ValuesError struct {
	Chart    string
	Problems []ValueProblem // by path
}

// ValueProblem is one refused value. Path is dotted as in `--set`: ingress.host, kafka.brokers[0].
type ValueProblem struct {
	Path, Message string

	unknown bool // there is no such value, whatever the others are
}

func (e *ValuesError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the values do not fit chart %q (its values.schema.json says what does):", e.Chart)
	for _, p := range e.Problems {
		fmt.Fprintf(&b, "\n  %s: %s", p.Path, p.Message)
	}
	return b.String()
}

// normal gives values as JSON has them, so that what comes from HCL, Go or YAML hashes and renders the same. Whole
// numbers stay whole.
func normal(values map[string]any) (map[string]any, error) {
	data, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("the values cannot be written as JSON: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	out := map[string]any{}
	if err := d.Decode(&out); err != nil {
		return nil, fmt.Errorf("the values cannot be read as JSON: %w", err)
	}
	return plain(out).(map[string]any), nil
}

// allValues merges a release's files of values and its values.
func (r Release) allValues() (map[string]any, error) {
	all := map[string]any{}
	for _, file := range r.ValuesFiles {
		read, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return nil, fmt.Errorf("read values file %s: %w", file, err)
		}
		values, err := normal(read)
		if err != nil {
			return nil, fmt.Errorf("values file %s: %w", file, err)
		}
		merge(all, values)
	}
	values, err := normal(r.Values)
	if err != nil {
		return nil, err
	}
	merge(all, values)
	return all, nil
}

// merge sets what over has in base. Objects are merged; a null stays one, because it deletes the chart's default.
func merge(base, over map[string]any) {
	for key, value := range over {
		have, isObject := base[key].(map[string]any)
		if more, ok := value.(map[string]any); ok && isObject {
			merge(have, more)
			continue
		}
		base[key] = value
	}
}

// plain replaces json.Number, which templates would take for a string.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String() // out of a float's range
		}
		return f
	}
	return v
}

// validate checks values, completed by the chart's defaults, against the chart's own schema. Helm does it too, subcharts
// included, but its error does not name the value.
func validate(ch *helmchart.Chart, values map[string]any, secrets *secret.Set) error {
	if len(ch.Schema) == 0 {
		return nil
	}
	// A copy, because coalescing shares maps with the chart.
	given, err := normal(values)
	if err != nil {
		return err
	}
	all, err := chartutil.CoalesceValues(ch, given)
	if err != nil {
		return fmt.Errorf("join the values with the chart's defaults: %w", err)
	}
	whole, err := normal(all)
	if err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(ch.Schema))
	if err != nil {
		return fmt.Errorf("read values.schema.json: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(jsonschema.SchemeURLLoader{}) // a schema that needs another file or the network is refused
	const url = "chart:///values.schema.json"
	if err := compiler.AddResource(url, doc); err != nil {
		return fmt.Errorf("read values.schema.json: %w", err)
	}
	schema, err := compiler.Compile(url)
	if err != nil {
		return fmt.Errorf("read values.schema.json: %w", err)
	}
	err = schema.Validate(whole)
	var invalid *jsonschema.ValidationError
	if !errors.As(err, &invalid) {
		return err
	}
	out := &ValuesError{Chart: ch.Name()}
	collect(invalid, doc, func(path, text string, unknown bool) {
		p := ValueProblem{Path: path, Message: secrets.Redact(text), unknown: unknown}
		if !slices.Contains(out.Problems, p) {
			out.Problems = append(out.Problems, p)
		}
	})
	slices.SortStableFunc(out.Problems, func(a, b ValueProblem) int { return strings.Compare(a.Path, b.Path) })
	return out
}

func collect(e *jsonschema.ValidationError, schema any, add func(path, text string, unknown bool)) {
	if len(e.Causes) > 0 {
		for _, c := range e.Causes {
			collect(c, schema, add)
		}
		return
	}
	at := e.InstanceLocation
	path := dotted(at)
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		for _, name := range k.Missing {
			add(dotted(append(slices.Clone(at), name)), "is required, and has no value", false)
		}
	case *kind.AdditionalProperties:
		for _, name := range k.Properties {
			text := "is not a value of this chart"
			if known := properties(schema, e.SchemaURL); len(known) > 0 {
				text += "; here there are " + strings.Join(known, ", ")
			}
			add(dotted(append(slices.Clone(at), name)), text, true)
		}
	case *kind.Type:
		add(path, fmt.Sprintf("must be of type %s, not %s", strings.Join(k.Want, " or "), k.Got), false)
	case *kind.Pattern:
		switch about, _ := lookup(schema, e.SchemaURL)["description"].(string); {
		case k.Got == "":
			add(path, "is required, and is empty", false)
		case about != "":
			add(path, fmt.Sprintf("%q is not what it must be: %s", k.Got, about), false)
		default:
			add(path, fmt.Sprintf("%q does not match %s", k.Got, k.Want), false)
		}
	case *kind.Enum:
		var want []string
		for _, w := range k.Want {
			want = append(want, fmt.Sprint(w))
		}
		add(path, fmt.Sprintf("must be one of %s, not %v", strings.Join(want, ", "), k.Got), false)
	default:
		add(path, e.ErrorKind.LocalizedString(message.NewPrinter(language.English)), false)
	}
}

// lookup finds the part of a schema that a URL with a JSON pointer names.
func lookup(schema any, url string) map[string]any {
	_, pointer, _ := strings.Cut(url, "#")
	for _, key := range strings.Split(strings.TrimPrefix(pointer, "/"), "/") {
		if key == "" {
			continue
		}
		m, ok := schema.(map[string]any)
		if !ok {
			return nil
		}
		schema = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(key)]
	}
	m, _ := schema.(map[string]any)
	return m
}

func properties(schema any, url string) []string {
	m, _ := lookup(schema, url)["properties"].(map[string]any)
	names := make([]string, 0, len(m))
	for name := range m {
		if name != "global" { // Helm's own
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func dotted(at []string) string {
	var b strings.Builder
	for _, key := range at {
		switch {
		case key != "" && strings.Trim(key, "0123456789") == "":
			b.WriteString("[" + key + "]")
		case b.Len() == 0:
			b.WriteString(key)
		default:
			b.WriteString("." + key)
		}
	}
	if b.Len() == 0 {
		return "(all values)"
	}
	return b.String()
}
