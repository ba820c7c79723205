package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/secret"
	"github.com/labctl/labctl/pkg/stack"
)

type ctyValue = cty.Value

// run is one command that works on the lab.
type run struct {
	id      string // unique
	lab     *Lab
	options Options
	sink    event.Sink // masks what is sensitive
	secrets *secret.Set
	journal *journal
	lock    *lock
	remote  remoteLocks
	insist  bool // one release is asked for by name
	moves   bool // states are brought to where the stacks' backends say; else they stay where they are
	tally   *tally
	retry   attempts
	logs    *stackLogs
	touched sync.Map // ids of stacks whose before-hooks ran in this run
	empty   sync.Map // ids of stacks that record nothing, as this run has seen or made sure

	mu    sync.Mutex
	known stack.Known
	maybe map[string]map[string]ctyValue // outputs of stacks that were planned in part, for plans in part of later ones
	last  string                         // the step that began last, for the message of an interrupt
}

func (l *Lab) newRun(o Options) *run {
	r := &run{
		id: rand.Text(), lab: l, options: o, secrets: &secret.Set{}, tally: newTally(nil),
		known: stack.Known{Outputs: map[string]map[string]ctyValue{}, Images: map[string]string{}, Why: map[string]string{}},
		retry: attempts{max: l.graph.Lab.Retry.Attempts, wait: l.graph.Lab.Retry.Wait, own: l.graph.Lab.Retry.On, on: slices.Clone(l.graph.Lab.Retry.On), pause: l.deps.Pause},
		logs:  &stackLogs{dir: filepath.Join(l.graph.Dir, "logs"), graph: l.graph},
	}
	if r.retry.pause == nil {
		r.retry.pause = pause
	}
	for _, pattern := range transient {
		r.retry.on = append(r.retry.on, regexp.MustCompile(pattern))
	}
	r.sink = event.SinkFunc(func(e event.Event) {
		e.Run, e.Message, e.Err = r.id, r.secrets.Redact(e.Message), r.secrets.Redact(e.Err)
		r.logs.write(e)
		o.Sink.Emit(e)
	})
	return r
}

// begin takes the lock, opens the journal, waits for what a labctl that is gone has begun, and takes over the states of stacks that
// have another name now. The context is that of the run: it ends when the run loses its remote lock.
func (l *Lab) begin(ctx context.Context, o Options) (context.Context, *run, error) {
	r := l.newRun(o)
	var err error
	me := o.holder()
	waiting := func(by *LockedError) {
		event.For(r.sink, "").Warn("waiting for `%s` of %s (process %d), which makes a stack ready", by.Command, by.User, by.PID)
	}
	if r.lock, err = awaitLock(ctx, l.graph.Dir, me, waiting); err != nil {
		return ctx, nil, err
	}
	ctx = r.remote.begin(ctx, me)
	if dead := r.lock.dead; dead != nil {
		event.For(r.sink, "")(event.Event{Time: time.Now(), Kind: event.Warning,
			Message: fmt.Sprintf("`%s` of %s (process %d) ended in the middle of its work, which it began at %s; this run goes on from there",
				dead.Command, dead.User, dead.PID, dead.Since.Local().Format("15:04:05 on 2 January"))})
	}
	if r.journal, err = openJournal(l.journalPath()); err == nil {
		err = r.takeOver(ctx)
	}
	if err == nil {
		err = r.lockKnownPlace(ctx)
	}
	if err != nil {
		err = r.failed(ctx, err)
		r.end()
		return ctx, nil, err
	}
	return ctx, r, nil
}

func (r *run) takeOver(ctx context.Context) error {
	report := event.For(r.sink, "")
	if err := r.lab.deps.Terraform.Await(ctx, report); err != nil {
		return err
	}
	if err := r.lab.rememberEnvironment(); err != nil {
		return err
	}
	for _, s := range r.lab.graph.Stacks {
		if len(s.MovedFrom) == 0 {
			continue
		}
		from, err := r.lab.deps.Terraform.Rename(s)
		if err != nil {
			return err
		}
		if from == "" {
			continue
		}
		if err := r.journal.rename(from, s.ID); err != nil {
			return err
		}
		report.Line(fmt.Sprintf("the state of %s is that of %s now", from, s.ID))
	}
	return nil
}

func (r *run) end() {
	r.logs.close()
	r.unlockRemote(nil)
	r.remote.cancel(nil)
	r.lock.release()
}

