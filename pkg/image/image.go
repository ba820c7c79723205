//go:build unix

// Package image makes container images without Docker: from Go programs of this repository and from the recipes of
// third-party parts under images/, reproducibly, kept by content, and pushed blob by missing blob.
package image

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/gobuild"
)

// ErrNoRecipe is a source that is neither a service nor a recipe.
var ErrNoRecipe = errors.New("there is nothing to build")

// Options are a Builder's.
type Options struct {
	Root       string // the repository: services/ and images/ are below it
	CacheDir   string // where images are kept between runs
	FromSource bool   // build also what could be pulled
	Arch       string // of the images; by default this machine's

	// UpstreamTimeout bounds the wait for a registry's answer before a part is built from source; by default 5 s.
	UpstreamTimeout time.Duration

	// Getenv gives the variables that say who is logged in to Azure; nil means the process's own.
	Getenv func(string) string
	// Transport carries what goes to registries on other machines but pulls; nil means the usual one.
	Transport http.RoundTripper
}

// Spec is one image to make.
type Spec struct {
	Name   string   // what messages and the cache call it
	Root   string   // the repository, if it is not the Builder's
	Source string   // relative to the root: "services/auth" or "images/coredns"
	Tags   []string // of go build, added to those of the recipe
}

// Image is an image that stands in the cache.
type Image struct {
	Name     string
	Digest   string // of the manifest, "sha256:…"
	Path     string // the OCI layout that holds it
	Size     int64  // bytes of all blobs, compressed
	Cached   bool   // it was there already
	Upstream string // the reference it was pulled from; "" if it was built
}

// Builder makes images. It may be used concurrently.
type Builder struct {
	o    Options
	keys *keychain
	// settings are those that decide what a build gives; tests change them.
	settings  func(gobuild.Options) []string
	compiling chan struct{} // one build at a time: the go command uses all cores by itself, and private caches are large

	mu         sync.Mutex
	versions   map[string]string // of the Go toolchain, by directory
	unanswered map[string]error  // registries that did not answer
}

