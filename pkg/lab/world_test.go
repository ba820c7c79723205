package lab_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/hook"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
)

// world is what a lab acts on, kept in files so that it outlives a process that is killed: real terraform and the real
// provider, over clusters, images and releases that are files.
type world struct {
	dir string // lab.hcl lies here; the world itself in world/

	mu     sync.Mutex
	events []event.Event
	calls  []string // what was really done
	points int

	killAt int                                             // kill this process at that point
	before func(ctx context.Context, what string) error    // called before everything that is done
	read   func(spec provider.ClusterSpec) (reason string) // what Clusters.Read finds broken
	values map[string]map[string]any                       // release → its last values
	owners map[string]lab.ReleaseSpec                      // of each release, by its name
}

const token = "token-abcdefghijklmnopqrstuvwxyz"

var files = map[string]string{
	"lab.hcl": `lab "chat" {}
environment "local" {
  target = "local"
  vars   = { port = 6443, password = "hunter2-of-the-lab" }
}
`,
	"stacks/local/0-foundation/stack.hcl": `inputs = {
  name = lab.name
  path = "${lab.dir}/workspace"
}
`,
	"stacks/local/0-foundation/main.tf": `terraform {
  required_providers {
    lab = { source = "labctl.local/labctl/lab" }
  }
}
variable "name" { type = string }
variable "path" { type = string }
resource "lab_workspace" "this" { path = var.path }
output "name" { value = var.name }
`,
	"stacks/local/1-cluster/stack.hcl": `inputs = {
  name     = stack.foundation.name
  dir      = "${lab.dir}/cluster"
  port     = env.port
  password = env.password
}
`,
	"stacks/local/1-cluster/main.tf": `terraform {
  required_providers {
    lab = { source = "labctl.local/labctl/lab" }
  }
}
variable "name" { type = string }
variable "dir" { type = string }
variable "port" { type = number }
variable "password" {
  type      = string
  sensitive = true
}
resource "lab_cluster" "this" {
  name     = var.name
  dir      = var.dir
  api_port = var.port
}
output "kubeconfig" {
  value     = lab_cluster.this.kubeconfig
  sensitive = true
}
output "registry" { value = lab_cluster.this.registry }
output "url" { value = lab_cluster.this.url }
output "password" {
  value     = var.password
  sensitive = true
}
`,
	"stacks/local/5-release/stack.hcl": `inputs = {
  url = stack.cluster.url
}
image "auth" {
  source   = "services/auth"
  registry = stack.cluster.registry
}
image "gateway" {
  source   = "services/gateway"
  registry = stack.cluster.registry
}
release "chat" {
  kubeconfig = stack.cluster.kubeconfig
  chart      = "charts/chat"
  namespace  = "chat"
  values = {
    images   = { auth = image.auth, gateway = image.gateway }
    password = stack.cluster.password
    url      = stack.release.url
  }
}
`,
	"stacks/local/5-release/main.tf": "variable \"url\" { type = string }\noutput \"url\" { value = var.url }\n",
	"services/auth/main.go":          "package main\n",
	"services/gateway/main.go":       "package main\n",
	"charts/chat/Chart.yaml":         "name: chat\n",
}

func newWorld(t *testing.T) *world {
	t.Helper()
	_, err := exec.LookPath("terraform")
	require.NoError(t, err, "these tests need terraform on PATH")
	w := &world{dir: t.TempDir()}
	for name, content := range files {
		w.write(t, name, content)
	}
	return w
}

func (w *world) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func (w *world) replace(t *testing.T, name, from, to string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(w.dir, name))
	require.NoError(t, err)
	require.Contains(t, string(data), from)
	w.write(t, name, strings.ReplaceAll(string(data), from, to))
}

// lab opens the lab anew, as each invocation of labctl does.
func (w *world) lab() (*lab.Lab, error) {
	g, err := stack.Open(stack.Options{Dir: w.dir})
	if err != nil {
		return nil, err
	}
	p := provider.New(provider.Options{Clusters: clusters{w}, Dir: g.Dir})
	tf := terraform.New(terraform.Options{
		Dir:  g.Dir,
		Find: func(context.Context, event.Report) (string, error) { return exec.LookPath("terraform") },
		Serve: func(ctx context.Context, r event.Report) (terraform.Attachment, error) {
			return p.Serve(ctx, r)
		},
	})
	return lab.New(g, lab.Deps{Terraform: spy{tf, w}, Shell: tf, Resources: p, Images: builder{w}, Releases: releaser{w}, Hooks: hooks{w}}), nil
}