// failed is the error that a run ends with: masked, and for an interrupt with the way to go on.
func (r *run) failed(ctx context.Context, err error) error {
	if err == nil && ctx.Err() == nil {
		return nil
	}
	if ctx.Err() == nil {
		return r.secrets.Error(err)
	}
	r.mu.Lock()
	last := r.last
	r.mu.Unlock()
	why := ctx.Err()
	if lost := (*LockLostError)(nil); errors.As(context.Cause(ctx), &lost) {
		why = r.secrets.Error(lost)
	}
	return fmt.Errorf("interrupted at %s; what is done is kept, and `%s` resumes there: %w", last, r.options.Command, why)
}

// snapshot is what is known now, for expressions to be evaluated with while other stacks learn more.
func (r *run) snapshot() stack.Known {
	r.mu.Lock()
	defer r.mu.Unlock()
	return stack.Known{Outputs: maps.Clone(r.known.Outputs), Images: maps.Clone(r.known.Images), Why: maps.Clone(r.known.Why)}
}

// learn takes note of a stack's outputs and masks the sensitive ones from now on.
func (r *run) learn(name string, outputs map[string]ctyValue) {
	for _, v := range outputs {
		r.secrets.Add(stack.Secrets(v)...)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.Outputs[name] = outputs
	delete(r.known.Why, name)
}

func (r *run) learnImage(name, ref string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.Images[name] = ref
}

// work is what a runner of Terraform needs for s.
func (r *run) work(s *stack.Stack, inputs map[string]ctyValue) (stack.RunRequest, error) {
	for _, v := range inputs {
		r.secrets.Add(stack.Secrets(v)...)
	}
	w := r.request(s)
	w.Inputs = inputs
	wanted, err := r.backend(s)
	w.Backend = r.stay(wanted)
	return w, err
}

func (r *run) request(s *stack.Stack) stack.RunRequest {
	return stack.RunRequest{Stack: s, Root: r.lab.graph.Root, Path: r.lab.graph.Path, Secrets: r.secrets}
}

// stay leaves a state where it is, unless the run moves states.
func (r *run) stay(wanted *stack.StateBackend) *stack.StateBackend {
	if r.moves {
		return wanted
	}
	if wanted == nil {
		return &stack.StateBackend{Keep: true}
	}
	kept := *wanted
	kept.Keep = true
	return &kept
}

// backend says where the state of s lives. One that refers to the stack's own outputs stays where it is until moveState.
func (r *run) backend(s *stack.Stack) (*stack.StateBackend, error) {
	if s.Backend == nil {
		return nil, nil
	}
	if s.Backend.Own {
		config, err := r.lab.graph.FindConfig(s, r.snapshot())
		if errors.Is(err, stack.ErrNotKnown) || err == nil && config == nil {
			return &stack.StateBackend{Keep: true}, nil
		}
		for _, v := range config {
			r.secrets.Add(stack.Secrets(v)...)
		}
		return &stack.StateBackend{Keep: true, Type: s.Backend.Type, Config: config}, err
	}
	config, err := r.lab.graph.BackendConfig(s, r.snapshot())
	if err != nil {
		return nil, err
	}
	for _, v := range config {
		r.secrets.Add(stack.Secrets(v)...)
	}
	return &stack.StateBackend{Type: s.Backend.Type, Config: config}, nil
}

// state reads the state of s. The error wraps fs.ErrNotExist where there is none, also because its backend is not there.
func (r *run) state(ctx context.Context, s *stack.Stack, report event.Report) (*stack.State, error) {
	w, err := r.work(s, nil)
	if errors.Is(err, stack.ErrNotKnown) {
		return nil, fmt.Errorf("read the state of stack %q: %w: %w", s.ID, fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	return r.lab.deps.Terraform.State(ctx, w, report)
}

// trust says which outputs count.
type trust bool

const (
	recorded trust = false // whatever a state holds
	vouched  trust = true  // what a run left that ended well
)

// recall learns the outputs of every stack that stands, and the images that were built.
func (r *run) recall(ctx context.Context, which trust) error {
	for _, s := range r.lab.graph.Stacks {
		if err := r.recallStack(ctx, s, which); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) recallStack(ctx context.Context, s *stack.Stack, which trust) error {
	if s.Orphan { // nothing refers to it, and another stack may have its name now
		return nil
	}
	if !s.HasTerraform() {
		r.learn(s.Name, map[string]ctyValue{})
	}
	for _, st := range stepsOf(s) {
		if err := st.recall(ctx, r, which); err != nil {
			return err
		}
	}
	return nil
}

// withNulls adds the outputs that an apply left without a value: terraform keeps no output that is null.
func withNulls(outputs map[string]ctyValue, declared []string) map[string]ctyValue {
	all := maps.Clone(outputs)
	if all == nil {
		all = map[string]ctyValue{}
	}
	for _, name := range declared {
		if _, has := all[name]; !has {
			all[name] = cty.NullVal(cty.DynamicPseudoType)
		}
	}
	return all
}

// distrustOutputs notes why the outputs of a stack do not count.
func (r *run) distrustOutputs(name, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known.Outputs, name)
	r.known.Why[name] = why
}

// outcome is how a step ended well.
type outcome struct {
	skipped bool
	message string
}

// step runs one step between its events.
func (r *run) step(ctx context.Context, name string, do func(ctx context.Context, report event.Report) (outcome, error)) error {
	r.mu.Lock()
	r.last = name
	r.mu.Unlock()
	start := time.Now()
	emit := func(e event.Event) {
		e.Time, e.Step = time.Now(), name
		r.sink.Emit(e)
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	emit(event.Event{Kind: event.Started})
	out, err := do(ctx, event.For(r.sink, name))
	elapsed := time.Since(start)
	switch {
	case err != nil:
		emit(event.Event{Kind: event.Failed, Err: err.Error(), Elapsed: elapsed})
	case out.skipped:
		emit(event.Event{Kind: event.Skipped, Message: out.message, Elapsed: elapsed})
	default:
		emit(event.Event{Kind: event.Done, Message: out.message, Elapsed: elapsed})
	}
	return err
}

// record runs do between the journal's entries "started" and "done" or "failed".
func (r *run) record(name string, begun entry, do func(e *entry) error) error {
	start := time.Now()
	begun, err := r.begin(name, begun)
	if err != nil {
		return err
	}
	e := begun
	e.State, e.Ref = Done, ""
	if err := do(&e); err != nil {
		return r.recordFailure(name, begun, err)
	}
	e.At = time.Now().UTC()
	return r.journal.finish(name, e, time.Since(start))
}

// unrecord runs undo, which takes a step back. Until it is done the journal does not say any more that the step is: half
// of it may be gone when labctl is killed.
func (r *run) unrecord(name string, undo func() error) error {
	begun, err := r.begin(name, entry{})
	if err != nil {
		return err
	}
	if err := undo(); err != nil {
		return r.recordFailure(name, begun, err)
	}
	return r.journal.remove(name)
}

func (r *run) begin(name string, e entry) (entry, error) {
	before, _ := r.journal.get(name) // its Ref stays the last good one until there is another
	e.State, e.Ref, e.At = Begun, before.Ref, time.Now().UTC()
	return e, r.journal.put(name, e)
}

func (r *run) recordFailure(name string, begun entry, err error) error {
	e := entry{State: Failed, Ref: begun.Ref, At: time.Now().UTC(), Detail: firstLine(r.secrets.Redact(err.Error()))}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*LockLostError)) {
		e.State = Begun
	}
	return errors.Join(err, r.journal.put(name, e))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// stackLogs keeps what images, releases and hooks of a stack say beside what its Terraform says, which writes its own part.
type stackLogs struct {
	dir   string
	graph *stack.Graph

	mu    sync.Mutex
	files map[string]*os.File
}

func (l *stackLogs) path(id string) string { return filepath.Join(l.dir, id+".log") }

func (l *stackLogs) write(e event.Event) {
	id, part, ok := strings.Cut(e.Step, "/")
	text := e.Message
	if e.Kind == event.Failed {
		text = "FAILED: " + e.Err
	}
	if !ok || e.Kind == event.Progress || text == "" && e.Kind != event.Started {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[id]
	if f == nil {
		// A log that cannot be written must not stop the run that it tells of.
		if os.MkdirAll(l.dir, 0o700) != nil {
			return
		}
		var err error
		if f, err = os.OpenFile(l.path(id), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return
		}
		if l.files == nil {
			l.files = map[string]*os.File{}
		}
		l.files[id] = f
	}
	if e.Kind == event.Started {
		text = "started"
	}
	_, _ = fmt.Fprintf(f, "%s %s: %s\n", e.Time.UTC().Format(time.RFC3339), part, text)
}

func (l *stackLogs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.files {
		_ = f.Close()
	}
	l.files = nil
}
