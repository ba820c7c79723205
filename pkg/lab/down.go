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
	if r.lab, err = l.withOrphans(ctx); err != nil {
		return nil, r.failed(ctx, err)
	}
	stacks, err := o.Selection.choose(r.lab.graph, needed)
	if err != nil {
		return nil, err
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
	if err := r.recall(ctx, recorded); err != nil {
		return nil, r.failed(ctx, err)
	}
	slices.Reverse(stacks)
	after := waitsForOrphans(r.lab.graph, reversed(dependencies(r.lab.graph)))
	summary, err := r.over(ctx, start, stacks, after, func(ctx context.Context, s *stack.Stack) error {
		return r.within(ctx, s, "down", func(ctx context.Context) error { return r.unstack(ctx, s) })
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

// unstack takes one stack down: its releases, its Terraform.
func (r *run) unstack(ctx context.Context, s *stack.Stack) error {
	for _, rel := range slices.Backward(s.Releases) {
		if err := r.removeRelease(ctx, s, rel); err != nil {
			return err
		}
	}
	if s.HasTerraform() || s.Orphan {
		if err := r.destroy(ctx, s); err != nil {
			return err
		}
	}
	for _, img := range s.Images {
		if err := r.journal.remove(imageStep(s, img)); err != nil {
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

func (r *run) destroy(ctx context.Context, s *stack.Stack) error {
	if err := r.bringStateBack(ctx, s); err != nil {
		return err
	}
	err := r.step(ctx, s.ID, func(ctx context.Context, report event.Report) (outcome, error) {
		st, err := r.state(ctx, s, report)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return outcome{skipped: true, message: "it was not up"}, r.journal.remove(s.ID)
		case err == nil && st.IsEmpty():
			return outcome{skipped: true, message: "it is down"}, r.journal.remove(s.ID)
		case s.Orphan && !s.HasTerraform():
			record := stack.Record{ID: s.ID, Resources: -1}
			if err == nil {
				record.Resources = len(st.Resources)
			}
			return outcome{}, unplaced(record)
		}
		w, err := r.destruction(s, report)
		if err != nil {
			return outcome{}, err
		}
		if err := r.touch(ctx, s, "down"); err != nil {
			return outcome{}, err
		}
		var changes stack.Changes
		err = r.unrecord(s.ID, func() error {
			return r.retry.try(ctx, report, func() error {
				done, err := r.lab.deps.Terraform.Destroy(ctx, w, report)
				changes.Destroyed += done.Destroyed
				return err
			})
		})
		r.tally.note(s.ID, func(res *Result) { res.Changes = changes })
		if err != nil {
			return outcome{}, fmt.Errorf("destroy stack %q: %w", s.ID, err)
		}
		return outcome{message: changes.String()}, nil
	})
	if err != nil {
		return err
	}
	r.unlockRemote(s) // the stacks that come now may destroy its place
	r.empty.Store(s.ID, true)
	if s.Orphan {
		return r.lab.deps.Terraform.Discard(s.ID)
	}
	return nil
}

// destruction says by what a stack is destroyed: its files and inputs as they are now, else, where those cannot be had, the files and the
// inputs that it was last applied with.
func (r *run) destruction(s *stack.Stack, report event.Report) (stack.RunRequest, error) {
	inputs, err := r.lab.graph.Inputs(s, r.snapshot())
	if err == nil && !s.Orphan {
		return r.work(s, inputs)
	}
	var config *stack.ConfigError
	if err != nil && !errors.Is(err, stack.ErrNotKnown) && !errors.As(err, &config) {
		return stack.RunRequest{}, err
	}
	applied := s
	if !s.Orphan {
		report.Doing("by the files and inputs of its last run: %s", firstLine(r.secrets.Redact(err.Error())))
		kept, copied := r.lab.deps.Terraform.Applied(s.ID)
		switch {
		case copied == nil:
			applied = kept
		case !errors.Is(copied, fs.ErrNotExist):
			return stack.RunRequest{}, copied
		case config != nil: // nothing was kept, and what there is cannot be used
			return stack.RunRequest{}, err
		}
	}
	w := r.request(applied)
	w.Backend = r.stay(nil)
	return w, nil
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
