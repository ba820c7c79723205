package compare

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// layOut writes lines as a text, in which those that differ begin with a star.
func layOut(lines []Line) string {
	var b strings.Builder
	for _, l := range lines {
		if l.Differs {
			b.WriteString("*")
		}
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

func TestLines(t *testing.T) {
	c := comparer(t, Rules{Unordered: []string{"u"}})
	for name, tt := range map[string]struct{ live, candidate, wantLive, wantCandidate string }{
		"a value": {
			`{"a":1,"b":{"c":[1,2]}}`, `{"a":1,"b":{"c":[1,3]}}`,
			"{\n  \"a\": 1,\n  \"b\": {\n    \"c\": [\n      1,\n*      2\n    ]\n  }\n}\n",
			"{\n  \"a\": 1,\n  \"b\": {\n    \"c\": [\n      1,\n*      3\n    ]\n  }\n}\n",
		},
		"an element": {`[{"n":1},{"n":2}]`, `[{"n":2}]`, "[\n*  {\n*    \"n\": 1\n*  },\n  {\n    \"n\": 2\n  }\n]\n", "[\n  {\n    \"n\": 2\n  }\n]\n"},
		"a member":   {`{"a":[]}`, `{"a":[],"b.c":"<b>"}`, "{\n  \"a\": []\n}\n", "{\n  \"a\": [],\n*  \"b.c\": \"<b>\"\n}\n"},
		"everything": {``, `{"a":{}}`, "", "*{\n*  \"a\": {}\n*}\n"},
		"a long one": {`"` + strings.Repeat("a", maxExample) + `"`, `1`, `*"` + strings.Repeat("a", maxExample) + "\"\n", "*1\n"},
		"not another element of an unordered list": {
			`{"u":[2,3]}`, `{"u":[1,2]}`, "{\n  \"u\": [\n    2,\n*    3\n  ]\n}\n", "{\n  \"u\": [\n    1,\n    2\n  ]\n}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			live, err := c.Canonical([]byte(tt.live))
			require.NoError(t, err)
			candidate, err := c.Canonical([]byte(tt.candidate))
			require.NoError(t, err)
			d, err := c.Diff(live, candidate)
			require.NoError(t, err)
			e := Example{Differences: d, Live: live, Candidate: candidate, Baseline: live}
			require.Equal(t, tt.wantLive, layOut(e.LiveLines()))
			require.Equal(t, tt.wantCandidate, layOut(e.CandidateLines()))
			require.Equal(t, strings.ReplaceAll(tt.wantLive, "*", ""), layOut(e.BaselineLines()))
		})
	}
	require.Empty(t, Example{Live: json.RawMessage("no JSON")}.LiveLines())
	many := Example{Live: json.RawMessage("{}"), Differences: []Difference{{Path: "$", Change: Truncated}}}
	require.Equal(t, "{}\n", layOut(many.LiveLines()), "what was left out marks nothing")
}
