package bus

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestAudience(t *testing.T) {
	users := func(r *kgo.Record) (all []string) {
		for u := range Audience(r) {
			all = append(all, string(u))
		}
		return all
	}
	one := &kgo.Record{Topic: Users, Key: []byte("ann"), Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("bob")}}}
	require.Equal(t, []string{"ann"}, users(one))
	many := For("room", []string{"ann", "bob"}, []byte("{}"))
	many.Headers = append([]kgo.RecordHeader{{Key: "traceparent", Value: []byte("x")}}, many.Headers...)
	require.Equal(t, "room", string(many.Key))
	require.Equal(t, []string{"ann", "bob"}, users(many))
}
