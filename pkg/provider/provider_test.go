package provider_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/secret"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

const quietEnv = "LABCTL_TEST_QUIET_DIR"

// TestMain runs one apply instead of the tests where a test asks for it, so that everything the process writes can be seen.
func TestMain(m *testing.M) {
	if dir := os.Getenv(quietEnv); dir != "" {
		b := &bench{dir: dir, clusters: &fakeClusters{}}
		if err := b.apply(context.Background(), "c1", nil); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fakeClusters keeps clusters in memory.
type fakeClusters struct {
	mu      sync.Mutex
	there   map[string]provider.ClusterInfo
	calls   []string
	ensure  func(ctx context.Context, spec provider.ClusterSpec) error // called first, may fail
	readErr error
}

const kubeconfig = "apiVersion: v1\nusers:\n- user: {token: abcdefghijklmnopqrstuvwxyz}\n"

func (f *fakeClusters) Ensure(ctx context.Context, spec provider.ClusterSpec, report event.Report) (provider.ClusterInfo, error) {
	report.At(1, 2, "starting %s", spec.Name)
	if f.ensure != nil {
		if err := f.ensure(ctx, spec); err != nil {
			return provider.ClusterInfo{}, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "ensure "+spec.Name)
	if f.there == nil {
		f.there = map[string]provider.ClusterInfo{}
	}
	f.there[spec.Name] = provider.ClusterInfo{
		Kubeconfig: kubeconfig, RegistryPush: "127.0.0.1:5050", RegistryPull: "localhost:5000", URL: "http://127.0.0.1:8080",
		IngressClass: "lab", StorageClass: "local", KubernetesVersion: "v1.34.3", Healthy: true,
	}
	return f.there[spec.Name], nil
}

func (f *fakeClusters) Read(_ context.Context, spec provider.ClusterSpec) (provider.ClusterInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.readErr != nil {
		return provider.ClusterInfo{}, f.readErr
	}
	info, ok := f.there[spec.Name]
	if !ok {
		return info, provider.ErrClusterGone
	}
	return info, nil
}

func (f *fakeClusters) Destroy(_ context.Context, spec provider.ClusterSpec, _ event.Report) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, "destroy "+spec.Name)
	delete(f.there, spec.Name)
	return nil
}

func (f *fakeClusters) set(name string, change func(*provider.ClusterInfo)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info := f.there[name]
	change(&info)
	f.there[name] = info
}

func (f *fakeClusters) took() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	return out
}

// bench runs real terraform against the provider.
type bench struct {
	dir      string
	clusters *fakeClusters
	now      func() time.Time // nil: the real time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	_, err := exec.LookPath("terraform")
	require.NoError(t, err, "these tests need terraform on PATH")
	return &bench{dir: t.TempDir(), clusters: &fakeClusters{}}
}

func (b *bench) provider() *provider.Provider {
	return provider.New(provider.Options{Clusters: b.clusters, Dir: filepath.Join(b.dir, "state"), Now: b.now})
}

func (b *bench) runner() *terraform.Runner {
	p := b.provider()
	return terraform.New(terraform.Options{
		Dir:  filepath.Join(b.dir, "state"),
		Find: func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
		Serve: func(ctx context.Context, r event.Report) (terraform.Attachment, error) {
			return p.Serve(ctx, r)
		},
	})
}

// work is a stack with one cluster and one workspace.
func (b *bench) work(name string, change map[string]cty.Value) (stack.RunRequest, error) {
	source := filepath.Join(b.dir, "source", name)
	if err := os.MkdirAll(source, 0o700); err != nil {
		return stack.RunRequest{}, err
	}
	file := filepath.Join(source, "main.tf")
	err := os.WriteFile(file, []byte(`
terraform {
  required_providers {
    lab = { source = "labctl.local/labctl/lab" }
  }
}
variable "name" { type = string }
variable "workspace" { type = string }
variable "port" {
  type    = number
  default = 6443
}
variable "kind" {
  type    = string
  default = "embedded"
}
resource "lab_workspace" "this" { path = var.workspace }
resource "lab_cluster" "this" {
  kind     = var.kind
  name     = var.name
  dir      = "${lab_workspace.this.path}/cluster"
  api_port = var.port
}
output "registry" { value = lab_cluster.this.registry }
output "kubeconfig" {
  value     = lab_cluster.this.kubeconfig
  sensitive = true
}
`), 0o600)
	inputs := map[string]cty.Value{"name": cty.StringVal(name), "workspace": cty.StringVal(filepath.Join(b.dir, "ws", name))}
	for k, v := range change {
		inputs[k] = v
	}
	return stack.RunRequest{
		Stack: &stack.Stack{ID: name, Name: name, Dir: source, Real: source, Files: []string{file}}, Inputs: inputs,
		Path: func(p string) string { return p }, Secrets: &secret.Set{},
	}, err
}

