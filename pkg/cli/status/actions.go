package status

import (
	"context"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/pkg/tui"
)

// actor knows the commands of labctl that change something about a part.
type actor struct {
	lab     *app.Lab
	factory *cli.Factory
}

func (a actor) actions(p status.Part) (out []tui.Action) {
	for _, c := range commandsOn(p, a.isService(p)) {
		out = append(out, tui.Action{Name: c.name, Command: a.lab.Line("labctl " + strings.Join(c.words, " ")), Run: func(ctx context.Context) (io.ReadCloser, error) {
			return a.run(ctx, c.words)
		}})
	}
	return out
}

// isService says whether a part is a service of the chat, which labctl builds.
func (a actor) isService(p status.Part) bool {
	if p.Kind != status.KindService && p.Kind != status.KindDeployment {
		return false
	}
	place, ok := a.lab.Engine.PlaceOf(p.Name)
	return ok && place.Namespace == p.Namespace
}

type command struct {
	name  string
	words []string
}

func commandsOn(p status.Part, service bool) (all []command) {
	add := func(name string, words ...string) { all = append(all, command{name, words}) }
	switch p.Kind {
	case status.KindStack, status.KindStep:
		id, _, _ := strings.Cut(p.Name, "/")
		add("up", "up", id)
		add("plan", "plan", id)
		add("drift", "drift", id)
		add("down", "down", id)
	case status.KindCluster, status.KindComponent:
		add("start", "cluster", "start")
		add("stop", "cluster", "stop")
	case status.KindDeployment, status.KindStatefulSet, status.KindDaemonSet, status.KindService:
		if service {
			add("ship", "ship", p.Name)
		}
		kind := p.Kind
		if kind == status.KindService {
			kind = status.KindDeployment
		}
		add("restart", "kubectl", "--namespace", p.Namespace, "rollout", "restart", string(kind)+"/"+p.Name)
		if service && slices.Contains(shadow.Services(), p.Name) {
			add("shadow", "shadow", "start", p.Name, "--working-tree")
			add("chaos", "chaos", "--lab")
		}
	case status.KindPod:
		add("replace", "kubectl", "--namespace", p.Namespace, "delete", "pod", p.Name)
	case status.KindApplication:
		add("sync", "gitops", "sync")
	case status.KindShadow:
		add("promote", "shadow", "promote", p.Name)
		add("abort", "shadow", "abort", p.Name)
	}
	return all
}

// stopsWithin is how long a command may take to end in order.
const stopsWithin = time.Minute

// run starts labctl once more, for this lab. It asks nothing: what needs a confirmation says so and ends.
func (a actor) run(ctx context.Context, words []string) (io.ReadCloser, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--env", a.factory.Env}
	if a.factory.File != "" {
		args = append(args, "--file", a.factory.File)
	}
	cmd := exec.CommandContext(ctx, self, append(args, words...)...) //nolint:gosec // labctl itself
	cmd.Dir = a.factory.WorkDir
	return piped(cmd, stopsWithin)
}
