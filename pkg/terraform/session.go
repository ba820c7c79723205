package terraform

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// session is one run of terraform: its directory made ready and its provider served.
type session struct {
	runner *Runner
	tf     *tfexec.Terraform
	work   stack.RunRequest
	dir    string
	path   string
	env    map[string]string
	needs  needs
	attach Attachment
	log    *logFile
	report event.Report
	inner  bool // the stack is a module of the root that the session works on
}

func (r *Runner) open(ctx context.Context, w stack.RunRequest, report event.Report) (_ *session, err error) {
	path, err := r.find(ctx, report)
	if err != nil {
		return nil, err
	}
	s := &session{runner: r, work: w, dir: WorkDir(r.options.Dir, w.Stack.ID), path: path, report: report, env: r.environment(), needs: needsOf(w.Stack.Files)}
	if s.log, err = openLog(r.options.Dir, w); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := prepare(s.dir, w); err != nil {
		return nil, err
	}
	if dir := s.env["TF_PLUGIN_CACHE_DIR"]; dir != "" { // terraform complains of one that is not there, also where it needs none
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make the cache of providers: %w", err)
		}
	}
	if note, err := guardState(s.dir); err != nil {
		return nil, err
	} else if note != "" {
		report.Warn("%s", note)
		s.log.line(note)
	}
	if s.tf, err = newTerraform(s.dir, path, s.env); err != nil {
		return nil, err
	}
	s.tf.SetStderr(s.log)
	err = s.serve(ctx)
	return s, err
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

func newTerraform(dir, path string, env map[string]string) (*tfexec.Terraform, error) {
	tf, err := tfexec.NewTerraform(dir, path)
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
	if err := tf.SetEnv(env); err != nil {
		return nil, fmt.Errorf("run %s: %w", path, err)
	}
	return tf, tf.SetWaitDelay(interruptGrace)
}

func (s *session) close() {
	if s.attach != nil {
		if err := s.attach.Close(); err != nil {
			s.log.line("close the lab provider: " + err.Error())
		}
	}
	if err := keepState(s.dir); err != nil {
		s.log.line(err.Error())
	}
	s.log.close()
}

// reattach is the provider as terraform-exec wants it.
func (s *session) reattach() (tfexec.ReattachInfo, error) {
	if s.attach == nil {
		return nil, nil
	}
	var info tfexec.ReattachInfo
	if err := json.Unmarshal([]byte(s.attach.Reattach()), &info); err != nil {
		return nil, fmt.Errorf("attach the lab provider: %w", err)
	}
	return info, nil
}

// run calls one terraform command which writes its JSON log to the writer that it is given.
func (s *session) run(ctx context.Context, doing string, call func(w io.Writer, info tfexec.ReattachInfo) error) (*output, error) {
	info, err := s.reattach()
	if err != nil {
		return nil, err
	}
	s.log.line("$ " + filepath.Base(s.path) + " " + doing)
	out := &output{session: s}
	err = call(out, info)
	out.flush()
	if err == nil {
		return out, nil
	}
	if doing != "init" && ctx.Err() == nil && out.wantsInit() {
		// An engine that is stricter than those that we know.
		if err := s.initNow(ctx); err != nil {
			return out, err
		}
		out = &output{session: s}
		err = call(out, info)
		out.flush()
		if err == nil {
			return out, nil
		}
	}
	if ctx.Err() != nil {
		return out, fmt.Errorf("terraform %s: interrupted, its state is kept: %w", doing, context.Cause(ctx))
	}
	return out, s.failure(doing, out, err)
}

// init makes the directory ready for other commands: the state is where it should be, and terraform init ran with these
// files and this terraform.
func (s *session) init(ctx context.Context, version string) error {
	if err := s.settle(ctx); err != nil {
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
	mark, data := filepath.Join(s.dir, initMark), filepath.Join(s.dir, ".terraform")
	if have, err := os.ReadFile(mark); err == nil {
		hash, left, _ := strings.Cut(string(have), " ")
		if hash == want && (left == "" || fileExists(data)) {
			return nil
		}
	}
	if err := s.initNow(ctx); err != nil {
		return err
	}
	if fileExists(data) { // modules, providers or a backend, which later commands want
		want += " data"
	}
	return writeFile(mark, []byte(want))
}

// initNow runs terraform init. Only one at a time may fill the cache of providers, which terraform itself does not guard.
func (s *session) initNow(ctx context.Context, opts ...tfexec.InitOption) error {
	s.report.Doing("terraform init")
	unlock, err := s.lockPlugins(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = s.run(ctx, "init", func(w io.Writer, info tfexec.ReattachInfo) error {
		if info != nil {
			opts = append(opts, tfexec.Reattach(info))
		}
		return s.tf.InitJSON(ctx, w, opts...)
	})
	return err
}
