//go:build unix

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/labctl/labctl/pkg/event"
)

// ErrNoPackages is that an image needs packages of a distribution, and this machine's has none of the kind.
var ErrNoPackages = errors.New("packages of Debian or Ubuntu are needed, and this machine has no apt-get and dpkg-deb")

// debianArch are Debian's names of the platforms that differ from Go's.
var debianArch = map[string]string{"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"}

// debianPackage is a package that lies in a file.
type debianPackage struct {
	name, version, arch string
	control             []byte // deb-control(5), as dpkg keeps it
	file                string
}

// distribution names what packages are taken from, "debian 12". It is a part of an image's key: the packages' versions
// are not, so an image stays what it is until its recipe changes or the cache is emptied, like one that is pulled by a tag.
func distribution() (string, error) {
	b, err := os.ReadFile("/etc/os-release") // os-release(5)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoPackages, err)
	}
	var id, version string
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			id = value
		case "VERSION_ID":
			version = value
		}
	}
	return id + " " + version, nil
}

// download gets packages, and those that they depend on, from the machine's package sources into dir. apt checks their
// signatures. Nothing of the machine's own packages is read or changed, and no root is needed.
func (b *Builder) download(ctx context.Context, names []string, dir string, report event.Report) ([]debianPackage, error) {
	for _, tool := range []string{"apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, ErrNoPackages
		}
	}
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	status := filepath.Join(dir, "status") // of an empty system, so that all dependencies are downloaded
	if err := os.WriteFile(status, nil, 0o600); err != nil {
		return nil, err
	}
	arch := b.o.Arch
	if other, ok := debianArch[arch]; ok {
		arch = other
	}
	apt := func(args ...string) error {
		args = append([]string{
			"-q", "-o", "Dir::State=" + filepath.Join(dir, "state"), "-o", "Dir::State::status=" + status,
			"-o", "Dir::Cache=" + filepath.Join(dir, "cache"), "-o", "APT::Architecture=" + arch, "-o", "APT::Architectures=" + arch,
			"-o", "APT::Sandbox::User=", "-o", "APT::Install-Recommends=false", "-o", "Acquire::Languages=none",
		}, args...)
		var said bytes.Buffer
		cmd := exec.CommandContext(ctx, "apt-get", args...) //nolint:gosec // G204: names of packages in a recipe of the lab
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = &said, &said
		if err := cmd.Run(); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			lines := strings.Split(strings.TrimSpace(said.String()), "\n")
			return fmt.Errorf("%w; apt-get said at last:\n    %s", err, strings.Join(lines[max(0, len(lines)-6):], "\n    "))
		}
		return nil
	}
	report.Doing("reading the distribution's list of packages")
	if err := apt("update"); err != nil {
		return nil, fmt.Errorf("read the distribution's list of packages: %w", err)
	}
	report.Doing("downloading %s", strings.Join(names, ", "))
	if err := apt(append([]string{"--yes", "--download-only", "install", "--"}, names...)...); err != nil {
		return nil, fmt.Errorf("download the packages %s: %w", strings.Join(names, ", "), err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "cache/archives/*.deb"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var packages []debianPackage
	missing := slices.Clone(names)
	for _, file := range files {
		p, err := readPackage(ctx, file)
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == p.name })
	}
	if len(missing) > 0 { // apt leaves what it finds in a directory of this machine there
		return nil, fmt.Errorf("apt-get did not download %s: give a recipe the names of real packages, from a source that is no directory", strings.Join(missing, ", "))
	}
	return packages, nil
}

func readPackage(ctx context.Context, file string) (debianPackage, error) {
	p := debianPackage{file: file}
	var err error
	if p.control, err = exec.CommandContext(ctx, "dpkg-deb", "--field", file).Output(); err != nil {
		return p, fmt.Errorf("read the package %s: %w", filepath.Base(file), err)
	}
	lines := bufio.NewScanner(bytes.NewReader(p.control))
	for lines.Scan() {
		switch key, value, _ := strings.Cut(lines.Text(), ": "); key {
		case "Package":
			p.name = value
		case "Version":
			p.version = value
		case "Architecture":
			p.arch = value
		}
	}
	if p.name == "" || p.version == "" {
		return p, fmt.Errorf("the package %s has no name or no version", filepath.Base(file))
	}
	return p, nil
}

