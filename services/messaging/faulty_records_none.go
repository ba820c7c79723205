//go:build !faulty_edits && !faulty_order && !faulty_memory

package messaging

import "github.com/twmb/franz-go/pkg/kgo"

// tamper is where the versions with a fault in their records differ, which docs/guide/shadow.md has a student catch: the
// build tags faulty_edits, faulty_order and faulty_memory. This version has none.
func tamper(records []*kgo.Record) []*kgo.Record { return records }
