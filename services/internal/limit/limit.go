// Package limit says when someone does something too often.
package limit

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Rate is what is allowed: so much a second in the long run, and Burst at once. The zero Rate allows everything.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Off says whether the rate allows everything.
func (r Rate) Off() bool { return r == Rate{} }

// Form says, in Markdown, what ParseRate reads.
const Form = "`1/100` (a second, at once) or `off`"

// ParseRate reads "200/1000" (a second, at once) or "off".
func ParseRate(s string) (Rate, error) {
	if s == "off" {
		return Rate{}, nil
	}
	per, burst, ok := strings.Cut(s, "/")
	var r Rate
	var err error
	if ok {
		if r.PerSecond, err = strconv.ParseFloat(per, 64); err == nil {
			r.Burst, err = strconv.Atoi(burst)
		}
	}
	if !ok || err != nil || math.IsInf(r.PerSecond, 0) || !(r.PerSecond > 0) || r.Burst < 1 {
		return Rate{}, fmt.Errorf("%q is no rate such as 200/1000 (a second, at once), and not off", s)
	}
	return r, nil
}

// bucket holds what may still be done now.
type bucket struct {
	left float64
	at   time.Time // when left was right
}

func (b *bucket) refill(r Rate, now time.Time) {
	if passed := now.Sub(b.at); passed > 0 {
		b.left = min(float64(r.Burst), b.left+passed.Seconds()*r.PerSecond)
		b.at = now
	}
}

// Bucket counts one thing, for one goroutine.
type Bucket struct {
	rate Rate
	bucket
}

// NewBucket makes a full bucket of that rate.
func NewBucket(rate Rate, now time.Time) Bucket {
	return Bucket{rate: rate, bucket: bucket{left: float64(rate.Burst), at: now}}
}

// Take takes one out, if there is one.
func (b *Bucket) Take(now time.Time) bool {
	if b.rate.Off() {
		return true
	}
	b.refill(b.rate, now)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// Buckets count by key. They are safe for concurrent use. A key costs memory only as long as its bucket is not full.
type Buckets struct {
	rate Rate
	now  func() time.Time

	mu    sync.Mutex
	keys  map[string]*bucket
	swept time.Time
}

// New makes buckets of that rate. now is the clock.
func New(rate Rate, now func() time.Time) *Buckets {
	return &Buckets{rate: rate, now: now, keys: map[string]*bucket{}, swept: now()}
}

// sweepEvery is the time between two looks for buckets that are full again.
const sweepEvery = time.Minute

// Take takes one out of the bucket of key. If it is empty, ok is false and wait is how long until there is one.
func (b *Buckets) Take(key string) (wait time.Duration, ok bool) { return b.TakeN(key, 1) }

// TakeN takes n out of the bucket of key at once, or a full bucket where n is more than it holds. If there are not so many in it, none is taken.
func (b *Buckets) TakeN(key string, n int) (wait time.Duration, ok bool) {
	if b.rate.Off() {
		return 0, true
	}
	want := float64(min(n, b.rate.Burst))
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if now.Sub(b.swept) >= sweepEvery {
		b.swept = now
		for k, v := range b.keys {
			if v.refill(b.rate, now); v.left >= float64(b.rate.Burst) {
				delete(b.keys, k)
			}
		}
	}
	v := b.keys[key]
	if v == nil {
		v = &bucket{left: float64(b.rate.Burst), at: now}
		b.keys[key] = v
	}
	v.refill(b.rate, now)
	if v.left < want {
		return time.Duration((want - v.left) / b.rate.PerSecond * float64(time.Second)), false
	}
	v.left -= want
	return 0, true
}

// Return gives back what Take took for something that does not count after all.
func (b *Buckets) Return(key string) { b.ReturnN(key, 1) }

// ReturnN gives back what TakeN took.
func (b *Buckets) ReturnN(key string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v := b.keys[key]; v != nil {
		if v.left += float64(n); v.left >= float64(b.rate.Burst) {
			delete(b.keys, key)
		}
	}
}
