// Package terraform runs Terraform (or OpenTofu) for one stack at a time. It is the only importer of terraform-exec.
//
// A run works in a copy of the stack's files below the lab's state directory, so that the source tree stays clean: there
// lie the state, terraform's own .terraform and a 0600 file with the values of the variables.
package terraform

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-exec/tfexec"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// interruptGrace is how long terraform may take to end after an interrupt, in which it saves its state.
const interruptGrace = 2 * time.Minute

// Attachment is a provider that this process serves to one run of terraform.
type Attachment interface {
	Reattach() string // the content of TF_REATTACH_PROVIDERS
	Close() error
}

// Options are what a Runner needs.
type Options struct {
	// Dir is the environment's state directory.
	Dir string
	// Find gives the path of terraform or tofu. It is called once, when first needed, because it may have to get one.
	Find func(ctx context.Context, report event.Report) (string, error)
	// Serve starts the lab's own provider for one run. Nil: stacks use no such provider.
	Serve func(ctx context.Context, report event.Report) (Attachment, error)
	// Environ is the environment that terraform inherits; nil means the process's own. Variables that would change what a
	// run does (TF_CLI_ARGS, TF_VAR_…, TF_WORKSPACE, TF_DATA_DIR) are left out.
	Environ []string
	// Plugins is a directory in which all stacks share the providers that terraform downloads; "" means that each stack
	// keeps its own.
	Plugins string
}

// Runner runs terraform for the stacks of one environment. It is safe for concurrent use with different stacks.
type Runner struct {
	options Options

	mu      sync.Mutex
	path    string
	version string
	states  map[string]*stack.State // pulled from backends since their stacks last ran
}

// New gives a Runner.
func New(o Options) *Runner { return &Runner{options: o} }

// WorkDir is where the stack with this id runs and keeps its state.
func WorkDir(dir, id string) string { return filepath.Join(dir, "stacks", id) }

// find gives terraform's path.
func (r *Runner) find(ctx context.Context, report event.Report) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.path != "" {
		return r.path, nil
	}
	path, err := r.options.Find(ctx, report)
	if err != nil {
		return "", fmt.Errorf("find terraform: %w", err)
	}
	r.path = path
	return path, nil
}

// engine is the answer of a terraform program to the question for its version. It is kept, because asking costs more than
// all the rest of a run that has nothing to do.
type engine struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Version  string    `json:"version"`
}

const engineFile = "engine.json"

// Version says which engine runs, such as "terraform 1.11.4".
func (r *Runner) Version(ctx context.Context, report event.Report) (string, error) {
	path, err := r.find(ctx, report)
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version != "" {
		return r.version, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("run terraform: %w", err)
	}
	is := engine{Path: path, Size: info.Size(), Modified: info.ModTime().UTC()}
	memory := filepath.Join(r.options.Dir, engineFile)
	var was engine
	if data, err := os.ReadFile(memory); err == nil && json.Unmarshal(data, &was) == nil && was.Version != "" {
		is.Version = was.Version
		if is == was {
			r.version = was.Version
			return r.version, nil
		}
	}
	if err := os.MkdirAll(r.options.Dir, 0o700); err != nil {
		return "", fmt.Errorf("make the state directory: %w", err)
	}
	tf, err := tfexec.NewTerraform(r.options.Dir, path)
	if err != nil {
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	if err := tf.SetEnv(r.environment()); err != nil {
		return "", fmt.Errorf("run %s: %w", path, err)
	}
	v, _, err := tf.Version(ctx, false)
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", path, err)
	}
	is.Version = filepath.Base(path) + " " + v.String()
	data, err := json.Marshal(is)
	if err == nil {
		err = writeFile(memory, data)
	}
	if err != nil {
		return "", fmt.Errorf("keep the version of %s: %w", path, err)
	}
	r.version = is.Version
	return r.version, nil
}

// environment is what terraform inherits, without what would make a run differ from what labctl means.
func (r *Runner) environment() map[string]string {
	environ := r.options.Environ
	if environ == nil {
		environ = os.Environ()
	}
	env := map[string]string{}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			env[k] = v
		}
	}
	env = tfexec.CleanEnv(env)
	delete(env, "TF_DATA_DIR")
	env["CHECKPOINT_DISABLE"] = "1" // no call home: it costs time and fails without a network
	if r.options.Plugins != "" && env["TF_PLUGIN_CACHE_DIR"] == "" {
		env["TF_PLUGIN_CACHE_DIR"] = r.options.Plugins
		// Else terraform installs again what the cache has already, over a program that another stack runs. What it warns
		// of is a lock file without the checksums of other platforms; ours is the working directory's own.
		env["TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"] = "true"
	}
	return env
}
