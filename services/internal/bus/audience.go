package bus

import (
	"bytes"
	"iter"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
)

// audienceHeader names whom a record of the topic users is for, ids with commas between. Without it, it is for the user who is its key.
const audienceHeader = "to"

// For makes a record of the topic users, by its name in the table, whose value is a frame for all devices of some users: one record, however many they are.
// Records of one key reach a device in their order.
func For(key string, users []string, value []byte) *kgo.Record {
	return &kgo.Record{
		Topic: Users, Key: []byte(key), Value: value,
		Headers: []kgo.RecordHeader{{Key: audienceHeader, Value: []byte(strings.Join(users, ","))}},
	}
}

// Audience gives the ids of the users whom a record of the topic users is for.
func Audience(r *kgo.Record) iter.Seq[[]byte] {
	for _, h := range r.Headers {
		if h.Key == audienceHeader {
			return bytes.SplitSeq(h.Value, []byte(","))
		}
	}
	return slices.Values([][]byte{r.Key})
}
