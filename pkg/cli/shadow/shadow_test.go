package shadow

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/sockets"
	"github.com/labctl/labctl/pkg/shadow/verdict"
)

func TestFlags(t *testing.T) {
	streams, _, _ := iostreams.Test()
	f := &cli.Factory{IO: streams}
	var status *StatusOptions
	cmd := newCmdStatus(f, func(o *StatusOptions) error { status = o; return nil })
	cmd.SetArgs([]string{"messaging", "--wait", "1m", "--json"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, StatusOptions{Factory: f, Service: "messaging", Wait: time.Minute, JSON: true}, *status)
	cmd = newCmdStatus(f, func(*StatusOptions) error { return nil })
	cmd.SetArgs([]string{"--wait", "1m", "--watch"})
	require.ErrorContains(t, cmd.Execute(), "[wait watch]")

	var start *StartOptions
	cmd = newCmdStart(f, func(o *StartOptions) error { start = o; return nil })
	cmd.SetArgs([]string{"messaging", "--ref", "main", "--tags", "a,b", "--json"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, StartOptions{Factory: f, Service: "messaging", Ref: "main", Tags: []string{"a", "b"}, Lifetime: 24 * time.Hour, JSON: true}, *start)
	cmd = newCmdStart(f, func(*StartOptions) error { return nil })
	cmd.SetArgs([]string{"messaging", "--image", "i", "--tags", "a"})
	require.ErrorContains(t, cmd.Execute(), "[image tags]")
	for _, lifetime := range []string{"169h", "0s", "-1h"} {
		cmd = newCmdStart(f, func(*StartOptions) error { return nil })
		cmd.SetArgs([]string{"messaging", "--working-tree", "--lifetime", lifetime})
		require.ErrorContains(t, cmd.Execute(), "but for at most 168h", lifetime)
	}

	var abort *AbortOptions
	cmd = newCmdAbort(f, func(o *AbortOptions) error { abort = o; return nil })
	cmd.SetArgs([]string{"messaging"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, AbortOptions{Factory: f, Service: "messaging"}, *abort)

	for _, make := range []func(*cli.Factory, func(*PromoteOptions) error) *cobra.Command{newCmdPromote, newCmdRollback} {
		var promote *PromoteOptions
		cmd = make(f, func(o *PromoteOptions) error { promote = o; return nil })
		cmd.SetArgs([]string{"messaging", "--reason", "why", "--confirm", "prod"})
		if cmd.Name() == "promote" {
			require.ErrorContains(t, cmd.Execute(), "--force and --reason go together")
			cmd.SetArgs([]string{"messaging", "--force", "--reason", "why", "--confirm", "prod", "--watch", "1s"})
		}
		require.NoError(t, cmd.Execute())
		require.Equal(t, "messaging why prod", strings.Join([]string{promote.Service, promote.Reason, promote.Confirm}, " "))
	}

	var diff *DiffOptions
	cmd = newCmdDiff(f, func(o *DiffOptions) error { diff = o; return nil })
	cmd.SetArgs([]string{"messaging", "--json"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, DiffOptions{Factory: f, Service: "messaging", JSON: true}, *diff)

	var report *ReportOptions
	cmd = newCmdReport(f, func(o *ReportOptions) error { report = o; return nil })
	cmd.SetArgs([]string{"messaging"})
	require.NoError(t, cmd.Execute())
	require.Equal(t, ReportOptions{Factory: f, Service: "messaging", Format: "markdown"}, *report)
	cmd.SetArgs([]string{"messaging", "--format", "pdf"})
	require.ErrorContains(t, cmd.Execute(), `--format "pdf" is not known; there are: markdown, json, html`)
}

// judged is the evidence of so many results, of which one in a hundred differs.
func judged(t *testing.T, results int) shadow.Evidence {
	t.Helper()
	m, err := verdict.New(verdict.Default())
	require.NoError(t, err)
	shapes := compare.NewShapes(10)
	for i := range results {
		differs := i%100 == 0
		m.Observe(verdict.Pair{Kind: "edit", CandidateDiffers: differs, CandidateLatency: 3 * time.Millisecond, BaselineLatency: 2 * time.Millisecond})
		if differs {
			shapes.Add("messages/0/7", "edit", []compare.Difference{{Path: "outputs[0]", Change: compare.Missing, Live: []byte(`{"seq":7}`)}}, compare.Bodies{})
		}
	}
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	return shadow.Evidence{
		Service: "messaging", Version: "the working tree ../my-change", By: "ann", Started: begin, At: begin.Add(time.Minute),
		Verdict: m.Verdict(), Differing: shapes,
		Sides: map[string]shadow.SideFacts{"candidate": {Lag: 3, Restarts: 1, Memory: 50 << 20}},
	}
}

func TestStatus(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, writeStatus(&out, judged(t, 0)))
	require.Regexp(t, `verdict +inconclusive: about [0-9]+ more results are needed`, out.String())
	require.Regexp(t, `compared +0 results\n`, out.String(), "shares of nothing are none")
	require.NotContains(t, out.String(), "latency  ")

	out.Reset()
	require.NoError(t, writeStatus(&out, judged(t, 1000)))
	require.Regexp(t, `compared +1000 results; 99.00 % agree with live \(baseline: 100.00 %\)`, out.String())
	require.Regexp(t, `verdict +fail: The candidate alone differed from live in 10 of 1000 results`, out.String())
	require.Regexp(t, `latency +p50 1\.49, p99 1\.49 times the baseline's\n`, out.String())
	require.Regexp(t, `candidate +3 +1 +50 MiB`, out.String())
	require.Regexp(t, `(?m)^fail +differences  `, out.String())
	require.NotRegexp(t, `(?m)^pass`, out.String(), "the report has those")
	require.Regexp(t, `\d of \d+ conditions pass\.\n$`, out.String())
	require.NotContains(t, out.String(), "requests", "there were none")

	out.Reset()
	require.NoError(t, writeStatus(&out, withRequests(judged(t, 1000))))
	require.Regexp(t, `compared +\d+ results; .*\n`, out.String())
	require.Regexp(t, `nothing +7 records led to nothing on all sides, and are no results\n`, out.String())
	require.Regexp(t, `requests +40 of the results are answers to requests\n`, out.String())
	require.Regexp(t, `left out +12 requests: excepted 2, method 10\n`, out.String())

	out.Reset()
	e := judged(t, 0)
	e.Ends = e.At.Add(3*time.Hour + 12*time.Minute + 10*time.Second)
	require.NoError(t, writeStatus(&out, e))
	require.Regexp(t, `(?m)^ends +in 3h12m$`, out.String())

	out.Reset()
	e.Ended = "the longest lifetime, 24h, is over"
	e.Error, e.Unsaved = "the brokers are away", "the database is away"
	require.NoError(t, writeStatus(&out, e))
	require.Regexp(t, `(?m)^ended +the longest lifetime, 24h, is over$`, out.String())
	require.Regexp(t, `(?m)^stopped +the brokers are away\nnot saved +the database is away$`, out.String())

	out.Reset()
	e = judged(t, 1000)
	e.Sockets = &sockets.Counts{Sockets: 7, Open: 3, Before: 20, After: 2, Dropped: 1}
	require.NoError(t, writeStatus(&out, e))
	require.Regexp(t, `sockets +7 mirrored, 3 of them open; of what they were told, 23 did not count`, out.String())
}

// withRequests adds what is known of requests, and of records that led to nothing.
func withRequests(e shadow.Evidence) shadow.Evidence {
	e.Nothing, e.Requests, e.LeftOut = 7, 40, map[string]int64{"method": 10, "excepted": 2}
	return e
}

func TestExitCode(t *testing.T) {
	for state, code := range map[verdict.State]cli.ExitCode{verdict.Pass: cli.ExitOK, verdict.Fail: cli.ExitFailed, verdict.Inconclusive: cli.ExitChanges} {
		require.Equal(t, code, exitCode(shadow.Evidence{Verdict: verdict.Verdict{State: state}}), state)
	}
}

func TestDiff(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, writeDiff(&out, judged(t, 0)))
	require.Equal(t, "No difference in 0 results.\n", out.String())
	out.Reset()
	require.NoError(t, writeDiff(&out, judged(t, 200)))
	require.Equal(t, `2 results: edit: outputs[*] missing
  first messages/0/7, last messages/0/7; the first:
    outputs[0] missing
      live       {"seq":7}
`, out.String())
}
