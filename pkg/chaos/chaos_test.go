package chaos

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/devlab"
)

const testPart = "LABCTL_TEST_PART"

// TestMain lets the test binary be each part of the chat.
func TestMain(m *testing.M) {
	if os.Getenv(testPart) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(1)
		}()
		err := devlab.RunPart(ctx, os.Args[1], os.Getenv, slog.New(slog.NewJSONHandler(os.Stderr, nil)))
		stop()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, o ProcessesOptions) *Processes {
	t.Helper()
	o.Dir = t.TempDir()
	if dir := os.Getenv("LABCTL_TEST_KEEP"); dir != "" {
		o.Dir = dir
	}
	o.Command, o.Env = []string{os.Args[0]}, append(o.Env, testPart+"=1")
	p, err := StartProcesses(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

var key = []byte("a key of the tests' users")

// One short run with a fault of each kind.
func TestChaos(t *testing.T) {
	p := start(t, ProcessesOptions{Instances: map[string]int{"auth": 1, "messaging": 2, "groups": 1, "presence": 1, "gateway": 2}})
	res, err := Run(t.Context(), Options{Lab: p, Seed: 1, Duration: 8 * time.Second, Settle: 3 * time.Minute, Rate: 40, Key: key, Faults: []Fault{
		{At: 500 * time.Millisecond, Kind: Kill, Part: "messaging/0", Time: 200 * time.Millisecond},
		{At: time.Second, Kind: Step, Part: "messaging/1", To: "mongodb", After: 3, Done: true, Time: 100 * time.Millisecond},
		{At: 1500 * time.Millisecond, Kind: Storm},
		{At: 2 * time.Second, Kind: Kill, Part: "kafka", Time: 300 * time.Millisecond},
		{At: 3 * time.Second, Kind: Retry},
		{At: 3500 * time.Millisecond, Kind: Kill, Part: "gateway/1", Time: 500 * time.Millisecond},
		{At: 4 * time.Second, Kind: Deaf, Time: time.Second},
		{At: 4500 * time.Millisecond, Kind: Kill, Part: "mongodb", Time: 300 * time.Millisecond},
		{At: 5500 * time.Millisecond, Kind: Slow, Part: "gateway/0", To: "kafka", By: 20 * time.Millisecond, Time: time.Second},
		{At: 6 * time.Second, Kind: Cut, Part: Clients, Time: 500 * time.Millisecond},
	}})
	require.NoError(t, err, "%v", res.Verdict.Examples)
	require.Empty(t, res.Crashes)
	require.Greater(t, res.Verdict.Acked, int64(200))
	require.Greater(t, res.Verdict.Delivered, int64(2000))
	for _, f := range res.Faults {
		require.Empty(t, f.Error, f.Fault)
	}
	t.Logf("%+v", res)
}
