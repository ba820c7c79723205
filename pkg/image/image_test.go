package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/image"
	"github.com/stretchr/testify/require"
)

// repository writes the files of a repository with one tiny service into a new directory, and more if given.
func repository(t *testing.T, more ...map[string]string) string {
	t.Helper()
	files := map[string]string{
		"go.mod":                         "module example.test/lab\n\ngo 1.26\n",
		"services/tiny/cmd/tiny/main.go": "package main\n\nimport \"example.test/lab/services/tiny\"\n\nfunc main() { println(tiny.Greeting()) }\n",
		"services/tiny/tiny.go":          "package tiny\n\nimport _ \"embed\"\n\n//go:embed words/hello.txt\nvar words string\n\nfunc Greeting() string { return words }\n",
		"services/tiny/words/hello.txt":  "hello",
	}
	for _, add := range more {
		for name, content := range add {
			files[name] = content
		}
	}
	root := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(root, name), content)
	}
	return root
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

var tiny = image.Spec{Name: "tiny", Source: "services/tiny"}

// seen keeps the messages of a build.
type seen struct {
	mu     sync.Mutex
	events []event.Event
}

func (s *seen) report(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *seen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text strings.Builder
	for _, e := range s.events {
		text.WriteString(string(e.Kind) + ": " + e.Message + "\n")
	}
	return text.String()
}

// hub is a registry that counts what is sent to it.
type hub struct {
	addr  string
	mu    sync.Mutex
	blobs int // uploads of blobs
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") && (r.Method == http.MethodPut || r.Method == http.MethodPatch) {
			h.mu.Lock()
			h.blobs++
			h.mu.Unlock()
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	h.addr = strings.TrimPrefix(server.URL, "http://")
	return h
}

func (h *hub) taken() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() { h.blobs = 0 }()
	return h.blobs
}

// pulled reads an image back from a registry.
func pulled(t *testing.T, reference string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(reference)
	require.NoError(t, err)
	img, err := remote.Image(ref)
	require.NoError(t, err)
	return img
}

// contents reads all files of an image.
func contents(t *testing.T, img v1.Image) map[string]*tar.Header {
	t.Helper()
	files := map[string]*tar.Header{}
	flat := mutate.Extract(img)
	defer func() { _ = flat.Close() }()
	for reader := tar.NewReader(flat); ; {
		header, err := reader.Next()
		if err == io.EOF {
			return files
		}
		require.NoError(t, err)
		content, err := io.ReadAll(reader)
		require.NoError(t, err)
		header.PAXRecords = map[string]string{"content": string(content)}
		files["/"+strings.Trim(header.Name, "/")] = header
	}
}

func TestTwoBuildsOfOneSourceHaveOneDigest(t *testing.T) {
	var digests []string
	for i := range 2 {
		root := repository(t)
		if i == 1 { // another checkout, of another time
			past := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
			require.NoError(t, filepath.Walk(root, func(path string, _ os.FileInfo, err error) error {
				require.NoError(t, err)
				return os.Chtimes(path, past, past)
			}))
			t.Setenv("TZ", "Asia/Tokyo")
			t.Setenv("GOFLAGS", "-tags=whatever")
			t.Setenv("CGO_ENABLED", "1")
		}
		img, err := image.New(image.Options{Root: root, CacheDir: t.TempDir()}).Build(context.Background(), tiny, nil)
		require.NoError(t, err)
		require.False(t, img.Cached)
		digests = append(digests, img.Digest)
	}
	require.Equal(t, digests[0], digests[1])
}

