package terraform

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/labctl/labctl/pkg/stack"
)

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
func (m mirror) around(dir string) error { return m.above(dir, m.level) }

// above does something with each directory of the mirror that a work directory is in, the outermost first.
func (m mirror) above(dir string, do func(rel string) error) error {
	rel, err := filepath.Rel(m.tree, filepath.Dir(dir))
	if err != nil {
		return err
	}
	if err := do("."); err != nil || rel == "." {
		return err
	}
	at := "."
	for part := range strings.SplitSeq(rel, string(filepath.Separator)) {
		at = filepath.Join(at, part)
		if err := do(at); err != nil {
			return err
		}
	}
	return nil
}

// level links the entries of one directory, and removes links to what is gone.
func (m mirror) level(rel string) error {
	dst := filepath.Join(m.tree, rel)
	if err := makeDir(dst); err != nil {
		return err
	}
	have, err := m.handBack(rel)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for i, root := range m.roots {
		src := filepath.Join(root, rel)
		entries, err := os.ReadDir(src)
		if err != nil { // one that may not be listed, or that only the other root has
			continue
		}
		for _, e := range entries {
			name := e.Name()
			from := filepath.Join(src, name)
			if from == m.avoid || wanted[name] {
				continue
			}
			wanted[name] = true
			if i == 0 && len(m.roots) > 1 && e.IsDir() && !isStackOrModule(from) {
				// A directory above what was copied: what is beside it there comes from the second root.
				if err := m.level(filepath.Join(rel, name)); err != nil {
					return err
				}
				continue
			}
			if kind, there := have[name]; there && kind&fs.ModeSymlink == 0 {
				continue // a directory that leads to a work directory, or is one; or a file that the source does not take
			}
			if err := link(from, filepath.Join(dst, name)); err != nil {
				return err
			}
		}
	}
	for name, kind := range have {
		if kind&fs.ModeSymlink != 0 && !wanted[name] {
			if err := os.Remove(filepath.Join(dst, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// handBack moves the files that a run has written in a directory of the mirror to the source, also one in place of a link, as editors and
// atomic writes make. It gives the types of what is in the directory then. A file that the source does not take stays.
func (m mirror) handBack(rel string) (map[string]fs.FileMode, error) {
	dst := filepath.Join(m.tree, rel)
	entries, err := os.ReadDir(dst)
	if err != nil {
		return nil, err
	}
	have := make(map[string]fs.FileMode, len(entries))
	for _, e := range entries {
		have[e.Name()] = e.Type()
		if !e.Type().IsRegular() {
			continue
		}
		path, to := filepath.Join(dst, e.Name()), m.sourceOf(filepath.Join(rel, e.Name()))
		if moveFile(path, to) != nil {
			continue
		}
		if err := link(to, path); err != nil {
			return nil, err
		}
		have[e.Name()] = fs.ModeSymlink
	}
	return have, nil
}

// sourceOf gives the place in the source of what lies at rel in the mirror. What is new belongs to the lab's source.
func (m mirror) sourceOf(rel string) string {
	for _, root := range m.roots {
		if _, err := os.Lstat(filepath.Join(root, rel)); err == nil {
			return filepath.Join(root, rel)
		}
	}
	return filepath.Join(m.roots[len(m.roots)-1], rel)
}

// link makes a link to from at path, in place of a link that leads elsewhere.
func link(from, path string) error {
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
	}
	return os.Symlink(to, path)
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

// mirrorBack hands to the source what a run has written beside the work directory.
func (r *Runner) mirrorBack(w stack.RunRequest, dir string) error {
	r.layout.Lock()
	defer r.layout.Unlock()
	m := r.mirror(w)
	return m.above(dir, func(rel string) error {
		_, err := m.handBack(rel)
		return err
	})
}
