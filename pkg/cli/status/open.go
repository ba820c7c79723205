package status

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/status"
	"github.com/labctl/labctl/pkg/tui"
)

// opener gives text about parts of a lab.
type opener struct {
	lab     *app.Lab
	kubectl func(context.Context) (path string, err error)
}

// open gives the log of a stack's last run, or what kubectl says.
func (o opener) open(ctx context.Context, what tui.Ask, p status.Part) (io.ReadCloser, error) {
	if p.Kind == status.KindStack || p.Kind == status.KindStep {
		id, _, _ := strings.Cut(p.Name, "/")
		f, err := os.Open(filepath.Join(o.lab.Graph.Dir, "logs", id+".log")) //nolint:gosec // of the lab's own
		if os.IsNotExist(err) {
			return nil, fmt.Errorf("stack %s has no log yet", id)
		}
		return f, err
	}
	path, err := o.kubectl(ctx)
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf("there is no kubectl yet; build one with `%s`", o.lab.Line("labctl tool kubectl"))
	}
	env, err := o.lab.ClusterEnviron(ctx)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, kubectlArgs(what, p)...) //nolint:gosec // the lab's own kubectl
	cmd.Env = env
	return piped(cmd, time.Second)
}

// kubectlArgs ask kubectl for text about an object.
func kubectlArgs(what tui.Ask, p status.Part) []string {
	args := []string{}
	object := string(p.Kind) + "/" + p.Name
	switch p.Kind {
	case status.KindService: // what it does is in its pods
		object = string(status.KindDeployment) + "/" + p.Name
	case status.KindApplication:
		p.Namespace, object = argocd.Namespace, "applications.argoproj.io/"+p.Name
	}
	if p.Namespace != "" {
		args = append(args, "--namespace", p.Namespace)
	}
	switch what {
	case tui.AskLogs:
		args = append(args, "logs", object, "--all-containers", "--tail=500", "--follow")
		if p.Kind != status.KindPod {
			args = append(args, "--all-pods", "--prefix")
		}
	case tui.AskYAML:
		args = append(args, "get", object, "--output=yaml")
	default:
		args = append(args, string(what), object)
	}
	return args
}

// output is what a process says, until it has ended. Close ends it; who reads and who cancels may both close.
type output struct {
	*os.File
	cmd  *exec.Cmd
	once sync.Once
	wait func() error
}

// piped starts a process. It is killed where it goes on so long after it was asked to end.
func piped(cmd *exec.Cmd, patience time.Duration) (io.ReadCloser, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	err = cmd.Start()
	_ = w.Close() // the process has its own
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	return &output{File: r, cmd: cmd, wait: sync.OnceValue(cmd.Wait)}, nil
}

// Read ends with the process's error where it fails.
func (o *output) Read(b []byte) (int, error) {
	n, err := o.File.Read(b)
	if err == io.EOF {
		if failure := o.wait(); failure != nil {
			return n, failure
		}
	}
	return n, err
}

func (o *output) Close() (err error) {
	o.once.Do(func() {
		_ = o.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = o.wait()
		err = o.File.Close()
	})
	return err
}
