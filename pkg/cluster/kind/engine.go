package kind

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
	"sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/kind/pkg/cluster/nodes"

	"github.com/labctl/labctl/pkg/event"
)

// engines are the programs that kind can make nodes with, in the order in which kind itself looks for them.
var engines = [...]string{"docker", "nerdctl", "podman"}

const (
	// answerWithin bounds one question to an engine.
	answerWithin = 10 * time.Second
	// removeEvery is how often the node of a cancelled creation is removed, until the creation notices.
	removeEvery = 500 * time.Millisecond
	// cleanWithin bounds the removal of what a cancelled creation left.
	cleanWithin = 30 * time.Second
	// network is the one that kind connects the nodes of all its clusters to.
	network = "kind"
)

// NoEngineError says that no container engine works, and what was tried.
type NoEngineError struct {
	Tried []string // "docker: …", in the order of trying
}

func (e *NoEngineError) Error() string {
	return "a cluster of kind is made of containers, and no container engine works here:\n    " + strings.Join(e.Tried, "\n    ") +
		"\ninstall Docker Engine and start it, or use the embedded cluster (kind = \"embedded\"), which needs none"
}

// engine runs a container engine's program.
type engine struct{ name string }

// findEngine gives the engine with the given name, or where that is "" the first that works. The error is a
// *NoEngineError where none does.
func findEngine(ctx context.Context, wanted string) (engine, error) {
	missing := &NoEngineError{}
	for _, name := range engines {
		if wanted != "" && name != wanted {
			continue
		}
		e := engine{name: name}
		if _, err := exec.LookPath(name); err != nil {
			missing.Tried = append(missing.Tried, name+": it is not installed")
			continue
		}
		_, err := e.ask(ctx, "info", "--format", "{{json .}}")
		if ctx.Err() != nil {
			return engine{}, ctx.Err()
		}
		if err == nil {
			return e, nil
		}
		missing.Tried = append(missing.Tried, err.Error())
	}
	return engine{}, missing
}

// ask runs the engine's program for an answer that comes at once.
func (e engine) ask(ctx context.Context, args ...string) (string, error) {
	asking, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	out, err := e.run(asking, args...)
	if err != nil && asking.Err() != nil && ctx.Err() == nil {
		return "", fmt.Errorf("%s: it does not answer within %s", e.name, answerWithin)
	}
	return out, err
}

// run runs the engine's program and gives what it prints. The error holds what it says of a failure.
func (e engine) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, e.name, args...)
	cmd.WaitDelay = time.Second // its children may hold the pipes
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			return "", fmt.Errorf("%s %s: %w", e.name, args[0], err)
		}
		return "", fmt.Errorf("%s %s: %w: %s", e.name, args[0], err, lastLines(said, errorLines))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// provider gives kind's view of the engine.
func (e engine) provider(report event.Report) *cluster.Provider {
	with := cluster.ProviderWithDocker()
	switch e.name {
	case "nerdctl":
		with = cluster.ProviderWithNerdctl(e.name)
	case "podman":
		with = cluster.ProviderWithPodman()
	}
	return cluster.NewProvider(with, cluster.ProviderWithLogger(logger{report}))
}

// node is the container of a cluster's only node.
type node struct {
	exists  bool
	name    string
	id      string
	status  string    // as the engine says: running, exited, paused, …
	started time.Time // when its last run began
}

func (n node) running() bool { return n.status == "running" }

// node looks for the cluster's node.
func (e engine) node(ctx context.Context, o Options) (node, error) {
	n := node{name: nodeName(o)}
	names, err := e.ask(ctx, "ps", "--all", "--filter", "label=io.x-k8s.kind.cluster="+ClusterName(o.Name, o.Dir), "--format", "{{.Names}}")
	if err != nil {
		return node{}, fmt.Errorf("look for the node %s: %w", n.name, err)
	}
	if names == "" {
		return n, nil
	}
	n.exists = true
	answer, err := e.ask(ctx, "container", "inspect", "--format", "{{.Id}} {{.State.Status}} {{json .State.StartedAt}}", n.name)
	if err != nil {
		return node{}, fmt.Errorf("inspect the node %s: %w", n.name, err)
	}
	words := strings.Fields(answer)
	if len(words) != 3 {
		return node{}, fmt.Errorf("inspect the node %s: %s answers %q", n.name, e.name, answer)
	}
	n.id, n.status = words[0], words[1]
	if n.started, err = time.Parse(time.RFC3339Nano, strings.Trim(words[2], `"`)); err != nil {
		return node{}, fmt.Errorf("inspect the node %s: %w", n.name, err)
	}
	return n, nil
}

