package store

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// throttled is the error of Cosmos DB for MongoDB for a request that it has not carried out because too many came: 429 in HTTP.
const throttled = 16500

// patience is how often a throttled request is sent again. Where the database says no time, the pauses add up to some 5 s.
const patience = 12

var retryAfter = regexp.MustCompile(`RetryAfterMs=([0-9]+)`)

// Patiently calls f, again after the time that the database names while it throttles. The functions of this package do so
// themselves; it is for what the driver is asked directly.
func Patiently(ctx context.Context, f func() error) error {
	pause := 20 * time.Millisecond
	for try := 1; ; try++ {
		err := f()
		wait, again := Throttled(err)
		if !again {
			return err
		}
		if try == patience {
			return fmt.Errorf("throttled %d times; give the database more throughput: %w", try, err)
		}
		if wait == 0 {
			wait, pause = pause, min(2*pause, time.Second)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("throttled until time was up: %w", errors.Join(ctx.Err(), err))
		case <-t.C:
		}
	}
}

// Throttled says whether the database has not carried out a request because too many came, and when it wants it again; 0 if it does
// not say.
func Throttled(err error) (after time.Duration, yes bool) {
	var e mongo.ServerError
	if !errors.As(err, &e) || !e.HasErrorCode(throttled) {
		return 0, false
	}
	if m := retryAfter.FindStringSubmatch(err.Error()); m != nil {
		if ms, err := strconv.Atoi(m[1]); err == nil {
			after = min(time.Duration(ms)*time.Millisecond, 5*time.Second)
		}
	}
	return after, true
}
