// Package inprocess runs the whole chat in the process of a test.
package inprocess

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/devlab"
)

// Chat runs the chat until the test ends, and gives its address. page may be nil.
func Chat(t *testing.T, page http.Handler) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- devlab.Run(ctx, devlab.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Frontend: page, Ready: func(url string) { ready <- url }})
	}()
	select {
	case url := <-ready:
		t.Cleanup(func() {
			cancel()
			require.NoError(t, <-ended)
		})
		return url
	case err := <-ended:
		cancel()
		require.FailNow(t, "the chat does not start", "%v", err)
		return ""
	}
}