// handle gives kind's view of the node, to run programs in it.
func (e engine) handle(o Options, report event.Report) (nodes.Node, error) {
	all, err := e.provider(report).ListNodes(ClusterName(o.Name, o.Dir))
	if err != nil {
		return nil, fmt.Errorf("list the nodes of the cluster: %w", explain(err))
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("list the nodes of the cluster: there are %d, not one", len(all))
	}
	return all[0], nil
}

// cgroupV1 tells whether the engine's machine has the old control groups.
func (e engine) cgroupV1(ctx context.Context) (bool, error) {
	format := "{{.CgroupVersion}}"
	if e.name == "podman" {
		format = "{{.Host.CgroupsVersion}}"
	}
	version, err := e.ask(ctx, "info", "--format", format)
	if err != nil {
		return false, fmt.Errorf("ask for the version of control groups: %w", err)
	}
	return strings.TrimPrefix(version, "v") == "1", nil
}

// ensureImage pulls the node's image where the engine does not have it.
func (e engine) ensureImage(ctx context.Context, image string, report event.Report) error {
	if _, err := e.ask(ctx, "image", "inspect", "--format", "{{.Id}}", image); err == nil {
		return nil
	}
	report.Doing("pulling the node's image %s", image)
	if _, err := e.run(ctx, "pull", "--quiet", image); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("pull the node's image: %w", ctx.Err())
		}
		return fmt.Errorf("pull the node's image %s: %w\nmake its registry reachable, name a mirror's image as node_image, or use the embedded cluster, which is built from source",
			image, err)
	}
	return nil
}

// create makes the node. Kind's library takes no context, so a creation that is cancelled is ended by taking its node
// away, at which its next step fails.
func (e engine) create(ctx context.Context, o Options, config *v1alpha4.Cluster, report event.Report) error {
	p := e.provider(report)
	var made error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		made = p.Create(config.Name, cluster.CreateWithV1Alpha4Config(config), cluster.CreateWithKubeconfigPath(KubeconfigPath(o.Dir)))
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	// Where a terminal's Ctrl-C has reached the engine's programs too, the creation ends of itself.
	if ctx.Err() == nil {
		if made != nil {
			return fmt.Errorf("make the cluster %s: %w", config.Name, explain(made))
		}
		return nil
	}
	report.Doing("taking away the half-made cluster")
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer cancel()
	every := time.NewTicker(removeEvery)
	defer every.Stop()
	for done := false; !done; {
		_, _ = e.run(cleaning, "rm", "--force", "--volumes", nodeName(o)) // tried again; the error that counts is that of remove
		select {
		case <-ended:
			done = true
		case <-cleaning.Done():
			done = true
		case <-every.C:
		}
	}
	return errors.Join(fmt.Errorf("make the cluster %s: %w", config.Name, ctx.Err()), e.remove(cleaning, o, report))
}

// remove removes the cluster's node and its volumes, and the network of kind where no container uses it any more.
func (e engine) remove(ctx context.Context, o Options, report event.Report) error {
	n, err := e.node(ctx, o)
	if err != nil {
		return fmt.Errorf("remove the cluster: %w", err)
	}
	if n.exists {
		if err := e.provider(report).Delete(ClusterName(o.Name, o.Dir), KubeconfigPath(o.Dir)); err != nil {
			return fmt.Errorf("remove the node %s: %w", n.name, explain(err))
		}
	}
	users, err := e.ask(ctx, "ps", "--all", "--quiet", "--filter", "network="+network)
	if err != nil || users != "" {
		return nil // the network is shared, and stays where there is any doubt
	}
	if there, err := e.ask(ctx, "network", "ls", "--quiet", "--filter", "name=^"+network+"$"); err != nil || there == "" {
		return nil
	}
	if _, err := e.run(ctx, "network", "rm", network); err != nil {
		report.Warn("the network %q of %s was not removed: %v", network, e.name, err)
	}
	return nil
}
