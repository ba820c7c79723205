package capture_test

import (
	"io"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/images/skipper/capture"
)

const (
	// The two proxies are asked by turns, a few times each, so that what else the machine does meets both.
	comparedTurns = 400
	turnRequests  = 10
)

// BenchmarkHangingComparer measures how much longer a GET takes, at the 99th percentile, where it is copied to a comparer that takes nothing.
// test/bench runs it, with a chat behind the ingress: its environment says where that is, what is asked, and with which access token.
func BenchmarkHangingComparer(b *testing.B) {
	backend, path, token := os.Getenv("BENCH_BACKEND"), os.Getenv("BENCH_PATH"), os.Getenv("BENCH_TOKEN")
	if backend == "" {
		b.Skip("there is no chat; run make bench-shadow")
	}
	released := make(chan struct{})
	comparer := newBackend(b, func(http.ResponseWriter, *http.Request) { <-released })
	b.Cleanup(func() { close(released) }) // before the comparer waits for its requests
	spec, _ := newFilter(capture.Options{})
	addresses := []string{newProxy(b, backend, spec, "").URL, newProxy(b, backend, spec, ` -> capture("`+comparer+`", "service=test")`).URL}
	get := func(url string) time.Duration {
		begin := time.Now()
		request, err := http.NewRequest(http.MethodGet, url+path, nil)
		require.NoError(b, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		require.NoError(b, err)
		require.Equal(b, http.StatusOK, response.StatusCode)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(b, err)
		require.NoError(b, response.Body.Close())
		return time.Since(begin)
	}
	for b.Loop() {
		took := make([][]time.Duration, len(addresses))
		for turn := range comparedTurns {
			for i := range addresses {
				kind := (i + turn) % len(addresses)
				for range turnRequests {
					took[kind] = append(took[kind], get(addresses[kind]))
				}
			}
		}
		var p99 []float64
		for _, all := range took {
			slices.Sort(all)
			p99 = append(p99, float64(all[len(all)*99/100].Microseconds()))
		}
		b.ReportMetric(p99[0], "plain-p99-us")
		b.ReportMetric(p99[1], "captured-p99-us")
	}
}
