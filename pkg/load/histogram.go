package load

import (
	"math"
	"math/bits"
	"time"
)

// A bucket is at most 1/32 of its value wide, so a quantile is at most 3 % too high, from a microsecond to hours.
const (
	subBits = 6
	sub     = 1 << subBits
)

// Histogram counts durations in microseconds. Its zero value is empty. It is not safe for concurrent use; merge several.
type Histogram struct {
	counts []int64
	total  int64
	max    time.Duration
}

// Add counts one duration. What is below zero counts as zero.
func (h *Histogram) Add(d time.Duration) { h.add(d, 1) }

func (h *Histogram) add(d time.Duration, n int64) {
	d = max(d, 0)
	i := bucket(uint64(d.Microseconds()))
	if i >= len(h.counts) {
		h.counts = append(h.counts, make([]int64, i+1-len(h.counts))...)
	}
	h.counts[i] += n
	h.total += n
	h.max = max(h.max, d)
}

// Merge adds what another has counted.
func (h *Histogram) Merge(o *Histogram) {
	if len(o.counts) > len(h.counts) {
		h.counts = append(h.counts, make([]int64, len(o.counts)-len(h.counts))...)
	}
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// Count is how many durations were added.
func (h *Histogram) Count() int64 { return h.total }

// Max is the longest, as it was.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile gives the duration that a share q of all does not exceed. An empty histogram gives 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := min(max(int64(math.Ceil(q*float64(h.total))), 1), h.total)
	for i, n := range h.counts {
		if rank -= n; rank <= 0 {
			return min(time.Duration(top(i))*time.Microsecond, h.max)
		}
	}
	return h.max
}

// bucket gives the bucket of a value: one each below sub, then sub/2 of equal width for each power of two.
func bucket(v uint64) int {
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - subBits
	return shift*(sub/2) + int(v>>shift)
}

// top is the largest value of a bucket.
func top(i int) uint64 {
	if i < sub {
		return uint64(i)
	}
	shift := i/(sub/2) - 1
	return uint64(i-shift*(sub/2)+1)<<shift - 1
}

// Latency is what a histogram comes to, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

// Latency sums the histogram up.
func (h *Histogram) Latency() Latency {
	return Latency{
		Count: h.total, P50: millis(h.Quantile(0.5)), P99: millis(h.Quantile(0.99)), P999: millis(h.Quantile(0.999)), Max: millis(h.max),
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
