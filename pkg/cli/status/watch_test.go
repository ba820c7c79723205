package status

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/status"
)

// lines runs --watch of a source, and gives what it prints, line by line. Change lets the source's one step become up.
func lines(t *testing.T, asJSON bool) (next func() string, change func()) {
	t.Helper()
	changed := make(chan struct{})
	from := status.Sources{Lab: "demo", Environment: "local", Target: "local", Followers: []status.Follower{
		{Name: "journal", Follow: func(ctx context.Context, update status.Update) error {
			for _, state := range []status.State{status.Working, status.Up} {
				update(func(s *status.Snapshot) {
					s.Stacks = []status.Stack{{ID: "0-net", Condition: status.Condition{State: state}}}
				})
				select {
				case <-changed:
				case <-ctx.Done():
				}
			}
			<-ctx.Done()
			return ctx.Err()
		}},
	}}
	out, in := io.Pipe()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	ended := make(chan error, 1)
	go func() {
		err := watch(ctx, &Options{Factory: &cli.Factory{IO: &iostreams.Streams{Out: in}}, JSON: asJSON}, from)
		_ = in.Close()
		ended <- err
	}()
	scanner := bufio.NewScanner(out)
	t.Cleanup(func() {
		stop()
		for scanner.Scan() { //nolint:revive // what comes after all that was looked for
		}
		require.ErrorIs(t, <-ended, context.Canceled)
	})
	return func() string {
		require.True(t, scanner.Scan(), scanner.Err())
		return scanner.Text()
	}, func() { close(changed) }
}

func TestWatch(t *testing.T) {
	next, change := lines(t, false)
	require.Equal(t, "demo (environment local, target local) is up", next())
	require.Empty(t, next())
	require.Equal(t, "STACK  STATE", next())
	require.Equal(t, "0-net  working", next())
	require.Empty(t, next())
	change()
	require.Regexp(t, `^\d\d:\d\d:\d\d  stack/0-net is up$`, next())
}

func TestWatchAsJSON(t *testing.T) {
	next, change := lines(t, true)
	state := func() status.State {
		var s status.Snapshot
		require.NoError(t, json.Unmarshal([]byte(next()), &s))
		require.Equal(t, status.SchemaVersion, s.Version)
		return s.Stacks[0].State
	}
	require.Equal(t, status.Working, state())
	change()
	for state() != status.Up { //nolint:revive // it may be told twice
	}
}
