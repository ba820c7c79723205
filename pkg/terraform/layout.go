package terraform

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/stack"
)

// What lies in an environment's state directory (docs/adr/0010):
//
//	stacks/<id>     a link to the stack's work directory: where terraform runs, with the state
//	tree/           a mirror of the lab's source, made of links, in which the work directories lie where the stacks do
//	applied/<id>/   a copy of the files that the stack was last applied with
//	run/<id>/       labctl's own notes about the stack: its inputs, marks, the process that runs

// WorkDir is where the stack with this id runs and keeps its state.
func WorkDir(dir, id string) string { return filepath.Join(dir, "stacks", id) }

// StateFile is the state of the stack with this id.
func StateFile(dir, id string) string { return filepath.Join(WorkDir(dir, id), stateFile) }

func notesDir(dir, id string) string { return filepath.Join(dir, "run", id) }

const (
	stateFile = "terraform.tfstate"
	lockFile  = ".terraform.lock.hcl"
	// Names of notes.
	inputsNote = "inputs.tfvars.json" // the values of the stack's variables
	initNote   = "init"               // what the last terraform init was run for
	goodNote   = "good.tfstate"       // the last state that was whole
	lockNote   = "lock"               // the hash of the source's lock file that the work directory's one began as
	planNote   = "plan"               // a plan, there for as long as it is made
)

// ownedByTerraform says whether a file at the top of a work directory is written by terraform itself, or by a run of labctl, so
// that one of that name in the stack's source is another's: of a terraform that was run there by hand.
func ownedByTerraform(name string) bool {
	return name == ".terraform" || name == lockFile || name == backendFile || name == "errored.tfstate" ||
		strings.HasPrefix(name, "terraform.tfstate") || strings.HasPrefix(name, ".terraform.tfstate")
}

// arrange makes the work directory of a request ready: in its place, with links to all that its source holds. It gives the
// directory without links, in which terraform has to run so that ".." leads to the mirror.
func (r *Runner) arrange(w stack.RunRequest) (string, error) {
	r.layout.Lock()
	defer r.layout.Unlock()
	if err := os.MkdirAll(notesDir(r.options.Dir, w.Stack.ID), 0o700); err != nil {
		return "", fmt.Errorf("make the directory for notes: %w", err)
	}
	m := r.mirror(w)
	dir := m.workDir(w.Stack)
	if err := makeDirs(m.tree, filepath.Dir(dir)); err != nil {
		return "", fmt.Errorf("mirror the lab's source: %w", err)
	}
	if err := r.relocate(w.Stack, dir); err != nil {
		return "", fmt.Errorf("make the work directory of stack %q: %w", w.Stack.ID, err)
	}
	if err := m.around(dir); err != nil {
		return "", fmt.Errorf("mirror the lab's source: %w", err)
	}
	if err := linkTree(w.Stack.Real, dir, "", ownedByTerraform); err != nil {
		return "", fmt.Errorf("link the files of %s: %w", w.Path(w.Stack.Dir), err)
	}
	return dir, r.lockFile(w.Stack, dir)
}

// mirror is a tree of links to a source. Where it has two, the first comes before the second: a copy of files that were applied
// before what there is now.
type mirror struct {
	tree  string
	roots []string // absolute, without links
	avoid string   // a directory that links must not lead to: the one that the tree lies in
}

func (r *Runner) mirror(w stack.RunRequest) mirror {
	root := w.Root
	if root == "" {
		root = filepath.Dir(w.Stack.Real)
	}
	m := mirror{tree: filepath.Join(r.options.Dir, "tree"), roots: []string{root}, avoid: filepath.Dir(r.options.Dir)}
	if copied := r.copyOf(w.Stack.Real); copied != nil {
		m.tree = filepath.Join(appliedDir(r.options.Dir, w.Stack.ID), "tree")
		m.roots = []string{copied.files, root}
	}
	return m
}

