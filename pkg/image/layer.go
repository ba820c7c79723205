//go:build unix

package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/labctl/labctl/pkg/gobuild"
)

// epoch is the time of everything in an image: the real one would give each build another digest.
var epoch = time.Unix(0, 0).UTC()

// archive writes a layer: entries in the order in which they are added, each directory before what is in it, without
// times, names of owners, or anything else that the machine decides.
type archive struct {
	tar  *tar.Writer
	have map[string]bool
	err  error
}

// dir adds a directory and those above it. The mode and owner are the last one's.
func (a *archive) dir(name string, mode int64, owner int) {
	name = path.Clean(name)
	if name == "/" || name == "." || a.have[name] {
		return
	}
	a.dir(path.Dir(name), 0o755, 0)
	a.have[name] = true
	a.header(tar.Header{Typeflag: tar.TypeDir, Name: strings.TrimPrefix(name, "/") + "/", Mode: mode, Uid: owner, Gid: owner})
}

func (a *archive) file(name string, mode int64, size int64, content io.Reader) {
	a.dir(path.Dir(name), 0o755, 0)
	a.have[name] = true
	a.header(tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Mode: mode, Size: size})
	if a.err == nil {
		_, a.err = io.Copy(a.tar, content)
	}
}

func (a *archive) bytes(name string, content []byte) {
	a.file(name, 0o644, int64(len(content)), bytes.NewReader(content))
}

func (a *archive) fromDisk(name, from string, mode int64) {
	if a.err != nil {
		return
	}
	file, err := os.Open(from) //nolint:gosec // an input of the build
	if err != nil {
		a.err = err
		return
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		a.err = err
		return
	}
	a.file(name, mode, info.Size(), file)
}

func (a *archive) header(header tar.Header) {
	header.ModTime, header.Format = epoch, tar.FormatPAX
	if a.err == nil {
		a.err = a.tar.WriteHeader(&header)
	}
}

// pack writes a compressed layer to out, and returns it as a layer whose content open gives.
func pack(out io.Writer, open func() (io.ReadCloser, error), fill func(*archive)) (v1.Layer, error) {
	compressed, plain := sha256.New(), sha256.New()
	counted := &counter{to: io.MultiWriter(out, compressed)}
	// The best speed: what is saved on a loopback registry by better compression is lost waiting for it.
	zip, err := gzip.NewWriterLevel(counted, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	a := &archive{tar: tar.NewWriter(io.MultiWriter(zip, plain)), have: map[string]bool{}}
	fill(a)
	if a.err != nil {
		return nil, a.err
	}
	if err := a.tar.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return partial.CompressedToLayer(&blob{
		digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(compressed.Sum(nil))},
		diffID: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(plain.Sum(nil))},
		size:   counted.n, open: open,
	})
}

type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}

// blob is a layer that is packed already.
type blob struct {
	digest, diffID v1.Hash
	size           int64
	open           func() (io.ReadCloser, error)
}

func (b *blob) Digest() (v1.Hash, error)            { return b.digest, nil }
func (b *blob) DiffID() (v1.Hash, error)            { return b.diffID, nil }
func (b *blob) Size() (int64, error)                { return b.size, nil }
func (b *blob) MediaType() (types.MediaType, error) { return types.OCILayer, nil }
func (b *blob) Compressed() (io.ReadCloser, error)  { return b.open() }

// baseLayer is the layer below every program: certificate authorities, users, and a directory for temporary files. It
// is made of this program alone, so that it is the same on every machine.
var baseLayer = sync.OnceValues(func() (v1.Layer, error) {
	var out bytes.Buffer
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(out.Bytes())), nil }
	user := strconv.Itoa(nonroot)
	return pack(&out, open, func(a *archive) {
		a.bytes("/etc/group", []byte("root:x:0:\nnonroot:x:"+user+":\n"))
		a.bytes("/etc/nsswitch.conf", []byte("hosts: files dns\n"))
		a.bytes("/etc/passwd", []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:"+user+":"+user+":nonroot:/home/nonroot:/sbin/nologin\n"))
		a.bytes("/etc/ssl/certs/ca-certificates.crt", authorities())
		a.dir("/home/nonroot", 0o700, nonroot)
		a.dir("/root", 0o700, 0)
		a.dir("/tmp", 0o1777, 0)
	})
})

// authorities are the certificate authorities that Mozilla trusts, of the version that go.mod names. One that is trusted
// under a condition only is left out, as a file of certificates can't express conditions.
func authorities() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer does not fail
		}
	}
	return out.Bytes()
}

// programLayer packs the programs, the recipe's files and the bill of materials into a file in work.
func programLayer(work, program string, bill []byte, r *recipe) (v1.Layer, error) {
	layer, err := packFile(filepath.Join(work, "layer.tar.gz"), func(a *archive) {
		for _, dir := range slices.Sorted(slices.Values(r.Dirs)) {
			a.dir(dir, 0o755, *r.User)
		}
		for _, place := range slices.Sorted(maps.Keys(r.Files)) {
			a.tree(place, filepath.Join(r.dir, r.Files[place]))
		}
		if program != "" {
			a.fromDisk(r.Binary, program, 0o755)
		}
		for _, place := range slices.Sorted(maps.Keys(r.Programs)) {
			a.fromDisk(place, filepath.Join(filepath.Dir(program), gobuild.ProgramName(r.Programs[place])), 0o755)
		}
		for _, place := range slices.Sorted(maps.Keys(r.Links)) {
			a.link(place, tar.TypeSymlink, r.Links[place])
		}
		a.bytes("/usr/share/sbom/"+r.name+".cdx.json", bill)
	})
	if err != nil {
		return nil, fmt.Errorf("pack the image's layer: %w", err)
	}
	return layer, nil
}

// packFile is pack into a file, which the layer's content is read from.
func packFile(name string, fill func(*archive)) (v1.Layer, error) {
	out, err := os.Create(name) //nolint:gosec // in our own directory
	if err != nil {
		return nil, err
	}
	layer, err := pack(out, func() (io.ReadCloser, error) { return os.Open(name) }, fill) //nolint:gosec // the same
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return layer, err
}

// tree adds a file, or a directory with all in it.
func (a *archive) tree(place, from string) {
	err := filepath.WalkDir(from, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		name := path.Join(place, filepath.ToSlash(rel))
		switch {
		case entry.IsDir():
			a.dir(name, 0o755, 0)
		case entry.Type().IsRegular():
			info, err := entry.Info()
			if err != nil {
				return err
			}
			mode := int64(0o644)
			if info.Mode()&0o111 != 0 {
				mode = 0o755
			}
			a.fromDisk(name, file, mode)
		default:
			return fmt.Errorf("%s is neither a file nor a directory", file)
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}
