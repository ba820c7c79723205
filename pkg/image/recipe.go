//go:build unix

package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/hashicorp/hcl/v2/hclsimple"

	"github.com/labctl/labctl/pkg/gobuild"
)

// recipeFile is what describes an image in its source directory.
const recipeFile = "image.hcl"

// Where a recipe's program is compiled.
const (
	cachesShared  = "shared"  // the user's own Go caches
	cachesPrivate = "private" // caches of its own, removed afterwards: for programs of gigabytes of packages
)

// packageName is Debian's rule for names (Debian Policy Manual, section 5.6.1).
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// nonroot is the user that images run as.
const nonroot = 65532

// recipe is a decoded image.hcl, with what it left out filled in. The JSON form is part of the cache key.
type recipe struct {
	name string
	dir  string // absolute
	own  bool   // it is a service of this repository, not a third-party part

	Upstream   string            `hcl:"upstream,optional"`                   // a reference that is pulled where its registry answers
	Base       string            `hcl:"base,optional"`                       // an image by digest to build on; by default an empty one
	Packages   []string          `hcl:"packages,optional" json:",omitempty"` // of the machine's distribution, with all that they depend on
	Version    string            `hcl:"version,optional"`                    // of the part, for people
	Package    string            `hcl:"package,optional"`                    // the main package, relative to the recipe; none where there are packages and no Go files
	Tags       []string          `hcl:"tags,optional"`                       // of go build
	Programs   map[string]string `hcl:"programs,optional" json:",omitempty"` // path in the image: another main package of the recipe's module
	Links      map[string]string `hcl:"links,optional" json:",omitempty"`    // path in the image: what the symbolic link there says
	Ldflags    string            `hcl:"ldflags,optional"`                    // of go build
	Binary     string            `hcl:"binary,optional"`                     // where the program lies in the image
	Entrypoint []string          `hcl:"entrypoint,optional"`                 // by default the program
	Args       []string          `hcl:"args,optional"`
	Env        map[string]string `hcl:"env,optional"`
	User       *int              `hcl:"user,optional"` // numeric, because Kubernetes checks runAsNonRoot by number
	Workdir    string            `hcl:"workdir,optional"`
	Files      map[string]string `hcl:"files,optional"` // path in the image: file or directory, relative to the recipe
	Dirs       []string          `hcl:"dirs,optional"`  // empty directories that the user may write
	Labels     map[string]string `hcl:"labels,optional"`
	Caches     string            `hcl:"caches,optional"`
	Web        string            `hcl:"web,optional"` // a directory of npm that is built into its dist/ before the program
}

