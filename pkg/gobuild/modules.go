//go:build unix

package gobuild

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"

	"github.com/labctl/labctl/pkg/event"
)

// missingModules estimates how many modules the go command must download into modCache to build in dir: those that
// go.mod names and the cache does not hold. It is for a progress bar, so what cannot be read counts as nothing.
func missingModules(dir, modCache string) int64 {
	path := findModFile(dir)
	if path == "" || modCache == "" {
		return 0
	}
	content, err := os.ReadFile(path) //nolint:gosec // a go.mod above the directory to build
	if err != nil {
		return 0
	}
	file, err := modfile.ParseLax(path, content, nil)
	if err != nil {
		return 0
	}
	full, err := modfile.Parse(path, content, nil)
	if err == nil {
		file = full // with the replaces, which ParseLax leaves out
	}
	replaced := make(map[string]module.Version)
	for _, r := range file.Replace {
		replaced[r.Old.Path] = r.New
	}
	var missing int64
	for _, r := range file.Require {
		mod := r.Mod
		if by, ok := replaced[mod.Path]; ok {
			mod = by
		}
		if mod.Version == "" {
			continue // a directory
		}
		escaped, err := module.EscapePath(mod.Path)
		if err != nil {
			continue
		}
		version, err := module.EscapeVersion(mod.Version)
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(modCache, "cache", "download", filepath.FromSlash(escaped), "@v", version+".zip")); err != nil {
			missing++
		}
	}
	return missing
}

// findModFile returns the go.mod of the module that dir is in, or "".
func findModFile(dir string) string {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for {
		path := filepath.Join(dir, "go.mod")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// ModuleDir gives the directory of a module in the user's module cache, in the version that the go.mod of dir names. What is
// missing is downloaded; the go command checks it by go.sum. name is what messages call it.
func ModuleDir(ctx context.Context, name, dir, path string, report event.Report) (string, error) {
	b, err := begin(ctx, Options{Name: name, Dir: dir}, report)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	defer b.end()
	var out strings.Builder
	report.Doing("finding %s", name)
	err = b.goCommand(ctx, []string{"mod", "download", "-json", path}, func(line string) { out.WriteString(line + "\n") }, b.downloads())
	if err != nil {
		return "", err
	}
	var found struct{ Dir string }
	if err := json.Unmarshal([]byte(out.String()), &found); err != nil || found.Dir == "" {
		return "", fmt.Errorf("find %s: `go mod download -json %s` in %s names no directory", name, path, dir)
	}
	return found.Dir, nil
}
