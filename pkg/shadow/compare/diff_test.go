package compare

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// summaries writes each difference in a line: path, change, the two values.
func summaries(all []Difference) (lines []string) {
	for _, d := range all {
		line := fmt.Sprintf("%s %s %s %s", d.Path, d.Change, d.Live, d.Other)
		if d.Intended {
			line += " intended"
		}
		lines = append(lines, line)
	}
	return lines
}

func TestDiff(t *testing.T) {
	for _, test := range []struct {
		name        string
		rules       Rules
		live, other string
		want        []string
	}{
		{"nothing", Rules{}, `{"a":[1,{"b":"\u0041"}]}`, ` {"a":[1.0,{"b":"A"}]}`, nil},
		{"changed", Rules{}, `{"a":[1,{"b":"A"}]}`, `{"a":[1,{"b":"B"}]}`, []string{`a[1].b changed "A" "B"`}},
		{"the body itself", Rules{}, `1`, `2`, []string{`$ changed 1 2`}},
		{"null is not missing", Rules{}, `{"a":null,"b":1}`, `{"b":null}`, []string{`a missing null `, `b type 1 null`}},
		{"an empty list is not missing", Rules{}, `{"a":[]}`, `{}`, []string{`a missing [] `}},
		{"an empty list is no object", Rules{}, `{"a":[]}`, `{"a":{}}`, []string{`a type [] {}`}},
		{"true is not false", Rules{}, `[true]`, `[false]`, []string{`[0] changed true false`}},
		{"no body", Rules{}, `{"a":1}`, ``, []string{`$ missing {"a":1} `}},
		{"no live body", Rules{}, ``, `0`, []string{`$ extra  0`}},
		{"neither", Rules{}, ``, ``, nil},
		{"a name that is there twice", Rules{}, `{"a":1,"a":2}`, `{"a":1}`, []string{`a missing 2 `}},
		{"large numbers that floats take for equal", Rules{}, `[9007199254740993]`, `[9007199254740992]`, []string{`[0] changed 9007199254740993 9007199254740992`}},
		{"an element more in between", Rules{}, `[1,2,3,4]`, `[1,2,7,3,4]`, []string{`[2] extra  7`}},
		{"elements fewer", Rules{}, `[1,2,3,4]`, `[1,4]`, []string{`[1] missing 2 `, `[2] missing 3 `}},
		{"another length, and another element", Rules{}, `[1,2,3]`, `[1,5]`, []string{`[1] changed 2 5`, `[2] missing 3 `}},
		{"repeated elements", Rules{}, `[1,1]`, `[1,1,1]`, []string{`[2] extra  1`}},
		{"unordered", Rules{Unordered: []string{"a"}}, `{"a":[{"n":3},{"n":1},{"n":2}]}`, `{"a":[{"n":2},{"n":4},{"n":3}]}`, []string{`a[0].n changed 1 4`}},
		{"unordered, one fewer", Rules{Unordered: []string{"$"}}, `[1,2,2]`, `[2,1]`, []string{`[2] missing 2 `}},
		{"unordered, one more", Rules{Unordered: []string{"$"}}, `[3,3]`, `[2,3,3]`, []string{`[0] extra  2`}},
		{"ordered", Rules{}, `[1,2]`, `[2,1]`, []string{`[0] changed 1 2`, `[1] changed 2 1`}},
		{"ignored", Rules{Ignore: []string{"**.at"}}, `{"a":{"at":1},"at":2}`, `{"a":{}}`, nil},
		{"within a tolerance", Rules{Tolerances: []Tolerance{{"a", 0.1}}}, `{"a":1.0}`, `{"a":1.1}`, nil},
		{"beyond a tolerance", Rules{Tolerances: []Tolerance{{"a", 0.1}}}, `{"a":1.0}`, `{"a":1.1000000000000000001}`, []string{`a changed 1 1.1000000000000000001`}},
		{"a tolerance of large numbers is exact", Rules{Tolerances: []Tolerance{{"a", 0.5}}}, `{"a":9007199254740993}`, `{"a":9007199254740992}`, []string{`a changed 9007199254740993 9007199254740992`}},
		{"a tolerance of huge numbers", Rules{Tolerances: []Tolerance{{"a", 1}}}, `{"a":1e999999999}`, `{"a":1e999999998}`, []string{`a changed 1e999999999 1e999999998`}},
		{"a tolerance of tiny numbers", Rules{Tolerances: []Tolerance{{"a", 1}}}, `{"a":1e-1001}`, `{"a":2e-1001}`, []string{`a changed 1e-1001 2e-1001`}},
		{"a tolerance is one of numbers", Rules{Tolerances: []Tolerance{{"a", 1}}}, `{"a":1}`, `{"a":"1"}`, []string{`a type 1 "1"`}},
		{"intended, with what is below", Rules{Intended: []string{"a"}}, `{"a":{"b":[1]},"c":1}`, `{"a":{"b":[2]},"c":2}`, []string{`a.b[0] changed 1 2 intended`, `c changed 1 2`}},
		{"intended, but its parent is missing", Rules{Intended: []string{"a.b"}}, `{"a":{"b":1}}`, `{}`, []string{`a missing {"b":1} `}},
		{"intended, and new", Rules{Intended: []string{"a"}}, `{}`, `{"a":1}`, []string{`a extra  1 intended`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := comparer(t, test.rules)
			got, err := c.Diff([]byte(test.live), []byte(test.other))
			require.NoError(t, err)
			require.Equal(t, test.want, summaries(got))
		})
	}
}

