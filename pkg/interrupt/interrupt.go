// Package interrupt tells a user who wants to stop from one who insists. The first signal cancels the context: what runs ends
// cleanly. The second says that labctl shall not wait for that.
package interrupt

import "context"

type key struct{}

// WithInsist gives a context in which Insisted is closed by insist.
func WithInsist(ctx context.Context) (inner context.Context, insist func()) {
	insisted := make(chan struct{})
	return context.WithValue(ctx, key{}, insisted), func() { close(insisted) }
}

// Insisted is closed when the user insists. It is nil, and so never ready, where nobody can.
func Insisted(ctx context.Context) <-chan struct{} {
	insisted, _ := ctx.Value(key{}).(chan struct{})
	return insisted
}
