package compare

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// fuzzRules are of all kinds but tolerances.
var fuzzRules = Rules{
	Ignore: []string{"a.b", "**.i", `["x.y"][*]`}, Unordered: []string{"u", "**.u[*]"}, Intended: []string{"v"},
	Normalize: []Normalization{{"**", "[0-9]{2,}", "N"}, {"**.s", "(b+)", "$1$1"}, {"*", "^x", ""}},
}

func FuzzCompare(f *testing.F) {
	for _, pair := range [][2]string{
		{`{"a":{"b":1,"c":[1e3,-0]},"u":[3,1,[2,1]],"i":null}`, `{"a":{"b":2,"c":[1000,0]},"u":[[1,2],1,3]}`},
		{`{"a":1,"a":2,"":"\ud800"}`, "{\"a\":2,\"a\":1,\"\":\"\xff\"}"},
		{`[1,2,3]`, `[1,3]`}, {`{"s":"bb","x.y":[1]}`, `{"s":"xxb12","v":1}`}, {`1e400`, `1E-400`}, {``, `null`}, {`"\udc80"`, "\"\\ud800\x80\""},
		{`123456789012345678901234567890123456789012`, `0.00000000000000000000000000000000000001`}, {`[[[[[[]]]]]]`, `{"u":[[2,1],{"u":[{"b":1,"a":2}]}]}`},
	} {
		f.Add([]byte(pair[0]), []byte(pair[1]))
	}
	plain, ruled := comparer(f, Rules{}), comparer(f, fuzzRules)
	tolerant := comparer(f, Rules{Tolerances: []Tolerance{{"**", 0.5}}})
	f.Fuzz(func(t *testing.T, live, other []byte) {
		for _, c := range []*Comparer{plain, ruled} {
			checkCanonical(t, c, live)
			a, errA := c.Canonical(live)
			b, errB := c.Canonical(other)
			all, err := c.Diff(live, other)
			if errA != nil || errB != nil {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			require.Equal(t, string(a) == string(b), len(all) == 0, "%s\n%s\n%v", a, b, summaries(all))
			contrast, err := c.Contrast(live, other, other)
			require.NoError(t, err)
			require.Empty(t, contrast.Candidate)
			require.Empty(t, contrast.Baseline)
			s := NewShapes(1)
			s.Add("k", "kind", all, Bodies{a, b, nil})
			_, err = json.Marshal(s)
			require.NoError(t, err)
		}
		if all, err := tolerant.Diff(live, other); err == nil {
			exact, err := plain.Diff(live, other)
			require.NoError(t, err)
			require.LessOrEqual(t, len(all), len(exact))
		}
	})
}

// checkCanonical holds what is true of each body.
func checkCanonical(t *testing.T, c *Comparer, body []byte) {
	canonical, err := c.Canonical(body)
	if err != nil {
		require.False(t, len(body) == 0)
		return
	}
	require.True(t, utf8.Valid(canonical))
	require.True(t, len(body) == 0 || json.Valid(canonical), "%s", canonical)
	again, err := c.Canonical(canonical)
	require.NoError(t, err)
	require.Equal(t, string(canonical), string(again))
	for _, same := range [][2][]byte{{body, body}, {body, canonical}} {
		all, err := c.Diff(same[0], same[1])
		require.NoError(t, err)
		require.Empty(t, all)
	}
}

func FuzzParseRules(f *testing.F) {
	f.Add([]byte("ignore:\n- a[*].b\nunordered: [u]\ntolerances: {a: 1e-3}\nnormalize:\n- {path: '**', match: a+, replace: b}\nintended: ['[\"x.y\"]']\n"))
	f.Add([]byte("ignore: &a [*a]\n---\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := ParseRules("f", data)
		if err != nil {
			require.Regexp(t, `^f:[0-9]+: `, err.Error())
			return
		}
		c, err := New(rules)
		require.NoError(t, err, "%+v", rules)
		checkCanonical(t, c, []byte(`{"a":[{"b":"aab"}],"u":[2,1],"x.y":{"a":0.5}}`))
	})
}

func BenchmarkCanonical(b *testing.B) {
	body := []byte(`{"users":[{"to":"0b1e8e9f","frame":{"type":"message","conversation":"g:77aa","seq":1234,"sender":"u-1234567","body":"some words some words some words some words","at":"2026-11-21T08:15:30.123Z"}},{"to":"1c","frame":{"type":"ack","client_id":"c-1","seq":1234}}],"documents":[{"_id":"g:77aa/12","n":50}]}`)
	c := comparer(b, Rules{Ignore: []string{"users[*].frame.trace", "**.x"}, Unordered: []string{"documents"}})
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Canonical(body); err != nil {
			b.Fatal(err)
		}
	}
}
