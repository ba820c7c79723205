package app

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/provider"
)

// fill sets every field of a struct to something.
func fill(t *testing.T, to any) {
	t.Helper()
	v := reflect.ValueOf(to).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name)
		case reflect.Int:
			f.SetInt(int64(i) + 1)
		case reflect.Bool:
			f.SetBool(true)
		default:
			t.Fatalf("no value for %s", v.Type().Field(i).Name)
		}
	}
}

// A field that is added on one side and forgotten in the translation would be lost without a word.
func TestTranslationsLeaveNothingOut(t *testing.T) {
	var spec provider.ClusterSpec
	fill(t, &spec)
	var info cluster.Info
	fill(t, &info)
	for name, pair := range map[string][2]any{
		"cluster spec": {spec, clusterSpec(spec)},
		"cluster info": {info, clusterInfo(info)},
	} {
		t.Run(name, func(t *testing.T) {
			from, to := reflect.ValueOf(pair[0]), reflect.ValueOf(pair[1])
			require.Equal(t, from.NumField(), to.NumField())
			for i := range to.NumField() {
				field := to.Type().Field(i).Name
				require.Equal(t, from.FieldByName(field).Interface(), to.Field(i).Interface(), field)
			}
		})
	}
}

func TestReleaseTranslation(t *testing.T) {
	got := release(lab.ReleaseSpec{Name: "chat", Namespace: "n", Chart: "/c", Values: map[string]any{"a": 1}, Secrets: []string{"s"}})
	require.Equal(t, "chat", got.Name)
	require.Equal(t, "n", got.Namespace)
	require.Equal(t, "/c", got.ChartDir)
	require.Equal(t, map[string]any{"a": 1}, got.Values)
	require.Equal(t, []string{"s"}, got.Sensitive)
}

func TestDemoUsersAreKeptForTheirOwnerAlone(t *testing.T) {
	dir := t.TempDir()
	first, err := OpenDemo(dir)
	require.NoError(t, err)
	require.Len(t, first.Users, 2)
	require.NotEqual(t, first.Users[0].Password, first.Users[1].Password)
	require.GreaterOrEqual(t, len(first.Users[0].Password), 16)
	require.NoError(t, first.write())

	info, err := os.Stat(filepath.Join(dir, "demo.json"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	again, err := OpenDemo(dir)
	require.NoError(t, err)
	require.Equal(t, first.Users, again.Users)
	require.False(t, again.Delivered)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "demo.json"), []byte("{"), 0o600))
	_, err = OpenDemo(dir)
	require.ErrorContains(t, err, "is damaged")
}

func TestPasswordsAreKeptBeforeTheyAreUsed(t *testing.T) {
	dir := t.TempDir()
	demo, err := OpenDemo(dir)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // so that the registration fails, as it would for a labctl that is killed
	require.ErrorIs(t, demo.Register(ctx, "http://127.0.0.1:1", event.SinkFunc(func(event.Event) {})), context.Canceled)
	again, err := OpenDemo(dir)
	require.NoError(t, err)
	require.Equal(t, demo.Users, again.Users)
}

func newFactory(t *testing.T, vars string) *cli.Factory {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "lab.hcl"), []byte(`lab "demo" {}
environment "local" {
  target = "local"
  vars   = { `+vars+` }
}
`), 0o600))
	stack := filepath.Join(dir, "stacks", "local", "0-nothing")
	require.NoError(t, os.MkdirAll(stack, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(stack, "stack.hcl"), nil, 0o600))
	streams, _, _ := iostreams.Test()
	return &cli.Factory{IO: streams, WorkDir: dir, Env: "local", Getenv: func(name string) string {
		return map[string]string{"LABCTL_CACHE": filepath.Join(dir, "cache"), "USER": "ada"}[name]
	}}
}

func TestPorts(t *testing.T) {
	for name, tc := range map[string]struct {
		vars string
		want []int
	}{
		"embedded":         {`api_port = 1, http_port = 2, registry_port = 3`, []int{1, 2, 3}},
		"some":             {`http_port = 2`, []int{2}},
		"not a number":     {`api_port = "x", http_port = 2`, []int{2}},
		"someone else's":   {`cluster = "kubeconfig", api_port = 1`, nil},
		"said to be ours":  {`cluster = "embedded", api_port = 1`, []int{1}},
		"not even a name":  {`cluster = 7, api_port = 1`, nil},
		"a number in text": {`api_port = "16443"`, []int{16443}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := Machine(newFactory(t, tc.vars), doctor.Up)
			require.NoError(t, err)
			var got []int
			for _, p := range o.Ports {
				got = append(got, p.Number)
			}
			require.Equal(t, tc.want, got)
		})
	}
}

func TestDoctorNeedsNoLab(t *testing.T) {
	f := newFactory(t, "")
	f.WorkDir = t.TempDir()
	o, err := Machine(f, doctor.Up)
	require.NoError(t, err)
	require.Empty(t, o.Ports)
}

func TestRunNamesItsUser(t *testing.T) {
	l, err := Open(newFactory(t, ""))
	require.NoError(t, err)
	require.Equal(t, "ada", l.Run("labctl up", nil).User)
	require.Equal(t, "labctl up", l.Run("labctl up", nil).Command)
}

// A lab that declares a cluster gets one by `labctl up`; another never does.
func TestClusterDirWithoutACluster(t *testing.T) {
	f := newFactory(t, "")
	l, err := Open(f)
	require.NoError(t, err)
	_, err = l.ClusterDir()
	require.ErrorIs(t, err, ErrUndeclared)
	require.NotErrorIs(t, err, lab.ErrNotUp)

	file := filepath.Join(f.WorkDir, "stacks", "local", "0-nothing", "main.tf")
	require.NoError(t, os.WriteFile(file, []byte("resource \"lab_cluster\" \"this\" {}\n"), 0o600))
	l, err = Open(&cli.Factory{IO: f.IO, WorkDir: f.WorkDir, Env: f.Env, Getenv: f.Getenv})
	require.NoError(t, err)
	_, err = l.ClusterDir()
	require.ErrorIs(t, err, ErrNoCluster)
	require.ErrorIs(t, err, lab.ErrNotUp)
}
