package bus

import (
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// SourceHeader names the record that one follows from: topic/partition/offset.
const SourceHeader = "source"

// Source makes the header of what follows from a record.
func Source(r *kgo.Record) kgo.RecordHeader {
	return kgo.RecordHeader{Key: SourceHeader, Value: []byte(r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + strconv.FormatInt(r.Offset, 10))}
}

// SourceOf gives the record that r follows from. ok is false where r does not say.
func SourceOf(r *kgo.Record) (topic string, partition int32, offset int64, ok bool) {
	for _, h := range r.Headers {
		if h.Key != SourceHeader {
			continue
		}
		return parseSource(string(h.Value))
	}
	return "", 0, 0, false
}

// parseSource reads topic/partition/offset.
func parseSource(v string) (topic string, partition int32, offset int64, ok bool) {
	topic, at, _ := strings.Cut(v, "/")
	n, o, _ := strings.Cut(at, "/")
	p, bad := strconv.ParseInt(n, 10, 32)
	offset, worse := strconv.ParseInt(o, 10, 64)
	return topic, int32(p), offset, bad == nil && worse == nil
}
