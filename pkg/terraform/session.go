package terraform

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// session is one run of terraform: its directory made ready and its provider served.
type session struct {
	runner *Runner
	work   stack.RunRequest
	dir    string // the work directory, without links
	notes  string // labctl's notes about the stack
	apart  string // of a command that only reads: where its process is noted, and its inputs
	path   string // of the engine
	env    map[string]string
	needs  needs
	attach Attachment
	log    *logFile
	report event.Report

	inner     bool   // the stack is a module of the root that the session works on
	stackDir  string // the stack's own work directory then
	installed bool   // that module is noted as installed
}

// open makes a stack's work directory ready. A session must be closed.
func (r *Runner) open(ctx context.Context, w stack.RunRequest, report event.Report) (*session, error) {
	return r.session(ctx, w, report, mode{})
}

// mode is what a session is for.
type mode struct {
	byHand bool // the user's own command
	reads  bool // it only reads, and so hands nothing on
	beside bool // another run may be at work: the work directory is used as it is
}

func (r *Runner) session(ctx context.Context, w stack.RunRequest, report event.Report, m mode) (_ *session, err error) {
	path, err := r.find(ctx, report)
	if err != nil {
		return nil, err
	}
	s := &session{runner: r, work: w, notes: notesDir(r.options.Dir, w.Stack.ID), path: path, report: report, needs: needsOf(w.Stack.Files)}
	var left []string
	s.env, left = r.environment(m.byHand)
	s.hurry()
	r.warnOfEnvironment(left, report)
	if s.log, err = openLog(r.options.Dir, w); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if m.beside {
		s.dir, err = filepath.EvalSymlinks(WorkDir(r.options.Dir, r.home(w.Stack)))
		if err != nil {
			return nil, fmt.Errorf("stack %q has nothing to read yet, and another labctl is at work on the lab; wait until it is done", w.Stack.ID)
		}
	} else if s.dir, err = r.arrange(w); err != nil {
		return nil, err
	}
	if m.reads {
		if s.apart, err = os.MkdirTemp(filepath.Dir(s.notes), ".exec-"); err != nil {
			return nil, fmt.Errorf("note that terraform runs: %w", err)
		}
	}
	if err := writeInputs(s.proc(), w); err != nil {
		return nil, err
	}
	if !m.beside {
		if err := s.mend(); err != nil {
			return nil, err
		}
	}
	err = s.serve(ctx)
	return s, err
}

// mend makes good what a run that was killed left behind, and makes what terraform misses.
func (s *session) mend() error {
	if dir := s.env[pluginCache]; dir != "" { // terraform complains of one that is not there, also where it needs none
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the cache of providers: %w", err)
		}
	}
	note, err := guardState(s.dir, s.notes)
	if note != "" {
		s.report.Warn("%s", note)
		s.log.line(note)
	}
	return err
}

// serve serves the lab's provider where the stack uses it.
func (s *session) serve(ctx context.Context) (err error) {
	if s.runner.options.Serve == nil || !s.needs.lab {
		return nil
	}
	// The provider outlives an interrupt: terraform needs it to end well.
	if s.attach, err = s.runner.options.Serve(context.WithoutCancel(ctx), s.report); err != nil {
		return fmt.Errorf("serve the lab provider: %w", err)
	}
	return nil
}

func (s *session) close() {
	if s.attach != nil {
		if err := s.attach.Close(); err != nil {
			s.log.line("close the lab provider: " + err.Error())
		}
	}
	switch {
	case s.apart != "":
		if err := os.RemoveAll(s.apart); err != nil {
			s.log.line(err.Error())
		}
	case s.dir != "" && !s.inner:
		if err := keepState(s.dir, s.notes); err != nil {
			s.log.line(err.Error())
		}
		if err := s.runner.mirrorBack(s.work, s.dir); err != nil {
			s.log.line(err.Error())
		}
	}
	s.log.close()
}

