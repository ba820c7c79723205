package chaos

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/load"
)

const testPart = "LABCTL_TEST_PART"

// TestMain lets the test binary be labctl part.
func TestMain(m *testing.M) {
	if os.Getenv(testPart) != "" {
		streams := iostreams.System(os.Getenv)
		cmd := NewCmdPart(&cli.Factory{IO: streams, Getenv: os.Getenv})
		cmd.SetArgs(os.Args[1:])
		if cmd.ExecuteContext(context.Background()) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func factory(t *testing.T) (*cli.Factory, func() string) {
	streams, out, _ := iostreams.Test()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return &cli.Factory{IO: streams, WorkDir: dir, Getenv: func(string) string { return "" }}, out.String
}

func TestFlags(t *testing.T) {
	f, _ := factory(t)
	var got *Options
	cmd := NewCmdChaos(f, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"--address", "http://x", "--seed", "7", "--runs", "2", "--duration", "3s", "--every", "4s", "--settle", "5s", "--rate", "6",
		"--kind", "kill,pause", "--report", "r.json", "--json"})
	require.NoError(t, cmd.Execute())
	got.Command = nil
	require.Equal(t, Options{Factory: f, Address: "http://x", Seed: 7, Runs: 2, Duration: 3 * time.Second, Every: 4 * time.Second, Settle: 5 * time.Second,
		Rate: 6, Kinds: []string{"kill", "pause"}, Report: "r.json", JSON: true}, *got)
	chosen, err := got.check()
	require.NoError(t, err)
	require.Equal(t, []chaos.Kind{chaos.Kill, chaos.Pause}, chosen)
	cmd = NewCmdChaos(f, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"--lab", "--confirm", "prod"})
	require.NoError(t, cmd.Execute())
	require.True(t, got.Lab)
	require.Equal(t, "prod", got.Confirm)
	cmd = NewCmdChaos(f, func(o *Options) error { got = o; return nil })
	cmd.SetArgs([]string{"--shadow"})
	require.NoError(t, cmd.Execute())
	require.True(t, got.Shadow)
	for _, args := range [][]string{{"--address", "http://x", "--kind", "storm,kill"}, {"--runs", "0"}, {"--duration", "0s"}, {"--every", "1ms"}, {"--rate", "NaN"}, {"--rate", "0"}, {"--kind", "flood"}} {
		cmd := NewCmdChaos(f, nil)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs(args)
		var usage *cli.UsageError
		require.ErrorAs(t, cmd.Execute(), &usage, args)
	}
}

// The command starts a chat of its own, breaks it, and leaves nothing behind but its report.
func TestRun(t *testing.T) {
	f, out := factory(t)
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := NewCmdChaos(f, func(o *Options) error {
		o.Command, o.Env = func() ([]string, error) { return []string{os.Args[0]}, nil }, []string{testPart + "=1"}
		return run(t.Context(), o)
	})
	cmd.SetArgs([]string{"--seed", "3", "--duration", "3s", "--every", "500ms", "--kind", "kill,storm", "--shadow", "--report", report})
	require.NoError(t, cmd.Execute(), out())
	require.Contains(t, out(), "0 lost, 0 unanswered, 0 duplicated, 0 out of order, 0 leaked, 0 different")
	require.Contains(t, out(), "1 runs")
	require.Regexp(t, `shadow, seed 3: (\d+) of \d+ records compared; the candidate agrees in [\d.]+ %`, out())
	content, err := os.ReadFile(report)
	require.NoError(t, err)
	var r Report
	require.NoError(t, json.Unmarshal(content, &r))
	require.Len(t, r.Runs, 1)
	require.EqualValues(t, 3, r.Runs[0].Seed)
	require.NotEmpty(t, r.Runs[0].Faults)
	require.Positive(t, r.Verdict.Acked)
	require.Positive(t, r.Runs[0].Shadow.Records)
	require.Equal(t, r.Runs[0].Shadow.Records, r.Runs[0].Shadow.Count())
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// A part listens on loopback alone, and there are only those that there are.
func TestPart(t *testing.T) {
	for name, tc := range map[string]struct{ part, listen, health, problem string }{
		"all addresses":           {"auth", "0.0.0.0:0", "127.0.0.1:0", "LISTEN"},
		"health on all addresses": {"auth", "127.0.0.1:0", ":8081", "HEALTH"},
		"no address":              {"kafka", "", "127.0.0.1:0", "loopback"},
		"no such part":            {"sms", "127.0.0.1:0", "127.0.0.1:0", "no such part"},
	} {
		streams, _, _ := iostreams.Test()
		cmd := NewCmdPart(&cli.Factory{IO: streams, Getenv: func(k string) string { return map[string]string{"LISTEN": tc.listen, "HEALTH": tc.health}[k] }})
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		cmd.SetArgs([]string{tc.part})
		require.ErrorContains(t, cmd.ExecuteContext(t.Context()), tc.problem, name)
	}
}

func TestReport(t *testing.T) {
	r := Report{Runs: []chaos.Result{{Seed: 4, RecoveryP50: 1, RecoveryMax: 5}, {Seed: 5, RecoveryP50: 3, RecoveryMax: 4, Verdict: load.Verdict{Lost: 2}}}}
	r.sum()
	require.EqualValues(t, 5, r.RecoveryMax)
	require.EqualValues(t, 3, r.RecoveryP50)
	require.EqualValues(t, 2, r.Verdict.Lost)
	require.EqualValues(t, 5, r.broken())
}