// workDir is the place of a stack in the mirror. It is called by the stack's id, so that two stacks which are links to one
// directory do not meet.
func (m mirror) workDir(s *stack.Stack) string {
	rel, err := filepath.Rel(m.roots[0], filepath.Dir(s.Real))
	if err != nil || strings.HasPrefix(rel, "..") {
		rel = "elsewhere"
	}
	return filepath.Join(m.tree, rel, s.ID)
}

// around links what lies beside a work directory and beside each directory above it, and hands to the source what a run has
// written there: terraform by hand would have written it there.
func (m mirror) around(dir string) error {
	rel, err := filepath.Rel(m.tree, filepath.Dir(dir))
	if err != nil {
		return err
	}
	parts := append([]string{"."}, strings.Split(rel, string(filepath.Separator))...)
	at := "."
	for i, part := range parts {
		if at = filepath.Join(at, part); i > 0 && part == "." {
			continue
		}
		if err := m.level(at); err != nil {
			return err
		}
	}
	return nil
}

// level links the entries of one directory.
func (m mirror) level(rel string) error {
	dst := filepath.Join(m.tree, rel)
	if info, err := os.Lstat(dst); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(dst); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dst, 0o700); err != nil {
		return err
	}
	var wanted []string
	for i, root := range m.roots {
		src := filepath.Join(root, rel)
		entries, err := os.ReadDir(src)
		if err != nil { // one that may not be listed, or that only the other root has
			continue
		}
		for _, e := range entries {
			name := e.Name()
			from := filepath.Join(src, name)
			if from == m.avoid || slices.Contains(wanted, name) {
				continue
			}
			wanted = append(wanted, name)
			if i == 0 && len(m.roots) > 1 && e.IsDir() && !isStackOrModule(from) {
				// A directory above what was copied: what is beside it there comes from the second root.
				if err := m.level(filepath.Join(rel, name)); err != nil {
					return err
				}
				continue
			}
			if err := m.link(from, filepath.Join(dst, name)); err != nil {
				return err
			}
		}
	}
	return m.reconcile(rel, dst, wanted)
}

// link makes a link to from at path, unless a directory of the mirror is there.
func (m mirror) link(from, path string) error {
	to, err := filepath.Rel(filepath.Dir(path), from)
	if err != nil {
		return err
	}
	have, err := os.Readlink(path)
	switch {
	case err == nil && have == to:
		return nil
	case err == nil: // of another time
		if err := os.Remove(path); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		info, err := os.Lstat(path)
		if err != nil || info.IsDir() {
			return err // a directory that leads to a work directory, or is one
		}
		// A run replaced the link by a file, as editors and atomic writes do: that file is the source's new content.
		return moveFile(path, from)
	}
	return os.Symlink(to, path)
}

// reconcile removes links to what is gone, and moves what a run wrote beside the work directories into the source.
func (m mirror) reconcile(rel, dst string, wanted []string) error {
	entries, err := os.ReadDir(dst)
	if err != nil {
		return err
	}
	src := filepath.Join(m.roots[len(m.roots)-1], rel)
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(dst, name)
		switch {
		case slices.Contains(wanted, name):
		case e.Type()&fs.ModeSymlink != 0:
			if err := os.Remove(path); err != nil {
				return err
			}
		case e.Type().IsRegular():
			if err := moveFile(path, filepath.Join(src, name)); err == nil {
				err = m.link(filepath.Join(src, name), path)
				if err != nil {
					return err
				}
			} // a source that cannot be written keeps it here
		}
	}
	return nil
}

// moveFile moves a file, also to another file system.
func moveFile(from, to string) error {
	if err := os.Rename(from, to); err == nil {
		return nil
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, info.Mode().Perm())
	}
	if err == nil {
		err = os.Remove(from)
	}
	return err
}

