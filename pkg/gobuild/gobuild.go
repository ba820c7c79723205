//go:build unix

// Package gobuild builds Go programs with `go build`: reproducibly, with progress, and, where a program is large, with
// caches of its own that are removed once the program stands.
package gobuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
)

// Options says what to build.
type Options struct {
	Name    string   // what messages call it; by default the base name of Out
	Dir     string   // the directory to run in; it decides the module
	Package string   // the main package, as `go build` takes it in Dir; by default "."
	Out     string   // the file to write; it appears whole or not at all
	Tags    []string // build tags, added to those of Flags
	Ldflags string   // added to those that make the build reproducible
	Beside  []string // other main packages of the same module, written beside Out by their ProgramName
	Env     []string // KEY=value, added to the environment

	// PrivateCache builds with a build cache and a module cache under CacheDir/build, which are removed at the end,
	// also of a failed or cancelled build. They begin with what the user's own have, which without it are used and kept.
	PrivateCache bool
	CacheDir     string // needed for PrivateCache
}

func (o Options) name() string {
	if o.Name != "" {
		return o.Name
	}
	return filepath.Base(o.Out)
}

func (o Options) pkg() string {
	if o.Package == "" {
		return "."
	}
	return o.Package
}

// version is the last element of a module's path from its second major version on.
var version = regexp.MustCompile(`^v[0-9]+$`)

// ProgramName is what the go command calls the program of a package.
func ProgramName(pkg string) string {
	if name := path.Base(pkg); !version.MatchString(name) || path.Dir(pkg) == "." {
		return name
	}
	return path.Base(path.Dir(pkg))
}

// Build builds the program. It reports packages compiled of those that must be, and passes on each line the compiler
// prints. Errors are an *Error, ErrNoGo, or ctx's.
func Build(ctx context.Context, o Options, report event.Report) error {
	out, err := filepath.Abs(o.Out)
	if err != nil {
		return fmt.Errorf("build %s: %w", o.name(), err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return fmt.Errorf("build %s: %w", o.name(), err)
	}
	b, err := begin(ctx, o, report)
	if err != nil {
		return fmt.Errorf("build %s: %w", o.name(), err)
	}
	defer b.end()

	stale, err := b.list(ctx)
	if err != nil {
		return err
	}
	partial := out + ".partial" // one name, so that what a killed build left is written over
	defer func() { _ = os.RemoveAll(partial) }()
	if err := b.compile(ctx, partial, stale); err != nil {
		return err
	}
	made := partial
	if len(o.Beside) > 0 {
		if made, err = moveBeside(o, partial, filepath.Dir(out)); err != nil {
			return fmt.Errorf("build %s: %w", o.name(), err)
		}
	}
	if err := os.Rename(made, out); err != nil {
		return fmt.Errorf("build %s: %w", o.name(), err)
	}
	return nil
}

// moveBeside moves the programs of o.Beside from a directory, and gives the one that is left there, whose name go chose.
func moveBeside(o Options, from, to string) (left string, err error) {
	for _, pkg := range o.Beside {
		name := ProgramName(pkg)
		if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return "", err
		}
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("%s and %s are to be different programs", o.pkg(), strings.Join(o.Beside, ", "))
	}
	return filepath.Join(from, entries[0].Name()), nil
}

// timezones is the build tag that puts the time zones into a program, as images have no files of them. Every program
// has it, also where it needs no time zones, since package time and all that imports it would else be compiled twice.
const timezones = "timetzdata"

// Flags are the flags of `go build` and `go list` that make a build depend on its sources only. Builds with the same
// flags share what is compiled; tools/build.sh has them, too.
func Flags(tags ...string) []string {
	return []string{
		"-trimpath", "-buildvcs=false",
		"-gcflags=all=-dwarf=false", // the linker strips it, and compiling is a tenth shorter without
		"-tags=" + strings.Join(append([]string{timezones}, tags...), ","),
	}
}

func (o Options) ldflags() string {
	// The build ID would differ with the paths of a cgo toolchain, and nothing reads it from a finished program.
	return strings.TrimSpace("-s -w -buildid= " + o.Ldflags)
}

