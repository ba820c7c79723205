// Package app puts the engine together with the adapters that do the work. The engine and the adapters do not know each
// other: where their words differ, the translation is here.
package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/chart"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gitops"
	"github.com/labctl/labctl/pkg/image"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/lease"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/pkg/terraform"
	"github.com/labctl/labctl/pkg/toolchain"
)

var (
	// ErrNoCluster says that the lab's cluster does not exist yet.
	ErrNoCluster = fmt.Errorf("there is no cluster: %w", lab.ErrNotUp)
	// ErrUndeclared says that the lab has no cluster that labctl runs.
	ErrUndeclared = errors.New("the lab's stacks declare no lab_cluster, so labctl runs no cluster for it")
)

// Lab is one environment of a lab with all that acts upon it.
type Lab struct {
	Graph  *stack.Graph
	Engine *lab.Lab
	Charts *chart.Store

	factory   *cli.Factory
	clusters  *clusters
	cacheDir  string
	git       gitSide
	passwords argocd.Passwords
}

// Open reads the lab that the flags mean and checks its wiring. Nothing is started or connected to.
func Open(f *cli.Factory) (*Lab, error) {
	g, err := f.Graph()
	if err != nil {
		return nil, err
	}
	cacheDir, err := f.CacheDir()
	if err != nil {
		return nil, err
	}
	images := image.New(image.Options{Root: g.Lab.Source, CacheDir: cacheDir, FromSource: f.FromSource, Getenv: f.Getenv})
	nodes := &clusters{manager: &cluster.Manager{
		Programs: &cluster.Builder{Root: g.Lab.Source, CacheDir: cacheDir},
		Images:   &clusterImages{builder: images},
		StateDir: g.Dir,
	}}
	resources := provider.New(provider.Options{Clusters: nodes, Dir: g.Dir})
	runner := terraform.New(terraform.Options{
		Dir: g.Dir,
		Find: func(ctx context.Context, report event.Report) (string, error) {
			return Terraform(ctx, f, report)
		},
		Serve: func(ctx context.Context, report event.Report) (terraform.Attachment, error) {
			return resources.Serve(ctx, report)
		},
		Plugins: filepath.Join(cacheDir, "providers", "plugins"),
		Engines: toolchain.Engines(cacheDir),
	})
	store := &chart.Store{Dir: filepath.Join(cacheDir, "charts")}
	helm := &releases{store: store}
	l := &Lab{
		Graph: g, Charts: store,
		git:       gitSide{name: g.Env.Name, settings: g.Env.GitOps, getenv: f.Getenv},
		passwords: argocd.Passwords{Dir: filepath.Join(g.ClusterDir(), "argocd")},
		factory:   f, clusters: nodes, cacheDir: cacheDir,
	}
	user, host := Who(l.factory)
	l.git.author = gitops.Author{Name: user, Email: user + "@" + host}
	l.Engine = lab.New(g, lab.Deps{
		Terraform: runner, Shell: runner, Resources: resources,
		Images: &engineImages{builder: images},
		Releases: installers{
			charts: helm, deliveries: &deliveries{charts: helm, git: l.git}, argoCD: argoCD{source: g.Lab.Source, passwords: l.passwords},
		},
		Hooks: hooks{},
		Locks: lease.New(lease.Options{Getenv: f.Getenv}),
	})
	return l, nil
}

// Run gives the engine's options for one command.
func (l *Lab) Run(command string, sink event.Sink) lab.Options {
	user, host := Who(l.factory)
	return lab.Options{Sink: sink, Command: command, User: user, Host: host}
}

// Who says who runs labctl, and where.
func Who(f *cli.Factory) (user, host string) {
	user = f.Getenv("SUDO_USER")
	if user == "" {
		user = f.Getenv("USER")
	}
	if user == "" {
		user = fmt.Sprintf("uid %d", os.Getuid())
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unnamed machine"
	}
	return user, host
}

// After gives the commands to type after err: what the error itself knows, or the others where it knows nothing.
func (l *Lab) After(err error, others ...string) []string {
	if known := cli.Explain(err).Next; len(known) > 0 {
		return known
	}
	return others
}

// HasChat says whether the lab has the chat at its end: a stack called release that gives its address, url.
func (l *Lab) HasChat() bool {
	s, err := l.Graph.Stack("release")
	if err != nil {
		return false
	}
	_, has := s.Outputs["url"]
	return has && len(s.Releases) > 0
}

// Line gives a command line that can be typed (see cli.Factory.Line).
func (l *Lab) Line(command string) string { return l.factory.Line(command) }

