package compare

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func comparer(t testing.TB, rules Rules) *Comparer {
	t.Helper()
	c, err := New(rules)
	require.NoError(t, err)
	return c
}

func TestCanonical(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules Rules
		body  string
		want  string
	}{
		{"no body", Rules{}, ``, ``},
		{"names are sorted, white space is left out", Rules{}, " {\"b\" : [ 1 , 2 ],\n\"a\":{ } } ", `{"a":{},"b":[1,2]}`},
		{"a name that begins another", Rules{}, `{"a b":1,"a":2}`, `{"a":2,"a b":1}`},
		{"a name that is there twice", Rules{}, `{"a":2,"b":0,"a":1}`, `{"a":2,"a":1,"b":0}`},
		{"the empty name", Rules{}, `{"a":1,"":2}`, `{"":2,"a":1}`},
		{"words", Rules{}, `[true,false,null]`, `[true,false,null]`},
		{"escapes", Rules{}, `"\u0041\/\"\\\n\t\b\u001f\u2028é\ud83d\ude00"`, `"A/\"\\\n\t\u0008\u001f` + "\u2028é😀\""},
		{"half a surrogate pair", Rules{}, `["\ud800","\udc00x","\ud800\u0041","\ud800\ud83d\ude00"]`, "[\"\uFFFDd800\",\"\uFFFDdc00x\",\"\uFFFDd800A\",\"\uFFFDd800😀\"]"},
		{"invalid UTF-8", Rules{}, "{\"\xff\":\"a\x80\xc3\"}", "{\"\uFFFDff\":\"a\uFFFD80\uFFFDc3\"}"},
		{"ignored", Rules{Ignore: []string{"a", "l[*].x", "**.deep", `["b.c"]`}}, `{"a":{"y":1},"b.c":2,"l":[{"x":1,"y":2,"z":[{"deep":1}]}],"deep":3}`, `{"l":[{"y":2,"z":[{}]}]}`},
		{"all elements ignored", Rules{Ignore: []string{"l[*]"}}, `{"l":[1,2]}`, `{"l":[]}`},
		{"a star is one name, no element", Rules{Ignore: []string{"*.x"}}, `{"a":{"x":1},"b":[{"x":2}],"x":3}`, `{"a":{},"b":[{"x":2}],"x":3}`},
		{"unordered", Rules{Unordered: []string{"l", "l[*]"}}, `{"l":[[3,1],[2],{"b":1,"a":2}],"m":[2,1]}`, `{"l":[[1,3],[2],{"a":2,"b":1}],"m":[2,1]}`},
		{"unordered, sorted without what is ignored", Rules{Unordered: []string{"$"}, Ignore: []string{"[*].at"}}, `[{"at":1,"b":2},{"at":2,"b":1}]`, `[{"b":1},{"b":2}]`},
		{"normalized", Rules{Normalize: []Normalization{{"e", `request (\w)\w*`, "request $1"}, {"**", `request x`, "Y"}}}, `{"e":"request xyz","f":"request x","n":5}`, `{"e":"Y","f":"Y","n":5}`},
		{"normalized, with escapes", Rules{Normalize: []Normalization{{"e", `[\n"]+`, "\\"}}}, `{"e":"a\n\u0022b"}`, `{"e":"a\\b"}`},
		{"a normalization that would go on for ever", Rules{Normalize: []Normalization{{"e", `(a)`, "$1$1"}}}, `{"e":"a"}`, `{"e":"a"}`},
		{"tolerances and intended places stay", Rules{Tolerances: []Tolerance{{"n", 1}}, Intended: []string{"v"}}, `{"v":1,"n":2}`, `{"n":2,"v":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := comparer(t, test.rules)
			got, err := c.Canonical([]byte(test.body))
			require.NoError(t, err)
			require.Equal(t, test.want, string(got))
			again, err := c.Canonical(got)
			require.NoError(t, err)
			require.Equal(t, test.want, string(again))
		})
	}
}

func TestCanonicalNumbers(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0", "-0": "0", "-0.0e5": "0", "0e99999999999999999999": "0", "7": "7", "-7": "-7",
		"1e3": "1000", "1E+3": "1000", "1000.0": "1000", "10e2": "1000", "0.1e4": "1000", "1000": "1000",
		"1.50": "1.5", "150e-2": "1.5", "0.05": "0.05", "5e-2": "0.05", "0.000001": "0.000001", "0.0000001": "1e-7", "12e-8": "1.2e-7",
		"9007199254740993":                           "9007199254740993",
		"12345678901234567890123456789012345678.0e1": "123456789012345678901234567890123456780",
		"1e39":                         "1" + strings.Repeat("0", 39),
		"1e40":                         "1e40",
		"1" + strings.Repeat("0", 40):  "1e40",
		"12" + strings.Repeat("3", 40): "1.2" + strings.Repeat("3", 40) + "e41",
		"1e1000000":                    "1e1000000",
		"-1.0E99999999999999999999":    "-1.0e99999999999999999999",
		"10e9223372036854775807":       "10e9223372036854775807",
	} {
		got, err := comparer(t, Rules{}).Canonical([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, want, string(got), in)
		require.Equal(t, want, string(canonicalNumber([]byte(want))), in)
	}
}

func TestCanonicalRefuses(t *testing.T) {
	c := comparer(t, Rules{})
	for body, want := range map[string]string{
		`{"a":`: "the body is not JSON: unexpected end of JSON input", `<html>`: "the body is not JSON: invalid character '<'",
		" ": "the body is not JSON", `1 2`: "the body is not JSON", `NaN`: "the body is not JSON", `01`: "the body is not JSON",
		strings.Repeat(" ", maxBody) + "1":                          "the body has 4194305 bytes, and bodies of at most 4194304 are compared",
		strings.Repeat("[", 102) + strings.Repeat("]", 102):         "the body is nested deeper than 100 levels",
		strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000): "exceeded max depth",
	} {
		_, err := c.Canonical([]byte(body))
		require.ErrorContains(t, err, want)
		_, err = c.Diff([]byte(`1`), []byte(body))
		require.ErrorContains(t, err, "other: ")
		_, err = c.Contrast([]byte(`1`), []byte(body), []byte(`1`))
		require.ErrorContains(t, err, "candidate: ")
	}
	_, err := c.Canonical([]byte(strings.Repeat("[", 101) + strings.Repeat("]", 101)))
	require.NoError(t, err)
}

func TestPaths(t *testing.T) {
	for _, test := range []struct {
		path string
		yes  string // bodies of which the path names something, each in a line
		no   string
	}{
		{"a.b", `{"a":{"b":1}}`, "{\"a\":[{\"b\":1}]}\n{\"a\":{\"c\":{\"b\":1}}}\n{\"b\":1}"},
		{"a[*].b", `{"a":[{"b":1}]}`, "{\"a\":{\"b\":1}}\n{\"a\":[[{\"b\":1}]]}"},
		{"[*][*]", `[[1]]`, "[1]\n{\"a\":[1]}"},
		{"**.b", "{\"b\":1}\n{\"a\":{\"b\":1}}\n[[{\"b\":1}]]", `{"c":{"bb":1}}`},
		{"a.**.b.**.c", "{\"a\":{\"b\":{\"c\":1}}}\n{\"a\":[{\"b\":{\"b\":[{\"c\":1}]}}]}", `{"a":{"c":{"b":1}}}`},
		{"**[*]", "[1]\n{\"a\":[1]}", `{"a":1}`},
		{"*.b", `{"x":{"b":1}}`, "{\"b\":1}\n{\"x\":{\"y\":{\"b\":1}}}"},
		{`["a.b"]["$"].c`, `{"a.b":{"$":{"c":1}}}`, `{"a":{"b":{"$":{"c":1}}}}`},
		{`["\u00e4\n"]`, `{"ä\u000a":1}`, `{"ä":1}`},
		{`[""]`, `{"":1}`, `{"a":1}`},
		{"ä:7/x-y", `{"\u00e4:7/x-y":1}`, `{"a":1}`},
	} {
		c := comparer(t, Rules{Ignore: []string{test.path}})
		plain := comparer(t, Rules{})
		for bodies, leaves := range map[string]bool{test.yes: false, test.no: true} {
			for body := range strings.SplitSeq(bodies, "\n") {
				got, err := c.Canonical([]byte(body))
				require.NoError(t, err)
				all, err := plain.Canonical([]byte(body))
				require.NoError(t, err)
				require.Equal(t, leaves, string(got) == string(all), "%s of %s: %s", test.path, body, got)
			}
		}
	}
}

// A path that was reported can be written into the rules.
func TestReportedPathsAreRules(t *testing.T) {
	const live = `{"a.b":{"":[[{"x\"]":1,"*":2,"$":3,"ä b":4,"c":{"d":5}}]]}}`
	other := strings.NewReplacer("1", "true", "2", "true", "3", "true", "4", "true", "5", "true").Replace(live)
	all, err := comparer(t, Rules{}).Diff([]byte(live), []byte(other))
	require.NoError(t, err)
	var rules Rules
	var paths []string
	for _, d := range all {
		paths = append(paths, d.Path)
		rules.Ignore = append(rules.Ignore, generalize(d.Path))
	}
	require.Equal(t, []string{
		`["a.b"][""][0][0]["$"]`, `["a.b"][""][0][0]["*"]`, `["a.b"][""][0][0].c.d`, `["a.b"][""][0][0]["x\"]"]`, `["a.b"][""][0][0]["ä b"]`,
	}, paths)
	all, err = comparer(t, rules).Diff([]byte(live), []byte(other))
	require.NoError(t, err)
	require.Empty(t, all)
}

func TestShapes(t *testing.T) {
	c := comparer(t, Rules{Intended: []string{"v"}})
	s := NewShapes(2)
	add := func(key, live, candidate string) {
		d, err := c.Diff([]byte(live), []byte(candidate))
		require.NoError(t, err)
		s.Add(key, "frame", d, Bodies{[]byte(live), []byte(candidate), nil})
	}
	add("messages/3@7", `{"u":[{"n":1},{"n":2}]}`, `{"u":[{"n":1},{"n":3}],"v":1}`)
	add("messages/3@8", `{"u":[{"n":1},{"n":2}]}`, `{"u":[{"n":0},{"n":3}]}`)
	add("messages/3@9", `{"v":1,"a":1}`, `{"v":2,"b":1}`)
	add("messages/3@10", `{"v":1}`, `null`)
	long := `"` + strings.Repeat("é", maxExampleBody) + `"`
	add("messages/3@11", `{"u":[{"n":1}]}`, `{"u":[{"n":`+long+`}]}`)
	require.Equal(t, int64(2), s.Others)
	require.Len(t, s.Shapes, 2)
	require.Equal(t, "frame: u[*].n changed", s.Shapes[0].Shape)
	require.Equal(t, "frame: a missing, b extra", s.Shapes[1].Shape)
	require.Equal(t, ShapeCount{Shape: "frame: u[*].n changed", Count: 2, First: "messages/3@7", Last: "messages/3@8", Example: Example{
		Differences: []Difference{
			{Path: "u[1].n", Change: Changed, Live: json.RawMessage("2"), Other: json.RawMessage("3")},
			{Path: "v", Change: Extra, Other: json.RawMessage("1"), Intended: true},
		},
		Live: json.RawMessage(`{"u":[{"n":1},{"n":2}]}`), Candidate: json.RawMessage(`{"u":[{"n":1},{"n":3}],"v":1}`),
	}}, *s.Shapes[0])
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var again Shapes
	require.NoError(t, json.Unmarshal(b, &again))
	require.Equal(t, *s, again)

	s = NewShapes(1)
	add("k", `{"a":`+long+`}`, `{"a":1}`)
	b, err = json.Marshal(s)
	require.NoError(t, err)
	require.Less(t, len(b), maxExample+maxExampleBody+1000)
	require.Contains(t, string(s.Shapes[0].Example.Live), "(cut after 8192 of 16392 bytes)")
	require.Contains(t, string(s.Shapes[0].Example.Differences[0].Live), "(cut after 1023 of 16386 bytes)")
}

func TestShape(t *testing.T) {
	require.Equal(t, "k: same", Shape("k", []Difference{{Path: "a", Change: Changed, Intended: true}}))
	var many []Difference
	for _, name := range strings.Split("j i h g f e d c b a", " ") {
		many = append(many, Difference{Path: name, Change: Extra})
	}
	require.Equal(t, "k: a extra, b extra, c extra, d extra, e extra, f extra, g extra, h extra, and more", Shape("k", many))
	for path, want := range map[string]string{
		"$": "$", "a[12].b[0]": "a[*].b[*]", `a["x[1]\"]"][7]`: `a["x[1]\"]"][*]`, "a[": "a[", `a["`: `a["`, "": "",
	} {
		require.Equal(t, want, generalize(path))
	}
}