// Environ is the environment in which the go command gives the same result for the same sources, whatever a user has
// set for builds of their own. Where modules come from is left as the user set it.
func Environ(extra ...string) []string {
	return with(with(os.Environ(), pinned()...), extra...)
}

// pinned are the variables that decide what the go command makes of the same sources.
func pinned() []string {
	return []string{"CGO_ENABLED=0", "GOWORK=off", "GOEXPERIMENT=", "GOFLAGS=-mod=readonly", "GOAMD64=v1", "GOARM64=v8.0"}
}

// Settings are the flags and variables that decide, beside the sources and the version of Go, which program a build gives.
// A cache of programs has them in its keys.
func (o Options) Settings() []string {
	settings := append(Flags(o.Tags...), "-ldflags="+o.ldflags())
	return append(settings, with(pinned(), o.Env...)...)
}

// job is one running build.
type job struct {
	o        Options
	report   event.Report
	env      []string
	private  string         // the directory of the private caches, "" for shared ones
	tmp      string         // GOTMPDIR
	modCache string         // GOMODCACHE
	lock     *filelock.Lock // on private
}

func begin(ctx context.Context, o Options, report event.Report) (*job, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return nil, fmt.Errorf("%w: install Go 1.26 or newer from https://go.dev/dl and put its bin directory on PATH", ErrNoGo)
	}
	b := &job{o: o, report: report, env: Environ(o.Env...)}
	if !o.PrivateCache {
		// go build leaves its temporary directory behind when it is killed, so it gets one that end removes.
		tmp, err := os.MkdirTemp("", "labctl-build-")
		if err != nil {
			return nil, err
		}
		b.tmp = tmp
		b.env = with(b.env, "GOTMPDIR="+tmp)
		set, err := goEnv(ctx, o.Dir, "GOMODCACHE")
		if err != nil {
			b.end()
			return nil, err
		}
		b.modCache = set["GOMODCACHE"]
		return b, nil
	}
	if o.CacheDir == "" {
		return nil, errors.New("private caches need a cache directory")
	}
	cacheDir, err := filepath.Abs(o.CacheDir)
	if err != nil {
		return nil, err
	}
	builds := filepath.Join(cacheDir, "build")
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(dir + "\x00" + o.pkg()))
	b.private = filepath.Join(builds, hex.EncodeToString(sum[:6]))
	b.lock, err = filelock.Wait(ctx, b.private+".lock", func() {
		report.Doing("waiting for another labctl that builds %s", o.name())
	})
	if err != nil {
		return nil, err
	}
	Sweep(cacheDir)
	// What a killed build of the same program left here is used again: caches are sound at any moment.
	b.tmp = filepath.Join(b.private, "tmp")
	_ = os.RemoveAll(b.tmp)
	if err := os.MkdirAll(b.tmp, 0o755); err != nil {
		b.end()
		return nil, explain(o, nil, err)
	}
	b.modCache = filepath.Join(b.private, "mod")
	b.env = with(b.env,
		"GOTMPDIR="+b.tmp,
		"GOCACHE="+filepath.Join(b.private, "go-build"),
		"GOMODCACHE="+b.modCache,
		"GOFLAGS=-mod=readonly -modcacherw", // so that it can be removed
	)
	// Modules that the user has already are taken from there, through the file protocol of module proxies: each is
	// checked against go.sum like one from the network.
	set, err := goEnv(ctx, o.Dir, "GOMODCACHE", "GOPROXY", "GOCACHE")
	if err != nil {
		b.end()
		return nil, err
	}
	if err := lend(ctx, set["GOCACHE"], filepath.Join(b.private, "go-build")); err != nil {
		b.end()
		return nil, err
	}
	if have := filepath.Join(set["GOMODCACHE"], "cache", "download"); set["GOMODCACHE"] != "" {
		b.env = with(b.env, "GOPROXY="+(&url.URL{Scheme: "file", Path: filepath.ToSlash(have)}).String()+","+set["GOPROXY"])
	}
	return b, nil
}

// end removes what the build alone used.
func (b *job) end() {
	_ = os.RemoveAll(b.tmp)
	if b.private != "" {
		if err := os.RemoveAll(b.private); err != nil {
			b.report.Warn("the build caches of %s could not be removed: %v; remove them with: rm -rf %s", b.o.name(), err, b.private)
		}
		b.lock.Unlock()
	}
}

