package messaging

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/store"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"Hello, hello WORLD!":        "hello world",
		"Größe café cafe\u0301 ÇA":   "ca cafe grosse",
		"ﬁne １２３ Ⅷ":                  "123 fine viii",
		"don't e-mail a_b":           "a b don e mail t",
		"Привет, МИР":                "мир привет",
		"日本語 テスト":                    "テスト 日本語",
		" \n!?👍":                     "",
		"http://a.example/x?y=<b>1#": "1 a b example http x y",
	} {
		require.Equal(t, want, strings.Join(slices.Sorted(maps.Keys(words(text))), " "), text)
	}
}

// A filter never misses a word that is in it, and seldom takes one that is not.
func TestFilter(t *testing.T) {
	for _, n := range []int{0, 1, 50, 500, 30_000} {
		in := map[string]bool{}
		for i := range n {
			in[fmt.Sprint("in-", i)] = true
		}
		f := newFilter(in)
		require.LessOrEqual(t, len(f), maxFilter)
		for w := range in {
			require.True(t, f.may(map[string]bool{w: true}), "%s of %d", w, n)
		}
		wrong := 0
		for i := range 2000 {
			if f.may(map[string]bool{fmt.Sprint("out-", i): true}) {
				wrong++
			}
		}
		if n <= 500 {
			require.Less(t, wrong, 60, "of %d", n)
		}
	}
}

func TestReact(t *testing.T) {
	var l []reaction
	set := func(emoji, user string, on bool) { l = react(l, emoji, user, on) }
	set("a", "ann", true)
	before := l
	set("a", "ben", true)
	set("b", "ann", true)
	set("a", "ann", true)
	require.Equal(t, []reaction{{"a", []string{"ann", "ben"}}, {"b", []string{"ann"}}}, l)
	require.Equal(t, []reaction{{"a", []string{"ann"}}}, before, "what was given stays")
	set("c", "ann", false)
	set("b", "ben", false)
	set("a", "ann", false)
	set("b", "ann", false)
	require.Equal(t, []reaction{{"a", []string{"ben"}}}, l)
	require.Equal(t, 1, present{Reactions: l}.reacted())
}

// The filters of buckets that fill up one after the other are asked for together, and written in one document.
func TestFiltersTogether(t *testing.T) {
	d := newTestDatabase(t)
	ctx := t.Context()
	m := &messaging{database: d, fulls: make(chan full, 10)}
	for n := range int64(2*filtersTogether + 1) {
		m.filled("room", n)
	}
	close(m.fulls)
	var asked []full
	for f := range m.fulls {
		asked = append(asked, f)
	}
	require.Equal(t, []full{{"room", 0, filtersTogether - 1}, {"room", filtersTogether, 2*filtersTogether - 1}}, asked)
	for _, f := range asked {
		require.Equal(t, filtersID("room", f.from), filtersID("room", f.to))
	}

	w := &projection{messages: map[int64]message{}}
	for seq := int64(1); seq <= 2*bucketSize; seq++ {
		w.messages[seq] = text(seq, fmt.Sprint("said as ", seq))
	}
	var filled []int64
	require.NoError(t, newProjector(d, nil, nil, func(_ string, n int64) { filled = append(filled, n) }, nil).project(ctx, "room", w))
	require.Equal(t, []int64{0, 1}, filled)
	require.NoError(t, d.indexWords(ctx, full{"room", 0, 1}))
	doc, ok, err := store.Get[filters](ctx, d.words, filtersID("room", 0))
	require.NoError(t, err)
	require.True(t, ok)
	for n, its := range []string{"50", "51"} {
		for other := range int64(2) {
			may, known := doc.may(other, words(its))
			require.True(t, known)
			require.Equal(t, int64(n) == other, may, "%s in %d", its, other)
		}
	}
}