// linkTree makes links in dst, which lies at below in the work directory, to the files below src, and directories for its directories, so that a file which a run makes stays
// in dst. Links that it made before and that lead nowhere now are removed; what else is there stays.
func linkTree(src, dst, below string, skip func(name string) bool) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o700); err != nil {
		return err
	}
	if at, err := filepath.EvalSymlinks(dst); err != nil || at != dst {
		return fmt.Errorf("%s is not where it seems to be (%s): nothing was linked", dst, at)
	}
	back, err := filepath.Rel(dst, src)
	if err != nil {
		return err
	}
	wanted := make(map[string]bool, len(entries))
	for _, e := range entries {
		name := e.Name()
		if skip(name) || name == ".terraform" {
			continue
		}
		wanted[name] = true
		path := filepath.Join(dst, name)
		if e.IsDir() {
			if err := makeWay(path, fs.ModeDir); err != nil {
				return err
			}
			if err := linkTree(filepath.Join(src, name), path, filepath.Join(below, name), func(string) bool { return false }); err != nil {
				return err
			}
			continue
		}
		to := filepath.Join(back, name)
		if have, err := os.Readlink(path); err == nil && have == to {
			continue
		}
		if err := makeWay(path, fs.ModeSymlink); err != nil {
			return err
		}
		if err := os.Symlink(to, path); err != nil {
			return err
		}
	}
	return removeStaleLinks(dst, below, wanted)
}

// makeWay takes what is at path out of the way of what the source has there, unless it is a directory and want is one, too. A
// link is removed. What a run made keeps its content under another name.
func makeWay(path string, want fs.FileMode) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir() && want == fs.ModeDir:
		return nil
	case info.Mode()&fs.ModeSymlink != 0:
		return os.Remove(path)
	}
	return os.Rename(path, path+".replaced")
}

// removeStaleLinks removes links out of the work directory to what the source has no more. Below is where dst lies in it. A link
// that stays inside is not ours.
func removeStaleLinks(dst, below string, wanted map[string]bool) error {
	entries, err := os.ReadDir(dst)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dst, e.Name())
		switch {
		case wanted[e.Name()]:
		case e.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			if err == nil && !filepath.IsAbs(to) && strings.HasPrefix(filepath.Join(below, to), "..") {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		case e.IsDir() && e.Name() != ".terraform":
			if err := removeStaleLinks(path, filepath.Join(below, e.Name()), nil); err != nil {
				return err
			}
			_ = os.Remove(path) // fails where a run has put something there
		}
	}
	return nil
}

// relocate brings the work directory of a stack to dir, wherever it was: under one of its former ids, at another place of the
// mirror, or where earlier versions of labctl had it. The link in stacks/ tells where that is; a run that was killed here finds it again
// by Stored.
func (r *Runner) relocate(s *stack.Stack, dir string) error {
	index := WorkDir(r.options.Dir, s.ID)
	if err := os.MkdirAll(filepath.Dir(index), 0o700); err != nil {
		return err
	}
	if at, err := os.Readlink(index); err == nil && filepath.Join(filepath.Dir(index), at) == dir {
		return makeDir(dir)
	}
	home := r.home(s)
	was, err := filepath.EvalSymlinks(WorkDir(r.options.Dir, home))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeDir(dir); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		if info, err := os.Lstat(dir); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if err := os.Remove(dir); err != nil { // of the mirror
				return err
			}
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return err
		}
		if was != dir {
			_ = os.Remove(dir) // an empty one; else the next line says what is wrong
			if err := os.Rename(was, dir); err != nil {
				return err
			}
		}
		if err := takeOverOldLayout(dir, notesDir(r.options.Dir, s.ID)); err != nil {
			return err
		}
	}
	return r.index(s.ID, dir)
}

// makeDirs makes each directory from tree down to dir, in place of links of the mirror: through a link one would work in the source.
func makeDirs(tree, dir string) error {
	rel, err := filepath.Rel(tree, dir)
	if err != nil {
		return err
	}
	at := tree
	for _, part := range append([]string{"."}, strings.Split(rel, string(filepath.Separator))...) {
		at = filepath.Join(at, part)
		if err := makeDir(at); err != nil {
			return err
		}
	}
	return nil
}

