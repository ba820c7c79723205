package terraform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/stack"
)

// Of each stack labctl keeps a copy of the files that it was last applied with: a state can be destroyed by them when the stack
// has no files any more, or ones that cannot be evaluated.

func appliedDir(dir, id string) string { return filepath.Join(dir, "applied", id) }

const (
	// currentLink names the copy that counts: a directory beside it, called after the digest of the files.
	currentLink  = "current"
	manifestFile = "manifest.json"
	filesDir     = "files"
)

// manifest says what a copy holds.
type manifest struct {
	Stack   string   `json:"stack"`   // the stack's directory below the copy
	Modules []string `json:"modules"` // those of its local modules
	Files   []string `json:"files"`   // the configuration files, in the engine's order, below Stack
}

// appliedCopy is a copy of what a stack was applied with.
type appliedCopy struct {
	manifest
	files string // the directory that stands for Graph.Root
}

// copyOf gives the copy that a stack's directory belongs to, or nil where it is of the lab's source.
func (r *Runner) copyOf(dir string) *appliedCopy {
	rel, err := filepath.Rel(filepath.Join(r.options.Dir, "applied"), dir)
	if err != nil || strings.HasPrefix(rel, "..") {
		return nil
	}
	parts := strings.Split(rel, string(filepath.Separator))
	if len(parts) < 3 {
		return nil
	}
	c, err := readCopy(filepath.Join(r.options.Dir, "applied", parts[0], parts[1]))
	if err != nil {
		return nil
	}
	return c
}

func readCopy(dir string) (*appliedCopy, error) {
	data, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	c := &appliedCopy{files: filepath.Join(dir, filesDir)}
	if err := json.Unmarshal(data, &c.manifest); err != nil {
		return nil, fmt.Errorf("read %s: %w", filepath.Join(dir, manifestFile), err)
	}
	return c, nil
}

