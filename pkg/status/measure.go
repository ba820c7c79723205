package status

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// Reading is what a pod of a service said at a moment.
type Reading struct {
	Namespace, Service, Pod string
	At                      time.Time
	Metrics                 map[string]*dto.MetricFamily
	Err                     error // why it said nothing
}

// remembered is how many looks a history goes back.
const remembered = 30

// remember gives a history with one look more. Snapshots keep the one before.
func remember(history []float64, value float64) []float64 {
	h := append(slices.Clone(history), value)
	return h[max(0, len(h)-remembered):]
}

// badErrors is the share of requests that fail from which on a service is not well.
const badErrors = 0.01

// Meter makes rates of what pods count, by two looks. The zero Meter is ready.
type Meter struct {
	pods    map[string]counts
	history map[string][]float64
}

// counts are what a pod has counted since it began.
type counts struct {
	at               time.Time
	requests, failed float64
	flows            map[string]float64  // beside the requests
	buckets          map[float64]float64 // requests that took at most so many seconds
}

// flowOf says what the counters of the services count.
var flowOf = map[string]string{
	"messaging_stored_total": "records", "messaging_repeated_total": "records", "messaging_refused_total": "records",
	"presence_leases_total": "records", "presence_changes_total": "records",
	"gateway_frames_received_total": "frames", "gateway_frames_delivered_total": "frames",
}

// socketRoute is answered for as long as somebody is there, which is no time to answer.
const socketRoute = "GET /ws"

func countsOf(r Reading) counts {
	c := counts{at: r.At, flows: map[string]float64{}, buckets: map[float64]float64{}}
	for _, m := range r.Metrics["http_requests_total"].GetMetric() {
		n := m.GetCounter().GetValue()
		c.requests += n
		if strings.HasPrefix(label(m, "status"), "5") {
			c.failed += n
		}
	}
	for _, m := range r.Metrics["http_request_duration_seconds"].GetMetric() {
		if label(m, "route") == socketRoute {
			continue
		}
		for _, b := range m.GetHistogram().GetBucket() {
			if !math.IsInf(b.GetUpperBound(), 1) { // which the text may have, and which is all
				c.buckets[b.GetUpperBound()] += float64(b.GetCumulativeCount())
			}
		}
		c.buckets[math.Inf(1)] += float64(m.GetHistogram().GetSampleCount())
	}
	for name, flow := range flowOf {
		for _, m := range r.Metrics[name].GetMetric() {
			c.flows[flow] += m.GetCounter().GetValue()
		}
	}
	return c
}

func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

// since gives what was counted after an earlier look. A pod that counts anew has begun anew.
func (c counts) since(was counts) counts {
	if was.requests > c.requests || len(was.flows) == 0 && len(was.buckets) == 0 {
		was = counts{at: was.at}
	}
	d := counts{at: c.at, requests: c.requests - was.requests, failed: max(0, c.failed-was.failed), flows: map[string]float64{}, buckets: map[float64]float64{}}
	for name, n := range c.flows {
		if d.flows[name] = n - was.flows[name]; d.flows[name] < 0 {
			d.flows[name] = n
		}
	}
	for bound, n := range c.buckets {
		d.buckets[bound] = max(0, n-was.buckets[bound])
	}
	return d
}

// Measure gives the services of which there are readings. It keeps what the next look is compared with.
func (m *Meter) Measure(readings []Reading) []Service {
	before := m.pods
	m.pods = map[string]counts{}
	if m.history == nil {
		m.history = map[string][]float64{}
	}
	sums := map[string]*measured{}
	for _, r := range readings {
		key := r.Namespace + "/" + r.Service
		if sums[key] == nil {
			sums[key] = &measured{Service: Service{Namespace: r.Namespace, Name: r.Service}, counts: counts{flows: map[string]float64{}, buckets: map[float64]float64{}}}
		}
		sums[key].pods++
		if r.Err != nil {
			sums[key].silent = cmp.Or(sums[key].silent, brief(r.Err))
			continue
		}
		now := countsOf(r)
		pod := r.Namespace + "/" + r.Pod
		m.pods[pod] = now
		sums[key].Pods++
		if was, known := before[pod]; known && now.at.After(was.at) {
			sums[key].add(now.since(was), now.at.Sub(was.at).Seconds())
		}
	}
	var out []Service
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		s := sums[key].service()
		if len(s.Flows) > 0 {
			total := 0.0
			for _, f := range s.Flows {
				total += f.PerSecond
			}
			m.history[key] = remember(m.history[key], total)
		}
		s.History = m.history[key]
		out = append(out, s)
	}
	for key := range m.history {
		if sums[key] == nil {
			delete(m.history, key)
		}
	}
	return out
}

// measured is a service as its pods' counts are added up.
type measured struct {
	Service
	pods   int    // that there are
	silent string // why one of them told nothing
	counts
	rates map[string]float64 // nil: there was one look only
}

func (m *measured) add(d counts, seconds float64) {
	if m.rates == nil {
		m.rates = map[string]float64{}
	}
	m.rates["requests"] += d.requests / seconds
	m.requests += d.requests
	m.failed += d.failed
	for name, n := range d.flows {
		m.rates[name] += n / seconds
	}
	for bound, n := range d.buckets {
		m.buckets[bound] += n
	}
}

func (m *measured) service() Service {
	s := m.Service
	for _, name := range slices.SortedFunc(maps.Keys(m.rates), byFlow) {
		s.Flows = append(s.Flows, Flow{name, m.rates[name]})
	}
	if m.requests > 0 {
		s.Errors = m.failed / m.requests
	}
	s.P50, s.P99 = quantile(0.5, m.buckets), quantile(0.99, m.buckets)
	switch {
	case s.Pods == 0:
		s.State, s.Reason = Unknown, m.silent
	case s.Pods < m.pods:
		s.State, s.Reason = Partial, m.silent
	case s.Errors > badErrors:
		s.State, s.Reason = Partial, percent(s.Errors)+" of the requests fail"
	default:
		s.State = Up
	}
	return s
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

// byFlow puts the requests first.
func byFlow(a, b string) int {
	if (a == "requests") != (b == "requests") {
		if a == "requests" {
			return -1
		}
		return 1
	}
	return strings.Compare(a, b)
}

// quantile estimates one of what buckets counted, evenly within a bucket, as Prometheus's histogram_quantile does. What is
// beyond the last bound is at that bound.
func quantile(q float64, buckets map[float64]float64) float64 {
	bounds := slices.Sorted(maps.Keys(buckets))
	if len(bounds) < 2 || buckets[bounds[len(bounds)-1]] == 0 {
		return 0
	}
	rank := q * buckets[bounds[len(bounds)-1]]
	low, below := 0.0, 0.0
	for _, bound := range bounds {
		n := buckets[bound]
		if n >= rank {
			if math.IsInf(bound, 1) {
				return low
			}
			return low + (bound-low)*(rank-below)/max(n-below, 1e-9)
		}
		low, below = bound, n
	}
	return low
}