// Sweep removes the private caches that killed builds left under cacheDir. Those in use are left alone.
func Sweep(cacheDir string) {
	builds := filepath.Join(cacheDir, "build")
	entries, err := os.ReadDir(builds)
	if err != nil {
		return // nothing was ever built there
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		dir := filepath.Join(builds, entry.Name())
		lock, err := filelock.Try(dir + ".lock")
		if err != nil {
			continue
		}
		_ = os.RemoveAll(dir)
		lock.Unlock()
	}
}

// list loads the program's packages, which downloads the modules that are missing, and returns the packages that must
// be compiled.
func (b *job) list(ctx context.Context) (map[string]bool, error) {
	b.report.Doing("loading the packages of %s", b.o.name())
	stale := make(map[string]bool)
	err := b.goCommand(ctx, append([]string{"list", "-deps", "-f={{if .Stale}}{{.ImportPath}}{{end}}"}, b.listArgs()...),
		func(line string) {
			if line != "" {
				stale[line] = true
			}
		}, b.downloads())
	return stale, err
}

func (b *job) listArgs() []string {
	return append(append(Flags(b.o.Tags...), b.o.pkg()), b.o.Beside...)
}

// compile runs go build into out, which is a directory where there is more than one program.
func (b *job) compile(ctx context.Context, out string, stale map[string]bool) error {
	total, done := int64(len(stale))+1, int64(0) // the last one is the link
	b.report.At(0, total, "compiling %s", b.o.name())
	if len(b.o.Beside) > 0 {
		_ = os.RemoveAll(out) // of a build that was killed; what stays shows below
		if err := os.Mkdir(out, 0o755); err != nil {
			return explain(b.o, nil, err)
		}
	}
	args := append([]string{"build", "-v", "-o", out, "-ldflags=" + b.o.ldflags()}, b.listArgs()...)
	err := b.goCommand(ctx, args, nil, func(line string) bool {
		if !stale[line] {
			return strings.HasPrefix(line, "go: downloading ")
		}
		done++
		if done == total-1 {
			b.report.At(done, total, "linking %s", b.o.name())
		} else {
			b.report.At(done, total, "%s: compiling %s", b.o.name(), line)
		}
		return true
	})
	if err == nil {
		b.report.At(total, total, "built %s", b.o.name())
	}
	return err
}

// keepLines is how many of a failed command's last lines an error keeps.
const keepLines = 20

// goCommand runs the go command. progress is asked for each line of stderr whether it is one of progress; the others
// are passed on and, if the command fails, are in the error.
func (b *job) goCommand(ctx context.Context, args []string, stdout func(string), progress func(string) bool) error {
	var said []string
	err := Command{
		Dir: b.o.Dir, Env: b.env, Name: "go", Args: args, Stdout: stdout,
		Stderr: func(line string) {
			if progress(line) {
				return
			}
			b.report.Line(line)
			said = append(said, line)
			if len(said) > 2*keepLines {
				said = append(said[:0], said[len(said)-keepLines:]...)
			}
		},
	}.Run(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("build %s: %w", b.o.name(), err)
	}
	return explain(b.o, said, err)
}

// goEnv asks the go command for settings, as it sees them in dir.
func goEnv(ctx context.Context, dir string, keys ...string) (map[string]string, error) {
	var values, said []string
	err := Command{
		Dir: dir, Env: Environ(), Name: "go", Args: append([]string{"env"}, keys...),
		Stdout: func(line string) { values = append(values, line) },
		Stderr: func(line string) { said = append(said, line) },
	}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("go env in %s: %w %s", dir, err, strings.Join(said, "; "))
	}
	set := make(map[string]string, len(keys))
	for i, key := range keys {
		if i < len(values) {
			set[key] = values[i]
		}
	}
	return set, nil
}

// Version returns the version of the Go toolchain that builds in dir, such as "go1.26.0". It can differ from the one
// on PATH where go.mod asks for a newer one.
func Version(ctx context.Context, dir string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", fmt.Errorf("%w: install Go 1.26 or newer from https://go.dev/dl and put its bin directory on PATH", ErrNoGo)
	}
	set, err := goEnv(ctx, dir, "GOVERSION")
	return set["GOVERSION"], err
}
