package image_test

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/image"
)

// distribution serves packages as Debian does, and makes apt know nobody else.
type distribution struct {
	t     *testing.T
	dir   string
	index strings.Builder
}

func newDistribution(t *testing.T) *distribution {
	t.Helper()
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this machine's distribution has no %s", tool)
		}
	}
	d := &distribution{t: t, dir: t.TempDir()}
	server := httptest.NewServer(http.FileServer(http.Dir(d.dir)))
	t.Cleanup(server.Close)
	etc := t.TempDir()
	write(t, filepath.Join(etc, "sources.list"), "deb [trusted=yes] "+server.URL+" ./\n")
	write(t, filepath.Join(etc, "apt.conf"), fmt.Sprintf(`
Dir::Etc::SourceList %q;
Dir::Etc::SourceParts "/dev/null";
Acquire::http::Proxy "DIRECT";
`, filepath.Join(etc, "sources.list")))
	t.Setenv("APT_CONFIG", filepath.Join(etc, "apt.conf"))
	return d
}

// add makes a package of the files that fill writes.
func (d *distribution) add(name, depends string, fill func(root string)) {
	d.t.Helper()
	root := d.t.TempDir()
	fill(root)
	control := "Package: " + name + "\nVersion: 1:2.0-1+test\nArchitecture: all\nMaintainer: nobody <nobody@labctl.test>\nDescription: a test's\n"
	if depends != "" {
		control += "Depends: " + depends + "\n"
	}
	write(d.t, filepath.Join(root, "DEBIAN/control"), control)
	file := filepath.Join(d.dir, name+".deb")
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", root, file).CombinedOutput()
	require.NoError(d.t, err, "%s", out)
	content, err := os.ReadFile(file)
	require.NoError(d.t, err)
	fmt.Fprintf(&d.index, "%sFilename: ./%s.deb\nSize: %d\nSHA256: %x\n\n", control, name, len(content), sha256.Sum256(content))
	write(d.t, filepath.Join(d.dir, "Packages"), d.index.String())
}

func TestPackages(t *testing.T) {
	d := newDistribution(t)
	d.add("greeter", "words", func(root string) {
		write(t, filepath.Join(root, "usr/bin/greet"), "#!/bin/sh\n")
		require.NoError(t, os.Chmod(filepath.Join(root, "usr/bin/greet"), 0o755|os.ModeSetuid))
		require.NoError(t, os.MkdirAll(filepath.Join(root, "usr/lib/greeter"), 0o755))
		require.NoError(t, os.Link(filepath.Join(root, "usr/bin/greet"), filepath.Join(root, "usr/lib/greeter/greet")))
		write(t, filepath.Join(root, "usr/share/man/man1/greet.1"), "to read")
		write(t, filepath.Join(root, "usr/share/doc/greeter/copyright"), "free")
		write(t, filepath.Join(root, "usr/share/doc/greeter/changelog"), "to read")
	})
	d.add("words", "", func(root string) {
		write(t, filepath.Join(root, "lib/words/hello"), "hello")
		require.NoError(t, os.MkdirAll(filepath.Join(root, "bin"), 0o755))
		require.NoError(t, os.Symlink("../lib/words/hello", filepath.Join(root, "bin/hello")))
	})
	d.add("unwanted", "", func(root string) { write(t, filepath.Join(root, "usr/unwanted"), "") })

	recipe := map[string]string{
		"images/part/go.mod":    "module example.test/lab/images/part\n\ngo 1.26\n",
		"images/part/main.go":   "package main\n\nfunc main() {}\n",
		"images/part/image.hcl": "packages = [\"greeter\"]\n",
	}
	var digests []string
	var hub *hub
	for range 2 {
		hub = newHub(t)
		builder := image.New(image.Options{Root: repository(t, recipe), CacheDir: t.TempDir()})
		built, err := builder.Build(context.Background(), partSpec, nil)
		require.NoError(t, err)
		_, err = builder.Push(context.Background(), built, hub.addr+"/lab/part", nil)
		require.NoError(t, err)
		digests = append(digests, built.Digest)
		again, err := builder.Build(context.Background(), partSpec, nil)
		require.NoError(t, err)
		require.True(t, again.Cached)
	}
	require.Equal(t, digests[0], digests[1])

	files := contents(t, pulled(t, hub.addr+"/lab/part@"+digests[1]))
	require.Equal(t, int64(0o755), files["/usr/bin/greet"].Mode, "it runs as nobody else")
	require.Equal(t, byte(tar.TypeLink), files["/usr/lib/greeter/greet"].Typeflag)
	require.Equal(t, "usr/bin/greet", files["/usr/lib/greeter/greet"].Linkname)
	require.Equal(t, "hello", files["/usr/lib/words/hello"].PAXRecords["content"])
	require.Equal(t, "usr/lib", files["/lib"].Linkname)
	require.Equal(t, "../lib/words/hello", files["/usr/bin/hello"].Linkname)
	require.Contains(t, files, "/usr/share/doc/greeter/copyright")
	require.Contains(t, files, "/etc/ssl/certs/ca-certificates.crt")
	require.Contains(t, files["/var/lib/dpkg/status.d/words"].PAXRecords["content"], "Package: words\n")
	for _, none := range []string{"/usr/share/doc/greeter/changelog", "/usr/share/man/man1/greet.1", "/usr/unwanted", "/DEBIAN", "/lib/words"} {
		require.NotContains(t, files, none)
	}
	for name, header := range files {
		require.Zero(t, header.ModTime.Unix(), name)
		if name != "/home/nonroot" {
			require.Zero(t, header.Uid|header.Gid, "%s is root's", name)
		}
	}
	require.Regexp(t, `"pkg:deb/[a-z]+/words@1%3A2.0-1%2Btest\?arch=all`, files["/usr/share/sbom/part.cdx.json"].PAXRecords["content"])
}

