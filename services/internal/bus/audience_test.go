package bus

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAudience(t *testing.T) {
	one := &kgo.Record{Topic: Users, Key: []byte("ann"), Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("bob")}}}
	require.Equal(t, []string{"ann"}, slices.Collect(Audience(one)))
	many := For("room", []string{"ann", "bob"}, []byte("{}"))
	many.Headers = append([]kgo.RecordHeader{{Key: "traceparent", Value: []byte("x")}}, many.Headers...)
	require.Equal(t, "room", string(many.Key))
	require.Equal(t, []string{"ann", "bob"}, slices.Collect(Audience(many)))
	for u := range Audience(many) {
		require.Equal(t, "ann", u)
		break
	}
}
