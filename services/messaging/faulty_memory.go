//go:build faulty_memory

package messaging

import (
	"bytes"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	keeping sync.Mutex
	kept    [][]byte
)

// tamper keeps 64 KiB for each record, for good.
func tamper(records []*kgo.Record) []*kgo.Record {
	keeping.Lock()
	defer keeping.Unlock()
	for range records {
		kept = append(kept, bytes.Repeat([]byte{1}, 64<<10))
	}
	return records
}