func TestDiffIsBounded(t *testing.T) {
	body := func(value string) []byte {
		return []byte(`{"a":[` + strings.Repeat(value+",", 300) + `0],"v":[` + strings.Repeat(value+",", 300) + `0]}`)
	}
	c := comparer(t, Rules{Intended: []string{"v"}})
	got, err := c.Diff(body("1"), body("2"))
	require.NoError(t, err)
	require.Len(t, got, 2*(maxDifferences+1), "intended ones do not take the place of others")
	require.Equal(t, Difference{Path: "$", Change: Truncated}, got[maxDifferences])
	require.Equal(t, Difference{Path: "$", Change: Truncated, Intended: true}, got[2*maxDifferences+1])

	long := []byte(`"` + strings.Repeat("x", 64<<10) + `"`)
	got, err = c.Diff(long, []byte(`1`))
	require.NoError(t, err)
	require.Less(t, len(got[0].Live), maxExample+100)
	var text string
	require.NoError(t, json.Unmarshal(got[0].Live, &text))
	require.Contains(t, text, "xxx… (cut after 1024 of 65538 bytes)")
}

func TestContrast(t *testing.T) {
	for _, test := range []struct {
		name                      string
		rules                     Rules
		live, candidate, baseline string
		want                      Contrast
	}{
		{"all the same", Rules{}, `{"a":1}`, `{"a":1}`, `{"a":1}`, Contrast{}},
		{"the candidate alone", Rules{}, `{"a":1}`, `{"a":2}`, `{"a":1}`, Contrast{Candidate: []Difference{{Path: "a", Change: Changed, Live: json.RawMessage("1"), Other: json.RawMessage("2")}}}},
		{"the baseline alone", Rules{}, `{"a":1}`, `{"a":1}`, `{"a":2}`, Contrast{Baseline: []Difference{{Path: "a", Change: Changed, Live: json.RawMessage("1"), Other: json.RawMessage("2")}}}},
		{"noise, though they differ from each other", Rules{}, `{"at":1}`, `{"at":2}`, `{"at":3}`, Contrast{Noise: []string{"at"}}},
		{"noise in one element is that of all", Rules{}, `[{"at":1},{"at":1}]`, `[{"at":2},{"at":1}]`, `[{"at":1},{"at":3}]`, Contrast{Noise: []string{"[*].at"}}},
		{"noise does not hide that the place is gone", Rules{}, `{"at":1}`, `{}`, `{"at":3}`, Contrast{
			Candidate: []Difference{{Path: "at", Change: Missing, Live: json.RawMessage("1")}},
			Baseline:  []Difference{{Path: "at", Change: Changed, Live: json.RawMessage("1"), Other: json.RawMessage("3")}},
		}},
		{"now there, now not", Rules{}, `[{"x":1},{}]`, `[{},{}]`, `[{"x":1},{"x":1}]`, Contrast{Noise: []string{"[*].x"}}},
		{"intended", Rules{Intended: []string{"v"}}, `{"v":1,"a":1}`, `{"v":2,"a":2}`, `{"v":3,"a":1}`, Contrast{
			Candidate: []Difference{{Path: "a", Change: Changed, Live: json.RawMessage("1"), Other: json.RawMessage("2")}},
			Intended:  []Difference{{Path: "v", Change: Changed, Live: json.RawMessage("1"), Other: json.RawMessage("2"), Intended: true}},
		}},
		{"no result of the candidate", Rules{}, `1`, ``, `1`, Contrast{Candidate: []Difference{{Path: "$", Change: Missing, Live: json.RawMessage("1")}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := comparer(t, test.rules).Contrast([]byte(test.live), []byte(test.candidate), []byte(test.baseline))
			require.NoError(t, err)
			require.Equal(t, test.want, got)
		})
	}
}

// Differences beyond the hundredth still say what is noise.
func TestContrastSeesAllPlaces(t *testing.T) {
	body := func(a, z string) []byte {
		return []byte(`{"a":[` + strings.Repeat(a+",", 300) + `0],"z":` + z + `}`)
	}
	got, err := comparer(t, Rules{}).Contrast(body("1", "1"), body("1", "2"), body("2", "3"))
	require.NoError(t, err)
	require.Empty(t, got.Candidate)
	require.Equal(t, []string{"z"}, got.Noise)
	require.Len(t, got.Baseline, maxDifferences+1)
}
