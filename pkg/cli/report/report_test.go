package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

func summary() *lab.Summary {
	return &lab.Summary{Command: "labctl up", Elapsed: 90 * time.Second, Results: []lab.Result{
		{Stack: "0-foundation", Ending: lab.EndUnchanged, Elapsed: 40 * time.Millisecond},
		{Stack: "1-cluster", Ending: lab.EndChanged, Changes: stack.Changes{Added: 3, Changed: 1}, Images: 1, Charts: 2, Elapsed: 80 * time.Second},
		{Stack: "2-databases", Ending: lab.EndFailed, Elapsed: time.Second, Log: "/logs/2-databases.log",
			Err: errors.New("apply stack \"2-databases\": <broken> & more\n  its second line")},
		{Stack: "5-release", Ending: lab.EndBlocked, Detail: "it needs 2-databases, which did not end well"},
	}}
}

func TestTable(t *testing.T) {
	require.Equal(t, `STACK         RESULT                         ADDED  CHANGED  DESTROYED  TIME
0-foundation  unchanged                      -      -        -          0.0s
1-cluster     changed (1 image, 2 releases)  3      1        -          80.0s
2-databases   failed                         -      -        -          1.0s
5-release     blocked                        -      -        -          -`,
		Table(summary()))
}

func write(t *testing.T, format string) []byte {
	t.Helper()
	var f Flag
	require.NoError(t, f.Set(format))
	require.True(t, f.ToStdout())
	var out bytes.Buffer
	require.NoError(t, f.Write(summary(), "local", &out))
	return out.Bytes()
}

func TestJSON(t *testing.T) {
	var got map[string]any
	require.NoError(t, json.Unmarshal(write(t, "json"), &got))
	require.InDelta(t, 90, got["seconds"], 0)
	require.Equal(t, map[string]any{
		"stack": "2-databases", "result": "failed", "added": 0.0, "changed": 0.0, "destroyed": 0.0, "seconds": 1.0,
		"error": "apply stack \"2-databases\": <broken> & more\n  its second line", "log": "/logs/2-databases.log",
	}, got["stacks"].([]any)[2])
}

func TestJUnit(t *testing.T) {
	var got junitSuite
	require.NoError(t, xml.Unmarshal(write(t, "junit"), &got))
	require.Equal(t, []int{4, 1, 1}, []int{got.Tests, got.Failures, got.Skipped})
	require.Equal(t, `apply stack "2-databases": <broken> & more`, got.Cases[2].Failure.Message)
	require.Contains(t, got.Cases[2].Failure.Text, "its second line")
	require.Contains(t, got.Cases[3].Skipped.Message, "it needs 2-databases")
	require.Nil(t, got.Cases[1].Failure)
}

func TestMarkdown(t *testing.T) {
	got := string(write(t, "md"))
	require.Contains(t, got, "| 1-cluster | changed (1 image, 2 releases) | 3 | 1 | - | 80.0s |\n")
	require.Contains(t, got, "**2-databases** failed:\n\n    apply stack \"2-databases\": <broken> & more\n      its second line\n")
}

func TestFile(t *testing.T) {
	var f Flag
	path := filepath.Join(t.TempDir(), "out.json")
	require.NoError(t, f.Set("json="+path))
	require.False(t, f.ToStdout())
	require.NoError(t, f.Write(nil, "local", nil), "a run that did not begin has no report")
	require.NoFileExists(t, path)
	var out bytes.Buffer
	require.NoError(t, f.Write(summary(), "local", &out))
	require.Empty(t, out.Bytes())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, json.Valid(data))
	require.NoError(t, f.Set("md="+filepath.Join(path, "not-a-directory")))
	require.ErrorContains(t, f.Write(summary(), "local", nil), "write the report")
	require.Error(t, f.Set("csv"))
}
