package trace

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// requestHeader is the header of a record that has the id of the request which produced it.
const requestHeader = "request"

type requestKey struct{}

// WithRequest gives ctx with the id of the request that is being answered. Log writes it, Call passes it on, and a record
// that is produced carries it. There is always one, where a trace may be off or not be kept.
func WithRequest(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestKey{}, id)
}

// RequestOf gives the id of the request that a record is of; empty if it has none.
func RequestOf(r *kgo.Record) string { return headers{r}.Get(requestHeader) }

// Request gives the id of the request that ctx belongs to, if there is one. ctx may be nil, as a record's is.
func Request(ctx context.Context) string {
	if ctx == nil {
		return ""
	}
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
