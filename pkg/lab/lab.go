// Package lab is the pipeline: it brings a lab up, stack by stack, and takes it down again. Every step is check-then-act,
// so that both can be run again at any time: after a failure, an interrupt or a kill they go on where they stopped.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/stack"
)

// ErrNotUp says that something was asked of a lab that is not up yet.
var ErrNotUp = errors.New("the lab is not up: run `labctl up`")

// Terraform works on one stack.
type Terraform interface {
	// Version says which engine runs a stack; another version means that an applied stack is looked at again.
	Version(ctx context.Context, s *stack.Stack, report event.Report) (string, error)
	Apply(ctx context.Context, w stack.RunRequest, report event.Report) (stack.Changes, error)
	// ApplyPlan does what a plan that Plan kept in a file says, and nothing else.
	ApplyPlan(ctx context.Context, w stack.RunRequest, plan string, report event.Report) (stack.Changes, error)
	// Plan says what Apply would do. With keep it keeps the plan in that file.
	Plan(ctx context.Context, w stack.RunRequest, keep string, report event.Report) (*stack.Plan, error)
	// PlanPartly says what Apply would do as far as the inputs are known, and keeps nothing. The error is a
	// *stack.UnplannableError where nothing can be said.
	PlanPartly(ctx context.Context, w stack.RunRequest, report event.Report) (*stack.Plan, error)
	// Drift says what differs between the state and the world.
	Drift(ctx context.Context, w stack.RunRequest, report event.Report) ([]stack.Action, error)
	Destroy(ctx context.Context, w stack.RunRequest, report event.Report) (stack.Changes, error)
	// State reads the state, from a file or from its backend. The error wraps fs.ErrNotExist where there is none.
	State(ctx context.Context, w stack.RunRequest, report event.Report) (*stack.State, error)
	// Move brings the state to where w.Backend says, and tells whether it was elsewhere.
	Move(ctx context.Context, w stack.RunRequest, report event.Report) (moved bool, err error)
	// Await returns when no terraform that another labctl began is at work on this environment any more.
	Await(ctx context.Context, report event.Report) error
	// Running says which terraforms are at work on this environment, whoever began them.
	Running() ([]stack.Process, error)
	// Stored gives the ids of all stacks that have, or had, a state here.
	Stored() ([]string, error)
	// Records gives the states in an environment's directory that record something; "" means this environment's.
	Records(dir string) ([]stack.Record, error)
	// Applied gives a stack by the files that it was last applied with. The error wraps fs.ErrNotExist where they were not kept.
	Applied(id string) (*stack.Stack, error)
	// Forget drops what was read of states in backends: another machine may have changed them before the lock was taken.
	Forget()
	// Place gives the backend that the state of that id lies in, as this machine knows it; nil where it is in none.
	Place(id string) (*stack.StateBackend, error)
	// Discard removes all that is kept of an id without a stack, whose state records nothing any more.
	Discard(id string) error
	// Rename gives a stack the state that it has under one of its former ids, and says which; "" where there is none.
	Rename(s *stack.Stack) (from string, err error)
}

// Shell runs Terraform as its user types it.
type Shell interface {
	// Writes says whether these arguments may change anything.
	Writes(args []string) bool
	Exec(ctx context.Context, w stack.RunRequest, args []string, o stack.ExecOptions, streams *iostreams.Streams) (int, error)
}

// Resources knows the lab's own resources without Terraform.
type Resources interface {
	// CheckHealth says whether what a state records is there and well: reason is why not, known is false where the state holds
	// resources that only Terraform can judge.
	CheckHealth(ctx context.Context, st *stack.State) (reason string, known bool, err error)
	// Sweep removes what a cut-off apply left behind and no state knows of.
	Sweep(ctx context.Context, report event.Report) error
}

// ImageSpec says which image to build and where to push it.
type ImageSpec struct {
	Name       string
	Root       string   // the lab's source
	Source     string   // directory below Root, "services/auth"
	Tags       []string // of go build, added to those of the recipe
	Repository string   // "127.0.0.1:5050/lab/auth"
}

// ImageBuilder builds an image and pushes it. Both are cached by content.
type ImageBuilder interface {
	Build(ctx context.Context, spec ImageSpec, report event.Report) (digest string, err error)
}