func TestPackagesWithoutAProgram(t *testing.T) {
	d := newDistribution(t)
	d.add("greeter", "", func(root string) { write(t, filepath.Join(root, "usr/bin/greet"), "#!/bin/sh\n") })
	root := repository(t, map[string]string{"images/part/image.hcl": "packages = [\"greeter\"]\nentrypoint = [\"greet\"]\n"})
	hub, builder := newHub(t), image.New(image.Options{Root: root, CacheDir: t.TempDir()})
	built, err := builder.Build(context.Background(), partSpec, nil)
	require.NoError(t, err)
	_, err = builder.Push(context.Background(), built, hub.addr+"/lab/part", nil)
	require.NoError(t, err)
	img := pulled(t, hub.addr+"/lab/part@"+built.Digest)
	config, err := img.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, []string{"greet"}, config.Config.Entrypoint)
	require.Contains(t, contents(t, img), "/usr/bin/greet")

	write(t, filepath.Join(root, "images/part/image.hcl"), "packages = [\"greeter\"]\n")
	_, err = builder.Build(context.Background(), partSpec, nil)
	require.ErrorContains(t, err, "needs an entrypoint")
}

func TestPackagesThatCannotBeHad(t *testing.T) {
	d := newDistribution(t)
	d.add("broken", "no-such-thing", func(string) {})
	for name, want := range map[string]string{"broken": "no-such-thing", "unknown": "Unable to locate package unknown"} {
		cache := t.TempDir()
		root := repository(t, map[string]string{
			"images/part/go.mod":    "module example.test/lab/images/part\n\ngo 1.26\n",
			"images/part/main.go":   "package main\n\nfunc main() {}\n",
			"images/part/image.hcl": fmt.Sprintf("packages = [%q]\n", name),
		})
		_, err := image.New(image.Options{Root: root, CacheDir: cache}).Build(context.Background(), partSpec, nil)
		require.ErrorContains(t, err, `image "part": download the packages `+name)
		require.ErrorContains(t, err, want)
		left, err := filepath.Glob(filepath.Join(cache, "images/part/.staging-*"))
		require.NoError(t, err)
		require.Empty(t, left)
	}
}
