package terraform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/interrupt"
	"github.com/labctl/labctl/pkg/stack"
)

// A terraform outlives its labctl: it is in a session of its own, writes to files instead of pipes, and ends by an interrupt alone.
// So whatever becomes of labctl, terraform gets to write its state. Who is at work is noted before terraform runs, and the next
// labctl waits for it.

// interruptGrace is how long labctl waits for terraform to end after an interrupt. Then it leaves terraform to itself.
const interruptGrace = 2 * time.Minute

const (
	// followEvery is the time between two looks at what terraform has written. Its end is noticed at once.
	followEvery = 20 * time.Millisecond
	// watchEvery is the time between two looks at a process that is not ours.
	watchEvery = 100 * time.Millisecond

	// processNote says which process terraform is, and after a space in JSON what it does. It is there for as long as terraform runs.
	processNote = "process"
)

// launch notes the process and becomes terraform: no terraform runs that is not noted. SIGHUP is ignored, so that a closed terminal
// ends nothing in the middle.
const launch = `trap '' HUP; printf '%s %s\n' "$$" "$2" >"$1" || exit 125; shift 2; exec "$@"`

// LeftError says that terraform goes on without labctl.
type LeftError struct{ Process stack.Process }

func (e *LeftError) Error() string {
	return fmt.Sprintf("terraform %s of stack %q goes on by itself (process %d): it ends what it is at and saves its state. "+
		"The next labctl waits for it. To end it at once, and lose what it is making: kill -9 %d", e.Process.Command, e.Process.Stack, e.Process.PID, e.Process.PID)
}

// command makes the process of terraform with these arguments, whose number will be in the notes.
func (s *session) command(args ...string) (*exec.Cmd, error) {
	note := stack.Process{Stack: s.work.Stack.ID, Since: time.Now().UTC()}
	if len(args) > 0 {
		note.Command = args[0]
	}
	data, err := json.Marshal(note)
	if err != nil {
		return nil, fmt.Errorf("note that terraform runs: %w", err)
	}
	script := []string{"-c", launch, "sh", filepath.Join(s.proc(), processNote), string(data), s.path}
	cmd := exec.Command("/bin/sh", append(script, args...)...) //nolint:gosec // no argument is read as a script
	cmd.Dir = s.dir
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, notesVariable+"="+s.proc())
	if s.attach != nil {
		cmd.Env = append(cmd.Env, "TF_REATTACH_PROVIDERS="+s.attach.Reattach())
	}
	return cmd, nil
}

// start runs terraform. Its output goes to out, what it says beside that to the stack's log and into the error. After ctx has
// ended, terraform is interrupted and waited for; the error is then ctx's, or a *LeftError.
func (s *session) start(ctx context.Context, out io.Writer, args ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cmd, err := s.command(args...)
	if err != nil {
		return err
	}
	var said strings.Builder
	stdout, err := follow(s.proc(), out)
	if err != nil {
		return err
	}
	defer stdout.close()
	stderr, err := follow(s.proc(), io.MultiWriter(s.log, &said))
	if err != nil {
		return err
	}
	defer stderr.close()
	cmd.Stdout, cmd.Stderr = stdout.file, stderr.file
	// Its own session: neither Ctrl-C nor the end of a terminal reaches it beside our interrupt. A second one makes it drop its state.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = s.supervise(ctx, cmd, args[0], func() error { return cmd.Process.Signal(os.Interrupt) }, stdout, stderr)
	if ctx.Err() != nil && err != nil {
		var left *LeftError
		if errors.As(err, &left) {
			return err
		}
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, said.String())
	}
	return nil
}

// supervise starts a command, hands on what it writes, and waits for its end. It stops waiting when the user insists, or when the
// command does not end in time after stop.
func (s *session) supervise(ctx context.Context, cmd *exec.Cmd, name string, stop func() error, outputs ...*follower) error {
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", s.path, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	interrupted, insisted := ctx.Done(), interrupt.Insisted(ctx)
	var grace <-chan time.Time
	left := func() error {
		err := &LeftError{stack.Process{PID: cmd.Process.Pid, Stack: s.work.Stack.ID, Command: name, Since: time.Now()}}
		s.report.Warn("%s", err)
		return err
	}
	for {
		select {
		case err := <-ended:
			for _, o := range outputs {
				o.drain()
			}
			return errors.Join(err, s.forgetProcess())
		case <-ticker.C:
			for _, o := range outputs {
				o.drain()
			}
		case <-interrupted:
			interrupted = nil
			_ = stop() // it may have ended just now
			timer := time.NewTimer(interruptGrace)
			defer timer.Stop()
			grace = timer.C
		case <-insisted:
			return left()
		case <-grace:
			return left()
		}
	}
}