// makeDir makes a directory in place of a link of the mirror.
func makeDir(dir string) error {
	info, err := os.Lstat(dir)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(dir); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o700)
}

// index makes the link in stacks/ that leads to a work directory, in one step.
func (r *Runner) index(id, dir string) error {
	index := WorkDir(r.options.Dir, id)
	to, err := filepath.Rel(filepath.Dir(index), dir)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(index); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory, and a link is wanted", index)
	}
	tmp := filepath.Join(filepath.Dir(index), ".new-"+id)
	_ = os.Remove(tmp)
	if err := os.Symlink(to, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, index)
}

// takeOverOldLayout sorts what a work directory of an earlier labctl holds: its notes go to notes, and the copies of the
// stack's files go, because links take their place.
func takeOverOldLayout(dir, notes string) error {
	moved := map[string]string{
		"labctl.auto.tfvars.json": inputsNote, ".labctl-backend": backendNote, ".labctl-moving": movingNote, ".labctl-left.json": leftNote,
		"terraform.tfstate.good": goodNote, ".labctl-init": "", "labctl.tfplan": "",
	}
	if _, err := os.Lstat(filepath.Join(dir, "labctl.auto.tfvars.json")); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(dir, ".labctl-init")); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
	}
	if err := os.MkdirAll(notes, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // the notes last: they tell that this is still to be done
		if _, note := moved[e.Name()]; !note && !ownedByTerraform(e.Name()) {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for name, to := range moved {
		path := filepath.Join(dir, name)
		if to == "" {
			err = removeFile(path)
		} else if err = os.Rename(path, filepath.Join(notes, to)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// home is the id under which the stack's state is: its own, or a former one where only that has a state.
func (r *Runner) home(s *stack.Stack) string {
	if r.stands(s.ID) {
		return s.ID
	}
	for _, id := range s.MovedFrom {
		if r.stands(id) {
			return id
		}
	}
	return s.ID
}

// stands says whether there is a state of that id, here or in a backend.
func (r *Runner) stands(id string) bool {
	return fileExists(StateFile(r.options.Dir, id)) || r.inBackend(id)
}

// lockFile gives the work directory the lock file of the source, unless what terraform init made of that one is there already.
func (r *Runner) lockFile(s *stack.Stack, dir string) error {
	path, note := filepath.Join(dir, lockFile), filepath.Join(notesDir(r.options.Dir, s.ID), lockNote)
	source, err := os.ReadFile(filepath.Join(s.Real, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // terraform makes one, and it stays in the work directory
	}
	if err != nil {
		return fmt.Errorf("read the lock file of stack %q: %w", s.ID, err)
	}
	want := hash(source)
	if have, err := os.ReadFile(note); err == nil && string(have) == want && fileExists(path) {
		return nil
	}
	if err := writeFile(path, source); err != nil {
		return err
	}
	return writeFile(note, []byte(want))
}

// keepLockFile gives the source the lock file that a command of the user has written, as terraform by hand would have.
func (r *Runner) keepLockFile(s *stack.Stack, dir string, before []byte) error {
	after, err := os.ReadFile(filepath.Join(dir, lockFile))
	if err != nil || bytes.Equal(before, after) {
		return nil //nolint:nilerr // there is none to keep
	}
	if err := os.WriteFile(filepath.Join(s.Real, lockFile), after, 0o644); err != nil { //nolint:gosec // it is committed, and holds no secret
		return fmt.Errorf("write the lock file beside the stack: %w", err)
	}
	return writeFile(filepath.Join(notesDir(r.options.Dir, s.ID), lockNote), []byte(hash(after)))
}

// mirrorBack hands to the source what a run has written beside the work directory.
func (r *Runner) mirrorBack(w stack.RunRequest, dir string) error {
	r.layout.Lock()
	defer r.layout.Unlock()
	return r.mirror(w).around(dir)
}