// URL is the chat's address.
func (l *Lab) URL(ctx context.Context) (string, error) { return l.output(ctx, "release", "url") }

// Kubeconfig is the content of the cluster's kubeconfig.
func (l *Lab) Kubeconfig(ctx context.Context) (string, error) {
	return l.output(ctx, "cluster", "kubeconfig")
}

// KubeconfigFile writes the kubeconfig of the lab's cluster to a file that only the user can read, and gives its path.
func (l *Lab) KubeconfigFile(ctx context.Context) (string, error) {
	content, err := l.Kubeconfig(ctx)
	if err != nil {
		return "", err
	}
	path := filepath.Join(l.Graph.Dir, "kubeconfig")
	if err := atomicfile.Write(path, []byte(content)); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}

// ClusterEnviron is the process's environment with the lab's cluster as the one that kubectl and helm talk to.
func (l *Lab) ClusterEnviron(ctx context.Context) ([]string, error) {
	kubeconfig, err := l.KubeconfigFile(ctx)
	if err != nil {
		return nil, err
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "KUBECONFIG=") })
	return append(env, "KUBECONFIG="+kubeconfig), nil
}

func (l *Lab) output(ctx context.Context, stack, name string) (string, error) {
	value, err := l.Engine.Output(ctx, stack, name)
	if errors.Is(err, lab.ErrNotUp) {
		return "", &cli.Error{What: "the lab is not up", Next: []string{"labctl up"}}
	}
	return value, err
}

// cluster finds the lab's cluster in the states of the stacks. The error is ErrNoCluster or ErrUndeclared if there is none.
func (l *Lab) cluster() (provider.ClusterSpec, error) {
	for _, s := range l.Graph.Stacks {
		st, err := stack.ReadState(terraform.StateFile(l.Graph.Dir, s.ID))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return provider.ClusterSpec{}, err
		}
		for _, r := range st.Resources {
			if r.Type != "lab_cluster" {
				continue
			}
			var spec provider.ClusterSpec
			if err := json.Unmarshal(r.Attributes, &spec); err != nil {
				return spec, fmt.Errorf("read %s from the state of stack %q: %w", r.Address, s.ID, err)
			}
			return spec, nil
		}
	}
	if !l.Graph.Declares("lab_cluster") {
		return provider.ClusterSpec{}, ErrUndeclared
	}
	return provider.ClusterSpec{}, ErrNoCluster
}

// ClusterDir is where the lab's embedded cluster keeps its files.
func (l *Lab) ClusterDir() (string, error) {
	spec, err := l.cluster()
	if err != nil {
		return "", err
	}
	if spec.Kind != cluster.Embedded {
		return "", fmt.Errorf("the lab's cluster is of kind %q: labctl does not manage its processes", spec.Kind)
	}
	return spec.Dir, nil
}

// Namespaces are those that the lab's releases are installed to.
func (l *Lab) Namespaces() []string {
	var out []string
	for _, s := range l.Graph.Stacks {
		for _, r := range s.Releases {
			if !slices.Contains(out, r.Namespace) {
				out = append(out, r.Namespace)
			}
		}
	}
	return out
}

// Stop ends the embedded cluster's processes and keeps its data.
func (l *Lab) Stop(ctx context.Context, sink event.Sink, step string) error {
	dir, err := l.ClusterDir()
	if err != nil {
		return err
	}
	return l.Engine.Alone(ctx, l.Run("labctl cluster stop", sink), func(ctx context.Context) error {
		return l.clusters.manager.Stop(ctx, dir, event.For(sink, step))
	})
}

// StopNode ends one of the embedded cluster's nodes, as if it lost its power.
func (l *Lab) StopNode(ctx context.Context, sink event.Sink, name string) error {
	dir, err := l.ClusterDir()
	if err != nil {
		return err
	}
	return l.Engine.Alone(ctx, l.Run("labctl cluster stop", sink), func(ctx context.Context) error {
		return l.clusters.manager.StopNode(ctx, dir, name)
	})
}

// Start starts the embedded cluster's processes again, and waits until the nodes are ready.
func (l *Lab) Start(ctx context.Context, sink event.Sink, step string) error {
	if _, err := l.ClusterDir(); err != nil {
		return err
	}
	spec, err := l.cluster()
	if err != nil {
		return err
	}
	return l.Engine.Alone(ctx, l.Run("labctl cluster start", sink), func(ctx context.Context) error {
		_, err := l.clusters.Ensure(ctx, spec, event.For(sink, step))
		return err
	})
}
