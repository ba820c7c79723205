package chart

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	ocitest "github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"
	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/registry"
	"helm.sh/helm/v3/pkg/repo"
)

// archiveOf packs a chart of testdata, under another version where one is given.
func archiveOf(t *testing.T, name, version string) string {
	t.Helper()
	ch, err := loader.LoadDir(filepath.Join("testdata", name))
	require.NoError(t, err)
	if version != "" {
		ch.Metadata.Version = version
	}
	path, err := chartutil.Save(ch, t.TempDir())
	require.NoError(t, err)
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// chartServer is a place that charts are fetched from.
type chartServer struct {
	*httptest.Server
	asked atomic.Int64 // Helm asks for several things at once
	push  func(t *testing.T, name, version string)
	from  func(version string) Source // where the chart "plain" is
}

func (s *chartServer) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		next.ServeHTTP(w, r)
	})
}

func ociServer(t *testing.T) *chartServer {
	s := &chartServer{}
	s.Server = httptest.NewServer(s.count(ocitest.New(ocitest.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	s.push = func(t *testing.T, name, version string) {
		c, err := registry.NewClient(registry.ClientOptPlainHTTP(), registry.ClientOptCredentialsFile(filepath.Join(t.TempDir(), "none.json")))
		require.NoError(t, err)
		_, err = c.Push(read(t, archiveOf(t, name, version)), host+"/charts/"+name+":"+version)
		require.NoError(t, err)
	}
	s.from = func(version string) Source {
		return Source{Release: "shop", Chart: "oci://" + host + "/charts/plain", Version: version}
	}
	return s
}

func httpServer(t *testing.T) *chartServer {
	s := &chartServer{}
	dir := t.TempDir()
	s.Server = httptest.NewServer(s.count(http.FileServer(http.Dir(dir))))
	t.Cleanup(s.Close)
	s.push = func(t *testing.T, name, version string) {
		path := archiveOf(t, name, version)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), read(t, path), 0o600))
		index, err := repo.IndexDirectory(dir, "")
		require.NoError(t, err)
		index.SortEntries()
		require.NoError(t, index.WriteFile(filepath.Join(dir, "index.yaml"), 0o600))
	}
	s.from = func(version string) Source {
		return Source{Release: "shop", Chart: "plain", Repository: s.URL, Version: version}
	}
	return s
}

