package protocol

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/devlab"
)

// TestProtocol runs against BASE_URL, or against a chat of its own in this process where BASE_URL is not set.
func TestProtocol(t *testing.T) {
	base := os.Getenv("BASE_URL")
	if base == "" {
		base = start(t)
	}
	Run(t, base)
}

// start runs the whole chat until the test ends, and gives its address.
func start(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- devlab.Run(ctx, devlab.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Ready: func(url string) { ready <- url }})
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
