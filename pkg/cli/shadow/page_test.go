package shadow

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/compare"
)

// differs is evidence with an example, in which everything that somebody can have written is a text.
func differs(t *testing.T, text string) shadow.Evidence {
	t.Helper()
	e := judged(t, 1000)
	e.Version, e.By, e.Ended, e.Error, e.Unsaved, e.Verdict.Why = text, text, text, text, text, text
	e.Verdict.Conditions[0].Kind, e.Verdict.Conditions[0].Why = text, text
	c, err := compare.New(compare.Rules{})
	require.NoError(t, err)
	body := func(n int) []byte {
		raw, err := json.Marshal(map[string]any{"outputs": []any{map[string]any{"key": text, text: n}, map[string]any{"value": text}}})
		require.NoError(t, err)
		canonical, err := c.Canonical(raw)
		require.NoError(t, err)
		return canonical
	}
	contrast, err := c.Contrast(body(1), body(2), body(1))
	require.NoError(t, err)
	e.Differing = compare.NewShapes(1)
	e.Differing.Add(text, text, contrast.Candidate, compare.Bodies{Live: body(1), Candidate: body(2), Baseline: body(1)})
	return e
}

func written(t *testing.T, e shadow.Evidence, format string) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, writeReport(&out, e, format))
	return out.String()
}

func TestMarkdown(t *testing.T) {
	out := written(t, withRequests(judged(t, 1000)), markdown)
	for _, want := range []string{
		"- latency: p50 1.49, p99 1.49 times the baseline's\n", "- requests: 40 of the results are answers to requests\n", "- left out: 12 requests: excepted 2, method 10\n",
		"- nothing: 7 records led to nothing on all sides, and are no results\n",
		"# Shadow of messaging: fail\n", "- candidate: the working tree ../my-change\n", "- began: 2026-11-30T12:00:00Z, by ann\n",
		"| differences | fail |", "alpha 0.05, prior 10, tolerance 0.001", "| candidate | 3 | 0 | 1 | 50 MiB |\n",
		"### 10 results: edit: outputs[*] missing\n", "outputs[0] missing",
	} {
		require.Contains(t, out, want)
	}
	out = written(t, differs(t, "a|b\nc"), markdown)
	columns := 0
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		require.True(t, columns == 0 || columns == n, line)
		columns = n
	}
	out = written(t, differs(t, "a"), markdown)
	require.Contains(t, out, "live:\n\n```\n  {\n    \"outputs\": [\n      {\n>       \"a\": 1,\n        \"key\": \"a\"\n")
	require.Contains(t, out, "candidate:\n\n```\n  {\n    \"outputs\": [\n      {\n>       \"a\": 2,\n")
	require.Contains(t, written(t, judged(t, 0), markdown), "No difference in 0 results.")
	require.Error(t, writeReport(failing{}, judged(t, 0), markdown))
	require.Error(t, writeReport(failing{}, judged(t, 0), asHTML))
}

// failing is a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

// element is one of a page, with the text in it.
type element struct{ name, text string }

// elements reads a page. What asks for another file, or runs, is an error.
func elements(out string) (all []element, err error) {
	d := xml.NewDecoder(strings.NewReader(out))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	var open []int // the elements that have not ended
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			open = append(open, len(all))
			all = append(all, element{name: token.Name.Local})
			for _, a := range token.Attr {
				if !slices.Contains([]string{"lang", "charset", "name", "content", "http-equiv", "class"}, a.Name.Local) {
					return nil, fmt.Errorf("%s has the attribute %s", token.Name.Local, a.Name.Local)
				}
			}
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				all[open[len(open)-1]].text += string(token)
			}
		case xml.Comment, xml.ProcInst:
			return nil, fmt.Errorf("there is %T", token)
		}
	}
}

// The page says what the Markdown says, needs no other file, and marks what differs on each side.
func TestHTML(t *testing.T) {
	e := differs(t, "a")
	all, err := elements(written(t, e, asHTML))
	require.NoError(t, err)
	of := func(name string) (texts []string) {
		for _, el := range all {
			if el.name == name {
				texts = append(texts, strings.TrimSpace(el.text))
			}
		}
		return texts
	}
	require.Equal(t, []string{"Shadow of messaging: fail"}, of("h1"))
	require.Equal(t, []string{`"a": 1,`, `"a": 2,`}, of("mark"), "on the live side and on the candidate's")
	require.Equal(t, []string{"1 results: a: outputs[*].a changed"}, of("h3"))
	require.Contains(t, of("td"), "differences")
	require.Contains(t, of("dd"), "2026-11-30T12:00:00Z, by a")
	require.Contains(t, of("code"), "outputs[0].a")
	require.Contains(t, of("th"), "baseline")

	kept := e
	kept.Differing = e.Differing.WithoutExamples()
	require.NotContains(t, written(t, kept, asHTML), "<pre>", "the evidence of a promotion has no examples")
	require.Contains(t, written(t, judged(t, 0), asHTML), "No difference in 0 results.")
}

func TestJSON(t *testing.T) {
	var e shadow.Evidence
	want := differs(t, "a")
	require.NoError(t, json.Unmarshal([]byte(written(t, want, asJSON)), &e))
	require.Equal(t, want.Verdict, e.Verdict)
	require.Equal(t, want.At.Add(0).Format(time.RFC3339Nano), e.At.Format(time.RFC3339Nano))
}

// Whatever people said is a text in the page, and never an element of it.
func FuzzHTML(f *testing.F) {
	for _, text := range []string{
		"<script>alert(1)</script>", "</pre></td><img src=x onerror=alert(1)>", "</style><b>", "<!-- ", "&lt;b&gt;", `"><a href="javascript:x">`,
		"</title>", "{{.Title}}", "'", "\u2028", "]]>", "<?php", "]", "a.b", `\`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		names := func(text string) (names []string) {
			t.Helper()
			out := written(t, differs(t, text), asHTML)
			all, err := elements(out)
			require.NoError(t, err, "%q", out)
			for _, el := range all {
				names = append(names, el.name)
			}
			return names
		}
		require.Equal(t, names("a"), names(text+"x"))
	})
}
