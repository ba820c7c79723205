package status_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/status"
)

// said is what a pod of a service says of itself, in Prometheus's format, so many seconds after noon.
func said(t *testing.T, service, pod string, seconds float64, metrics string) status.Reading {
	t.Helper()
	var parser expfmt.TextParser
	families, err := parser.TextToMetricFamilies(strings.NewReader(metrics))
	require.NoError(t, err)
	return status.Reading{Namespace: "chat", Service: service, Pod: pod, At: noon.Add(time.Duration(seconds * float64(time.Second))), Metrics: families}
}

func counted(requests int) string {
	return fmt.Sprintf("# TYPE http_requests_total counter\nhttp_requests_total %d\n", requests)
}

const before = `
# TYPE http_requests_total counter
http_requests_total{method="GET",route="GET /a",status="200"} 100
http_requests_total{method="GET",route="GET /a",status="500"} 10
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{route="GET /a",le="0.1"} 100
http_request_duration_seconds_bucket{route="GET /a",le="1"} 110
http_request_duration_seconds_bucket{route="GET /a",le="+Inf"} 110
http_request_duration_seconds_count{route="GET /a"} 110
http_request_duration_seconds_sum{route="GET /a"} 5
# TYPE messaging_stored_total counter
messaging_stored_total 1000
`

const after = `
# TYPE http_requests_total counter
http_requests_total{method="GET",route="GET /a",status="200"} 180
http_requests_total{method="GET",route="GET /a",status="500"} 30
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{route="GET /a",le="0.1"} 190
http_request_duration_seconds_bucket{route="GET /a",le="1"} 210
http_request_duration_seconds_bucket{route="GET /a",le="+Inf"} 210
http_request_duration_seconds_count{route="GET /a"} 210
http_request_duration_seconds_sum{route="GET /a"} 9
http_request_duration_seconds_bucket{route="GET /ws",le="1"} 0
http_request_duration_seconds_bucket{route="GET /ws",le="+Inf"} 50
http_request_duration_seconds_count{route="GET /ws"} 50
http_request_duration_seconds_sum{route="GET /ws"} 90000
# TYPE messaging_stored_total counter
messaging_stored_total 3000
`

func TestMeter(t *testing.T) {
	var m status.Meter
	first := m.Measure([]status.Reading{said(t, "messaging", "m-1", 0, before)})
	require.Equal(t, []status.Service{{Namespace: "chat", Name: "messaging", Condition: status.Condition{State: status.Up}, Pods: 1}}, first, "a rate takes two looks")

	second := m.Measure([]status.Reading{said(t, "messaging", "m-1", 10, after)})
	require.Len(t, second, 1)
	s := second[0]
	require.Equal(t, []status.Flow{{Name: "requests", PerSecond: 10}, {Name: "records", PerSecond: 200}}, s.Flows)
	require.InDelta(t, 0.2, s.Errors, 1e-9, "20 of 100 requests since the last look")
	require.InDelta(t, 0.1*50/90, s.P50, 1e-9, "of 90 that took at most 0.1 s, the 50th")
	require.InDelta(t, 0.1+0.9*9/10, s.P99, 1e-9, "the 99th is the 9th of 10 between 0.1 s and 1 s; sockets do not count")
	require.Equal(t, status.Partial, s.State)
	require.Equal(t, "20.0 % of the requests fail", s.Reason)
	require.Equal(t, []float64{210}, s.History)
}

func TestMeterOfPodsThatComeAndGo(t *testing.T) {
	var m status.Meter
	m.Measure([]status.Reading{said(t, "auth", "a-1", 0, counted(1000)), said(t, "auth", "a-2", 0, counted(500))})
	s := m.Measure([]status.Reading{
		said(t, "auth", "a-1", 10, counted(30)), // it began anew
		{Namespace: "chat", Service: "auth", Pod: "a-2", Err: errors.New("connection refused")},
		said(t, "auth", "a-3", 10, counted(70000)), // nobody knows when it counted these
	})[0]
	require.Equal(t, []status.Flow{{Name: "requests", PerSecond: 3}}, s.Flows)
	require.Equal(t, 2, s.Pods)
	require.Equal(t, status.Partial, s.State)
	require.Equal(t, "connection refused", s.Reason)
	require.Zero(t, s.P99, "nothing was timed")

	s = m.Measure([]status.Reading{{Namespace: "chat", Service: "auth", Pod: "a-3", Err: errors.New("gone")}})[0]
	require.Equal(t, status.Unknown, s.State)
	require.Empty(t, m.Measure(nil))
	for i := range 100 {
		m.Measure([]status.Reading{said(t, "auth", "a-1", float64(i), counted(1))})
	}
	s = m.Measure([]status.Reading{said(t, "auth", "a-1", 100, counted(1))})[0]
	require.Len(t, s.History, 30)
	require.False(t, math.IsNaN(s.Errors))
}
