package terraform

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/labctl/labctl/pkg/atomicfile"
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
	// Each directory is made in place of a link of the mirror: through a link one would work in the source.
	if err := m.above(dir, func(rel string) error { return makeDir(filepath.Join(m.tree, rel)) }); err != nil {
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
	return atomicfile.Symlink(to, index)
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
	if err := atomicfile.Write(path, source); err != nil {
		return err
	}
	return atomicfile.Write(note, []byte(want))
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
	return atomicfile.Write(filepath.Join(notesDir(r.options.Dir, s.ID), lockNote), []byte(hash(after)))
}
