package shadow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/labctl/labctl/pkg/shadow/side"
)

// watchEvery is the time between two looks at the sides.
const watchEvery = 2 * time.Second

// The metrics of a process that are watched: what it holds, in bytes, and when it started, in seconds since 1970. Every
// Prometheus client has them.
const (
	memoryMetric = "process_resident_memory_bytes"
	startMetric  = "process_start_time_seconds"
)

// watch looks at how the sides are until ctx ends, or until the lifetime is over, which is errOver: processes has the base
// address of each side's metrics, and also looks at all else.
func (c *Comparer) watch(ctx context.Context, processes map[side.Side]string, also func()) error {
	client := &http.Client{Timeout: watchEvery}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for s, url := range processes {
			restarts := c.restarts(s)
			if m, err := Metrics(ctx, client, url); err == nil {
				c.sawProcess(s, restarts, gauge(m[startMetric]), int64(gauge(m[memoryMetric])))
			}
		}
		also()
		if c.o.IsOver(c.o.Now()) {
			return errOver
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func gauge(m *dto.MetricFamily) float64 {
	if len(m.GetMetric()) == 0 {
		return 0
	}
	return m.Metric[0].GetGauge().GetValue()
}

const (
	metricsTime = 5 * time.Second
	maxMetrics  = 16 << 20 // bytes
)

// ErrNoMetrics says that a server counts nothing.
var ErrNoMetrics = errors.New("it has no metrics")

// Metrics reads what a service says at its port of health, by name. base is such as http://host:8081.
func Metrics(ctx context.Context, client *http.Client, base string) (families map[string]*dto.MetricFamily, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("metrics of %s: %w", base, ErrNoMetrics)
	default:
		return nil, fmt.Errorf("metrics of %s: %s", base, resp.Status)
	}
	var parser expfmt.TextParser
	families, err = parser.TextToMetricFamilies(io.LimitReader(resp.Body, maxMetrics))
	if err != nil {
		return nil, fmt.Errorf("metrics of %s: %w", base, err)
	}
	return families, nil
}
