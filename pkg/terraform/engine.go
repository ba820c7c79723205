package terraform

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// Version says which engine runs a stack, such as "terraform 1.11.4". A shim is asked by each labctl, in the stack's directory.
func (r *Runner) Version(ctx context.Context, s *stack.Stack, report event.Report) (string, error) {
	path, err := r.find(ctx, report)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	at := s.Real
	if r.isEngine {
		at = ""
	}
	if v := r.versions[at]; v != "" {
		return v, nil
	}
	number, fixed, err := r.options.Engines.Version(path, func() (string, error) { return r.ask(ctx, path, s.Real) })
	if err != nil {
		return "", err
	}
	if fixed {
		r.isEngine, at = true, ""
	}
	r.versions[at] = filepath.Base(path) + " " + number
	return r.versions[at], nil
}

func (r *Runner) ask(ctx context.Context, path, dir string) (string, error) {
	tf, err := tfexec.NewTerraform(dir, path)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	env, _ := r.environment(false)
	if err := tf.SetEnv(tfexec.CleanEnv(env)); err != nil {
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	v, _, err := tf.Version(ctx, true)
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	return v.String(), nil
}
