// Package terraform runs Terraform (or OpenTofu) for one stack at a time. It is the only importer of terraform-exec.
//
// A run works in a mirror of the lab's source below the lab's state directory (layout.go), so that the source tree stays clean: there
// lie the state and terraform's own .terraform. Terraform is a process that outlives labctl (process.go).
package terraform

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/labctl/labctl/pkg/engine"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

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
	// Environ is the environment that terraform inherits, as far as Variables lets it; nil means the process's own.
	Environ []string
	// Plugins is a directory in which all stacks share the providers that terraform downloads; "" means that each stack
	// keeps its own.
	Plugins string
	// Engines remembers the versions of engines from one labctl to the next.
	Engines engine.Memory
}

// Runner runs terraform for the stacks of one environment. It is safe for concurrent use with different stacks.
type Runner struct {
	options Options

	layout sync.Mutex // the work directories and what is beside them
	warned sync.Once  // of the environment

	mu       sync.Mutex
	path     string
	isEngine bool                    // the program is terraform or tofu itself
	versions map[string]string       // directory → version; "" for the engine itself
	states   map[string]*stack.State // pulled from backends since their stacks last ran
}

// New gives a Runner.
func New(o Options) *Runner {
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	o.Dir = resolve(o.Dir)
	return &Runner{options: o, versions: map[string]string{}}
}

// resolve follows the links in a path of which not everything need exist.
func resolve(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolve(parent), filepath.Base(path))
	}
	return path
}

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
