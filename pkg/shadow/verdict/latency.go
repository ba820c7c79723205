package verdict

import (
	"math"
	"math/bits"
	"time"
)

const (
	// A bucket is at most 1/32 of its latencies wide. The first 32 are a microsecond wide, the last ends after 71
	// minutes.
	subBits    = 5
	subBuckets = 1 << subBits
	longest    = 1<<32 - 1 // in microseconds
	allBuckets = (32 - subBits + 1) * subBuckets
)

// latencies counts by bucket. There are at most allBuckets.
type latencies map[int]int64

// add counts a latency; what is below or above the buckets counts in the first or last one.
func (l latencies) add(d time.Duration) { l[bucket(d)]++ }

func bucket(d time.Duration) int {
	micros := uint64(min(max(d.Microseconds(), 1), longest))
	if micros < subBuckets {
		return int(micros)
	}
	shift := bits.Len64(micros) - 1 - subBits
	return shift<<subBits + int(micros>>shift)
}

// bucketEnds gives the shortest and the longest latency of a bucket.
func bucketEnds(i int) (first, last time.Duration) {
	if i < subBuckets {
		return time.Duration(i) * time.Microsecond, time.Duration(i) * time.Microsecond
	}
	shift := i>>subBits - 1
	micros := (i&(subBuckets-1) + subBuckets) << shift
	return time.Duration(micros) * time.Microsecond, time.Duration(micros+1<<shift-1) * time.Microsecond
}

// cumulative counts the latencies that are not above each bucket's longest.
func (l latencies) cumulative() *[allBuckets]int64 {
	var sums [allBuckets]int64
	sum := int64(0)
	for i := range sums {
		sum += l[i]
		sums[i] = sum
	}
	return &sums
}

// band is a quantile's place in the sample, and a confidence sequence for it.
type band struct{ value, lower, upper time.Duration }

// quantileClaims are what is to be refuted to bound a quantile: that a share of at least the quantile is not above a
// latency, and that a share of at least 1 less the quantile is.
type quantileClaims struct {
	quantile        float64
	notAbove, above *claim
}

func (b *bets) quantile(q float64) quantileClaims {
	return quantileClaims{quantile: q, notAbove: b.atLeast(q), above: b.atLeast(1 - q)}
}

// band bounds a quantile, each bound at the level alpha. factor multiplies the counts, for a forecast.
//
// The quantile is above a latency x if the share of latencies up to x is below q, and not above x if it is above q. So
// a bound of the quantile is a test of a share. Only the bucket at the quantile itself could be refuted wrongly,
// because the share grows with x: so it takes one test for all buckets (Howard and Ramdas, "Sequential estimation of
// quantiles", Bernoulli 28, 2022; arXiv 1906.09712).
func (c quantileClaims) band(sums *[allBuckets]int64, alpha, factor float64) band {
	total := sums[allBuckets-1]
	below := func(i int) bool {
		return c.notAbove.refuted(float64(sums[i])*factor, float64(total-sums[i])*factor, 0, alpha)
	}
	above := func(i int) bool {
		return c.above.refuted(float64(total-sums[i])*factor, float64(sums[i])*factor, 0, alpha)
	}
	rank := max(int64(math.Ceil(c.quantile*float64(total))), 1)
	var b band
	_, b.value = bucketEnds(first(func(i int) bool { return sums[i] >= rank }))
	b.lower, _ = bucketEnds(max(first(func(i int) bool { return !below(i) }), 1))
	_, b.upper = bucketEnds(first(above))
	return b
}

// first gives the first bucket for which f is true: f is false up to some bucket, then true. It gives the last one if
// there is none.
func first(f func(int) bool) int {
	low, high := 0, allBuckets-1
	for low < high {
		middle := (low + high) / 2
		if f(middle) {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low
}
