package capture_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/images/skipper/capture"
)

const (
	// The two proxies are asked by turns, a few times each, so that what else the machine does meets both.
	comparedTurns = 1000
	turnRequests  = 20
)

// BenchmarkHangingComparer measures how much longer a GET takes, at the 99th percentile, where it is copied to a comparer that takes nothing.
// test/bench runs it.
func BenchmarkHangingComparer(b *testing.B) {
	page := bytes.Repeat([]byte("x"), 8<<10) // of history
	backend := newBackend(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(page) })
	released := make(chan struct{})
	comparer := newBackend(b, func(http.ResponseWriter, *http.Request) { <-released })
	b.Cleanup(func() { close(released) }) // before the comparer waits for its requests
	spec, _ := newFilter(capture.Options{})
	addresses := []string{newProxy(b, backend, spec, "").URL, newProxy(b, backend, spec, ` -> capture("`+comparer+`", "service=test")`).URL}
	get := func(url string) time.Duration {
		begin := time.Now()
		response, err := http.Get(url + "/api/messages")
		require.NoError(b, err)
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
