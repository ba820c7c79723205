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

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/stack"
)

// writeInputs writes the values of the stack's variables where terraform is told to read them. Nil keeps those of the last run.
func writeInputs(notes string, w stack.RunRequest) error {
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
	return atomicfile.Write(filepath.Join(notes, inputsNote), values)
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// initHash stands for everything that terraform init depends on.
func initHash(s *stack.Stack, version, dir string) (string, error) {
	all := []byte(version + "\n")
	files := append([]string(nil), s.Files...)
	if backend := filepath.Join(dir, backendFile); fileExists(backend) {
		files = append(files, backend)
	}
	if lock := filepath.Join(dir, lockFile); fileExists(lock) {
		files = append(files, lock)
	}
	for _, module := range s.Modules {
		more, err := filepath.Glob(filepath.Join(escapeGlob(module), "*.t*f*"))
		if err != nil {
			return "", fmt.Errorf("read the stack's modules: %w", err)
		}
		files = append(files, more...)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("read the stack: %w", err)
		}
		all = fmt.Appendf(all, "%q %s\n", filepath.Base(path), hash(data))
	}
	return hash(all), nil
}

// escapeGlob makes a path a pattern that matches itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// guardState puts the last good state back where a run was killed while it wrote the file, so that what it had made
// stays known. It gives a note for the user, or "".
func guardState(dir, notes string) (string, error) {
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
	for _, name := range []string{filepath.Join(notes, goodNote), filepath.Join(dir, stateFile+".backup")} {
		good, err := os.ReadFile(name)
		if err != nil || !json.Valid(good) {
			continue
		}
		if err := atomicfile.Write(path, good); err != nil {
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
func keepState(dir, notes string) error {
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
	if old, err := os.ReadFile(filepath.Join(notes, goodNote)); err == nil && bytes.Equal(old, data) {
		return nil
	}
	return atomicfile.Write(filepath.Join(notes, goodNote), data)
}
