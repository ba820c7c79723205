package terraform

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/stack"
)

const (
	// varFile is loaded by every terraform command that takes variables, so that `labctl exec` needs no flags.
	varFile   = "labctl.auto.tfvars.json"
	initMark  = ".labctl-init"
	stateFile = "terraform.tfstate"
	goodState = "terraform.tfstate.good"
)

// StateFile is the state of the stack with this id.
func StateFile(dir, id string) string { return filepath.Join(WorkDir(dir, id), stateFile) }

// own says whether name, relative to the working directory, is not a copy of the stack's files but belongs to the runs.
func own(name string) bool {
	return name == varFile || name == initMark || name == planFile || name == backendFile || name == backendMark || name == movingMark || name == leftFile || name == ".terraform.lock.hcl" ||
		strings.HasPrefix(name, "terraform.tfstate") || strings.HasPrefix(name, ".terraform.tfstate") || name == ".terraform" || name == "errored.tfstate"
}

// prepare makes the working directory a copy of the stack's files, and writes the values of its variables beside them.
func prepare(dir string, w stack.RunRequest) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the working directory: %w", err)
	}
	keep, err := copyTree(w.Stack.Dir, dir)
	if err != nil {
		return fmt.Errorf("copy %s: %w", w.Path(w.Stack.Dir), err)
	}
	if err := removeOthers(dir, keep); err != nil {
		return fmt.Errorf("tidy the working directory: %w", err)
	}
	if w.Inputs == nil {
		return nil
	}
	object := cty.EmptyObjectVal
	if len(w.Inputs) > 0 {
		object = cty.ObjectVal(w.Inputs)
	}
	values, err := stack.JSON(object)
	if err != nil {
		return fmt.Errorf("encode the variables: %w", err)
	}
	return writeFile(filepath.Join(dir, varFile), values)
}

// copyTree copies what changed of the stack's files and gives the names that belong into dir.
func copyTree(from, to string) (map[string]bool, error) {
	keep := map[string]bool{}
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil || name == "." {
			return err
		}
		if own(name) && name != ".terraform.lock.hcl" || name == "stack.hcl" {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		keep[name] = true
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if !e.Type().IsRegular() {
			info, err := os.Stat(path) // follow a link to a file; leave links to directories and devices out
			if err != nil || !info.Mode().IsRegular() {
				return err
			}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if old, err := os.ReadFile(target); err == nil && bytes.Equal(old, data) {
			return nil
		}
		return writeFile(target, data)
	})
	return keep, err
}

// removeOthers removes copies of files that the stack no longer has.
func removeOthers(dir string, keep map[string]bool) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) { // removed by a run at the same time
				return nil
			}
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		switch {
		case own(name) && e.IsDir():
			return fs.SkipDir
		case own(name) || keep[name]:
			return nil
		case e.IsDir():
			if err := os.RemoveAll(path); err != nil {
				return err
			}
			return fs.SkipDir
		}
		return os.Remove(path)
	})
}

// initHash stands for everything that terraform init depends on.
func initHash(s *stack.Stack, version, dir string) (string, error) {
	all := []byte(version + "\n")
	files := append([]string(nil), s.Files...)
	if backend := filepath.Join(dir, backendFile); fileExists(backend) {
		files = append(files, backend)
	}
	if lock := filepath.Join(s.Dir, ".terraform.lock.hcl"); fileExists(lock) {
		files = append(files, lock)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the stack: %w", err)
		}
		sum := sha256.Sum256(data)
		all = fmt.Appendf(all, "%q %x\n", filepath.Base(path), sum)
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:]), nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// guardState puts the last good state back where a run was killed while it wrote the file, so that what it had made
// stays known. It gives a note for the user, or "".
func guardState(dir string) (string, error) {
	if meta, err := os.ReadFile(filepath.Join(dir, metaFile)); err == nil && !json.Valid(meta) {
		// Terraform was killed while it noted a move: the state is still where it was, and the move begins again.
		if err := os.Remove(filepath.Join(dir, metaFile)); err != nil {
			return "", fmt.Errorf("remove what terraform could not finish: %w", err)
		}
	}
	path := filepath.Join(dir, stateFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && json.Valid(data) || remote(dir) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read terraform state: %w", err)
	}
	for _, name := range []string{goodState, stateFile + ".backup"} {
		good, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !json.Valid(good) {
			continue
		}
		if err := writeFile(path, good); err != nil {
			return "", fmt.Errorf("restore terraform state: %w", err)
		}
		return "the terraform state was cut off in the middle (a run was killed); went back to the last good one", nil
	}
	if len(data) == 0 { // terraform reads an empty file as "nothing yet", and nothing is all there was
		return "", nil
	}
	return "", fmt.Errorf("the terraform state %s cannot be read and there is no good copy; remove it, or put a copy back", path)
}

// keepState remembers the state as the last good one.
func keepState(dir string) error {
	if remote(dir) {
		return nil
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) || err == nil && !json.Valid(data) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("keep a copy of the state: %w", err)
	}
	if old, err := os.ReadFile(filepath.Join(dir, goodState)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return writeFile(filepath.Join(dir, goodState), data)
}

// writeFile replaces a file in one step, readable by its owner only.
func writeFile(path string, data []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".labctl-*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}
