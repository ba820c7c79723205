package load

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/load"
)

func factory(t *testing.T) (*cli.Factory, func() string) {
	streams, out, _ := iostreams.Test()
	dir := t.TempDir()
	return &cli.Factory{IO: streams, WorkDir: dir, Getenv: func(k string) string {
		if k == "LABCTL_CACHE" {
			return dir
		}
		return ""
	}}, out.String
}

func TestFlags(t *testing.T) {
	f, _ := factory(t)
	var got *Options
	cmd := NewCmdLoad(f, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"--address", "http://x", "--users", "4", "--devices", "3", "--rooms", "zipf:3", "--mix", "texts", "--rate", "7.5", "--duration", "3s", "--settle", "4s",
		"--size", "9", "--seed", "5", "--storm", "--pid", "6", "--json"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, Options{Factory: f, Rooms: "zipf:3", Mix: "texts", JSON: true, Options: load.Options{Address: "http://x", Users: 4, Devices: 3, Rate: 7.5,
		Duration: 3 * time.Second, Settle: 4 * time.Second, Size: 9, Seed: 5, Storm: true, PID: 6}}, *got)
}

func TestKey(t *testing.T) {
	f, _ := factory(t)
	a, err := Key(f, "http://127.0.0.1:1")
	require.NoError(t, err)
	again, err := Key(f, "http://127.0.0.1:2")
	require.NoError(t, err)
	require.Equal(t, a, again, "a chat keeps its users where only its port changes")
	other, err := Key(f, "https://chat.example")
	require.NoError(t, err)
	require.NotEqual(t, a, other)
	path := filepath.Join(f.WorkDir, "load.key")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = Key(f, "http://x")
	require.ErrorContains(t, err, "damaged")
	_, err = Key(f, "x")
	var usage *cli.UsageError
	require.ErrorAs(t, err, &usage)
}

// devlab runs the whole chat, as labctl dev does.
func dev(t *testing.T) string {
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan string, 1), make(chan error, 1)
	dir := t.TempDir() // before the clean-up below, which has to run before that of the directory
	go func() {
		ended <- devlab.Run(ctx, devlab.Options{Dir: dir, Listen: net.JoinHostPort("127.0.0.1", "0"), Frontend: http.NotFoundHandler(), Ready: func(url string) { ready <- url }})
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	select {
	case url := <-ready:
		return url
	case err := <-ended:
		ended <- err
		require.NoError(t, err, "the chat did not start")
		return ""
	}
}

// The command measures a real chat, twice: the second time its users are there already.
func TestRun(t *testing.T) {
	url := dev(t)
	f, out := factory(t)
	var before int
	for _, args := range [][]string{
		{"--rooms", "zipf:4", "--storm", "--json"},
		{"--rooms", "pairs"},
	} {
		cmd := NewCmdLoad(f, nil)
		cmd.SetArgs(append(args, "--address", url, "--users", "6", "--rate", "40", "--duration", "2s", "--pid", "1"))
		require.NoError(t, cmd.ExecuteContext(t.Context()), "%s", out())
		text := out()[before:]
		before = len(out())
		if args[1] == "pairs" {
			require.Contains(t, text, "0 lost, 0 unanswered, 0 duplicated, 0 out of order, 0 leaked, 0 different")
			continue
		}
		var res load.Result
		require.NoError(t, json.Unmarshal([]byte(text), &res))
		require.Equal(t, 12, res.Connections)
		require.Positive(t, res.Sent)
		require.Equal(t, res.Sent, res.Stored.Count)
		require.Equal(t, res.Sent, res.Verdict.Acked)
		require.Positive(t, res.Delivered.Count)
		require.EqualValues(t, 12, res.Reconnects, "the storm broke each connection once")
		require.Positive(t, res.BackSeconds)
		require.True(t, res.Verdict.Kept(), res.Verdict.Examples)
	}

	// Those of another key are not ours.
	require.NoError(t, os.WriteFile(filepath.Join(f.WorkDir, "load.key"), []byte("another key, long enough"), 0o600))
	cmd := NewCmdLoad(f, nil)
	cmd.SetArgs([]string{"--address", url, "--users", "2", "--rooms", "pairs"})
	require.ErrorIs(t, cmd.ExecuteContext(t.Context()), load.ErrForeign)
}
