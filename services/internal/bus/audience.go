package bus

import (
	"bytes"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// audienceHeader names whom a record of the topic users is for, ids with commas between. Without it, it is for the user who is its key.
const audienceHeader = "to"

// For makes a record of the topic users whose value is a frame for all devices of some users: one record, however many they are.
// Records of one key reach a device in their order.
func For(key string, users []string, value []byte) *kgo.Record {
	return &kgo.Record{
		Topic: Users, Key: []byte(key), Value: value,
		Headers: []kgo.RecordHeader{{Key: audienceHeader, Value: []byte(strings.Join(users, ","))}},
	}
}

// aheadHeader marks a record of the topic users that is told before it is stored.
const aheadHeader = "ahead"

// AheadTime is how long gateways keep what is told ahead, for sockets that open meanwhile and may not find it stored.
const AheadTime = 4 * time.Second

// Ahead marks a record of the topic users as one that is told before it is stored.
func Ahead(r *kgo.Record) { r.Headers = append(r.Headers, kgo.RecordHeader{Key: aheadHeader}) }

// IsAhead says whether a record of the topic users is marked so.
func IsAhead(r *kgo.Record) bool {
	return slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == aheadHeader })
}

// Audience gives the users whom a record of the topic users is for.
func Audience(r *kgo.Record) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, h := range r.Headers {
			if h.Key == audienceHeader {
				for id := range bytes.SplitSeq(h.Value, []byte(",")) {
					if !yield(string(id)) {
						return
					}
				}
				return
			}
		}
		yield(string(r.Key))
	}
}
