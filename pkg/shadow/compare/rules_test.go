package compare

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseRules(t *testing.T) {
	rules, err := ParseRules("shadow.yaml", []byte(`# why each is there
ignore:
- users[*].frame.trace
- "**.at"
unordered: [users]
tolerances:
  users[*].frame.score: 0.01
normalize:
- path: error.message
  match: request [0-9a-f]+
  replace: request ID
- {path: "[*].id", match: "[0-9]+", replace: ''}
intended:
`))
	require.NoError(t, err)
	require.Equal(t, Rules{
		Ignore:     []string{"users[*].frame.trace", "**.at"},
		Unordered:  []string{"users"},
		Tolerances: []Tolerance{{"users[*].frame.score", 0.01}},
		Normalize:  []Normalization{{"error.message", "request [0-9a-f]+", "request ID"}, {"[*].id", "[0-9]+", ""}},
	}, rules)
	_, err = New(rules)
	require.NoError(t, err)
	for _, empty := range []string{"", "# nothing\n", "---\n", "{}"} {
		rules, err := ParseRules("shadow.yaml", []byte(empty))
		require.NoError(t, err, empty)
		require.Equal(t, Rules{}, rules)
	}
}

func TestParseRulesSaysWhatToWrite(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"an unknown rule", "ignore: [a]\nignored: [b]\n", []string{`shadow.yaml:2: there is no rule "ignored"; write ignore, unordered, tolerances, normalize or intended`}},
		{"each fault", "ignore:\n- a..b\nnew: 1\n", []string{`shadow.yaml:2: ignore: "a..b" has an empty name; write a name, * for any one, or ** for any depth`, `shadow.yaml:3: there is no rule "new"`}},
		{"no YAML", "ignore:\n- a\n- *\n", []string{"shadow.yaml:3: the file is not YAML: ", "a path that begins with * or [ is written in quotes"}},
		{"a list in place of a path", "ignore:\n- [*]\n", []string{"shadow.yaml:2: "}},
		{"an element that is a list", "ignore:\n- [a]\n", []string{"shadow.yaml:2: ignore: write a string; one that begins with * or [ is written in quotes"}},
		{"no list", "ignore: a\n", []string{`shadow.yaml:1: ignore: write a list, such as "- users[*].frame.at"`}},
		{"a rule twice", "ignore: [a]\nignore: [b]\n", []string{`shadow.yaml:2: rules: "ignore" is there twice; write it once`}},
		{"no rules", "- a\n", []string{`shadow.yaml:1: rules: write names with values, such as "name: value"`}},
		{"two documents", "ignore: [a]\n---\nignore: [b]\n", []string{"a second document follows; write all rules in one"}},
		{"the whole body", "ignore: ['$']\nintended: ['**']\n", []string{`shadow.yaml:1: ignore: "$" is the whole body, so nothing would be compared; write the path of a member`, `shadow.yaml:2: intended: "**" is the whole body`}},
		{"an index", "ignore:\n- a[0]\n", []string{`shadow.yaml:2: ignore: "a[0]" names an element by something else than a star; write [*] for each element`}},
		{"part of a name", "ignore:\n- a*\n", []string{`shadow.yaml:2: ignore: "a*" has the name "a*", which has characters of its own meaning`}},
		{"a name that does not end", "ignore:\n- 'a[\"b]'\n", []string{`shadow.yaml:2: ignore: "a[\"b]" has a name that does not end; write it as a JSON string`}},
		{"no dot", "ignore:\n- '[*]a'\n", []string{`shadow.yaml:2: ignore: "[*]a" lacks a dot before "a"; write one`}},
		{"an empty path", "ignore:\n- ''\n", []string{`shadow.yaml:2: ignore: a path is empty`}},
		{"a long path", "ignore:\n- " + strings.Repeat("a.", 63) + "a\n", []string{"has more than 63 parts; write ** for some of them"}},
		{"no number", "tolerances:\n  a: much\n", []string{"shadow.yaml:2: tolerances: a: write a number, such as 0.01"}},
		{"no tolerance", "tolerances:\n  a: -1\n  b: .nan\n", []string{"shadow.yaml:2: tolerances: a: -1 is no tolerance; write by how much", "shadow.yaml:3: tolerances: b: "}},
		{"no expression", "normalize:\n- {path: a, match: '(', replace: b}\n", []string{"shadow.yaml:2: normalize: a: match is no regular expression of Go: "}},
		{"matches its replacement", "normalize:\n- {path: a, match: '[0-9]+', replace: N1}\n", []string{`shadow.yaml:2: normalize: a: match "[0-9]+" matches its own replacement "N1"; write a replacement that it does not match`}},
		{"no replacement", "normalize:\n- {path: a, match: b}\n", []string{"shadow.yaml:2: normalize: write path, match and replace; an empty replacement is ''"}},
		{"more than a replacement", "normalize:\n- {path: a, match: b, replace: c, with: d}\n", []string{`shadow.yaml:2: normalize: there is no "with"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseRules("shadow.yaml", []byte(test.text))
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, rules := range []Rules{
		{Ignore: []string{"a..b"}}, {Unordered: []string{""}}, {Intended: []string{"$"}}, {Tolerances: []Tolerance{{"a", 0}}}, {Tolerances: []Tolerance{{"a b", 1}}},
		{Normalize: []Normalization{{"a", "[", ""}}}, {Normalize: []Normalization{{"", "a", ""}}},
	} {
		_, err := New(rules)
		require.Error(t, err, "%+v", rules)
	}
}