// keepApplied copies the files of a stack before it is applied with them.
func (r *Runner) keepApplied(w stack.RunRequest) error {
	if w.Digest == "" || r.copyOf(w.Stack.Real) != nil {
		return nil
	}
	dir := appliedDir(r.options.Dir, w.Stack.ID)
	current, target := filepath.Join(dir, currentLink), filepath.Join(dir, w.Digest)
	if have, err := os.Readlink(current); err == nil && have == w.Digest {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the files of stack %q: %w", w.Stack.ID, err)
	}
	part, err := os.MkdirTemp(dir, ".new-")
	if err != nil {
		return fmt.Errorf("keep the files of stack %q: %w", w.Stack.ID, err)
	}
	defer func() { _ = os.RemoveAll(part) }() // gone where all went well
	if err := copyApplied(w, part); err != nil {
		return fmt.Errorf("keep the files of stack %q: %w", w.Stack.ID, err)
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	if err := os.Rename(part, target); err != nil {
		return err
	}
	if err := atomicfile.Symlink(w.Digest, current); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // earlier copies
		if name := e.Name(); name != currentLink && name != w.Digest && name != "tree" && filepath.Join(dir, name) != part {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyApplied(w stack.RunRequest, to string) error {
	root := w.Root
	if root == "" {
		root = filepath.Dir(w.Stack.Real)
	}
	var m manifest
	for i, dir := range append([]string{w.Stack.Real}, w.Stack.Modules...) {
		rel, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		skip := func(string) bool { return false }
		if i == 0 {
			m.Stack, skip = rel, func(name string) bool { return ownedByTerraform(name) && name != lockFile }
		} else {
			m.Modules = append(m.Modules, rel)
		}
		if err := copyFiles(dir, filepath.Join(to, filesDir, rel), skip, []string{dir}); err != nil {
			return err
		}
	}
	for _, path := range w.Stack.Files {
		m.Files = append(m.Files, filepath.Base(path))
	}
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(to, manifestFile), append(data, '\n'))
}

// copyFiles copies a directory with the modes of its files, links followed. Above are the directories that it is in, without
// links, so that a link to one of them ends there. Sockets and pipes are no files; what cannot be read is left out.
func copyFiles(from, to string, skip func(name string) bool, above []string) error {
	entries, err := os.ReadDir(from)
	if len(above) > 1 && stack.Unreadable(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		src, dst := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if skip(e.Name()) || e.Name() == ".terraform" || e.Name() == ".git" {
			continue
		}
		info, err := os.Stat(src)
		switch {
		case stack.Unreadable(err):
			continue
		case err != nil:
			return err
		case info.IsDir():
			at, err := filepath.EvalSymlinks(src)
			if err != nil || slices.Contains(above, at) {
				continue //nolint:nilerr // a loop of links is no tree
			}
			if err := copyFiles(src, dst, func(string) bool { return false }, append(above, at)); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			data, err := os.ReadFile(src)
			if stack.Unreadable(err) {
				continue
			}
			if err != nil {
				return err
			}
			if err := os.WriteFile(dst, data, info.Mode().Perm()|0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// Applied gives a stack as it was last applied, from the copy that was kept: its files stand for the stack where it is gone from
// the source. The error wraps fs.ErrNotExist where there is no copy.
func (r *Runner) Applied(id string) (*stack.Stack, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(appliedDir(r.options.Dir, id), currentLink))
	if err != nil {
		return nil, fmt.Errorf("the files of stack %q as they were applied: %w", id, err)
	}
	c, err := readCopy(dir)
	if err != nil {
		return nil, fmt.Errorf("the files of stack %q as they were applied: %w", id, err)
	}
	number, name, _ := stack.IDParts(id)
	s := &stack.Stack{ID: id, Number: number, Name: name, Dir: filepath.Join(c.files, c.Stack), Orphan: true}
	s.Real = s.Dir
	for _, base := range c.Files {
		s.Files = append(s.Files, filepath.Join(s.Dir, base))
	}
	for _, rel := range c.Modules {
		s.Modules = append(s.Modules, filepath.Join(c.files, rel))
	}
	return s, nil
}

// isStackOrModule says whether a directory of a copy was copied as a whole.
func isStackOrModule(dir string) bool {
	for at := dir; ; at = filepath.Dir(at) {
		if filepath.Base(at) == filesDir {
			c, err := readCopy(filepath.Dir(at))
			if err == nil {
				rel, err := filepath.Rel(at, dir)
				return err == nil && (rel == c.Stack || slices.Contains(c.Modules, rel))
			}
		}
		if filepath.Dir(at) == at {
			return false
		}
	}
}

// Stored gives the ids of all stacks that have a work directory here, whether there is a stack of that name or not.
func (r *Runner) Stored() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.options.Dir, "stacks"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the states: %w", err)
	}
	var ids []string
	seen := map[string]bool{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		at, err := filepath.EvalSymlinks(WorkDir(r.options.Dir, e.Name()))
		if err != nil || seen[at] {
			continue //nolint:nilerr // a link that leads nowhere has no state, and one of two links is enough
		}
		seen[at] = true
		ids = append(ids, e.Name())
	}
	// A run that was killed while it moved a work directory leaves one to which no link leads.
	for _, tree := range r.trees() {
		err := filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil //nolint:nilerr // what cannot be read holds no state of ours
			}
			if e.Name() == ".terraform" {
				return fs.SkipDir
			}
			if !seen[path] && (fileExists(filepath.Join(path, stateFile)) || remote(path)) {
				if _, _, ok := stack.IDParts(filepath.Base(path)); ok && !slices.Contains(ids, filepath.Base(path)) {
					ids = append(ids, filepath.Base(path))
					return r.index(filepath.Base(path), path)
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for states: %w", err)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// Discard removes all that is kept of an id without a stack, once its state records nothing.
func (r *Runner) Discard(id string) error {
	r.layout.Lock()
	defer r.layout.Unlock()
	index := WorkDir(r.options.Dir, id)
	if at, err := filepath.EvalSymlinks(index); err == nil {
		if err := os.RemoveAll(at); err != nil {
			return fmt.Errorf("remove what is left of stack %q: %w", id, err)
		}
	}
	for _, path := range []string{index, notesDir(r.options.Dir, id), appliedDir(r.options.Dir, id)} {
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what is left of stack %q: %w", id, err)
		}
	}
	return nil
}

func (r *Runner) trees() []string {
	trees := []string{filepath.Join(r.options.Dir, "tree")}
	more, _ := filepath.Glob(filepath.Join(r.options.Dir, "applied", "*", "tree")) // the pattern is well-formed
	return append(trees, more...)
}

// Rename gives what is known of a stack under a former id to the stack. It is done already where only that one has a state.
func (r *Runner) Rename(s *stack.Stack) (from string, err error) {
	r.layout.Lock()
	defer r.layout.Unlock()
	for _, id := range s.MovedFrom {
		if !r.stands(id) {
			continue
		}
		old, err := filepath.EvalSymlinks(WorkDir(r.options.Dir, id))
		if err != nil {
			return "", fmt.Errorf("take over the state of %q: %w", id, err)
		}
		if now, err := filepath.EvalSymlinks(WorkDir(r.options.Dir, s.ID)); err == nil && now != old && r.stands(s.ID) {
			return "", fmt.Errorf("stack %q has a state of its own, and %q, which it says it was before, has another: destroy one (labctl down %s), or remove moved_from", s.ID, id, id)
		}
		for _, of := range []func(dir, id string) string{notesDir, appliedDir} {
			if !r.stands(s.ID) { // what is there is of no state
				if err := os.RemoveAll(of(r.options.Dir, s.ID)); err != nil {
					return "", fmt.Errorf("take over the state of %q: %w", id, err)
				}
			}
			if err := os.Rename(of(r.options.Dir, id), of(r.options.Dir, s.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
				return "", fmt.Errorf("take over the state of %q: %w", id, err)
			}
		}
		index := WorkDir(r.options.Dir, id)
		if info, err := os.Lstat(index); err == nil && info.IsDir() { // of an earlier labctl
			err = os.Rename(index, WorkDir(r.options.Dir, s.ID))
			if err != nil {
				return "", fmt.Errorf("take over the state of %q: %w", id, err)
			}
			return id, nil
		}
		if err := r.index(s.ID, old); err != nil {
			return "", fmt.Errorf("take over the state of %q: %w", id, err)
		}
		return id, os.Remove(index)
	}
	return "", nil
}

// Records gives the states in an environment's directory that record something; "" means this environment's. Nothing is asked: of a state
// in a backend it is not known how much it records.
func (r *Runner) Records(dir string) ([]stack.Record, error) {
	of := r
	if dir != "" {
		of = New(Options{Dir: dir, Environ: []string{}})
	}
	ids, err := of.Stored()
	if err != nil {
		return nil, err
	}
	var out []stack.Record
	for _, id := range ids {
		if of.inBackend(id) {
			out = append(out, stack.Record{ID: id, Resources: -1})
			continue
		}
		st, err := stack.ReadState(StateFile(of.options.Dir, id))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil: // one that cannot be read may record anything
			out = append(out, stack.Record{ID: id, Resources: -1})
		case len(st.Resources) > 0:
			out = append(out, stack.Record{ID: id, Resources: len(st.Resources)})
		}
	}
	return out, nil
}