// ReleaseSpec is a release: a Helm chart, or what labctl installs without one.
type ReleaseSpec struct {
	Name       string
	Namespace  string
	Builtin    string // what labctl installs without a chart; "" for charts
	Chart      string // where Locate found it: an absolute directory or archive
	Kubeconfig string // the content
	Values     map[string]any
	Secrets    []string // parts of Values and Kubeconfig that must never be shown

	Lab, Environment, Stack string // whose release it is, for its record in the cluster

	ValuesFiles []string // absolute, in order; Values are merged over them
	UpgradeCRDs bool
	Adopt       bool

	// Applications are the parts of which Argo CD makes an Application each, of what Git holds; nil: Helm installs the release.
	Applications []string
	Images       []string // references among the values
	Command      string   // why a commit is made
	Insist       bool     // just this release is asked for: that a rollback holds is an error then
	Overwrite    bool     // what changed in Git alone is lost, too
}

// Releaser installs releases.
type Releaser interface {
	// Locate gives the chart of a release, a directory or an archive, fetched and pinned where it is a remote one.
	Locate(ctx context.Context, rel *stack.Release, report event.Report) (path string, err error)
	// Ensure installs or upgrades the release and waits until it is ready.
	Ensure(ctx context.Context, spec ReleaseSpec, report event.Report) (changed bool, err error)
	// Deployed gives "" where the release is deployed and healthy, else why it is not.
	Deployed(ctx context.Context, spec ReleaseSpec) (reason string, err error)
	// Owned gives the releases that an environment of a lab has made in a cluster and that stand, whole or half.
	Owned(ctx context.Context, kubeconfig, lab, environment string) ([]OwnedRelease, error)
	// Remove removes the release; one that does not exist is no error.
	Remove(ctx context.Context, spec ReleaseSpec, report event.Report) error
}

// RemoteLocks takes locks that all machines see, beside the states in a backend.
type RemoteLocks interface {
	// Acquire takes the lock beside the state at place. The error is a *stack.HeldError where somebody else holds it; it wraps
	// stack.ErrNoRemoteLock where the backend has none, and stack.ErrNoPlace where the place does not exist yet.
	Acquire(ctx context.Context, place stack.StateBackend, request stack.LockRequest) (*stack.RemoteLock, error)
}

// Deps are the adapters that do the work.
type Deps struct {
	Terraform Terraform
	Shell     Shell
	Resources Resources
	Images    ImageBuilder
	Releases  Releaser
	Hooks     Hooks
	Locks     RemoteLocks // nil: only this machine's lock is taken
	// Pause waits before something is tried again; nil means the clock.
	Pause func(ctx context.Context, d time.Duration) error
}

// Options are of one run.
type Options struct {
	Sink    event.Sink
	Command string // what the lock shows to others, and the way to go on after an interrupt: "labctl up"
	User    string // who runs it, for the lock
	Host    string // on which machine, for the lock

	Selection Selection
	Parallel  int    // stacks at once, where they do not need each other; less than 2 means one by one, by number
	FailFast  bool   // the first failure ends the run
	Direct    bool   // Helm installs what Argo CD would, and takes over what Argo CD has
	Overwrite bool   // what changed in Git alone is lost
	Affected  bool   // leave out stacks whose files, inputs and state did not change, without a look at the world
	Why       bool   // say why a stack is worked on
	Plans     *Plans // where given, these are applied and nothing else
	// MayChange is asked before the first change of each stack; its error keeps the stack as it is. nil allows every change.
	MayChange func(stack string) error
}

// Lab is one environment of a lab.
type Lab struct {
	graph *stack.Graph
	deps  Deps
}

// New gives the lab of a checked graph.
func New(g *stack.Graph, d Deps) *Lab { return &Lab{graph: g, deps: d} }

// The kinds of steps.
const (
	KindTerraform = "terraform"
	KindImage     = "image"
	KindRelease   = "release"
)

// Step is one step of `up`, with how far it got.
type Step struct {
	Name   string    `json:"name"`
	Stack  string    `json:"stack"`
	Kind   string    `json:"kind"`
	State  State     `json:"state"`
	At     time.Time `json:"at,omitzero"`
	Detail string    `json:"detail,omitempty"`
}

