package terraform

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

// Exec runs terraform with the user's own arguments and streams in the stack's directory, with its variables, its state
// and the lab provider. The error is nil whenever terraform ran; its exit code is returned.
func (r *Runner) Exec(ctx context.Context, w stack.RunRequest, args []string, streams *iostreams.Streams) (int, error) {
	s, err := r.open(ctx, w, nil)
	if err != nil {
		return 1, err
	}
	defer s.close()
	version, err := r.Version(ctx, nil)
	if err != nil {
		return 1, err
	}
	if len(args) > 0 && args[0] != "init" && args[0] != "version" && args[0] != "fmt" {
		if err := s.init(ctx, version); err != nil {
			return 1, err
		}
	}
	cmd := exec.CommandContext(ctx, s.path, args...) //nolint:gosec // running what the user asks for is the purpose
	cmd.Dir = s.dir
	for k, v := range s.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	if s.attach != nil {
		cmd.Env = append(cmd.Env, "TF_REATTACH_PROVIDERS="+s.attach.Reattach())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams.In, streams.Out, streams.Err
	cmd.WaitDelay = interruptGrace
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	interactive := isTerminal(streams.In)
	cmd.Cancel = func() error {
		if interactive { // Ctrl-C reached terraform through the terminal; a second interrupt would make it drop its state
			return nil
		}
		return cmd.Process.Signal(os.Interrupt)
	}
	s.log.line("$ " + filepath.Base(s.path) + " " + strings.Join(args, " "))
	// The kernel sends Pdeathsig when the thread that started the child ends, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return 130, fmt.Errorf("terraform %s: %w", strings.Join(args[:min(1, len(args))], ""), context.Cause(ctx))
	case errors.As(err, &exit):
		return exit.ExitCode(), nil
	case err != nil:
		return 1, fmt.Errorf("run %s: %w", s.path, err)
	}
	return 0, nil
}

func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
