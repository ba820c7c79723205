package status

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"
)

// DefaultTimeout bounds each question that a source asks, where it says nothing else.
const DefaultTimeout = 3 * time.Second

const (
	publishEvery = 100 * time.Millisecond // what changes faster is told together
	againAfter   = 2 * time.Second        // a source that failed is asked again
	silentFor    = 40 * time.Second       // a source that said nothing at all by then is unknown
)

// Update changes a source's part of the snapshot that comes next. The change must not keep the snapshot, and replaces what
// it changes: earlier snapshots refer to the same slices.
type Update func(change func(*Snapshot))

// Follower knows one part of a lab.
type Follower struct {
	Name string
	// Follow updates its part, first as soon as it can and then whenever that changes, until ctx ends. An error says that
	// nothing is known of it now. It is called again a little later.
	Follow func(ctx context.Context, update Update) error
	// Beside says that a lab may be up while nothing is known of this.
	Beside bool
}

// Sources are what snapshots are made of.
type Sources struct {
	Lab, Environment, Target string
	Followers                []Follower
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Complete says whether all sources have told what they know, or why they do not.
func (s *Snapshot) Complete() bool {
	for _, src := range s.Sources {
		if src.State == Working {
			return false
		}
	}
	return true
}

// Watch follows a lab until ctx ends, which closes the channel. The first snapshot comes at once, with what is known by
// then, which may be nothing. A reader that is slow misses snapshots, and never the last one.
func Watch(ctx context.Context, from Sources) <-chan *Snapshot {
	w := &watcher{now: from.Now, changed: make(chan struct{}, 1)}
	if w.now == nil {
		w.now = time.Now
	}
	w.next = Snapshot{Version: SchemaVersion, Lab: from.Lab, Environment: from.Environment, Target: from.Target, Stacks: []Stack{}, Sources: []Source{}}
	for _, f := range from.Followers {
		w.next.Sources = append(w.next.Sources, Source{f.Name, Condition{State: Working, Since: w.now().UTC(), Reason: "it has not answered yet"}, f.Beside})
	}
	for i, f := range from.Followers {
		go w.follow(ctx, i, f)
	}
	out := make(chan *Snapshot, 1)
	go func() {
		defer close(out)
		w.publish(ctx, out)
	}()
	return out
}

// Collect gives the first complete snapshot.
func Collect(ctx context.Context, from Sources) *Snapshot {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var last *Snapshot
	for s := range Watch(ctx, from) {
		if last == nil || !last.Complete() {
			last = s
		}
		if s.Complete() {
			cancel()
		}
	}
	return last
}

type watcher struct {
	now     func() time.Time
	changed chan struct{}

	mu   sync.Mutex
	next Snapshot
}

// update changes the snapshot that comes next.
func (w *watcher) update(change func(*Snapshot)) {
	w.mu.Lock()
	w.next.At = w.now().UTC()
	change(&w.next)
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// is notes how a source does.
func (w *watcher) is(source int, state State, reason string) {
	w.update(func(s *Snapshot) {
		if now := s.Sources[source]; now.State == state && now.Reason == reason {
			return
		}
		s.Sources = slices.Clone(s.Sources)
		s.Sources[source].become(s.At, state, reason)
	})
}

// follow keeps one source's part up to date.
func (w *watcher) follow(ctx context.Context, source int, f Follower) {
	silent := time.AfterFunc(silentFor, func() { w.is(source, Unknown, f.Name+": "+noAnswer) })
	defer silent.Stop()
	for ctx.Err() == nil {
		err := f.guarded(ctx, func(change func(*Snapshot)) {
			silent.Stop()
			w.update(change)
			w.is(source, Up, "")
		})
		if ctx.Err() != nil {
			return
		}
		silent.Stop()
		w.is(source, Unknown, brief(err))
		_ = sleep(ctx, againAfter)
	}
}

// guarded is Follow that ends with an error where it panics: a source that is broken must not take the screen along.
func (f Follower) guarded(ctx context.Context, update Update) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: panic: %v", f.Name, p)
		}
	}()
	return f.Follow(ctx, update)
}

// publish gives snapshots as they change. The last one waits for its reader.
func (w *watcher) publish(ctx context.Context, out chan *Snapshot) {
	var last Snapshot
	for {
		w.mu.Lock()
		s := w.next
		w.mu.Unlock()
		s.judge()
		last.At = s.At
		if !reflect.DeepEqual(s, last) { // sources that look again and again mostly see the same
			last = s
			s.At = w.now().UTC()
			select {
			case <-out: // nobody wants it any more
			default:
			}
			out <- &s
		}
		if sleep(ctx, publishEvery) != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		}
	}
}

// sleep lets some time pass. Its error says that ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

const noAnswer = "no answer in time"

// brief gives an error's first line, for a table.
func brief(err error) string {
	if err == nil {
		return "it ended"
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return noAnswer
	}
	text, _, _ := strings.Cut(err.Error(), "\n")
	return text
}

// within ends at the end of ctx even where ask does not: ServerVersion takes no context, and a client that gets its token
// from another program (as kubelogin's users do) waits for that program.
func within[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	ch := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil { // as guarded does; this goroutine is not under it
				a.err = fmt.Errorf("panic: %v", p)
			}
			ch <- a
		}()
		a.value, a.err = ask()
	}()
	select {
	case a := <-ch:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
