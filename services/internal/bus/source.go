package bus

import (
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/topics"
)

// Source makes the header of what follows from a record.
func Source(r *kgo.Record) kgo.RecordHeader {
	return kgo.RecordHeader{Key: topics.SourceHeader, Value: []byte(r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "/" + strconv.FormatInt(r.Offset, 10))}
}

// SourceOf gives the record that r follows from. ok is false where r does not say.
func SourceOf(r *kgo.Record) (topic string, partition int32, offset int64, ok bool) {
	for _, h := range r.Headers {
		if h.Key != topics.SourceHeader {
			continue
		}
		return topics.ParseSource(string(h.Value))
	}
	return "", 0, 0, false
}
