//go:build faulty_sends

package gateway

import (
	"sync/atomic"

	"github.com/labctl/labctl/services/internal/wire"
)

var sends atomic.Int64

// isDropped drops one send in a hundred: Kafka never gets it, and its sender hears nothing.
func isDropped(r wire.Record) bool { return r.Type == wire.RecordSend && sends.Add(1)%100 == 0 }
