//go:build faulty_history

package messaging

import (
	"errors"
	"sync/atomic"
)

var histories atomic.Int64

// checkHistory has each tenth request for history fail.
func checkHistory() error {
	if histories.Add(1)%10 == 0 {
		return errors.New("a fault on purpose")
	}
	return nil
}
