package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/stack"
)

// Down takes the chosen stacks down, in reverse, and with the last of them the lab's state directory. It may be run again
// at any time, on a lab that is half made, half gone, or was never up. Errors are as those of Up.
func (l *Lab) Down(ctx context.Context, o Options) (*Summary, error) {
	start := time.Now()
	if _, err := os.Stat(l.graph.Dir); errors.Is(err, fs.ErrNotExist) && !l.findable() {
		event.For(o.Sink, "down")(event.Event{Time: time.Now(), Kind: event.Skipped, Message: "the lab is not up"})
		return &Summary{Command: o.Command}, removeLeftovers(filepath.Dir(l.graph.Dir))
	}
	ctx, r, err := l.begin(ctx, o)
	if err != nil {
		return nil, err
	}
	defer r.end()
	if err := r.recall(ctx, recorded); err != nil {
		return nil, r.failed(ctx, err)
	}
	strays := r.lookForStrays(ctx)
	if r.lab, err = l.withOrphans(ctx, strays); err != nil {
		return nil, r.failed(ctx, err)
	}
	stacks, err := o.Selection.choose(r.lab.graph, needed)
	if err != nil {
		return nil, err
	}
	if err := inUse(r.lab.graph, stacks); err != nil {
		return nil, r.failed(ctx, err)
	}
	elsewhere, err := l.Orphans()
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	for _, o := range elsewhere {
		if o.Environment != "" {
			event.For(r.sink, "").Warn("%s", o)
		}
	}
	slices.Reverse(stacks)
	after := waitsForOrphans(r.lab.graph, reversed(dependencies(r.lab.graph)))
	summary, err := r.over(ctx, start, course{
		stacks: stacks, after: after,
		do: func(ctx context.Context, s *stack.Stack) error {
			return r.within(ctx, s, "down", func(ctx context.Context) error { return r.unstack(ctx, s) })
		},
		first: func(ctx context.Context) error {
			return r.removeStrays(ctx, strays, "down", func(stray Stray) bool { return among(stacks, stray.Stack) })
		},
	})
	if err != nil || !o.Selection.Whole() {
		return summary, err
	}
	err = r.step(ctx, "cleanup", func(ctx context.Context, report event.Report) (outcome, error) {
		if err := l.deps.Resources.Sweep(ctx, report); err != nil {
			return outcome{}, err
		}
		if err := r.ensureNothingRecorded(ctx); err != nil {
			return outcome{}, err
		}
		r.logs.close()
		return outcome{message: "nothing is left"}, removeState(l.graph.Dir, "/proc/self/mountinfo")
	})
	summary.Elapsed = time.Since(start)
	return summary, r.failed(ctx, err)
}

// inUse refuses to take a cluster away from the environments that are in it.
func inUse(g *stack.Graph, stacks []*stack.Stack) error {
	for _, s := range stacks {
		if names := g.InCluster(); s.HasCluster && len(names) > 0 {
			return fmt.Errorf("stack %q has the cluster of environment %s, too: take that down first, with `labctl down -e %s`", s.ID, strings.Join(names, " and "), names[0])
		}
	}
	return nil
}

// ensureNothingRecorded refuses to go on while a state records resources: what a state records is never forgotten.
func (r *run) ensureNothingRecorded(ctx context.Context) error {
	records, err := r.lab.deps.Terraform.Records("")
	if err != nil {
		return err
	}
	for _, record := range records {
		if _, destroyed := r.empty.Load(record.ID); destroyed {
			continue
		}
		if record.Resources < 0 { // in a backend, which has to be asked
			s, err := r.lab.graph.Stack(record.ID)
			if err != nil {
				return unplaced(record)
			}
			st, err := r.state(ctx, s, nil)
			if errors.Is(err, fs.ErrNotExist) || err == nil && len(st.Resources) == 0 {
				continue
			}
			if err != nil {
				return err
			}
			record.Resources = len(st.Resources)
		}
		return fmt.Errorf("the state of %s is kept, although its stack is down", record)
	}
	return nil
}

// findable says whether the lab may be up by another machine's doing.
func (l *Lab) findable() bool {
	return slices.ContainsFunc(l.graph.Stacks, func(s *stack.Stack) bool {
		return s.Backend != nil && s.Backend.Find != nil && len(s.Backend.Find.Missing()) == 0
	})
}

// unstack takes one stack down.
func (r *run) unstack(ctx context.Context, s *stack.Stack) error {
	for _, st := range slices.Backward(stepsOf(s)) {
		if err := st.down(ctx, r); err != nil {
			return err
		}
	}
	if err := r.afterwards(ctx, s, "down"); err != nil {
		return err
	}
	for _, h := range s.Hooks {
		if err := r.journal.remove(hookStep(s, h)); err != nil {
			return err
		}
	}
	return nil
}

// removeState removes the state directory, and .lab where no other environment lives in it. It refuses while something
// is mounted below, because what is mounted is not ours to delete. mountinfo is /proc/self/mountinfo.
func removeState(dir, mountinfo string) error {
	mounts, err := os.Open(mountinfo)
	if err == nil {
		defer mounts.Close() //nolint:errcheck // opened to read
		for lines := bufio.NewScanner(mounts); lines.Scan(); {
			fields := strings.Fields(lines.Text())
			if len(fields) > 4 && strings.HasPrefix(unescape(fields[4]), dir+string(filepath.Separator)) {
				return fmt.Errorf("remove the lab's state %s: %s is still mounted; unmount it (umount %s) and run `labctl down` again", dir, unescape(fields[4]), fields[4])
			}
		}
	}
	// In one step it is out of the way of an `up` that begins now: deleting file by file would delete what that one makes.
	root := filepath.Dir(dir)
	away, err := os.MkdirTemp(root, removedPrefix)
	if err != nil {
		return fmt.Errorf("remove the lab's state: %w", err)
	}
	if err := os.Rename(dir, filepath.Join(away, "state")); err != nil {
		return fmt.Errorf("remove the lab's state: %w", errors.Join(err, os.Remove(away)))
	}
	if err := os.RemoveAll(away); err != nil {
		return fmt.Errorf("remove the lab's state: %w", err)
	}
	return removeLeftovers(root)
}

// removedPrefix begins the names of state directories that are being removed.
const removedPrefix = ".removed-"

// removeLeftovers removes what a `down` that was killed in its last moment had no time for, and .lab where nothing else
// lives in it.
func removeLeftovers(root string) error {
	leftovers, err := filepath.Glob(filepath.Join(root, removedPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for leftovers in %s: %w", root, err)
	}
	for _, path := range leftovers {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the lab's state: %w", err)
		}
	}
	_ = os.Remove(root) // fails while other environments are there, which is right
	return nil
}

// unescape undoes the octal escapes of /proc/self/mountinfo (proc(5)).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
