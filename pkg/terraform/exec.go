package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

// takesInputs says whether a command of terraform takes values of variables.
func takesInputs(args []string) bool {
	if len(args) == 0 || !slices.Contains([]string{"plan", "apply", "destroy", "refresh", "import", "console"}, args[0]) {
		return false
	}
	// A plan that is applied holds its own.
	return args[0] != "apply" || !slices.ContainsFunc(args[1:], func(a string) bool { return !strings.HasPrefix(a, "-") })
}

// readOnly lists the commands of terraform that write nothing which another run could read half-way.
var readOnly = []string{"console", "fmt", "graph", "metadata", "output", "providers", "show", "validate", "version", "-version", "--version", "help", "-help", "--help"}

// Writes says whether a command of terraform may write to the work directory or the world, so that it wants the lab for itself.
func (r *Runner) Writes(args []string) bool {
	if len(args) == 0 {
		return false
	}
	switch args[0] {
	case "state":
		return len(args) > 1 && !slices.Contains([]string{"list", "show", "pull"}, args[1])
	case "providers":
		return slices.Contains(args, "lock")
	}
	return !slices.Contains(readOnly, args[0])
}

// Exec runs terraform with the user's own arguments and streams in the stack's directory, with its variables, its state
// and the lab provider. A command that writes is the only one at the stack. The error is nil whenever terraform ran; its exit code is returned.
func (r *Runner) Exec(ctx context.Context, w stack.RunRequest, args []string, o stack.ExecOptions, streams *iostreams.Streams) (int, error) {
	writes := r.Writes(args)
	s, err := r.session(ctx, w, event.Report(func(e event.Event) {
		if e.Kind == event.Warning {
			_, _ = fmt.Fprintln(streams.Err, "warning: "+e.Message)
		}
	}), mode{byHand: true, reads: !writes, beside: o.Beside})
	if err != nil {
		return 1, err
	}
	defer s.close()
	lock, _ := os.ReadFile(filepath.Join(s.dir, lockFile)) // none is none
	if !o.Beside && len(args) > 0 && args[0] != "init" && args[0] != "version" && args[0] != "fmt" {
		if err := s.init(ctx); err != nil {
			return 1, err
		}
	}
	if o.Ready != nil {
		o.Ready()
	}
	if takesInputs(args) {
		inputs := s.varFile()
		if len(inputs) == 0 {
			return 1, stack.ErrNoInputs
		}
		s.env["TF_CLI_ARGS_"+args[0]] = inputs[0]
	}
	s.log.line("$ " + filepath.Base(s.path) + " " + strings.Join(args, " "))
	code, err := s.byHand(ctx, args, streams)
	if writes && (args[0] == "init" || args[0] == "providers") {
		if err := r.keepLockFile(w.Stack, s.dir, lock); err != nil {
			_, _ = fmt.Fprintln(streams.Err, "warning: "+err.Error())
		}
	}
	return code, err
}

// byHand runs terraform on the user's streams. On a terminal it reads and writes there itself. Elsewhere it writes to files, from which
// labctl hands on, so that a reader that goes away ends nothing in the middle.
func (s *session) byHand(ctx context.Context, args []string, streams *iostreams.Streams) (int, error) {
	cmd, err := s.command(args...)
	if err != nil {
		return 1, err
	}
	cmd.Stdin = streams.In
	var outputs []*follower
	for _, stream := range []struct {
		of   *io.Writer
		user io.Writer
	}{{&cmd.Stdout, streams.Out}, {&cmd.Stderr, streams.Err}} {
		if isTerminal(stream.user) {
			*stream.of = stream.user
			continue
		}
		f, err := follow(s.proc(), stream.user)
		if err != nil {
			return 1, err
		}
		defer f.close()
		*stream.of, outputs = f.file, append(outputs, f)
	}
	interactive := isTerminal(streams.In)
	if !interactive {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	}
	name := strings.Join(args[:min(1, len(args))], "")
	err = s.supervise(ctx, cmd, name, func() error {
		if interactive { // Ctrl-C reached terraform through the terminal; a second interrupt would make it drop its state
			return nil
		}
		return cmd.Process.Signal(os.Interrupt)
	}, outputs...)
	var exit *exec.ExitError
	switch {
	case isLeft(err):
		return 130, err
	case ctx.Err() != nil:
		return 130, fmt.Errorf("terraform %s: %w", name, context.Cause(ctx))
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("run %s: %w", s.path, err)
	}
	return 0, nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