func TestImageRunsWithLittleRightAndTellsWhatIsInIt(t *testing.T) {
	hub := newHub(t)
	root := repository(t)
	builder := image.New(image.Options{Root: root, CacheDir: t.TempDir(), Arch: "arm64"})
	built, err := builder.Build(context.Background(), tiny, nil)
	require.NoError(t, err)
	digest, err := builder.Push(context.Background(), built, hub.addr+"/lab/tiny", nil)
	require.NoError(t, err)
	require.Equal(t, built.Digest, digest)

	img := pulled(t, hub.addr+"/lab/tiny@"+digest)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "linux", config.OS)
	require.Equal(t, "arm64", config.Architecture)
	require.Equal(t, "65532:65532", config.Config.User)
	require.Equal(t, []string{"/tiny"}, config.Config.Entrypoint)
	require.Equal(t, "tiny", config.Config.Labels["org.opencontainers.image.title"])
	require.Contains(t, config.Config.Labels["io.labctl.build.go"], "go1.")
	require.Contains(t, config.Config.Labels["io.labctl.build.source"], "sha256:")
	require.NotContains(t, config.Config.Labels, "org.opencontainers.image.created")

	files := contents(t, img)
	require.Equal(t, int64(0o755), files["/tiny"].Mode)
	require.Contains(t, files["/etc/passwd"].PAXRecords["content"], "nonroot:x:65532:65532:")
	require.Contains(t, files["/etc/ssl/certs/ca-certificates.crt"].PAXRecords["content"], "BEGIN CERTIFICATE")
	require.Equal(t, int64(0o1777), files["/tmp"].Mode)
	for name, header := range files {
		require.Zero(t, header.ModTime.Unix(), name)
	}
	var bom struct {
		Format     string                           `json:"bomFormat"`
		Components []struct{ Name, Version string } `json:"components"`
	}
	require.NoError(t, json.Unmarshal([]byte(files["/usr/share/sbom/tiny.cdx.json"].PAXRecords["content"]), &bom))
	require.Equal(t, "CycloneDX", bom.Format)
	require.Equal(t, "stdlib", bom.Components[0].Name)
	require.Equal(t, "example.test/lab", bom.Components[1].Name)
}

func TestPushSendsOnlyWhatIsMissing(t *testing.T) {
	hub := newHub(t)
	root := repository(t)
	builder := image.New(image.Options{Root: root, CacheDir: t.TempDir()})
	push := func() string {
		img, err := builder.Build(context.Background(), tiny, nil)
		require.NoError(t, err)
		digest, err := builder.Push(context.Background(), img, hub.addr+"/lab/tiny", nil)
		require.NoError(t, err)
		return digest
	}
	first := push()
	require.Positive(t, hub.taken())
	require.Equal(t, first, push())
	require.Zero(t, hub.taken(), "the registry has it all")

	write(t, filepath.Join(root, "services/tiny/words/hello.txt"), "good day")
	require.NotEqual(t, first, push())
	// The program's layer and the configuration, each with a PATCH and a PUT; the base layer is there.
	require.Equal(t, 4, hub.taken())
}

func TestPushReportsBytes(t *testing.T) {
	hub := newHub(t)
	builder := image.New(image.Options{Root: repository(t), CacheDir: t.TempDir()})
	img, err := builder.Build(context.Background(), tiny, nil)
	require.NoError(t, err)
	var seen seen
	_, err = builder.Push(context.Background(), img, hub.addr+"/lab/tiny", seen.report)
	require.NoError(t, err)
	last := seen.events[len(seen.events)-1]
	require.Positive(t, last.Total)
	require.Equal(t, last.Total, last.Done)
}

func TestPushToNobodySaysWhatToAsk(t *testing.T) {
	closed := freeport.Of(t).Addr()
	builder := image.New(image.Options{Root: repository(t), CacheDir: t.TempDir()})
	img, err := builder.Build(context.Background(), tiny, nil)
	require.NoError(t, err)
	_, err = builder.Push(context.Background(), img, closed+"/lab/tiny", nil)
	require.ErrorContains(t, err, `push the image "tiny" to `+closed+"/lab/tiny")
	require.ErrorContains(t, err, "labctl cluster status")
}

func TestWhatIsBuiltAgain(t *testing.T) {
	tests := map[string]struct {
		change func(t *testing.T, root, cache string)
		again  bool
	}{
		"nothing changed": {change: func(*testing.T, string, string) {}},
		"a new test file": {change: func(t *testing.T, root, _ string) { write(t, root+"/services/tiny/tiny_test.go", "package tiny\n") }},
		"another service": {change: func(t *testing.T, root, _ string) { write(t, root+"/services/other/other.go", "package other\n") }},
		"a line in go.sum": {change: func(t *testing.T, root, _ string) {
			write(t, root+"/go.sum", "example.test/x v1.0.0/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n")
		}},
		"a package's file": {change: func(t *testing.T, root, _ string) {
			write(t, root+"/services/tiny/tiny.go", "package tiny\n\nfunc Greeting() string { return \"\" }\n")
		}, again: true},
		"a new file": {change: func(t *testing.T, root, _ string) {
			write(t, root+"/services/tiny/new.go", "package tiny\n\nvar New = 1\n")
		}, again: true},
		"an embedded file":    {change: func(t *testing.T, root, _ string) { write(t, root+"/services/tiny/words/hello.txt", "hi") }, again: true},
		"the go directive":    {change: func(t *testing.T, root, _ string) { write(t, root+"/go.mod", "module example.test/lab\n\ngo 1.25\n") }, again: true},
		"a damaged cache":     {change: damage(func(content []byte) []byte { content[len(content)/2] ^= 1; return content }), again: true},
		"a cache cut short":   {change: damage(func(content []byte) []byte { return content[:len(content)/2] }), again: true},
		"no index in cache":   {change: func(t *testing.T, _, cache string) { remove(t, cache+"/images/tiny/*/index.json") }, again: true},
		"no record of inputs": {change: func(t *testing.T, _, cache string) { remove(t, cache+"/images/tiny/inputs-*.json") }},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, cache := repository(t), t.TempDir()
			build := func() image.Image {
				img, err := image.New(image.Options{Root: root, CacheDir: cache}).Build(context.Background(), tiny, nil)
				require.NoError(t, err)
				return img
			}
			require.False(t, build().Cached)
			test.change(t, root, cache)
			require.Equal(t, test.again, !build().Cached)
			require.True(t, build().Cached, "and then it is kept")
		})
	}
}

