package incluster

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
)

const said = `# TYPE http_requests_total counter
http_requests_total{method="GET",route="/api/messages",status="200"} 90
http_requests_total{method="GET",route="/api/messages",status="404"} 5
http_requests_total{method="GET",route="/api/messages",status="503"} 3
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
	var c counts
	c.add(families)
	c.add(families)
	require.Equal(t, counts{handled: 400, failed: 10}, c)
	require.Zero(t, counts{}.share())
}

// A version is worse where its errors are neither few nor explained by those of the version before.
func TestWorse(t *testing.T) {
	for name, tt := range map[string]struct {
		now    counts
		before float64
		worse  bool
	}{
		"none":                   {now: counts{1000, 0}},
		"few":                    {now: counts{10, 4}},
		"many":                   {now: counts{100, 5}, worse: true},
		"a small share":          {now: counts{1000, 9}},
		"as many as before":      {now: counts{100, 10}, before: 0.1},
		"many more than before":  {now: counts{100, 22}, before: 0.1, worse: true},
		"everything fails":       {now: counts{5, 5}, before: 0.01, worse: true},
		"everything as before":   {now: counts{500, 500}, before: 1},
		"nothing handled at all": {},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.now.worseThan(tt.before)
			require.Equal(t, tt.worse, err != nil, err)
		})
	}
	require.EqualError(t, counts{100, 22}.worseThan(0.1), "of 100 requests and records 22 failed (22.0 %; with the version before it were 10.0 %)")
}