// loadRecipe reads the recipe of spec. A service needs none: its program is cmd/<service>, and its web/ is built first.
func loadRecipe(root string, spec Spec) (*recipe, error) {
	if spec.Name == "" || spec.Name != filepath.Base(spec.Name) || strings.HasPrefix(spec.Name, ".") {
		return nil, fmt.Errorf("%q is not a name for an image: use letters, digits and dashes", spec.Name)
	}
	source := path.Clean(filepath.ToSlash(spec.Source))
	if !filepath.IsLocal(filepath.FromSlash(source)) {
		return nil, fmt.Errorf("the source %q must be a directory below %s", spec.Source, root)
	}
	r := &recipe{name: spec.Name, dir: filepath.Join(root, filepath.FromSlash(source)), own: strings.HasPrefix(source, "services/")}
	if info, err := os.Stat(r.dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is no directory%s", ErrNoRecipe, r.dir, candidates(root))
	}
	file := filepath.Join(r.dir, recipeFile)
	_, err := os.Stat(file)
	switch {
	case err == nil:
		if err := hclsimple.DecodeFile(file, nil, r); err != nil {
			return nil, fmt.Errorf("read the recipe: %w", err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the recipe: %w", err)
	case !r.own:
		return nil, fmt.Errorf("%w: %s has no %s%s", ErrNoRecipe, r.dir, recipeFile, candidates(root))
	}
	r.Tags = append(r.Tags, spec.Tags...)
	if err := r.complete(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// complete fills in what the file left out, and checks what it says.
func (r *recipe) complete() error {
	switch {
	case r.Package != "":
	case r.own:
		r.Package = "./cmd/" + filepath.Base(r.dir)
	case len(r.Packages) == 0 || hasGo(r.dir):
		r.Package = "."
	case len(r.Entrypoint) == 0 || len(r.Programs) > 0:
		return errors.New("an image of packages without a program of its own needs an entrypoint, and can have no other programs")
	}
	if r.own && r.Web == "" {
		if _, err := os.Stat(filepath.Join(r.dir, "web", "package.json")); err == nil {
			r.Web = "web"
		}
	}
	if r.Binary == "" {
		r.Binary = "/" + filepath.Base(r.dir)
	}
	if len(r.Entrypoint) == 0 {
		r.Entrypoint = []string{r.Binary}
	}
	if r.User == nil {
		user := nonroot
		r.User = &user
	}
	if r.Workdir == "" {
		r.Workdir = "/"
	}
	switch r.Caches {
	case "":
		r.Caches = cachesShared
	case cachesShared, cachesPrivate:
	default:
		return fmt.Errorf("caches is %q: it can be %q or %q", r.Caches, cachesShared, cachesPrivate)
	}
	if *r.User < 0 {
		return fmt.Errorf("user is %d: it must be a user's number", *r.User)
	}
	for _, p := range r.Packages {
		if !packageName.MatchString(p) {
			return fmt.Errorf("packages: %q is not a package's name", p)
		}
	}
	if r.Base != "" && len(r.Packages) > 0 {
		return errors.New("packages and base exclude each other: packages of one distribution do not fit another")
	}
	if r.Base != "" {
		if _, err := name.NewDigest(r.Base); err != nil {
			return fmt.Errorf("base must be given by digest, or two builds of the same source would differ: %w", err)
		}
	}
	if r.Upstream != "" {
		if _, err := name.ParseReference(r.Upstream); err != nil {
			return fmt.Errorf("upstream: %w", err)
		}
	}
	places := append([]string{r.Binary}, r.Dirs...)
	programs := map[string]bool{}
	for place, pkg := range r.Programs {
		places = append(places, place)
		name := gobuild.ProgramName(pkg)
		if programs[name] {
			return fmt.Errorf("programs: two packages give a program of the name %s", name)
		}
		programs[name] = true
	}
	places = slices.AppendSeq(places, maps.Keys(r.Links))
	for place, from := range r.Files {
		places = append(places, place)
		if !filepath.IsLocal(from) {
			return fmt.Errorf("files: %q must be below the recipe's directory", from)
		}
	}
	for _, place := range places {
		if !path.IsAbs(place) || path.Clean(place) != place || place == "/" {
			return fmt.Errorf("%q is not a clean absolute path in the image", place)
		}
		if len(r.Packages) > 0 && merged(place) != place {
			return fmt.Errorf("%q must be %q in an image with packages: a link stands there", place, merged(place))
		}
	}
	return nil
}

// hasGo says whether a directory has something for the go command.
func hasGo(dir string) bool {
	for _, pattern := range []string{"go.mod", "*.go"} {
		if found, _ := filepath.Glob(filepath.Join(dir, pattern)); len(found) > 0 { // the patterns are good
			return true
		}
	}
	return false
}

// canonical is a form of the recipe that is the same wherever its directory lies.
func (r *recipe) canonical() ([]byte, error) {
	return json.Marshal(struct {
		Name string
		*recipe
	}{r.name, r})
}

// candidates says what could be built.
func candidates(root string) string {
	var found []string
	for _, pattern := range []string{"services/*/cmd/*", "images/*/" + recipeFile} {
		matches, _ := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		for _, match := range matches {
			rel, err := filepath.Rel(root, match)
			if err != nil {
				continue
			}
			parts := strings.Split(filepath.ToSlash(rel), "/")
			found = append(found, parts[0]+"/"+parts[1])
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) == 0 {
		return fmt.Sprintf("; and %s has neither services/*/cmd/* nor images/*/%s", root, recipeFile)
	}
	return "; there are " + strings.Join(found, ", ")
}
