//go:build unix

package gobuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/event"
)

// Package is a package that a program is made of.
type Package struct {
	ImportPath     string
	Name           string
	Dir            string
	Standard       bool
	DefaultGODEBUG string // of a main package: settings that its module chose
	Module         *Module
	EmbedFiles     []string // relative to Dir, as all the files

	GoFiles, CgoFiles, CFiles, CXXFiles, HFiles, SFiles, SysoFiles []string
}

// Module is the module that a package is in.
type Module struct {
	Path, Version, Sum, Dir, GoMod, GoVersion string

	Main    bool
	Replace *Module
}

// Local says whether the module is a directory that may change, not a version that go.sum fixes.
func (m *Module) Local() bool {
	return m.Main || m.Replace != nil && m.Replace.Version == ""
}

// Files returns the paths of all that the compiler reads of the package.
func (p Package) Files() []string {
	var files []string
	for _, names := range [][]string{p.GoFiles, p.CgoFiles, p.CFiles, p.CXXFiles, p.HFiles, p.SFiles, p.SysoFiles, p.EmbedFiles} {
		for _, name := range names {
			files = append(files, filepath.Join(p.Dir, filepath.FromSlash(name)))
		}
	}
	slices.Sort(files)
	return files
}

// List returns the packages that the program is made of, itself last. It uses the user's own module cache, and
// downloads into it what is missing.
func List(ctx context.Context, o Options, report event.Report) ([]Package, error) {
	o.PrivateCache = false
	b, err := begin(ctx, o, report)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", o.name(), err)
	}
	defer b.end()
	var out strings.Builder
	fields := "-json=ImportPath,Name,Dir,Standard,DefaultGODEBUG,Module,EmbedFiles,GoFiles,CgoFiles,CFiles,CXXFiles,HFiles,SFiles,SysoFiles"
	err = b.goCommand(ctx, append([]string{"list", "-deps", fields}, b.listArgs()...),
		func(line string) { out.WriteString(line + "\n") },
		b.downloads())
	if err != nil {
		return nil, err
	}
	var packages []Package
	for decoder := json.NewDecoder(strings.NewReader(out.String())); ; {
		var p Package
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("build %s: read the output of go list: %w", o.name(), err)
		}
		packages = append(packages, p)
	}
}

// downloads takes the lines that tell of a module being downloaded and makes progress of them.
func (b *job) downloads() func(line string) bool {
	missing, downloaded := missingModules(b.o.Dir, b.modCache), int64(0)
	return func(line string) bool {
		module, ok := strings.CutPrefix(line, "go: downloading ")
		if ok {
			downloaded++
			b.report.At(downloaded, max(missing, downloaded), "downloading %s", module)
		}
		return ok
	}
}
