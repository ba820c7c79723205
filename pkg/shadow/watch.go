package shadow

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/shadow/records"
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

// watch looks at how the sides are until ctx ends: facts gives how far they have come, and processes has the base address
// of each side's metrics.
func (c *Comparer) watch(ctx context.Context, processes map[side.Side]string, facts func() records.Facts) error {
	client := &http.Client{Timeout: watchEvery}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		for s, url := range processes {
			if m, err := metrics(ctx, client, url+"/metrics"); err == nil {
				c.sawProcess(s, m[startMetric], int64(m[memoryMetric]))
			}
		}
		c.sawFacts(facts())
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// metrics reads the metrics that have no labels.
func metrics(ctx context.Context, client *http.Client, url string) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	found := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			found[name] = v
		}
	}
	return found, nil
}