// New returns a Builder.
func New(o Options) *Builder {
	if o.Arch == "" {
		o.Arch = runtime.GOARCH
	}
	if o.UpstreamTimeout == 0 {
		o.UpstreamTimeout = 5 * time.Second
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Transport == nil {
		o.Transport = remote.DefaultTransport
	}
	return &Builder{
		o: o, keys: &keychain{getenv: o.Getenv, client: &http.Client{Transport: o.Transport}}, settings: gobuild.Options.Settings,
		compiling: make(chan struct{}, 1), versions: make(map[string]string), unanswered: make(map[string]error),
	}
}

// Build returns the image of spec: from the cache when none of its inputs changed, else pulled, where the recipe
// names an upstream image and its registry answers, else built.
func (b *Builder) Build(ctx context.Context, spec Spec, report event.Report) (Image, error) {
	img, err := b.build(ctx, spec, report)
	if err != nil {
		return Image{}, fmt.Errorf("image %q: %w", spec.Name, err)
	}
	return img, nil
}

func (b *Builder) build(ctx context.Context, spec Spec, report event.Report) (Image, error) {
	if spec.Root == "" {
		spec.Root = b.o.Root
	}
	root, err := filepath.Abs(spec.Root)
	if err != nil {
		return Image{}, err
	}
	recipe, err := loadRecipe(root, spec)
	if err != nil {
		return Image{}, err
	}
	kept := store{dir: filepath.Join(b.o.CacheDir, "images", spec.Name), name: spec.Name}
	lock, err := filelock.Wait(ctx, filepath.Join(b.o.CacheDir, "images", spec.Name+".lock"), func() {
		report.Doing("waiting for another labctl that makes the image %s", spec.Name)
	})
	if err != nil {
		return Image{}, err
	}
	defer lock.Unlock()
	if err := kept.tidy(); err != nil {
		return Image{}, explainDisk(b.o.CacheDir, err)
	}

	pullable := recipe.Upstream != "" && !b.o.FromSource
	if pullable {
		if img, ok := kept.get(upstreamKey(recipe.Upstream, b.o.Arch), report); ok {
			img.Upstream = recipe.Upstream
			return img, nil
		}
	}
	if recipe.Web != "" {
		if err := b.web(ctx, recipe, report); err != nil {
			return Image{}, err
		}
	}
	in, err := b.inputs(ctx, root, recipe, kept, report)
	if err != nil {
		return Image{}, err
	}
	key, err := b.key(recipe, in)
	if err != nil {
		return Image{}, err
	}
	if img, ok := kept.get(key, report); ok {
		return img, nil
	}
	if pullable {
		img, err := b.pull(ctx, recipe, kept, report)
		if err == nil || ctx.Err() != nil {
			return img, err
		}
		report.Line(fmt.Sprintf("%s could not be pulled: %v", recipe.Upstream, err))
		report.Doing("%s cannot be pulled here, so it is built from source", recipe.Upstream)
	}
	img, err := b.assemble(ctx, root, recipe, in, key, kept, report)
	return img, explainDisk(b.o.CacheDir, err)
}

// assemble compiles the program and puts the image together.
func (b *Builder) assemble(ctx context.Context, root string, recipe *recipe, in *inputs, key string, kept store, report event.Report) (Image, error) {
	work, err := kept.stage()
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()

	program := "" // there may be none
	if recipe.Package != "" {
		program = filepath.Join(work, "bin", ".main") // no other program has such a name
		if err := b.compile(ctx, recipe, program, report); err != nil {
			return Image{}, err
		}
	}
	var packages []debianPackage
	var packed v1.Layer
	if len(recipe.Packages) > 0 {
		if packages, err = b.download(ctx, recipe.Packages, filepath.Join(work, "packages"), report); err != nil {
			return Image{}, err
		}
		if packed, err = packagesLayer(ctx, work, packages); err != nil {
			return Image{}, err
		}
	}
	report.Doing("packing the image %s", recipe.name)
	bill, err := billOfMaterials(program, recipe, packages)
	if err != nil {
		return Image{}, err
	}
	layer, err := programLayer(work, program, bill, recipe)
	if err != nil {
		return Image{}, err
	}
	base, err := b.base(ctx, recipe, packed)
	if err != nil {
		return Image{}, err
	}
	img, err := compose(base, layer, b.o.Arch, recipe, in)
	if err != nil {
		return Image{}, err
	}
	return kept.put(ctx, key, img, nil)
}

// compile builds the recipe's program, when no other build runs.
func (b *Builder) compile(ctx context.Context, recipe *recipe, out string, report event.Report) error {
	select {
	case b.compiling <- struct{}{}:
	default:
		report.Doing("waiting for the build before")
		select {
		case b.compiling <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("wait to build %s: %w", recipe.name, ctx.Err())
		}
	}
	defer func() { <-b.compiling }()
	return gobuild.Build(ctx, b.goOptions(recipe, out), report)
}

func (b *Builder) goOptions(recipe *recipe, out string) gobuild.Options {
	return gobuild.Options{
		Name: recipe.name, Dir: recipe.dir, Package: recipe.Package, Out: out,
		Tags: recipe.Tags, Ldflags: recipe.Ldflags, Beside: slices.Sorted(maps.Values(recipe.Programs)),
		Env:          []string{"GOOS=linux", "GOARCH=" + b.o.Arch},
		PrivateCache: recipe.Caches == cachesPrivate, CacheDir: b.o.CacheDir,
	}
}

// explainDisk tells of a full disk what to do about it.
func explainDisk(dir string, err error) error {
	if err == nil || errors.Is(err, gobuild.ErrDiskFull) || !gobuild.IsDiskFull(err.Error()) {
		return err
	}
	return fmt.Errorf("%w: images are kept in %s; free some space there, or set LABCTL_CACHE to a directory on a larger disk, and run the command again: %w",
		gobuild.ErrDiskFull, dir, err)
}
