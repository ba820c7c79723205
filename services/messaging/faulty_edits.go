//go:build faulty_edits

package messaging

import (
	"bytes"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// tamper drops edits: nobody hears of them.
func tamper(records []*kgo.Record) []*kgo.Record {
	return slices.DeleteFunc(records, func(r *kgo.Record) bool { return bytes.Contains(r.Value, []byte(`"kind":"edit"`)) })
}
