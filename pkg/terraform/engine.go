package terraform

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// engine is the answer of a terraform program to the question for its version. It is kept, because asking costs more than
// all the rest of a run that has nothing to do.
type engine struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Version  string    `json:"version"`
}

const engineFile = "engine.json"

// Version says which engine runs a stack, such as "terraform 1.11.4". A program that is Terraform or OpenTofu itself is asked once in
// its life. Anything else, such as the shim of a version manager, chooses by the directory and by files that change: it is asked by each
// labctl, in the stack's directory.
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
	if err := os.MkdirAll(r.options.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make the state directory: %w", err)
	}
	memory := filepath.Join(r.options.Dir, engineFile)
	is, err := identify(path)
	if err != nil {
		return "", err
	}
	if is != nil {
		r.isEngine, at = true, ""
		var was engine
		if data, err := os.ReadFile(memory); err == nil && json.Unmarshal(data, &was) == nil && was.Version != "" {
			if is.Version = was.Version; *is == was {
				r.versions[at] = was.Version
				return was.Version, nil
			}
		}
	}
	v, err := r.ask(ctx, path, s.Real)
	if err != nil {
		return "", err
	}
	if is != nil {
		is.Version = v
		data, err := json.Marshal(is)
		if err == nil {
			err = writeFile(memory, data)
		}
		if err != nil {
			return "", fmt.Errorf("keep the version of %s: %w", path, err)
		}
	}
	r.versions[at] = v
	return v, nil
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
	return filepath.Base(path) + " " + v.String(), nil
}

// identify gives what tells one build of an engine from another, or nil where the program is not an engine itself. Go notes in
// each program what it was built from.
func identify(path string) (*engine, error) {
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("run terraform: %w", err)
	}
	info, err := os.Stat(at)
	if err != nil {
		return nil, fmt.Errorf("run terraform: %w", err)
	}
	build, err := buildinfo.ReadFile(at)
	if err != nil || !strings.HasPrefix(build.Path, "github.com/hashicorp/terraform") && !strings.HasPrefix(build.Path, "github.com/opentofu/opentofu") {
		return nil, nil //nolint:nilerr,nilnil // a script has no such note
	}
	return &engine{Path: at, Size: info.Size(), Modified: info.ModTime().UTC()}, nil
}
