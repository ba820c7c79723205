package capture

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBatch: the main module reads the same batch, in pkg/shadow/exchange.
func TestBatch(t *testing.T) {
	want, err := os.ReadFile("../../../pkg/shadow/exchange/testdata/batch.ndjson")
	require.NoError(t, err)
	var got bytes.Buffer
	lines := json.NewEncoder(&got)
	lines.SetEscapeHTML(false)
	var asked, answered http.Header
	for d := json.NewDecoder(bytes.NewReader(want)); d.More(); {
		d.DisallowUnknownFields()
		var l line
		require.NoError(t, d.Decode(&l))
		require.NoError(t, lines.Encode(l))
		if l.Exchange != nil && asked == nil {
			asked, answered = l.Request.Header, l.Answer.Header
		}
	}
	require.Equal(t, string(want), got.String())

	// The first exchange has all headers that there may be.
	all := maps.Clone(asked)
	maps.Copy(all, answered)
	all["Cookie"], all["Set-Cookie"] = []string{"secret=1"}, []string{"secret=1"}
	require.Equal(t, keys(asked), keys(requestHeader(all)))
	require.Equal(t, keys(answered), keys(answerHeader(all)))

	for _, reason := range []string{dropped, tooLarge, incomplete, method, excepted, upgrade, stream} {
		require.Contains(t, string(want), `"`+reason+`":`)
	}
}

func keys(h http.Header) []string {
	return slices.Sorted(maps.Keys(h))
}