func (b *bench) apply(ctx context.Context, name string, change map[string]cty.Value) error {
	w, err := b.work(name, change)
	if err != nil {
		return err
	}
	_, err = b.runner().Apply(ctx, w, nil)
	return err
}

func (b *bench) state(t *testing.T, name string) *stack.State {
	t.Helper()
	st, err := stack.ReadState(terraform.StateFile(filepath.Join(b.dir, "state"), name))
	require.NoError(t, err)
	return st
}

func TestClusterIsMadeRepairedAndDestroyed(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	require.NoError(t, b.apply(ctx, "c1", nil))
	require.Equal(t, []string{"ensure c1"}, b.clusters.took())
	st := b.state(t, "c1")
	got, err := stack.Text(st.Outputs["kubeconfig"])
	require.NoError(t, err)
	require.Equal(t, kubeconfig, got)
	require.True(t, st.Outputs["kubeconfig"].HasMark(stack.Sensitive))
	got, err = stack.Text(st.Outputs["registry"])
	require.NoError(t, err)
	require.JSONEq(t, `{"push":"127.0.0.1:5050","pull":"localhost:5000"}`, got)

	require.NoError(t, b.apply(ctx, "c1", nil))
	require.Empty(t, b.clusters.took(), "a second apply has nothing to do")

	b.clusters.set("c1", func(i *provider.ClusterInfo) { *i = provider.ClusterInfo{Reason: "the kubelet does not run"} })
	reason, known, err := b.provider().CheckHealth(ctx, b.state(t, "c1"))
	require.NoError(t, err)
	require.True(t, known)
	require.Equal(t, "lab_cluster.this: the kubelet does not run", reason)
	w, err := b.work("c1", nil)
	require.NoError(t, err)
	changes, err := b.runner().Drift(ctx, w, nil)
	require.NoError(t, err)
	require.Equal(t, []stack.Action{{Address: "lab_cluster.this", Verb: "update"}}, changes)
	require.NoError(t, b.apply(ctx, "c1", nil))
	require.Equal(t, []string{"ensure c1"}, b.clusters.took(), "a stopped cluster is repaired in place")
	reason, _, err = b.provider().CheckHealth(ctx, b.state(t, "c1"))
	require.NoError(t, err)
	require.Empty(t, reason)

	b.clusters.mu.Lock()
	delete(b.clusters.there, "c1")
	b.clusters.mu.Unlock()
	reason, _, err = b.provider().CheckHealth(ctx, b.state(t, "c1"))
	require.NoError(t, err)
	require.Contains(t, reason, "the cluster is gone")
	require.NoError(t, b.apply(ctx, "c1", nil))
	require.Equal(t, []string{"ensure c1"}, b.clusters.took(), "a removed cluster is made again")

	require.NoError(t, b.apply(ctx, "c1", map[string]cty.Value{"port": cty.NumberIntVal(7443)}))
	require.Equal(t, []string{"ensure c1"}, b.clusters.took(), "another port is given to the same cluster, which keeps its data")

	records := filepath.Join(b.dir, "state", "clusters")
	entries, err := os.ReadDir(records)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	_, err = b.runner().Destroy(ctx, w, nil)
	require.NoError(t, err)
	require.Equal(t, []string{"destroy c1"}, b.clusters.took())
	entries, err = os.ReadDir(records)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoDirExists(t, filepath.Join(b.dir, "ws", "c1"))
}

func TestAPortOfKindIsThatOfAContainer(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	kind := cty.StringVal("kind")
	require.NoError(t, b.apply(ctx, "c1", map[string]cty.Value{"kind": kind}))
	b.clusters.took()
	require.NoError(t, b.apply(ctx, "c1", map[string]cty.Value{"kind": kind, "port": cty.NumberIntVal(7443)}))
	require.Equal(t, []string{"destroy c1", "ensure c1"}, b.clusters.took())
}