func (w *world) up(ctx context.Context) error {
	l, err := w.lab()
	if err != nil {
		return err
	}
	_, err = l.Up(ctx, w.options("labctl up"))
	return err
}

func (w *world) down(ctx context.Context) error {
	l, err := w.lab()
	if err != nil {
		return err
	}
	_, err = l.Down(ctx, w.options("labctl down"))
	return err
}

func (w *world) options(command string) lab.Options {
	return lab.Options{Sink: event.SinkFunc(w.emit), Command: command, User: "ada"}
}

func (w *world) emit(e event.Event) {
	w.mu.Lock()
	w.events = append(w.events, e)
	w.mu.Unlock()
	if e.Kind == event.Started || e.Kind == event.Done || e.Kind == event.Skipped {
		w.point()
	}
}

// point is a place at which the process may be killed.
func (w *world) point() {
	w.mu.Lock()
	w.points++
	now := w.killAt > 0 && w.points == w.killAt
	w.mu.Unlock()
	if now {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {} // the signal is on its way
	}
}

// act does one thing to the world, with a point before and after it.
func (w *world) act(ctx context.Context, what string, do func() error) error {
	w.point()
	if w.before != nil {
		if err := w.before(ctx, what); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	w.mu.Lock()
	w.calls = append(w.calls, what)
	w.mu.Unlock()
	w.point()
	return nil
}

func (w *world) path(kind, name string) string {
	return filepath.Join(w.dir, "world", kind, strings.ReplaceAll(name, "/", "_"))
}

func (w *world) put(kind, name, content string) error {
	path := w.path(kind, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o600)
}

// there lists what exists in the world.
func (w *world) there(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(w.dir, "world"), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && !e.IsDir() {
			rel, err := filepath.Rel(filepath.Join(w.dir, "world"), path)
			if err != nil {
				return err
			}
			names = append(names, rel)
		}
		return err
	})
	require.NoError(t, err)
	return names
}

func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

// ends gives how each step ended since the last call.
func (w *world) ends() map[string]event.Kind {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]event.Kind{}
	for _, e := range w.events {
		if e.Kind == event.Done || e.Kind == event.Skipped || e.Kind == event.Failed {
			out[e.Step] = e.Kind
		}
	}
	w.events = nil
	return out
}

func (w *world) said() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	data, err := json.Marshal(w.events)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// spy notes which stacks are applied and destroyed.
type spy struct {
	*terraform.Runner
	w *world
}

func (s spy) Apply(ctx context.Context, k stack.RunRequest, r event.Report) (c stack.Changes, err error) {
	err = s.w.act(ctx, "apply "+k.Stack.ID, func() error { c, err = s.Runner.Apply(ctx, k, r); return err })
	return c, err
}

func (s spy) Destroy(ctx context.Context, k stack.RunRequest, r event.Report) (c stack.Changes, err error) {
	err = s.w.act(ctx, "destroy "+k.Stack.ID, func() error { c, err = s.Runner.Destroy(ctx, k, r); return err })
	return c, err
}

// hooks runs real commands.
type hooks struct{ w *world }

func (h hooks) Run(ctx context.Context, spec lab.HookSpec, report event.Report) error {
	return h.w.act(ctx, "hook "+strings.Join(spec.Command, " "), func() error {
		return hook.Run(ctx, spec.Dir, spec.Command, spec.Env, report)
	})
}

type clusters struct{ w *world }

func (c clusters) Ensure(ctx context.Context, spec provider.ClusterSpec, report event.Report) (provider.ClusterInfo, error) {
	report.Doing("starting %s", spec.Name)
	err := c.w.act(ctx, "cluster "+spec.Name, func() error {
		path, made := c.w.path("cluster", spec.Name), 0
		if data, err := os.ReadFile(path); err == nil {
			if made, err = strconv.Atoi(string(data)); err != nil {
				return err
			}
		} else {
			made++
		}
		return c.w.put("cluster", spec.Name, strconv.Itoa(made))
	})
	return c.info(), err
}

