// Package engine tells terraform and tofu themselves from the shims of version managers, and remembers which version each is.
package engine

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/atomicfile"
)

// Memory is the path of the file that remembers the versions of engines. "" remembers nothing.
type Memory string

// program tells one build of an engine from another.
type program struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
	Version  string    `json:"version"`
}

// Version gives the version of the program at path, such as "1.11.4". One that is Terraform or OpenTofu itself is asked once in its life,
// because asking costs more than all the rest of a run that has nothing to do. Fixed says so of it. Anything else, such as the shim of a version
// manager, chooses by the directory and by files that change, and is asked each time.
func (m Memory) Version(path string, ask func() (string, error)) (version string, fixed bool, err error) {
	at, is, err := identify(path)
	if err != nil {
		return "", false, err
	}
	if is == nil {
		version, err = ask()
		return version, false, err
	}
	known, err := m.read()
	if err != nil {
		return "", false, err
	}
	if was := known[at]; was.Version != "" && was.Size == is.Size && was.Modified.Equal(is.Modified) {
		return was.Version, true, nil
	}
	if is.Version, err = ask(); err != nil {
		return "", false, err
	}
	known[at] = *is
	return is.Version, true, m.write(known)
}

// identify gives what tells a program from others, by the path without links, or nil where it is not an engine itself. Go notes in each
// program what it was built from.
func identify(path string) (string, *program, error) {
	at, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", nil, fmt.Errorf("run terraform: %w", err)
	}
	info, err := os.Stat(at)
	if err != nil {
		return "", nil, fmt.Errorf("run terraform: %w", err)
	}
	build, err := buildinfo.ReadFile(at)
	if err != nil || !strings.HasPrefix(build.Path, "github.com/hashicorp/terraform") && !strings.HasPrefix(build.Path, "github.com/opentofu/opentofu") {
		return at, nil, nil //nolint:nilerr // a script has no such note
	}
	return at, &program{Size: info.Size(), Modified: info.ModTime().UTC()}, nil
}

// read gives what is remembered. A file that cannot be understood counts as empty.
func (m Memory) read() (map[string]program, error) {
	known := map[string]program{}
	if m == "" {
		return known, nil
	}
	data, err := os.ReadFile(string(m))
	if errors.Is(err, fs.ErrNotExist) {
		return known, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the versions of engines: %w", err)
	}
	if json.Unmarshal(data, &known) != nil || known == nil {
		return map[string]program{}, nil
	}
	return known, nil
}

// write keeps what is known. Of two labctls that write at once one is forgotten, and asks again.
func (m Memory) write(known map[string]program) error {
	if m == "" {
		return nil
	}
	data, err := json.MarshalIndent(known, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(string(m)), 0o700)
	}
	if err == nil {
		err = atomicfile.Write(string(m), append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the versions of engines: %w", err)
	}
	return nil
}