func TestClusterCutOffIsResumedAndSwept(t *testing.T) {
	b := newBench(t)
	b.clusters.ensure = func(context.Context, provider.ClusterSpec) error { return errors.New("the disk is full") }
	err := b.apply(context.Background(), "c1", nil)
	require.ErrorContains(t, err, `Cluster "c1" did not come up`)
	require.ErrorContains(t, err, "the disk is full")
	require.ErrorContains(t, err, "main.tf:18")

	// A cluster that did not come up is not tainted: the next apply goes on with it instead of destroying it first.
	b.clusters.ensure = nil
	require.NoError(t, b.apply(context.Background(), "c1", nil))
	require.Equal(t, []string{"ensure c1"}, b.clusters.took())

	b.clusters.ensure = func(context.Context, provider.ClusterSpec) error { return errors.New("the disk is full") }
	require.Error(t, b.apply(context.Background(), "c2", nil))
	require.NoError(t, os.RemoveAll(filepath.Join(b.dir, "state", "stacks", "c1")))
	require.NoError(t, b.provider().Sweep(context.Background(), nil))
	require.ElementsMatch(t, []string{"destroy c1", "destroy c2"}, b.clusters.took(), "what no state knows of is found by its record")
	require.NoError(t, b.provider().Sweep(context.Background(), nil))
	require.Empty(t, b.clusters.took())
}

func TestARefusedDirectoryLeavesNoRecord(t *testing.T) {
	b := newBench(t)
	b.clusters.ensure = func(context.Context, provider.ClusterSpec) error { return provider.ErrForeignDir }
	require.ErrorContains(t, b.apply(context.Background(), "c1", nil), provider.ErrForeignDir.Error())
	require.NoError(t, b.provider().Sweep(context.Background(), nil))
	require.Empty(t, b.clusters.took(), "nothing was made, so nothing is swept")

	// A cluster that was begun before stays known.
	b.clusters.ensure = func(context.Context, provider.ClusterSpec) error { return errors.New("the disk is full") }
	require.Error(t, b.apply(context.Background(), "c2", nil))
	b.clusters.ensure = func(context.Context, provider.ClusterSpec) error { return provider.ErrForeignDir }
	require.Error(t, b.apply(context.Background(), "c2", nil))
	require.NoError(t, b.provider().Sweep(context.Background(), nil))
	require.Equal(t, []string{"destroy c2"}, b.clusters.took())
}