// packagesLayer unpacks packages into a layer in work. Their scripts do not run: a container needs no user or service of
// theirs, and alternatives and caches are no part of what a program needs to run.
func packagesLayer(ctx context.Context, work string, packages []debianPackage) (v1.Layer, error) {
	layer, err := packFile(filepath.Join(work, "packages.tar.gz"), func(a *archive) {
		for _, dir := range mergedDirs {
			a.dir("/usr/"+dir, 0o755, 0)
			a.link("/"+dir, tar.TypeSymlink, "usr/"+dir)
		}
		for _, p := range packages {
			if a.err == nil {
				a.err = a.unpack(ctx, p)
			}
			// Where scanners look for the packages of an image that has no dpkg.
			a.bytes("/var/lib/dpkg/status.d/"+p.name, p.control)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("pack the packages' layer: %w", err)
	}
	return layer, nil
}

// mergedDirs are below /usr, with a link in their old places, where some packages still have their files
// (https://wiki.debian.org/UsrMerge).
var mergedDirs = []string{"bin", "lib", "lib32", "lib64", "libx32", "sbin"}

// merged is where a file of a package lies in the image.
func merged(name string) string {
	name = path.Clean("/" + name)
	top, _, _ := strings.Cut(name[1:], "/")
	if slices.Contains(mergedDirs, top) {
		return "/usr" + name
	}
	return name
}

// unread says that a file is for people or for a whole system. Licences stay.
func unread(name string) bool {
	if strings.HasPrefix(name, "/usr/share/doc/") {
		return path.Base(name) != "copyright"
	}
	for _, dir := range []string{"/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/lintian/", "/usr/lib/systemd/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return false
}

// unpack adds a package's files. None keeps the right to run as somebody else.
func (a *archive) unpack(ctx context.Context, p debianPackage) (err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", p.file) //nolint:gosec // G204: downloaded by apt
	var said bytes.Buffer
	cmd.Stderr = &said
	stream, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = stream.Close() // ends dpkg-deb
		}
		if waitErr := cmd.Wait(); err == nil && waitErr != nil {
			err = fmt.Errorf("unpack %s: %w: %s", p.name, waitErr, strings.TrimSpace(said.String()))
		}
	}()
	files := tar.NewReader(stream)
	for {
		entry, err := files.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, stream)
			return err
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", p.name, err)
		}
		name, mode := merged(entry.Name), entry.Mode&0o777
		if name == "/" || unread(name) || (entry.Typeflag != tar.TypeDir && a.have[name]) {
			continue
		}
		switch entry.Typeflag {
		case tar.TypeDir:
			a.dir(name, mode, 0)
		case tar.TypeReg:
			a.file(name, mode, entry.Size, files)
		case tar.TypeSymlink:
			a.link(name, tar.TypeSymlink, entry.Linkname)
		case tar.TypeLink:
			a.link(name, tar.TypeLink, strings.TrimPrefix(merged(entry.Linkname), "/"))
		default:
			return fmt.Errorf("unpack %s: %s is neither a file, a directory nor a link", p.name, entry.Name)
		}
		if a.err != nil {
			return a.err
		}
	}
}

// link adds a symbolic or a hard link.
func (a *archive) link(name string, kind byte, target string) {
	a.dir(path.Dir(name), 0o755, 0)
	a.have[name] = true
	a.header(tar.Header{Typeflag: kind, Name: strings.TrimPrefix(name, "/"), Linkname: target, Mode: 0o777})
}

// component is a package's line in a bill of materials (https://github.com/package-url/purl-spec, type deb).
func (p debianPackage) component(distribution string) component {
	vendor, release, _ := strings.Cut(distribution, " ")
	purl := "pkg:deb/" + vendor + "/" + p.name + "@" + url.QueryEscape(p.version) + "?arch=" + p.arch + "&distro=" + vendor + "-" + release
	return component{Type: "library", Name: p.name, Version: p.version, PURL: purl}
}
