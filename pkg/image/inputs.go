//go:build unix

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gobuild"
	"golang.org/x/mod/modfile"
)

// inputs is all that an image is made of, besides the toolchain and the recipe. It is recorded beside the image: as
// long as nothing that it names changed, the next build needs no `go list` to know that it has nothing to do.
// Paths are relative to the repository, so that they are the same on every machine.
type inputs struct {
	Go       string            `json:"go"`       // the toolchain's version
	Files    map[string]string `json:"files"`    // sha256 by path, of what the compiler and the recipe read
	Modules  []string          `json:"modules"`  // path, version and sum of the modules from elsewhere
	Settings []string          `json:"settings"` // what go.mod sets for the program

	// What decides which files and modules these are. It is not part of the key: a new test file or another
	// service's new dependency changes no image.
	Guards map[string]string `json:"guards"` // go.mod, go.sum and directory listings
}

// inputs returns the inputs as they are now.
func (b *Builder) inputs(ctx context.Context, root string, r *recipe, kept store, report event.Report) (*inputs, error) {
	version, err := b.goVersion(ctx, r.dir)
	if err != nil {
		return nil, err
	}
	canonical, err := r.canonical()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{root, b.o.Arch, string(canonical), b.buildSettings(r)}, "\x00")))
	record := filepath.Join(kept.dir, "inputs-"+hex.EncodeToString(sum[:6])+".json")
	if last := readInputs(record); last != nil && last.Go == version {
		if files, same := last.look(root); same {
			last.Files = files
			return last, nil
		}
	}
	in := &inputs{Go: version, Files: map[string]string{}, Guards: map[string]string{}}
	if r.Package == "" || ownModule(r.dir) {
		err = in.addTree(root, r.dir)
	} else {
		err = b.addPackages(ctx, in, root, r, report)
	}
	if err != nil {
		return nil, err
	}
	for _, from := range r.Files {
		if err := in.addTree(root, filepath.Join(r.dir, from)); err != nil {
			return nil, err
		}
	}
	content, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	if err := writeFile(record, content); err != nil {
		return nil, fmt.Errorf("record the inputs: %w", err)
	}
	return in, nil
}

// sourceHash is the hash of the sources alone.
func (in *inputs) sourceHash() string {
	hash := sha256.New()
	for _, file := range slices.Sorted(maps.Keys(in.Files)) {
		_, _ = fmt.Fprintf(hash, "file %s %s\n", file, in.Files[file])
	}
	for _, module := range in.Modules {
		_, _ = fmt.Fprintf(hash, "module %s\n", module)
	}
	for _, setting := range in.Settings {
		_, _ = fmt.Fprintf(hash, "setting %s\n", setting)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// buildSettings are the flags and variables that the recipe's program is built with.
func (b *Builder) buildSettings(r *recipe) string {
	return strings.Join(b.settings(b.goOptions(r, r.name)), "\n")
}

// recipeVersion changes when this package makes another image of the same inputs.
const recipeVersion = "1"

// key is the name under which the image is kept.
func (b *Builder) key(r *recipe, in *inputs) (string, error) {
	canonical, err := r.canonical()
	if err != nil {
		return "", err
	}
	base := r.Base
	if base == "" {
		layer, err := baseLayer()
		if err != nil {
			return "", err
		}
		digest, err := layer.Digest()
		if err != nil {
			return "", err
		}
		base = digest.String()
	}
	if len(r.Packages) > 0 {
		from, err := distribution()
		if err != nil {
			return "", err
		}
		base += " " + from
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{recipeVersion, in.Go, b.o.Arch, b.buildSettings(r), string(canonical), base, in.sourceHash()}, "\x00")))
	return hex.EncodeToString(sum[:16]), nil
}

// look hashes the files and guards again. It says whether the guards are the same; then the files are all there are,
// and it returns their hashes of now.
func (in *inputs) look(root string) (map[string]string, bool) {
	for guard, want := range in.Guards {
		got, err := hashGuard(filepath.Join(root, filepath.FromSlash(guard)))
		if err != nil || got != want {
			return nil, false
		}
	}
	files := make(map[string]string, len(in.Files))
	for file, want := range in.Files {
		got, err := hashFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			return nil, false
		}
		if got != want && strings.HasSuffix(file, ".go") {
			return nil, false // its imports may have changed
		}
		files[file] = got
	}
	return files, true
}