func (c clusters) info() provider.ClusterInfo {
	return provider.ClusterInfo{
		Kubeconfig: "apiVersion: v1\nusers:\n- name: admin\n  token: " + token + "\n", RegistryPush: "127.0.0.1:5050", RegistryPull: "localhost:5000",
		URL: "http://127.0.0.1:8080", IngressClass: "lab", StorageClass: "local", KubernetesVersion: "v1.34.3", Healthy: true,
	}
}

func (c clusters) Read(_ context.Context, spec provider.ClusterSpec) (provider.ClusterInfo, error) {
	if _, err := os.Stat(c.w.path("cluster", spec.Name)); err != nil {
		return provider.ClusterInfo{}, provider.ErrClusterGone
	}
	if c.w.read != nil {
		if reason := c.w.read(spec); reason != "" {
			return provider.ClusterInfo{Reason: reason}, nil
		}
	}
	return c.info(), nil
}

func (c clusters) Destroy(ctx context.Context, spec provider.ClusterSpec, _ event.Report) error {
	return c.w.act(ctx, "no cluster "+spec.Name, func() error {
		// What runs in a cluster goes with it.
		return errors.Join(os.RemoveAll(c.w.path("cluster", spec.Name)), os.RemoveAll(c.w.path("release", "")), os.RemoveAll(c.w.path("image", "")))
	})
}

type builder struct{ w *world }

func (b builder) Build(ctx context.Context, spec lab.ImageSpec, report event.Report) (string, error) {
	report.At(1, 3, "compiling %s", spec.Name)
	data, err := os.ReadFile(filepath.Join(spec.Root, spec.Source, "main.go"))
	if errors.Is(err, fs.ErrNotExist) { // the repository's own services, which are not built here
		data, err = []byte(spec.Source), nil
	}
	if err != nil {
		return "", err
	}
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	return digest, b.w.act(ctx, "image "+spec.Name, func() error { return b.w.put("image", spec.Repository, digest) })
}

type releaser struct{ w *world }

func (releaser) Locate(_ context.Context, rel *stack.Release, _ event.Report) (string, error) {
	return rel.Chart, nil
}

func (r releaser) Ensure(ctx context.Context, spec lab.ReleaseSpec, report event.Report) (bool, error) {
	report.Line("values: " + fmt.Sprint(spec.Values))
	values, err := json.Marshal(spec.Values)
	if err != nil {
		return false, err
	}
	r.w.mu.Lock()
	if r.w.values == nil {
		r.w.values = map[string]map[string]any{}
	}
	r.w.values[spec.Name] = spec.Values
	if r.w.owners == nil {
		r.w.owners = map[string]lab.ReleaseSpec{}
	}
	r.w.owners[spec.Name] = spec
	r.w.mu.Unlock()
	return true, r.w.act(ctx, "release "+spec.Name, func() error { return r.w.put("release", spec.Name, string(values)) })
}

func (r releaser) Owned(_ context.Context, kubeconfig, of, environment string) ([]lab.OwnedRelease, error) {
	if kubeconfig != clusters(r).info().Kubeconfig {
		return nil, fmt.Errorf("no cluster answers to %q", kubeconfig)
	}
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	var out []lab.OwnedRelease
	for name, owner := range r.w.owners {
		if _, err := os.Stat(r.w.path("release", name)); err == nil && owner.Lab == of && owner.Environment == environment {
			out = append(out, lab.OwnedRelease{Namespace: owner.Namespace, Name: name, Stack: owner.Stack})
		}
	}
	return out, nil
}

func (r releaser) Deployed(_ context.Context, spec lab.ReleaseSpec) (string, error) {
	if _, err := os.Stat(r.w.path("release", spec.Name)); err != nil {
		return "it is not installed", nil
	}
	return "", nil
}

func (r releaser) Remove(ctx context.Context, spec lab.ReleaseSpec, _ event.Report) error {
	return r.w.act(ctx, "no release "+spec.Name, func() error { return os.RemoveAll(r.w.path("release", spec.Name)) })
}