// damage changes the largest blob of the kept image.
func damage(change func([]byte) []byte) func(t *testing.T, root, cache string) {
	return func(t *testing.T, _, cache string) {
		blobs, err := filepath.Glob(filepath.Join(cache, "images/tiny/*/blobs/sha256/*"))
		require.NoError(t, err)
		largest, content := "", []byte(nil)
		for _, blob := range blobs {
			c, err := os.ReadFile(blob)
			require.NoError(t, err)
			if len(c) > len(content) {
				largest, content = blob, c
			}
		}
		require.NoError(t, os.WriteFile(largest, change(content), 0o644))
	}
}

func remove(t *testing.T, pattern string) {
	t.Helper()
	matches, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, matches, 1)
	require.NoError(t, os.Remove(matches[0]))
}

func TestDamagedCacheIsTold(t *testing.T) {
	root, cache := repository(t), t.TempDir()
	builder := image.New(image.Options{Root: root, CacheDir: cache})
	before, err := builder.Build(context.Background(), tiny, nil)
	require.NoError(t, err)
	damage(func(content []byte) []byte { return append(content, 'x') })(t, root, cache)
	var seen seen
	after, err := builder.Build(context.Background(), tiny, seen.report)
	require.NoError(t, err)
	require.Equal(t, before.Digest, after.Digest)
	require.Contains(t, seen.text(), "warning: the kept image of tiny is damaged")
}

func TestOldImagesAreRemoved(t *testing.T) {
	root, cache := repository(t), t.TempDir()
	builder := image.New(image.Options{Root: root, CacheDir: cache})
	write(t, filepath.Join(cache, "images/tiny/.staging-killed/blob"), "left by a killed build")
	var kept []string
	for _, word := range []string{"one", "two", "three"} {
		write(t, filepath.Join(root, "services/tiny/words/hello.txt"), word)
		img, err := builder.Build(context.Background(), tiny, nil)
		require.NoError(t, err)
		kept = append(kept, img.Path)
	}
	require.NoDirExists(t, kept[0])
	require.DirExists(t, kept[1])
	require.DirExists(t, kept[2])
	staged, err := filepath.Glob(filepath.Join(cache, "images/tiny/.*"))
	require.NoError(t, err)
	require.Empty(t, staged)
}

func TestConcurrentBuildsOfTheSame(t *testing.T) {
	root, cache := repository(t), t.TempDir()
	var group sync.WaitGroup
	images := make([]image.Image, 4)
	for i := range images {
		group.Go(func() {
			var err error
			images[i], err = image.New(image.Options{Root: root, CacheDir: cache}).Build(context.Background(), tiny, nil)
			require.NoError(t, err)
		})
	}
	group.Wait()
	made := 0
	for _, img := range images {
		require.Equal(t, images[0].Digest, img.Digest)
		if !img.Cached {
			made++
		}
	}
	require.Equal(t, 1, made)
}

func TestCompileErrorNamesFileAndLine(t *testing.T) {
	root := repository(t, map[string]string{"services/tiny/tiny.go": "package tiny\n\nfunc Greeting() string { return missing }\n"})
	_, err := image.New(image.Options{Root: root, CacheDir: t.TempDir()}).Build(context.Background(), tiny, nil)
	require.ErrorContains(t, err, `image "tiny"`)
	require.ErrorContains(t, err, "tiny.go:3:33: undefined: missing")
}

