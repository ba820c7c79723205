package bus

import (
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Resets makes and registers the counter of CountResets.
func Resets(to prometheus.Registerer) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kafka_offset_resets_total", Help: "Times that a partition did not hold the record to be read next, so that records were passed over.",
	})
	to.MustRegister(c)
	return c
}

// CountResets is an option of Open for a client that reads. When the place where it is to read on is out of a
// partition's range, since the records there were dropped before they were read or the brokers have lost some, the
// client goes on where ConsumeResetOffset says. It tells nobody but its log, so that is where it is noticed. onReset, if not nil,
// is called each time before records of after that come. It must not wait for the client.
func CountResets(log *slog.Logger, resets prometheus.Counter, onReset func()) kgo.Opt {
	return kgo.WithLogger(logger{log, resets, onReset})
}

// isReset says whether a line of the client's log is about such a case.
func isReset(msg string) bool { return strings.HasPrefix(msg, "received OFFSET_OUT_OF_RANGE") }