func TestRemoteCharts(t *testing.T) {
	t.Setenv("HELM_CONFIG_HOME", t.TempDir()) // nobody's credentials
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for kind, serve := range map[string]func(*testing.T) *chartServer{"a registry": ociServer, "a repository": httpServer} {
		t.Run(kind, func(t *testing.T) {
			server := serve(t)
			for _, version := range []string{"1.2.3", "1.3.0", "2.0.0", "3.0.0-rc.1"} {
				server.push(t, "plain", version)
			}
			store := &Store{Dir: t.TempDir()}
			lockFile := filepath.Join(t.TempDir(), "charts.lock.hcl")
			locate := func(store *Store, version string) (string, error) {
				src := server.from(version)
				src.LockFile = lockFile
				return store.Locate(t.Context(), src, nil)
			}
			path, err := locate(store, "^1.2")
			require.NoError(t, err)
			ch, err := loader.Load(path)
			require.NoError(t, err)
			require.Equal(t, "1.3.0", ch.Metadata.Version)
			locked, err := readLock(lockFile)
			require.NoError(t, err)
			require.Equal(t, "1.3.0", locked.release("shop").Version)
			require.Equal(t, digest(read(t, path)), locked.release("shop").Digest)
			info, err := os.Stat(lockFile)
			require.NoError(t, err)
			require.EqualValues(t, 0o644, info.Mode().Perm())

			// What is pinned stays, and needs no network.
			server.push(t, "plain", "1.4.0")
			before := server.asked.Load()
			for _, s := range []*Store{store, {Dir: store.Dir, Offline: true}} {
				again, err := locate(s, "^1.2")
				require.NoError(t, err)
				require.Equal(t, path, again)
			}
			require.Equal(t, before, server.asked.Load())

			// Another machine fetches what is pinned.
			other, err := locate(&Store{Dir: t.TempDir()}, "^1.2")
			require.NoError(t, err)
			require.Equal(t, read(t, path), read(t, other))
			_, err = locate(&Store{Dir: t.TempDir(), Offline: true}, "^1.2")
			require.ErrorIs(t, err, ErrNotFetched)

			// A constraint that moved on.
			_, err = locate(store, "^2.0")
			var moved *PinError
			require.ErrorAs(t, err, &moved)
			require.ErrorContains(t, err, `is pinned to version 1.3.0, but the version that is wanted is "^2.0": to pin it anew, remove the block release "shop" from `+lockFile+", then type `labctl plan`")

			// A damaged cache is fetched again, another archive under the same version is refused.
			require.NoError(t, os.WriteFile(path, []byte("damaged"), 0o600))
			_, err = locate(store, "^1.2")
			require.NoError(t, err)
			pinned := locked.release("shop").Digest
			locked.Releases[0].Digest = digest([]byte("another"))
			require.NoError(t, locked.write(lockFile))
			_, err = locate(store, "^1.2")
			var changed *DigestError
			require.ErrorAs(t, err, &changed)
			require.ErrorContains(t, err, "its digest should be "+digest([]byte("another"))+", and is "+pinned)

			// Another chart of the release is pinned anew.
			require.NoError(t, os.Remove(lockFile))
			for version, want := range map[string]string{"": "2.0.0", "3.0.0-rc.1": "3.0.0-rc.1", ">= 1.3, < 1.4": "1.3.0"} {
				require.NoError(t, (&lock{}).write(lockFile))
				path, err := locate(store, version)
				require.NoError(t, err, version)
				ch, err := loader.Load(path)
				require.NoError(t, err)
				require.Equal(t, want, ch.Metadata.Version)
			}
			require.NoError(t, (&lock{}).write(lockFile))
			_, err = locate(store, "^9")
			var fetch *FetchError
			require.ErrorAs(t, err, &fetch)

			server.Close()
			_, err = locate(&Store{Dir: t.TempDir()}, "^1.2")
			require.ErrorAs(t, err, &fetch)
		})
	}
}

func TestDependencies(t *testing.T) {
	t.Setenv("HELM_CONFIG_HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httpServer(t)
	server.push(t, "plain", "1.2.3")
	server.push(t, "plain", "1.9.0")
	umbrella := func(t *testing.T) Source {
		dir := filepath.Join(t.TempDir(), "umbrella")
		require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/umbrella")))
		file := filepath.Join(dir, "Chart.yaml")
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(read(t, file)), "https://charts.invalid", server.URL)), 0o600))
		return Source{Release: "shop", Chart: dir, LockFile: filepath.Join(filepath.Dir(dir), "charts.lock.hcl")}
	}
	render := func(t *testing.T, path string) string {
		text, err := Render(Release{Name: "shop", Namespace: "n", ChartDir: path})
		require.NoError(t, err)
		return text
	}
	store := &Store{Dir: t.TempDir()}
	t.Run("pinned by the lab", func(t *testing.T) {
		src := umbrella(t)
		path, err := store.Locate(t.Context(), src, nil)
		require.NoError(t, err)
		text := render(t, path)
		require.Contains(t, text, `megabytes: "64"`)
		require.Contains(t, text, `color: "red"`)
		require.NoFileExists(t, filepath.Join(src.Chart, "charts", "plain-1.9.0.tgz"))
		locked, err := readLock(src.LockFile)
		require.NoError(t, err)
		require.Equal(t, "1.9.0", locked.release("shop").Dependencies[0].Version)
		asked := server.asked.Load()
		again, err := (&Store{Dir: store.Dir, Offline: true}).Locate(t.Context(), src, nil)
		require.NoError(t, err)
		require.Equal(t, path, again)
		require.Equal(t, asked, server.asked.Load())
	})
	t.Run("as Chart.lock says", func(t *testing.T) {
		src := umbrella(t)
		ch, err := loader.LoadDir(src.Chart)
		require.NoError(t, err)
		lock := []*helmchart.Dependency{{Name: "cache", Version: "0.1.0"}, {Name: "plain", Version: "1.2.3", Repository: server.URL}}
		sum := hashOfLock(t, ch.Metadata.Dependencies, lock)
		text := "dependencies:\n- name: cache\n  repository: \"\"\n  version: 0.1.0\n- name: plain\n  repository: " + server.URL + "\n  version: 1.2.3\ngenerated: \"2026-01-01T00:00:00Z\"\n"
		require.NoError(t, os.WriteFile(filepath.Join(src.Chart, "Chart.lock"), []byte(text+"digest: "+sum+"\n"), 0o600))
		path, err := store.Locate(t.Context(), src, nil)
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(path, "charts", "plain-1.2.3.tgz"))

		require.NoError(t, os.WriteFile(filepath.Join(src.Chart, "Chart.lock"), []byte(text+"digest: sha256:00\n"), 0o600))
		_, err = store.Locate(t.Context(), src, nil)
		var old *LockedError
		require.ErrorAs(t, err, &old)
	})
	t.Run("an archive has them already", func(t *testing.T) {
		src := umbrella(t)
		path, err := store.Locate(t.Context(), src, nil)
		require.NoError(t, err)
		ch, err := loader.Load(path)
		require.NoError(t, err)
		archive, err := chartutil.Save(ch, t.TempDir())
		require.NoError(t, err)
		src.Chart = archive
		path, err = store.Locate(t.Context(), src, nil)
		require.NoError(t, err)
		require.Equal(t, archive, path)
		require.Contains(t, render(t, path), `color: "red"`)
	})
	t.Run("none that is a URL", func(t *testing.T) {
		src := umbrella(t)
		require.NoError(t, os.RemoveAll(filepath.Join(src.Chart, "charts")))
		_, err := store.Locate(t.Context(), src, nil)
		require.ErrorContains(t, err, `dependency "cache" of `+src.Chart+` is not in its charts/, and its repository "" is no URL`)
	})
}

func TestValuesFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	r := Release{
		Name: "strict", Namespace: "n", ChartDir: "testdata/strict",
		ValuesFiles: []string{
			file("a.yaml", "host: a\nresources: {limits: {cpu: 2}}\nextra: null\n"),
			file("b.yaml", "host: b\n"),
		},
		Values: map[string]any{"resources": map[string]any{"limits": map[string]any{"memory": nil}}},
	}
	text, err := Render(r)
	require.NoError(t, err)
	require.Contains(t, text, "host: b\n")
	require.Contains(t, text, `resources: "{\"limits\":{\"cpu\":2}}"`)
	require.NotContains(t, text, "from:")

	r.Values["host"] = "c"
	text, err = Render(r)
	require.NoError(t, err)
	require.Contains(t, text, "host: c\n")
	before, err := Hash(r)
	require.NoError(t, err)
	file("b.yaml", "host: b\nextra: 'x: y'\n")
	after, err := Hash(r)
	require.NoError(t, err)
	require.NotEqual(t, before, after)

	r.ValuesFiles = append(r.ValuesFiles, file("c.yaml", "hosts: d\n"))
	_, err = Render(r)
	var refused *ValuesError
	require.ErrorAs(t, err, &refused)
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name     string
		chart    string
		values   map[string]any
		complete bool
		want     string
	}{
		{"fits", "strict", map[string]any{"host": "a"}, true, ""},
		{"lacks a value", "strict", nil, true, `release "r": host: is required, and has no value`},
		{"lacks a value that is not known yet", "strict", nil, false, ""},
		{"has a value that cannot be", "strict", map[string]any{"hots": "a"}, false, `release "r": hots: is not a value of this chart; here there are extra, host, resources`},
		{"is no YAML", "broken", nil, true, "YAML"},
	} {
		for _, kind := range []string{"directory", "archive"} {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				r := Release{Name: "r", Namespace: "n", ChartDir: "testdata/" + tt.chart, Values: tt.values}
				if kind == "archive" {
					r.ChartDir = archiveOf(t, tt.chart, "")
				}
				found, err := Check(r, false, tt.complete)
				require.NoError(t, err)
				if tt.want == "" {
					require.Empty(t, found)
					return
				}
				require.NotEmpty(t, found)
				require.Contains(t, found[0].Message, tt.want)
			})
		}
	}
}

func hashOfLock(t *testing.T, wanted, locked []*helmchart.Dependency) string {
	t.Helper()
	data, err := json.Marshal([2][]*helmchart.Dependency{wanted, locked})
	require.NoError(t, err)
	return digest(data)
}
