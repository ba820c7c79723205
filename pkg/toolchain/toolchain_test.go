package toolchain_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/toolchain"
	"github.com/stretchr/testify/require"
)

// fake is a program that tells its version as terraform does.
func fake(version string) string {
	return "#!/bin/sh\necho '{\"terraform_version\": \"" + version + "\"}'\n"
}

// path makes a PATH of the go command and the given programs.
func path(t *testing.T, programs map[string]string) string {
	t.Helper()
	bin := t.TempDir()
	goTool, err := exec.LookPath("go")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(goTool, filepath.Join(bin, "go")))
	for name, text := range programs {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755))
	}
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	return bin
}

// root is a repository whose OpenTofu is a program of a few lines.
func root(t *testing.T, main string) string {
	t.Helper()
	dir := t.TempDir()
	module := filepath.Join(dir, "images", "opentofu")
	require.NoError(t, os.MkdirAll(filepath.Join(module, "cmd", "tofu"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(module, "go.mod"), []byte("module github.com/opentofu/opentofu\n\ngo 1.26\n"), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(module, "cmd", "tofu", "main.go"), []byte(main), 0o644))
	return dir
}

const tofu = "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(`{\"terraform_version\": \"1.99.0\"}`) }\n"

// log keeps what is reported.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) report(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, "%s: %s\n", e.Kind, e.Message)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// mirror is a copy of HashiCorp's release server with one release, signed with a key of its own.
type mirror struct {
	url, key string
	mu       sync.Mutex
	asked    int
}

func newMirror(t *testing.T, program string, spoil func(files map[string][]byte)) *mirror {
	t.Helper()
	entity, err := openpgp.NewEntity("test", "", "test@example.test", nil)
	require.NoError(t, err)
	var key bytes.Buffer
	armored, err := armor.Encode(&key, openpgp.PublicKeyType, nil)
	require.NoError(t, err)
	require.NoError(t, entity.Serialize(armored))
	require.NoError(t, armored.Close())

	var archive bytes.Buffer
	writer := zip.NewWriter(&archive)
	file, err := writer.Create("terraform")
	require.NoError(t, err)
	_, err = file.Write([]byte(program))
	require.NoError(t, err)
	require.NoError(t, writer.Close())

	base := "terraform_" + toolchain.DownloadVersion
	zipName := base + "_" + runtime.GOOS + "_" + runtime.GOARCH + ".zip"
	sums := fmt.Appendf(nil, "%x  %s\n", sha256.Sum256(archive.Bytes()), zipName)
	var signature bytes.Buffer
	require.NoError(t, openpgp.DetachSign(&signature, entity, bytes.NewReader(sums), nil))

	m := &mirror{key: key.String()}
	files := map[string][]byte{zipName: archive.Bytes(), base + "_SHA256SUMS": sums, base + "_SHA256SUMS.sig": signature.Bytes()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked++
		m.mu.Unlock()
		name := strings.TrimPrefix(r.URL.Path, "/terraform/"+toolchain.DownloadVersion+"/")
		content, ok := files[name]
		switch {
		case !ok:
			http.NotFound(w, r)
			return
		case strings.HasSuffix(name, ".json"):
			w.Header().Set("Content-Type", "application/json")
		case strings.HasSuffix(name, ".zip"):
			w.Header().Set("Content-Type", "application/zip")
		}
		_, _ = w.Write(content)
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	files["index.json"] = fmt.Appendf(nil, `{"name": "terraform", "version": %q, "shasums": %q, "shasums_signature": %q,
		"builds": [{"name": "terraform", "version": %q, "os": %q, "arch": %q, "filename": %q, "url": %q}]}`,
		toolchain.DownloadVersion, base+"_SHA256SUMS", base+"_SHA256SUMS.sig", toolchain.DownloadVersion,
		runtime.GOOS, runtime.GOARCH, zipName, server.URL+"/terraform/"+toolchain.DownloadVersion+"/"+zipName)
	if spoil != nil {
		spoil(files)
	}
	return m
}

func (m *mirror) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func TestOneOnPathIsUsed(t *testing.T) {
	tests := map[string]struct {
		programs map[string]string
		engine   string
		want     string
		says     string
	}{
		"tofu, as the lab wants it":       {programs: map[string]string{"terraform": fake("1.11.0"), "tofu": fake("1.9.0")}, engine: "tofu", want: "tofu"},
		"terraform":                       {programs: map[string]string{"terraform": fake("1.11.0"), "tofu": fake("1.9.0")}, want: "terraform"},
		"tofu":                            {programs: map[string]string{"tofu": fake("1.9.0")}, want: "tofu"},
		"tofu, as terraform is too old":   {programs: map[string]string{"terraform": fake("1.3.9"), "tofu": fake("1.9.0")}, want: "tofu", says: "terraform on PATH is 1.3.9, older than"},
		"tofu, as terraform is broken":    {programs: map[string]string{"terraform": "#!/bin/sh\necho no such thing >&2\nexit 1\n", "tofu": fake("1.9.0")}, want: "tofu", says: "no such thing"},
		"tofu, as terraform says rubbish": {programs: map[string]string{"terraform": "#!/bin/sh\necho rubbish\n", "tofu": fake("1.9.0")}, want: "tofu", says: "does not work"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bin := path(t, test.programs)
			var log log
			got, err := toolchain.Terraform(context.Background(), toolchain.Options{CacheDir: t.TempDir(), Root: t.TempDir(), Engine: test.engine}, log.report)
			require.NoError(t, err)
			require.Equal(t, filepath.Join(bin, test.want), got)
			require.Contains(t, log.String(), test.says)
		})
	}
}

func TestDownloadIsCheckedAndKept(t *testing.T) {
	path(t, nil)
	mirror := newMirror(t, fake(toolchain.DownloadVersion), nil)
	o := toolchain.Options{CacheDir: t.TempDir(), Root: root(t, tofu), ReleasesURL: mirror.url, PublicKey: mirror.key}
	var log log
	got, err := toolchain.Terraform(context.Background(), o, log.report)
	require.NoError(t, err, log.String())
	require.Equal(t, filepath.Join(o.CacheDir, "tools", "terraform-"+toolchain.DownloadVersion, "terraform"), got)

	asked := mirror.requests()
	again, err := toolchain.Terraform(context.Background(), o, nil)
	require.NoError(t, err)
	require.Equal(t, got, again)
	require.Equal(t, asked, mirror.requests(), "it is kept")

	require.NoError(t, os.WriteFile(got, []byte("damaged"), 0o755))
	again, err = toolchain.Terraform(context.Background(), o, nil)
	require.NoError(t, err)
	require.Equal(t, got, again)
	require.Greater(t, mirror.requests(), asked, "a damaged one is not used")
}

func TestBadDownloadsAreNotUsed(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	good := newMirror(t, fake(toolchain.DownloadVersion), nil)
	tests := map[string]struct {
		mirror func() (url, key string)
		says   string
	}{
		"no network": {mirror: func() (string, string) { return closed.URL, "" }, says: "connection refused"},
		"no such release": {mirror: func() (string, string) {
			return newMirror(t, "", func(files map[string][]byte) { delete(files, "index.json") }).url, ""
		}, says: "404"},
		"another archive than was signed": {mirror: func() (string, string) {
			m := newMirror(t, fake("1"), func(files map[string][]byte) {
				for name := range files {
					if strings.HasSuffix(name, ".zip") {
						files[name] = append(files[name], 'x')
					}
				}
			})
			return m.url, m.key
		}, says: "checksum does not match"},
		"signed by somebody else": {mirror: func() (string, string) { return good.url, newMirror(t, "", nil).key }, says: "signature"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			path(t, nil)
			url, key := test.mirror()
			// A program that can't be built, as building one for each case would take long.
			o := toolchain.Options{CacheDir: t.TempDir(), Root: root(t, "nothing"), ReleasesURL: url, PublicKey: key}
			var log log
			_, err := toolchain.Terraform(context.Background(), o, log.report)
			require.ErrorContains(t, err, "OpenTofu could not be built")
			require.Contains(t, log.String(), "warning: terraform is not on PATH")
			require.Contains(t, log.String(), test.says)
			left, err := filepath.Glob(filepath.Join(o.CacheDir, "tools", ".*"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

func TestOpenTofuIsBuiltAndKept(t *testing.T) {
	path(t, nil)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	o := toolchain.Options{CacheDir: t.TempDir(), Root: root(t, tofu), ReleasesURL: closed.URL}
	got, err := toolchain.Terraform(context.Background(), o, nil)
	require.NoError(t, err)
	require.Equal(t, "tofu", filepath.Base(got))

	var log log
	again, err := toolchain.Terraform(context.Background(), o, log.report)
	require.NoError(t, err)
	require.Equal(t, got, again)
	require.Empty(t, log.String(), "it is kept")
}

func TestTheOtherEngineIsNoSubstitute(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	o := toolchain.Options{CacheDir: t.TempDir(), Root: root(t, tofu), ReleasesURL: closed.URL}

	path(t, map[string]string{"tofu": fake("1.9.0")})
	o.Engine = "terraform"
	_, err := toolchain.Terraform(context.Background(), o, nil)
	require.ErrorContains(t, err, "terraform is not on PATH and could not be downloaded")
	require.ErrorContains(t, err, "https://developer.hashicorp.com/terraform/install")

	path(t, map[string]string{"terraform": fake("1.11.0")})
	o.Engine = "tofu"
	var log log
	got, err := toolchain.Terraform(context.Background(), o, log.report)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(got, o.CacheDir), got)
	require.Contains(t, log.String(), "tofu is not on PATH; OpenTofu is built")
}

func TestNothingToBeHadSaysWhatToInstall(t *testing.T) {
	path(t, nil)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	o := toolchain.Options{CacheDir: t.TempDir(), Root: root(t, "package main\n\nfunc main() { missing() }\n"), ReleasesURL: closed.URL}
	_, err := toolchain.Terraform(context.Background(), o, nil)
	var failed *gobuild.Error
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, "could not be downloaded")
	require.ErrorContains(t, err, "undefined: missing")
	require.ErrorContains(t, err, "https://opentofu.org/docs/intro/install")
}

func TestCancelledDownloadIsNotBuiltInstead(t *testing.T) {
	path(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mute := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(mute.Close)
	o := toolchain.Options{CacheDir: t.TempDir(), Root: root(t, tofu), ReleasesURL: mute.URL}
	var log log
	_, err := toolchain.Terraform(ctx, o, log.report)
	require.ErrorIs(t, err, context.Canceled)
	require.NotContains(t, log.String(), "OpenTofu")
}
