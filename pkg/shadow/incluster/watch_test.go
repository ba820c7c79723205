package incluster

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
)

const said = `# TYPE http_requests_total counter
http_requests_total{method="GET",route="GET /api/messages",status="200"} 90
http_requests_total{method="GET",route="GET /api/messages",status="404"} 5
http_requests_total{method="GET",route="GET /api/messages",status="503"} 3
# TYPE messaging_stored_total counter
messaging_stored_total 100
# TYPE messaging_dead_total counter
messaging_dead_total 2
`

// Requests that fail by the service's own fault count as errors, and so do records that it can never handle.
func TestCounts(t *testing.T) {
	var parser expfmt.TextParser
	families, err := parser.TextToMetricFamilies(strings.NewReader(said))
	require.NoError(t, err)
	c := counts{}
	c.read(families)
	c.read(families)
	require.Equal(t, counts{"requests (GET /api/messages)": {196, 6}, "records": {204, 4}}, c)
	require.InDelta(t, 6.0/196, c.shares()["requests (GET /api/messages)"], 1e-9)
	require.Zero(t, count{}.share())
	require.Empty(t, counts{"records": {handled: 7}}.shares())
}

// A version is worse where its errors of one kind are neither few nor explained by those of the version before.
func TestWorse(t *testing.T) {
	for name, tt := range map[string]struct {
		now    count
		before float64
		worse  bool
	}{
		"none":                   {now: count{1000, 0}},
		"few":                    {now: count{10, 4}},
		"many":                   {now: count{100, 5}, worse: true},
		"a small share":          {now: count{1000, 9}},
		"as many as before":      {now: count{100, 10}, before: 0.1},
		"many more than before":  {now: count{100, 22}, before: 0.1, worse: true},
		"everything fails":       {now: count{5, 5}, before: 0.01, worse: true},
		"everything as before":   {now: count{500, 500}, before: 1},
		"nothing handled at all": {},
	} {
		t.Run(name, func(t *testing.T) {
			all := counts{"requests (GET /api/messages)": tt.now, "records": {handled: 1_000_000}}
			err := all.worseThan(map[string]float64{"requests (GET /api/messages)": tt.before})
			require.Equal(t, tt.worse, err != nil, err)
		})
	}
	require.EqualError(t, counts{"records": {100, 22}}.worseThan(map[string]float64{"records": 0.1}), "of 100 records 22 failed (22.0 %; with the version before it were 10.0 %)")
}