// varFile gives the flag by which terraform reads the inputs, after all files of variables that it reads by itself. There is none where
// nothing is known of inputs, as of a state that another machine has made. The path is relative, so that it needs no quotes in an
// environment variable.
func (s *session) varFile() []string {
	path := filepath.Join(s.proc(), inputsNote)
	if !fileExists(path) {
		path = filepath.Join(s.notes, inputsNote) // those of the last run
	}
	if !fileExists(path) {
		return nil
	}
	if rel, err := filepath.Rel(s.dir, path); err == nil {
		path = rel
	}
	return []string{"-var-file=" + path}
}

// terraform runs one command that says in JSON what it does.
func (s *session) terraform(ctx context.Context, args ...string) (*output, error) {
	s.log.line("$ " + filepath.Base(s.path) + " " + strings.Join(args, " "))
	out := &output{session: s}
	err := s.start(ctx, out, args...)
	out.flush()
	if err == nil { // terraform can end well although it was interrupted before it did anything
		err = ctx.Err()
	}
	if err != nil && args[0] != "init" && ctx.Err() == nil && out.wantsInit() {
		// An engine that is stricter than those that we know.
		if err := s.initNow(ctx); err != nil {
			return out, err
		}
		out = &output{session: s}
		err = s.start(ctx, out, args...)
		out.flush()
	}
	return out, s.explain(ctx, args[0], out, err)
}

// explain makes the error of a command.
func (s *session) explain(ctx context.Context, command string, out *output, err error) error {
	switch {
	case err == nil:
		return nil
	case isLeft(err):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("terraform %s: interrupted, its state is kept: %w", command, context.Cause(ctx))
	}
	return s.failure(command, out, err)
}

// tfexec gives a terraform for commands that only read. It ends with labctl.
func (s *session) tfexec(dir string) (*tfexec.Terraform, error) {
	tf, err := tfexec.NewTerraform(dir, s.path)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", s.path, err)
	}
	if err := tf.SetEnv(tfexec.CleanEnv(s.env)); err != nil {
		return nil, fmt.Errorf("run %s: %w", s.path, err)
	}
	tf.SetStderr(s.log)
	tf.SetStdout(io.Discard) // states and values are no log
	return tf, tf.SetWaitDelay(interruptGrace)
}

// read runs one command that only reads.
func (s *session) read(ctx context.Context, dir, command string, call func(tf *tfexec.Terraform) error) error {
	s.log.line("$ " + filepath.Base(s.path) + " " + command)
	tf, err := s.tfexec(dir)
	if err != nil {
		return err
	}
	return s.explain(ctx, command, &output{session: s}, call(tf))
}

// init makes the directory ready for other commands: the state is where it should be, and terraform init ran with these
// files and this terraform.
func (s *session) init(ctx context.Context) error {
	version, err := s.runner.Version(ctx, s.work.Stack, s.report)
	if err != nil {
		return err
	}
	if err := s.reconcileBackend(ctx); err != nil {
		return err
	}
	if !s.needs.download && !s.needs.backend && !fileExists(filepath.Join(s.dir, backendFile)) && !remote(s.dir) {
		// There is nothing to initialise, and a start of terraform costs as much as an apply of a small stack.
		return nil
	}
	want, err := initHash(s.work.Stack, version, s.dir)
	if err != nil {
		return err
	}
	mark, data := filepath.Join(s.notes, initNote), filepath.Join(s.dir, ".terraform")
	if have, err := os.ReadFile(mark); err == nil {
		hash, left, _ := strings.Cut(string(have), " ")
		if hash == want && (left == "" || fileExists(data)) {
			return nil
		}
	}
	if err := s.initNow(ctx); err != nil {
		return err
	}
	if want, err = initHash(s.work.Stack, version, s.dir); err != nil { // init may have written the lock file
		return err
	}
	if fileExists(data) { // modules, providers or a backend, which later commands want
		want += " data"
	}
	return atomicfile.Write(mark, []byte(want))
}

// initNow runs terraform init. Only one at a time may fill the cache of providers, which terraform itself does not guard.
func (s *session) initNow(ctx context.Context) error {
	s.report.Doing("terraform init")
	unlock, err := s.lockPlugins(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = s.terraform(ctx, "init", "-no-color", "-input=false", "-json")
	return err
}