// Steps gives the steps of `up` in order, as the journal knows them.
func (l *Lab) Steps() ([]Step, error) {
	j, err := openJournal(l.journalPath())
	if err != nil {
		return nil, err
	}
	var steps []Step
	add := func(name, id, kind string) {
		s := Step{Name: name, Stack: id, Kind: kind, State: Pending}
		if e, ok := j.get(name); ok {
			s.State, s.At, s.Detail = e.State, e.At, e.Detail
		}
		steps = append(steps, s)
	}
	for _, s := range l.graph.Stacks {
		for _, k := range kinds {
			for _, st := range k.steps(s) {
				add(st.id(), s.ID, k.name)
			}
		}
	}
	return steps, nil
}

func (l *Lab) journalPath() string { return filepath.Join(l.graph.Dir, "journal.json") }

// Services gives the names that Ship takes.
func (l *Lab) Services() []string { return l.graph.Services() }

// Output gives one output of a stack, as text: a string as it is, everything else as JSON. The error wraps ErrNotUp
// where the stack has not been applied.
func (l *Lab) Output(ctx context.Context, stackRef, output string) (string, error) {
	s, err := l.graph.Stack(stackRef)
	if err != nil {
		return "", err
	}
	r, err := l.reader()
	if err != nil {
		return "", err
	}
	if s.Backend != nil { // its place can depend on the outputs of others
		err = r.recall(ctx, recorded)
	} else {
		err = r.recallStack(ctx, s, recorded)
	}
	if err != nil {
		return "", err
	}
	v, ok := r.known.Outputs[s.Name][output]
	if !ok {
		return "", fmt.Errorf("output %q of stack %q has no value: %w", output, s.ID, ErrNotUp)
	}
	return stack.Text(v)
}

// Outputs gives the outputs of every stack that stands: name of the stack → output → value, sensitive ones marked. They are
// read from the states, never from a memory of them.
func (l *Lab) Outputs(ctx context.Context) (map[string]map[string]ctyValue, error) {
	r, err := l.reader()
	if err != nil {
		return nil, err
	}
	if err := r.recall(ctx, recorded); err != nil {
		return nil, err
	}
	return r.known.Outputs, nil
}

// reader is a run that changes nothing, takes no lock and says nothing.
func (l *Lab) reader() (*run, error) {
	r := l.newRun(Options{Sink: event.SinkFunc(func(event.Event) {})})
	var err error
	r.journal, err = openJournal(l.journalPath())
	return r, err
}

// Running says which terraforms are at work on the lab.
func (l *Lab) Running() ([]string, error) {
	processes, err := l.deps.Terraform.Running()
	var out []string
	for _, p := range processes {
		out = append(out, fmt.Sprintf("terraform %s is at work on %s (process %d, since %s)", p.Command, p.Stack, p.PID, p.Since.Local().Format("15:04:05")))
	}
	return out, err
}

// Alone does something to what the lab stands on while no other labctl works on it. The error is a *LockedError where one
// does.
func (l *Lab) Alone(ctx context.Context, o Options, do func(ctx context.Context) error) error {
	if _, err := os.Stat(l.graph.Dir); errors.Is(err, fs.ErrNotExist) {
		return ErrNotUp
	}
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return err
	}
	defer r.end()
	return do(ctx)
}

// Exec runs terraform with the user's arguments for one stack, with the stack's directory, variables and state. A stack whose inputs are
// not all known has those of its last run. What may write has the lab's lock. What reads has it while the work directory is made ready, and where
// somebody else has it, reads the directory as it is. The error is nil whenever terraform ran; its exit code is returned.
func (l *Lab) Exec(ctx context.Context, stackRef string, args []string, streams *iostreams.Streams, o Options) (int, error) {
	s, err := l.graph.Stack(stackRef)
	if err != nil {
		return 1, err
	}
	if !s.HasTerraform() {
		return 1, fmt.Errorf("stack %q has no Terraform", s.ID)
	}
	var r *run
	if _, err := os.Stat(l.graph.Dir); errors.Is(err, fs.ErrNotExist) { // nothing is made for what cannot be done
		if _, err := l.graph.Inputs(s, stack.Known{}); errors.Is(err, stack.ErrNotKnown) && !l.findable() {
			return 1, fmt.Errorf("exec %s: %w", s.ID, err)
		}
	}
	var how stack.ExecOptions
	if l.deps.Shell.Writes(args) {
		if ctx, r, err = l.begin(ctx, o); err == nil {
			defer r.end()
		}
	} else {
		if how, err = l.beside(ctx, o); err == nil {
			defer how.Ready()
			r, err = l.reader()
		}
	}
	if err != nil {
		return 1, err
	}
	if err := r.recall(ctx, vouched); err != nil {
		return 1, err
	}
	inputs, notKnown := l.graph.Inputs(s, r.snapshot())
	if notKnown != nil && !errors.Is(notKnown, stack.ErrNotKnown) {
		return 1, notKnown
	}
	w, err := r.work(s, inputs)
	if err != nil {
		return 1, err
	}
	code, err := l.deps.Shell.Exec(ctx, w, args, how, streams)
	if errors.Is(err, stack.ErrNoInputs) {
		err = fmt.Errorf("exec %s: %w", s.ID, notKnown)
	}
	return code, r.secrets.Error(err)
}

