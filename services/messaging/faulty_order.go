//go:build faulty_order

package messaging

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tamper reverses the order of records that are published together.
func tamper(records []*kgo.Record) []*kgo.Record {
	slices.Reverse(records)
	return records
}
