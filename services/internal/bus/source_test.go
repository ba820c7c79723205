package bus

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/topics"
)

func TestSource(t *testing.T) {
	from := &kgo.Record{Topic: Messages, Partition: 3, Offset: 4711}
	r := For("room", []string{"ann"}, []byte("{}"))
	_, _, _, ok := SourceOf(r)
	require.False(t, ok, "it does not say")
	r.Headers = append(r.Headers, Source(from))
	topic, partition, offset, ok := SourceOf(r)
	require.True(t, ok)
	require.Equal(t, Messages, topic)
	require.EqualValues(t, 3, partition)
	require.EqualValues(t, 4711, offset)
	for _, bad := range []string{"", "messages", "messages/3", "messages/3/", "messages/x/1", "messages/3/1/1"} {
		_, _, _, ok := SourceOf(&kgo.Record{Headers: []kgo.RecordHeader{{Key: topics.SourceHeader, Value: []byte(bad)}}})
		require.False(t, ok, bad)
	}
}
