package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/labctl/labctl/pkg/cli/render"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/stack"
)

// keepLogs is the number of runs whose logs are kept for each environment.
const keepLogs = 20

// Build says which labctl this is. The linker sets it in main.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Date    string `json:"date,omitempty"`
}

// Factory hands a command what it needs from its surroundings. Nothing in it is opened before it is asked for.
type Factory struct {
	IO      *iostreams.Streams
	Getenv  func(string) string
	WorkDir string
	Build   Build
	Program string   // how labctl was called, "labctl" or "bin/labctl"
	Args    []string // what was typed after it

	// The global flags.
	File    string // --file
	Env     string // --env
	Verbose bool   // --verbose

	// FromSource builds also what could be pulled. It is a flag of up.
	FromSource bool

	graph *stack.Graph
}

// Graph reads lab.hcl and the stacks of the chosen environment, and checks their wiring. It touches nothing.
func (f *Factory) Graph() (*stack.Graph, error) {
	if f.graph != nil {
		return f.graph, nil
	}
	types, err := provider.ResourceTypes()
	if err != nil {
		return nil, err
	}
	g, err := stack.Open(stack.Options{File: f.File, Dir: f.WorkDir, Env: f.Env, ResourceTypes: types, Tofu: onlyTofu()})
	if err != nil {
		return nil, err
	}
	f.graph = g
	return g, nil
}

// LabDir gives the directory of the lab.hcl that is meant. Neither that nor the stacks are read. The error wraps stack.ErrNoLab.
func (f *Factory) LabDir() (string, error) {
	file := f.File
	if file == "" {
		found, err := stack.Find(f.WorkDir)
		if err != nil {
			return "", err
		}
		file = found
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("%w: %w", stack.ErrNoLab, err)
	}
	return filepath.Dir(file), nil
}

// onlyTofu says whether the engine will be OpenTofu where lab.hcl leaves it open.
func onlyTofu() bool {
	if _, err := exec.LookPath("terraform"); err == nil {
		return false
	}
	_, err := exec.LookPath("tofu")
	return err == nil
}

// Forget reads the lab for a command that takes an environment down. One that lab.hcl, or the directory of its target, no longer
// knows has what is recorded of it, and no stacks.
func (f *Factory) Forget() error {
	_, err := f.Graph()
	var config *stack.ConfigError
	if !errors.As(err, &config) || !config.Has("unknown-environment") && !config.Has("unknown-target") {
		return err
	}
	g, forgotten := stack.OpenForgotten(stack.Options{File: f.File, Dir: f.WorkDir, Env: f.Env})
	if forgotten != nil {
		return err
	}
	if _, none := os.Stat(g.Dir); none != nil {
		return err
	}
	f.graph = g
	return nil
}

// CacheDir is what all labs of this user share: built parts and downloaded tools. Where HOME is not set, as in services and some
// containers, the user database knows the user's home.
func (f *Factory) CacheDir() (string, error) {
	if dir := f.Getenv("LABCTL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := f.Getenv("XDG_CACHE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "labctl"), nil
	}
	home := f.Getenv("HOME")
	if !filepath.IsAbs(home) {
		if u, err := user.Current(); err == nil {
			home = u.HomeDir
		}
	}
	if filepath.IsAbs(home) {
		return filepath.Join(home, ".cache", "labctl"), nil
	}
	return "", &Error{What: "labctl has no directory for its cache: HOME, XDG_CACHE_HOME and LABCTL_CACHE are not set, and the user database has no home of this user",
		Next: []string{"export LABCTL_CACHE=/var/cache/labctl"}, Code: ExitMachine}
}

// Progress runs do while showing what it emits: on stderr, or with asJSON as JSON on stdout. The lines that it shows and
// those that it hides go to a log of this run.
func (f *Factory) Progress(ctx context.Context, verb string, asJSON bool, do func(event.Sink) error) error {
	log, path := f.openLog(verb)
	opts := render.Options{Streams: f.IO, JSON: asJSON, Verbose: f.Verbose, Log: log, Size: f.terminalSize}
	r := render.New(opts)
	said := context.AfterFunc(ctx, func() {
		r.Emit(event.Event{Kind: event.Warning, Message: "stopping cleanly: terraform saves its state first. Once more leaves it to that and ends labctl now"})
	})
	err := do(r)
	said()
	if asJSON && err != nil {
		r.Emit(event.Event{Kind: event.Failed, Step: verb, Err: err.Error()})
	}
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if log != nil {
		if err != nil {
			_, _ = fmt.Fprintf(log, "error: %v\n", err)
		}
		if closeErr := log.Close(); closeErr != nil && err == nil {
			err = fmt.Errorf("write log %s: %w", path, closeErr)
		}
	}
	if err == nil {
		return nil
	}
	explained := Explain(err)
	if explained.Where == "" && path != "" && explained.Code == ExitFailed {
		explained.Where = "log " + path
	}
	return explained
}

func (f *Factory) terminalSize() (columns, rows int) {
	file, ok := f.IO.Err.(*os.File)
	if !ok {
		return 80, 24
	}
	columns, rows, err := term.GetSize(int(file.Fd()))
	if err != nil || columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// openLog opens this run's log beside the lab's state. A lab that cannot be read, or written to, has no log: the command
// says what is wrong soon enough.
func (f *Factory) openLog(verb string) (io.WriteCloser, string) {
	g, err := f.Graph()
	if err != nil {
		return nil, ""
	}
	if _, err := os.Stat(g.Dir); err != nil && verb != "up" {
		return nil, "" // only up brings a lab's directory to life
	}
	dir := filepath.Join(g.Dir, "logs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, ""
	}
	prune(dir)
	path := filepath.Join(dir, fmt.Sprintf("%s-labctl-%s.log", time.Now().UTC().Format("20060102T150405.000"), verb))
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, ""
	}
	return file, path
}

// prune removes the oldest logs of runs. Their names sort by time.
func prune(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	var runs []string
	for _, e := range entries {
		if strings.Contains(e.Name(), "-labctl-") {
			runs = append(runs, e.Name())
		}
	}
	slices.Sort(runs)
	for len(runs) >= keepLogs {
		// A log that stays costs a little space, no more.
		_ = os.Remove(filepath.Join(dir, runs[0]))
		runs = runs[1:]
	}
}