// proc is the directory for the notes about the process.
func (s *session) proc() string {
	if s.apart != "" {
		return s.apart
	}
	return s.notes
}

func (s *session) forgetProcess() error { return removeFile(filepath.Join(s.proc(), processNote)) }

// follower hands on what a process writes to a file without a name: it is gone with the last process that has it open.
type follower struct {
	file   *os.File
	to     io.Writer
	buffer [4096]byte
	at     int64 // up to here it is handed on
}

// follow makes a follower. Where the system has no files in memory, its file is made in dir.
func follow(dir string, to io.Writer) (*follower, error) {
	file, err := nameless(dir)
	if err != nil {
		return nil, fmt.Errorf("make the file for terraform's output: %w", err)
	}
	return &follower{file: file, to: to}, nil
}

// drain hands on what is new.
func (f *follower) drain() {
	for {
		n, err := f.file.ReadAt(f.buffer[:], f.at) // the place at which terraform writes is another
		if n > 0 {
			f.at += int64(n)
			_, _ = f.to.Write(f.buffer[:n]) // who cannot be written to misses it, and terraform goes on
		}
		if err != nil { // the end of what is there
			return
		}
	}
}

func (f *follower) close() { _ = f.file.Close() }

// Running gives the terraforms at work on this environment's stacks, whoever started them.
func (r *Runner) Running() ([]stack.Process, error) {
	ids, err := r.noted()
	if err != nil {
		return nil, err
	}
	var out []stack.Process
	for _, id := range ids {
		if p, alive := r.process(id); alive {
			out = append(out, p)
		}
	}
	return out, nil
}

// noted gives the ids of the stacks that have the note of a process.
func (r *Runner) noted() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.options.Dir, "run"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for terraform at work: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && fileExists(filepath.Join(notesDir(r.options.Dir, e.Name()), processNote)) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// process gives the terraform at work on a stack.
func (r *Runner) process(id string) (stack.Process, bool) {
	notes := notesDir(r.options.Dir, id)
	p := stack.Process{Stack: id}
	for tries := 0; ; tries++ {
		data, err := os.ReadFile(filepath.Join(notes, processNote))
		if err != nil {
			return stack.Process{}, false
		}
		number, doing, _ := strings.Cut(string(data), " ")
		if p.PID, err = strconv.Atoi(number); err == nil && json.Unmarshal([]byte(doing), &p) == nil {
			break
		}
		if tries == 20 { // a process that was killed while it wrote
			return stack.Process{}, false
		}
		time.Sleep(5 * time.Millisecond) // one that is writing it now
	}
	return p, isAt(p.PID, notes)
}

// isAt says whether a process runs that these notes are about. Another one that got its number does not count.
func isAt(pid int, notes string) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	if at := strings.LastIndexByte(string(stat), ')'); at >= 0 && strings.HasPrefix(strings.TrimSpace(string(stat[at+1:])), "Z") {
		return false // it has ended, and nobody has asked for its exit code
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if errors.Is(err, fs.ErrPermission) {
		return true // another user's: better to wait than to disturb it
	}
	return err == nil && strings.Contains(string(environ), notesVariable+"="+notes+"\x00")
}

// notesVariable marks the processes of a stack, so that one is not taken for another that has got its number.
const notesVariable = "LABCTL_NOTES"

// Await waits until no terraform of another labctl is at work here any more. The lab's lock says that nobody else is.
func (r *Runner) Await(ctx context.Context, report event.Report) error {
	running, err := r.Running()
	if err != nil {
		return err
	}
	for _, p := range running {
		report.Warn("terraform %s of stack %s (process %d), begun at %s by a labctl that is gone, is still at work; waiting until it has saved its state. To stop it cleanly: kill -INT %d",
			p.Command, p.Stack, p.PID, p.Since.Local().Format("15:04:05"), p.PID)
		ticker := time.NewTicker(watchEvery)
		for alive := true; alive; {
			select {
			case <-ctx.Done():
				ticker.Stop()
				return fmt.Errorf("wait for terraform %s of stack %q (process %d): %w", p.Command, p.Stack, p.PID, context.Cause(ctx))
			case <-ticker.C:
				_, alive = r.process(p.Stack)
			}
		}
		ticker.Stop()
	}
	return r.tidyProcesses()
}

// tidyProcesses removes the notes about terraforms without a labctl, and the plans that they made.
func (r *Runner) tidyProcesses() error {
	ids, err := r.noted()
	if err != nil {
		return err
	}
	for _, id := range ids {
		for _, name := range []string{planNote, processNote} {
			if err := removeFile(filepath.Join(notesDir(r.options.Dir, id), name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func isLeft(err error) bool {
	var left *LeftError
	return errors.As(err, &left)
}