func TestWrongSources(t *testing.T) {
	recipe := func(text string) map[string]string {
		return map[string]string{"images/part/image.hcl": text, "images/part/main.go": "package main\n\nfunc main() {}\n"}
	}
	tests := map[string]struct {
		files map[string]string
		spec  image.Spec
		is    error
		want  []string
	}{
		"no such directory":   {spec: image.Spec{Name: "x", Source: "services/none"}, is: image.ErrNoRecipe, want: []string{"there are services/tiny"}},
		"outside":             {spec: image.Spec{Name: "x", Source: "../x"}, want: []string{"must be a directory below"}},
		"a name with a slash": {spec: image.Spec{Name: "a/b", Source: "services/tiny"}, want: []string{"not a name"}},
		"no recipe":           {files: map[string]string{"images/part/x": ""}, spec: image.Spec{Name: "part", Source: "images/part"}, is: image.ErrNoRecipe},
		"unknown attribute":   {files: recipe("nope = 1\n"), want: []string{"image.hcl:1,1", "nope"}},
		"a base by tag":       {files: recipe("base = \"example.test/base:1\"\n"), want: []string{"by digest"}},
		"wrong caches":        {files: recipe("caches = \"none\"\n"), want: []string{`"shared" or "private"`}},
		"two of one name":     {files: recipe("programs = { \"/a\" = \"./x/tool\", \"/b\" = \"./y/tool\" }\n"), want: []string{"two packages give a program of the name tool"}},
		"a relative binary":   {files: recipe("binary = \"part\"\n"), want: []string{"not a clean absolute path"}},
		"packages and a base": {files: recipe("packages = [\"git\"]\nbase = \"example.test/base@sha256:" + strings.Repeat("0", 64) + "\"\n"), want: []string{"exclude each other"}},
		"an option of apt's":  {files: recipe("packages = [\"--fix-broken\"]\n"), want: []string{"not a package's name"}},
		"in a link's place":   {files: recipe("packages = [\"git\"]\nbinary = \"/bin/part\"\n"), want: []string{`must be "/usr/bin/part"`}},
		"a file from outside": {files: recipe("files = { \"/x\" = \"../../x\" }\n"), want: []string{"below the recipe"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.spec.Name == "" {
				test.spec = image.Spec{Name: "part", Source: "images/part"}
			}
			root := repository(t, test.files)
			_, err := image.New(image.Options{Root: root, CacheDir: t.TempDir()}).Build(context.Background(), test.spec, nil)
			require.Error(t, err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			for _, want := range test.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// part is a third-party part of a module of its own, with all that a recipe can say.
var part = map[string]string{
	"images/part/go.mod":        "module example.test/lab/images/part\n\ngo 1.26\n",
	"images/part/main.go":       "package main\n\nvar version string\n\nfunc main() { println(version) }\n",
	"images/part/other/main.go": "package main\n\nfunc main() { println(\"other\") }\n",
	"images/part/conf/a/b.ini":  "[b]\n",
	"images/part/image.hcl": `
version    = "1.2.3"
binary     = "/usr/bin/part"
programs   = { "/usr/bin/beside" = "./other" }
links      = { "/usr/bin/alias" = "part" }
ldflags    = "-X main.version=1.2.3"
entrypoint = ["/usr/bin/part", "serve"]
args       = ["--loud"]
env        = { MODE = "lab" }
user       = 999
workdir    = "/data"
files      = { "/etc/part" = "conf" }
dirs       = ["/data"]
labels     = { "io.cri-containerd.pinned" = "pinned" }
caches     = "private"
`,
}

var partSpec = image.Spec{Name: "part", Source: "images/part"}

func TestRecipe(t *testing.T) {
	hub, cache := newHub(t), t.TempDir()
	root := repository(t, part)
	builder := image.New(image.Options{Root: root, CacheDir: cache})
	built, err := builder.Build(context.Background(), partSpec, nil)
	require.NoError(t, err)
	digest, err := builder.Push(context.Background(), built, hub.addr+"/lab/part", nil)
	require.NoError(t, err)
	img := pulled(t, hub.addr+"/lab/part@"+digest)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "999:999", config.Config.User)
	require.Equal(t, []string{"/usr/bin/part", "serve"}, config.Config.Entrypoint)
	require.Equal(t, []string{"--loud"}, config.Config.Cmd)
	require.Equal(t, "/data", config.Config.WorkingDir)
	require.Contains(t, config.Config.Env, "MODE=lab")
	require.Equal(t, "pinned", config.Config.Labels["io.cri-containerd.pinned"])
	require.Equal(t, "1.2.3", config.Config.Labels["org.opencontainers.image.version"])
	files := contents(t, img)
	require.Equal(t, "[b]\n", files["/etc/part/a/b.ini"].PAXRecords["content"])
	require.Equal(t, 999, files["/data"].Uid)
	require.Equal(t, int64(0o755), files["/usr/bin/beside"].Mode)
	require.NotEqual(t, files["/usr/bin/part"].PAXRecords["content"], files["/usr/bin/beside"].PAXRecords["content"])
	require.Equal(t, "part", files["/usr/bin/alias"].Linkname)

	left, err := filepath.Glob(filepath.Join(cache, "build", "*", "*"))
	require.NoError(t, err)
	require.Empty(t, left, "private caches must be gone")
	again, err := builder.Build(context.Background(), partSpec, nil)
	require.NoError(t, err)
	require.True(t, again.Cached)

	write(t, filepath.Join(root, "images/part/conf/new.ini"), "")
	again, err = builder.Build(context.Background(), partSpec, nil)
	require.NoError(t, err)
	require.False(t, again.Cached)
}

func TestUpstream(t *testing.T) {
	hub := newHub(t)
	there := hub.addr + "/upstream/part:1.2.3"
	original, err := random.Image(512, 2)
	require.NoError(t, err)
	ref, err := name.ParseReference(there)
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, original))
	want, err := original.Digest()
	require.NoError(t, err)

	// One that takes connections and never says a word.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = mute.Close() })

	tests := map[string]struct {
		reference  string
		fromSource bool
		pulled     bool
		says       string
	}{
		"the registry has it":           {reference: there, pulled: true},
		"but --from-source is set":      {reference: there, fromSource: true},
		"the registry is silent":        {reference: mute.Addr().String() + "/part:1", says: "built from source"},
		"the registry has no such part": {reference: hub.addr + "/upstream/none:1", says: "warning: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			root, cache := repository(t, part), t.TempDir()
			recipe := filepath.Join(root, "images/part/image.hcl")
			write(t, recipe, strings.Replace(part["images/part/image.hcl"], "private", "shared", 1)+"upstream = \""+test.reference+"\"\n")
			var seen seen
			for _, cached := range []bool{false, true} {
				builder := image.New(image.Options{Root: root, CacheDir: cache, FromSource: test.fromSource, UpstreamTimeout: 200 * time.Millisecond})
				img, err := builder.Build(context.Background(), partSpec, seen.report)
				require.NoError(t, err)
				require.Equal(t, cached, img.Cached)
				if test.pulled {
					require.Equal(t, want.String(), img.Digest)
					require.Equal(t, test.reference, img.Upstream)
				} else {
					require.NotEqual(t, want.String(), img.Digest)
					require.Empty(t, img.Upstream)
				}
			}
			require.Contains(t, seen.text(), test.says)
		})
	}
}

func TestBase(t *testing.T) {
	hub := newHub(t)
	base, err := random.Image(256, 1)
	require.NoError(t, err)
	ref, err := name.ParseReference(hub.addr + "/base:1")
	require.NoError(t, err)
	require.NoError(t, remote.Write(ref, base))
	digest, err := base.Digest()
	require.NoError(t, err)
	baseLayers, err := base.Layers()
	require.NoError(t, err)
	wantLayer, err := baseLayers[0].Digest()
	require.NoError(t, err)

	root := repository(t, map[string]string{"services/tiny/image.hcl": "base = \"" + hub.addr + "/base@" + digest.String() + "\"\n"})
	builder := image.New(image.Options{Root: root, CacheDir: t.TempDir()})
	built, err := builder.Build(context.Background(), tiny, nil)
	require.NoError(t, err)
	pushed, err := builder.Push(context.Background(), built, hub.addr+"/lab/tiny", nil)
	require.NoError(t, err)
	layers, err := pulled(t, hub.addr+"/lab/tiny@"+pushed).Layers()
	require.NoError(t, err)
	require.Len(t, layers, 2)
	gotLayer, err := layers[0].Digest()
	require.NoError(t, err)
	require.Equal(t, wantLayer, gotLayer)
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	cache := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	builder := image.New(image.Options{Root: repository(t), CacheDir: cache})
	_, err := builder.Build(ctx, tiny, func(e event.Event) {
		if strings.HasPrefix(e.Message, "compiling") {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	left, err := filepath.Glob(filepath.Join(cache, "images/tiny/*"))
	require.NoError(t, err)
	for _, path := range left {
		require.True(t, strings.HasSuffix(path, ".json"), path)
	}
	img, err := builder.Build(context.Background(), tiny, nil) // and it can be run again
	require.NoError(t, err)
	require.False(t, img.Cached)
}

// npm stands in for the real one, which needs the network: it writes what it is asked to into dist.
const npm = `#!/bin/sh
echo "npm $1" >> "$NPM_LOG"
case "$1" in
ci)  mkdir -p node_modules && echo > node_modules/.package-lock.json
     echo "npm http fetch GET 200 one" >&2 ;;
run) if [ -e broken ]; then echo "src/app.tsx(1,1): error TS2304" >&2; exit 2; fi
     if [ -e offline ]; then echo "npm error code ENOTFOUND" >&2; exit 1; fi
     rm -rf dist && mkdir dist && cp src/* dist/ ;;
esac
`

func TestWeb(t *testing.T) {
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "npm"), []byte(npm), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	npmLog := filepath.Join(t.TempDir(), "log")
	t.Setenv("NPM_LOG", npmLog)
	ran := func() string {
		content, err := os.ReadFile(npmLog)
		if os.IsNotExist(err) {
			return ""
		}
		require.NoError(t, err)
		require.NoError(t, os.Remove(npmLog))
		return string(content)
	}
	root := repository(t, map[string]string{
		"services/page/cmd/page/main.go":      "package main\n\nimport \"example.test/lab/services/page\"\n\nfunc main() { println(page.Dist.ReadFile(\"web/dist/index.html\")) }\n",
		"services/page/page.go":               "package page\n\nimport \"embed\"\n\n//go:embed all:web/dist\nvar Dist embed.FS\n",
		"services/page/web/package.json":      "{}",
		"services/page/web/package-lock.json": `{"packages":{"":{},"node_modules/@scope/lib":{"version":"1.0.0","integrity":"sha512-x"},"node_modules/tool":{"version":"2.0.0","dev":true}}}`,
		"services/page/web/src/index.html":    "<h1>hello</h1>",
		"services/page/web/dist/.gitkeep":     "",
	})
	web := filepath.Join(root, "services/page/web")
	hub, cache := newHub(t), t.TempDir()
	page := image.Spec{Name: "page", Source: "services/page"}
	builder := image.New(image.Options{Root: root, CacheDir: cache})
	build := func() image.Image {
		img, err := builder.Build(context.Background(), page, nil)
		require.NoError(t, err)
		return img
	}
	first := build()
	require.Equal(t, "npm ci\nnpm run\n", ran())
	require.FileExists(t, filepath.Join(web, "dist/.gitkeep"), "Git tracks it")
	digest, err := builder.Push(context.Background(), first, hub.addr+"/lab/page", nil)
	require.NoError(t, err)
	files := contents(t, pulled(t, hub.addr+"/lab/page@"+digest))
	require.True(t, bytes.Contains([]byte(files["/page"].PAXRecords["content"]), []byte("<h1>hello</h1>")))
	bill := files["/usr/share/sbom/page.cdx.json"].PAXRecords["content"]
	require.Contains(t, bill, "pkg:npm/%40scope/lib@1.0.0")
	require.NotContains(t, bill, "pkg:npm/tool")

	require.True(t, build().Cached)
	require.Empty(t, ran(), "nothing changed")

	write(t, filepath.Join(web, "src/index.html"), "<h1>good day</h1>")
	require.NotEqual(t, first.Digest, build().Digest)
	require.Equal(t, "npm run\n", ran(), "its packages are there")

	write(t, filepath.Join(web, "dist/index.html"), "tampered")
	require.True(t, build().Cached)
	require.Equal(t, "npm run\n", ran(), "dist is not what was built")

	write(t, filepath.Join(web, "package-lock.json"), `{"packages":{}}`)
	build()
	require.Equal(t, "npm ci\nnpm run\n", ran())

	write(t, filepath.Join(web, "offline"), "")
	_, err = builder.Build(context.Background(), page, nil)
	require.ErrorIs(t, err, gobuild.ErrNetwork)
	write(t, filepath.Join(web, "broken"), "")
	_, err = builder.Build(context.Background(), page, nil)
	require.ErrorContains(t, err, "src/app.tsx(1,1): error TS2304")

	t.Setenv("PATH", "/nonexistent")
	_, err = builder.Build(context.Background(), page, nil)
	require.Error(t, err)
}
