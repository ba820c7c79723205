package terraform

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// start runs a command of terraform that every stack needs. terraform-exec would start terraform once more before it, to
// ask for a version that labctl knows, and a start costs as much as an apply of a small stack. The environment and the
// signals are as terraform-exec has them.
func (s *session) start(ctx context.Context, out io.Writer, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	env := maps.Clone(s.env)
	env["TF_IN_AUTOMATION"] = "1"
	for _, name := range []string{"TF_LOG", "TF_LOG_CORE", "TF_LOG_PATH", "TF_LOG_PROVIDER"} {
		env[name] = "" // else its log is mixed into what it says
	}
	if s.attach != nil {
		env["TF_REATTACH_PROVIDERS"] = s.attach.Reattach()
	}
	cmd := exec.CommandContext(ctx, s.path, args...)
	cmd.Dir = s.dir
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = out, io.MultiWriter(s.log, &said)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it ends what it is at, and saves its state
	cmd.WaitDelay = interruptGrace
	// Its own process group: Ctrl-C in a terminal must not reach it beside our interrupt, as a second one makes it drop its state.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	// The kernel sends Pdeathsig when the thread that started the child ends, so that thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return nil
}