// addPackages adds the files of the packages of this repository that the program is made of, and names the modules
// of the others.
func (b *Builder) addPackages(ctx context.Context, in *inputs, root string, r *recipe, report event.Report) error {
	packages, err := gobuild.List(ctx, b.goOptions(r, r.name), report)
	if err != nil {
		return err
	}
	modules := make(map[string]bool)
	for _, p := range packages {
		switch {
		case p.Standard || p.Module == nil:
		case p.Module.Local():
			if err := in.addPackage(root, p); err != nil {
				return err
			}
		default:
			from := p.Module
			if from.Replace != nil {
				from = from.Replace
			}
			modules[strings.Join([]string{p.Module.Path, from.Path, from.Version, from.Sum}, " ")] = true
		}
	}
	in.Modules = slices.Sorted(maps.Keys(modules))
	return nil
}

func (in *inputs) addPackage(root string, p gobuild.Package) error {
	for _, file := range p.Files() {
		if err := in.addFile(root, file); err != nil {
			return err
		}
		if err := in.addGuard(root, filepath.Dir(file)); err != nil { // also the directories of embedded files
			return err
		}
	}
	mod := p.Module
	if mod.Replace != nil {
		mod = mod.Replace
	}
	if p.DefaultGODEBUG != "" {
		in.Settings = append(in.Settings, "godebug "+p.DefaultGODEBUG)
	}
	if setting := "go " + p.Module.Path + " " + mod.GoVersion; !slices.Contains(in.Settings, setting) {
		in.Settings = append(in.Settings, setting)
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		file = filepath.Join(mod.Dir, file)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			continue // a module without dependencies has no go.sum
		}
		if err := in.addGuard(root, file); err != nil {
			return err
		}
	}
	return nil
}

// addTree adds a file, or all files below a directory but tests.
func (in *inputs) addTree(root, path string) error {
	return filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return in.addGuard(root, path)
		case !entry.Type().IsRegular(), strings.HasSuffix(path, "_test.go"), entry.Name() == recipeFile:
			return nil // the recipe counts by what it says
		}
		return in.addFile(root, path)
	})
}

func (in *inputs) addFile(root, path string) error {
	return add(in.Files, root, path, hashFile)
}

func (in *inputs) addGuard(root, path string) error {
	return add(in.Guards, root, path, hashGuard)
}

func add(to map[string]string, root, path string, hash func(string) (string, error)) error {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	if _, ok := to[rel]; ok {
		return nil
	}
	to[rel], err = hash(path)
	return err
}

// hashFile returns the hash of a file's content and of whether it is executable.
func hashFile(path string) (string, error) {
	content, err := os.ReadFile(path) //nolint:gosec // an input of the build
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	text := hex.EncodeToString(sum[:])
	if info.Mode()&0o111 != 0 {
		text += "+x"
	}
	return text, nil
}

// hashGuard returns the hash of a file's content, or of the names in a directory.
func hashGuard(path string) (string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return hashFile(path)
	}
	hash := sha256.New()
	for _, entry := range entries {
		_, _ = fmt.Fprintln(hash, entry.Name(), entry.Type())
	}
	return "names " + hex.EncodeToString(hash.Sum(nil)), nil
}

// ownModule says whether dir is a module of its own that reads nothing outside it. Then its files and its go.sum say
// all, and nothing has to be downloaded to know that nothing changed.
func ownModule(dir string) bool {
	path := filepath.Join(dir, "go.mod")
	content, err := os.ReadFile(path) //nolint:gosec // the recipe's go.mod
	if err != nil {
		return false
	}
	file, err := modfile.Parse(path, content, nil)
	if err != nil {
		return true // go build will say what is wrong with it
	}
	for _, replace := range file.Replace {
		if replace.New.Version == "" {
			return false
		}
	}
	return true
}

func readInputs(path string) *inputs {
	content, err := os.ReadFile(path) //nolint:gosec // our own record
	if err != nil {
		return nil
	}
	var in inputs
	if json.Unmarshal(content, &in) != nil {
		return nil // a damaged record is as good as none
	}
	return &in
}

// writeFile writes a file whole or not at all.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, content)
}

// goVersion returns the version of the toolchain that builds in dir.
func (b *Builder) goVersion(ctx context.Context, dir string) (string, error) {
	module := moduleDir(dir)
	b.mu.Lock()
	defer b.mu.Unlock()
	if version, ok := b.versions[module]; ok {
		return version, nil
	}
	version, err := gobuild.Version(ctx, module)
	if err != nil {
		return "", err
	}
	b.versions[module] = version
	return version, nil
}

// moduleDir returns the directory of the go.mod that counts for dir.
func moduleDir(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil || at == filepath.Dir(at) {
			if err != nil {
				return dir
			}
			return at
		}
	}
}
