package exchange_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/exchange"
)

// TestBatch: the ingress writes the same batch, in images/skipper/capture.
func TestBatch(t *testing.T) {
	want, err := os.ReadFile("testdata/batch.ndjson")
	require.NoError(t, err)
	var got bytes.Buffer
	lines := json.NewEncoder(&got)
	lines.SetEscapeHTML(false)
	var first *exchange.Exchange
	bad, err := exchange.Read(bytes.NewReader(want), func(l exchange.Line) {
		require.NoError(t, lines.Encode(l))
		if first == nil {
			first = l.Exchange
		}
	})
	require.NoError(t, err)
	require.Zero(t, bad)
	require.Equal(t, string(want), got.String())

	// The first exchange has all headers that there may be.
	require.NotNil(t, first)
	all := maps.Clone(first.Answer.Header)
	all["Set-Cookie"], all["Date"] = []string{"secret=1"}, []string{"now"}
	require.Equal(t, first.Answer.Header, exchange.AnswerHeader(all))

	reasons := []string{exchange.Dropped, exchange.TooLarge, exchange.Incomplete, exchange.Method, exchange.Excepted, exchange.Upgrade, exchange.Stream}
	for _, reason := range reasons {
		require.Contains(t, string(want), `"`+reason+`":`)
	}
}

func TestRead(t *testing.T) {
	good := func(target string) string {
		return fmt.Sprintf(`{"request": {"method": "GET", "target": %q}, "answer": {"status": 200}}`, target)
	}
	broken := errors.New("broken")
	cases := []struct {
		name  string
		batch io.Reader
		want  []string // targets
		bad   int
		err   error
	}{
		{name: "nothing", batch: strings.NewReader("")},
		{name: "empty lines", batch: strings.NewReader("\n \n" + good("/1") + "\n\n"), want: []string{"/1"}},
		{name: "no line's end", batch: strings.NewReader(good("/1") + "\n" + good("/2")), want: []string{"/1", "/2"}},
		{name: "unknown fields", batch: strings.NewReader(`{"new": 1, ` + good("/1")[1:]), want: []string{"/1"}},
		{name: "bad lines", batch: strings.NewReader(strings.Join([]string{
			good("/1"), "x", "null", "[]", "{}", `{"left_out": 1}`, `{"left_out": {}}`, good("//"[:0]), good("http://elsewhere/"),
			`{"request": {"target": "/"}, "answer": {"status": 200}}`, `{"request": {"method": "GET", "target": "/"}}`,
			`{"request": {"method": "GET", "target": "/"}, "answer": {"status": 1000}}`, good("/2") + good("/3"), good("/4"),
		}, "\n")), want: []string{"/1", "/4"}, bad: 12},
		{name: "the longest line", batch: strings.NewReader(good("/1") + strings.Repeat(" ", exchange.MaxLine-len(good("/1"))-1) + "\n" + good("/2")), want: []string{"/1", "/2"}},
		{name: "a line too long", batch: strings.NewReader(good("/1") + strings.Repeat(" ", 3*exchange.MaxLine) + "\n" + good("/2")), want: []string{"/2"}, bad: 1},
		{name: "a line too long, and no end", batch: strings.NewReader(good("/1") + "\n" + strings.Repeat("x", 3*exchange.MaxLine)), want: []string{"/1"}, bad: 1},
		{name: "a batch that breaks off", batch: io.MultiReader(strings.NewReader(good("/1")+"\n"+good("/2")), iotest.ErrReader(broken)), want: []string{"/1"}, bad: 1, err: broken},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			bad, err := exchange.Read(c.batch, func(l exchange.Line) { got = append(got, l.Request.Target) })
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.want, got)
			require.Equal(t, c.bad, bad)
		})
	}
}

// Lines keep nothing of the reader's buffer.
func TestLinesAreCopies(t *testing.T) {
	want, err := os.ReadFile("testdata/batch.ndjson")
	require.NoError(t, err)
	var got []exchange.Line
	_, err = exchange.Read(bytes.NewReader(bytes.Repeat(want, 1000)), func(l exchange.Line) { got = append(got, l) })
	require.NoError(t, err)
	require.Len(t, got, 3000)
	for i, l := range got {
		require.Equal(t, got[i%3], l)
	}
}