// beside takes the lab's lock for the moment in which a command that reads makes a work directory ready. There is nothing to make where a run
// is at work, also one of a terraform whose labctl is dead.
func (l *Lab) beside(ctx context.Context, o Options) (stack.ExecOptions, error) {
	none := stack.ExecOptions{Beside: true, Ready: func() {}}
	me := o.holder()
	me.Brief = true
	lock, err := awaitLock(ctx, l.graph.Dir, me, func(*LockedError) {})
	if held := (*LockedError)(nil); errors.As(err, &held) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	ready := sync.OnceFunc(lock.release)
	running, err := l.deps.Terraform.Running()
	if err != nil || len(running) > 0 {
		ready()
		return none, err
	}
	return stack.ExecOptions{Ready: ready}, nil
}

// Ship builds one service's image, pushes it and upgrades the releases that use it.
func (l *Lab) Ship(ctx context.Context, service string, o Options) error {
	return l.ship(ctx, service, o, func(r *run, i imageStep) error { return i.up(ctx, r) })
}

// ShipImage has a service run an image that is in a registry: it upgrades the releases that use it. The next `labctl up` or
// Ship builds the service from the source again.
func (l *Lab) ShipImage(ctx context.Context, service, ref string, o Options) error {
	return l.ship(ctx, service, o, func(r *run, i imageStep) error {
		if err := r.record(i.id(), entry{}, func(e *entry) error {
			e.Ref, e.Detail = ref, ref
			return nil
		}); err != nil {
			return err
		}
		r.learnImage(i.Name, ref)
		return nil
	})
}

func (l *Lab) ship(ctx context.Context, service string, o Options, renew func(*run, imageStep) error) error {
	s, img := l.findImage(service)
	if img == nil {
		return fmt.Errorf("no service %q; there are: %s", service, strings.Join(l.Services(), ", "))
	}
	if _, err := os.Stat(l.graph.Dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ship %s: %w", service, ErrNotUp)
	}
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return err
	}
	defer r.end()
	if err := r.recall(ctx, vouched); err != nil {
		return r.failed(ctx, err)
	}
	if _, ok := r.known.Images[img.Name]; !ok {
		return fmt.Errorf("ship %s: %w", service, ErrNotUp)
	}
	for _, ref := range img.Refs {
		if reason, err := r.gone(ctx, ref.Stack); err != nil {
			return r.failed(ctx, err)
		} else if reason != "" {
			return fmt.Errorf("ship %s: %s. Run `labctl up`, which repairs it", service, reason)
		}
	}
	if err := renew(r, imageStep{s, img}); err != nil {
		return r.failed(ctx, err)
	}
	r.insist = true
	for _, rel := range s.Releases {
		if slices.Contains(rel.Images, img.Name) {
			if err := (releaseStep{s, rel}).up(ctx, r); err != nil {
				return r.failed(ctx, err)
			}
		}
	}
	return nil
}

func (l *Lab) findImage(name string) (*stack.Stack, *stack.Image) {
	for _, s := range l.graph.Stacks {
		for _, img := range s.Images {
			if img.Name == name {
				return s, img
			}
		}
	}
	return nil, nil
}

// plainValues gives Helm values in plain Go types.
func plainValues(v ctyValue) (map[string]any, error) {
	p, err := stack.Plain(v)
	if err != nil {
		return nil, err
	}
	values, ok := p.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("values are a %T, not an object", p)
	}
	return values, nil
}

// canonical is a stable encoding for hashes.
func canonical(v any) ([]byte, error) { return json.Marshal(v) }