func TestInterruptReachesTheCluster(t *testing.T) {
	b := newBench(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var ended error
	b.clusters.ensure = func(ctx context.Context, _ provider.ClusterSpec) error {
		cancel() // Ctrl-C while the cluster starts
		<-ctx.Done()
		ended = ctx.Err()
		return ended
	}
	err := b.apply(ctx, "c1", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, ended, context.Canceled)
	require.Len(t, b.state(t, "c1").Resources, 1, "what was done before the interrupt is in the state")

	b.clusters.ensure = nil
	require.NoError(t, b.apply(context.Background(), "c1", nil))
	require.Len(t, b.state(t, "c1").Resources, 2)
}

func TestReadErrorStopsTheRun(t *testing.T) {
	b, ctx := newBench(t), context.Background()
	require.NoError(t, b.apply(ctx, "c1", nil))
	b.clusters.readErr = errors.New("permission denied")
	require.ErrorContains(t, b.apply(ctx, "c1", nil), "permission denied")
	_, _, err := b.provider().CheckHealth(ctx, b.state(t, "c1"))
	require.ErrorContains(t, err, "permission denied")
}

func TestRunsAtOnceDoNotMix(t *testing.T) {
	b := newBench(t)
	runner := b.runner()
	// Both clusters start before either goes on, so that the two runs certainly overlap.
	var both sync.WaitGroup
	both.Add(2)
	b.clusters.ensure = func(context.Context, provider.ClusterSpec) error { both.Done(); both.Wait(); return nil }
	var mu sync.Mutex
	seen := map[string][]string{}
	var runs sync.WaitGroup
	for _, name := range []string{"c1", "c2"} {
		w, err := b.work(name, nil)
		require.NoError(t, err)
		runs.Go(func() {
			_, err := runner.Apply(context.Background(), w, func(e event.Event) {
				mu.Lock()
				defer mu.Unlock()
				if strings.HasPrefix(e.Message, "starting") {
					seen[name] = append(seen[name], e.Message)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	runs.Wait()
	require.Equal(t, map[string][]string{"c1": {"starting c1"}, "c2": {"starting c2"}}, seen)
}

func TestWorkspaceKeepsWhatIsNotItsOwn(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		after   func(t *testing.T, dir string)
		stays   bool
	}{
		{name: "empty", stays: false},
		{name: "a file put there later", stays: true, after: func(t *testing.T, dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600))
		}},
		{name: "there before", stays: true, prepare: func(t *testing.T, dir string) { require.NoError(t, os.MkdirAll(dir, 0o755)) }},
		{name: "gone meanwhile", stays: false, after: func(t *testing.T, dir string) { require.NoError(t, os.RemoveAll(dir)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			dir := filepath.Join(b.dir, "ws", "c1")
			if tc.prepare != nil {
				tc.prepare(t, dir)
			}
			require.NoError(t, b.apply(ctx, "c1", nil))
			info, err := os.Stat(dir)
			require.NoError(t, err)
			if tc.prepare == nil {
				require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
			}
			if tc.after != nil {
				tc.after(t, dir)
			}
			w, err := b.work("c1", nil)
			require.NoError(t, err)
			_, err = b.runner().Destroy(ctx, w, nil)
			require.NoError(t, err)
			_, err = os.Stat(dir)
			require.Equal(t, tc.stays, err == nil)
		})
	}
}

func TestIntactDoesNotJudgeOthersResources(t *testing.T) {
	b := newBench(t)
	st, err := stack.ParseState("x", []byte(`{"version":4,"resources":[{"mode":"managed","type":"azurerm_resource_group","name":"a","instances":[{"attributes":{}}]}]}`))
	require.NoError(t, err)
	reason, known, err := b.provider().CheckHealth(context.Background(), st)
	require.NoError(t, err)
	require.Empty(t, reason)
	require.False(t, known)
	st, err = stack.ParseState("x", []byte(`{"version":4,"resources":[{"mode":"managed","type":"terraform_data","name":"a","instances":[{"status":"tainted","attributes":{}}]}]}`))
	require.NoError(t, err)
	reason, _, err = b.provider().CheckHealth(context.Background(), st)
	require.NoError(t, err)
	require.Equal(t, "terraform_data.a is half made", reason)
}

func TestProviderIsSilentAndLeavesNoSocket(t *testing.T) {
	b := newBench(t)
	tmp := t.TempDir()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), quietEnv+"="+b.dir, "TMPDIR="+tmp, "TF_LOG=")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Empty(t, string(out), "the plugin SDK's log lines must not reach the user")
	left, err := os.ReadDir(tmp)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NotEmpty(t, b.state(t, "c1").Resources)
}

func TestReattachIsPrivate(t *testing.T) {
	for _, name := range []string{"short", strings.Repeat("long", 30)} {
		t.Run(name[:5], func(t *testing.T) { reattachIsPrivate(t, name) })
	}
}

func reattachIsPrivate(t *testing.T, name string) {
	state, err := os.MkdirTemp("", "lab-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(state)) })
	p := provider.New(provider.Options{Clusters: &fakeClusters{}, Dir: filepath.Join(state, name)})
	s, err := p.Serve(context.Background(), nil)
	require.NoError(t, err)
	var info map[string]struct{ Addr struct{ String string } }
	require.NoError(t, json.Unmarshal([]byte(s.Reattach()), &info))
	socket := info[provider.Address].Addr.String
	require.Equal(t, name == "short", strings.HasPrefix(socket, state))
	dir, err := os.Stat(filepath.Dir(socket))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm())
	require.NoError(t, s.Close())
	require.NoFileExists(t, socket)
	require.NoError(t, s.Close())
}

func TestResourceTypes(t *testing.T) {
	types, err := provider.ResourceTypes()
	require.NoError(t, err)
	require.Equal(t, cty.String, types["lab_cluster"].AttributeType("kubeconfig"))
	require.Equal(t, cty.Number, types["lab_cluster"].AttributeType("api_port"))
	require.Equal(t, cty.Bool, types["lab_cluster"].AttributeType("healthy"))
	require.Equal(t, cty.Object(map[string]cty.Type{"push": cty.String, "pull": cty.String}), types["lab_cluster"].AttributeType("registry"))
	require.Equal(t, cty.String, types["lab_workspace"].AttributeType("path"))
	require.Equal(t, cty.Map(cty.String), types["lab_certificates"].AttributeType("keys"))
}
