package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/gobuild"
)

// keepPrograms is how many builds of one program the cache keeps: the newest, and the one before it, which a lab
// that has not been brought up since still runs.
const keepPrograms = 2

// Builder builds the node's programs from the repository and keeps them in the user's cache by content.
type Builder struct {
	Root     string // of the repository
	CacheDir string
}

// helmVersion is the version that go.mod names.
const helmVersion = "v3.18.6"

// program says what a program is built from, relative to the repository.
type program struct {
	dir     string
	pkg     string
	sources []string // files and directories whose content decides whether it has to be built again
	ldflags string
	private bool // its build would leave gigabytes in the user's caches
	tool    bool // a user runs it; the node does not
}

var programs = map[string]program{
	"kubernetes": {
		dir: "images/kubernetes", pkg: ".", sources: []string{"images/kubernetes"}, private: true,
		// Without these the API says v0.0.0-master, which clients refuse.
		ldflags: versionFlags(KubernetesVersion),
	},
	"node": {
		dir: ".", pkg: "./images/node", sources: []string{"images/node", "pkg/cluster/cgroup", "pkg/cluster/node", "go.sum"},
	},
	"helm": {
		dir: ".", pkg: "helm.sh/helm/v3/cmd/helm", sources: []string{"go.mod", "go.sum"}, tool: true,
		ldflags: "-X helm.sh/helm/v3/internal/version.version=" + helmVersion,
	},
}

func versionFlags(version string) string {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		flags = append(flags, "-X "+pkg+".gitVersion="+version, "-X "+pkg+".gitMajor="+major, "-X "+pkg+".gitMinor="+minor,
			"-X "+pkg+".gitTreeState=clean")
	}
	return strings.Join(flags, " ")
}

// Program gives the path of a built program, building it where its sources changed.
func (b *Builder) Program(ctx context.Context, name string, report event.Report) (string, error) {
	p, ok := programs[name]
	if !ok {
		return "", fmt.Errorf("there is no program %q of the node", name)
	}
	key, err := b.key(ctx, p)
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	family := filepath.Join(b.CacheDir, "programs", name)
	path := b.path(name, key)
	// Who waited for another's build of the same program takes what it built.
	lock, err := filelock.Wait(ctx, family+".lock", func() { report.Doing("waiting for another labctl that builds %s", name) })
	if err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	defer lock.Unlock()
	if !exists(path) {
		err := gobuild.Build(ctx, gobuild.Options{
			Name: name, Dir: filepath.Join(b.Root, p.dir), Package: p.pkg, Out: path, Ldflags: p.ldflags,
			PrivateCache: p.private, CacheDir: b.CacheDir,
		}, report)
		if err != nil {
			return "", err
		}
	}
	return path, prune(family, key)
}

// Built gives the path of a program that was built before, or "".
func (b *Builder) Built(ctx context.Context, name string) (string, error) {
	key, err := b.key(ctx, programs[name])
	if err != nil {
		return "", fmt.Errorf("look for %s: %w", name, err)
	}
	if path := b.path(name, key); exists(path) {
		return path, nil
	}
	return "", nil
}

func (b *Builder) path(name, key string) string {
	return filepath.Join(b.CacheDir, "programs", name, key, name)
}

// Fingerprint is the hash of all that the node and its own parts are built from.
func (b *Builder) Fingerprint(ctx context.Context) (string, error) {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		if programs[name].tool {
			continue
		}
		key, err := b.key(ctx, programs[name])
		if err != nil {
			return "", err
		}
		h.Write([]byte(name + " " + key + "\n"))
	}
	parts, err := b.PartsFingerprint(ctx, partImages...)
	if err != nil {
		return "", err
	}
	h.Write([]byte(parts))
	return hex.EncodeToString(h.Sum(nil)[:10]), nil
}

// PartsFingerprint is the hash of all that the named images are built from.
func (b *Builder) PartsFingerprint(_ context.Context, names ...string) (string, error) {
	h := sha256.New()
	for _, name := range names {
		if err := b.hashTree(h, "images/"+name); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:10]), nil
}

// key is the hash of all that the program's bytes follow from.
func (b *Builder) key(ctx context.Context, p program) (string, error) {
	version, err := gobuild.Version(ctx, filepath.Join(b.Root, p.dir))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, part := range append([]string{version, runtime.GOARCH}, gobuild.Options{Ldflags: p.ldflags}.Settings()...) {
		h.Write([]byte(part + "\n"))
	}
	for _, source := range p.sources {
		if err := b.hashTree(h, source); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:10]), nil
}

// hashTree adds a file, or all files below a directory, to a hash. Tests decide nothing of a program.
func (b *Builder) hashTree(h io.Writer, source string) error {
	return filepath.WalkDir(filepath.Join(b.Root, source), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := os.Open(path) //nolint:gosec // G304: the repository's own sources
		if err != nil {
			return err
		}
		defer f.Close()
		rel, err := filepath.Rel(b.Root, path)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(h, rel); err != nil {
			return err
		}
		_, err = io.Copy(h, f)
		return err
	})
}

// prune removes all but the newest builds of a program and the one in use.
func prune(family, inUse string) error {
	entries, err := os.ReadDir(family)
	if err != nil {
		return err
	}
	type build struct {
		path string
		time int64
	}
	var builds []build
	for _, e := range entries {
		if e.Name() == inUse {
			continue
		}
		b := build{path: filepath.Join(family, e.Name())}
		// One that failed left no program. It counts as the oldest.
		if info, err := os.Stat(filepath.Join(b.path, filepath.Base(family))); err == nil {
			b.time = info.ModTime().UnixNano()
		}
		builds = append(builds, b)
	}
	sort.Slice(builds, func(i, j int) bool { return builds[i].time > builds[j].time })
	for i, old := range builds {
		if i < keepPrograms-1 {
			continue
		}
		if err := os.RemoveAll(old.path); err != nil {
			return err
		}
	}
	return nil
}
