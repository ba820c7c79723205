//go:build unix

package image

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/labctl/labctl/pkg/event"
)

// keepEntries is how many images of one name are kept: the one in use and the one before, to go back to.
const keepEntries = 2

// staging begins the names of directories in which an image is being made.
const staging = ".staging-"

// store holds the images of one name, each as an OCI layout in a directory named by the key of its inputs. Its user
// holds the lock of the name.
type store struct{ dir, name string }

// tidy makes the directory, and removes what a killed build left.
func (s store) tidy() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(s.dir, staging+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return nil
}

// stage returns a new directory to make an image in.
func (s store) stage() (string, error) { return os.MkdirTemp(s.dir, staging) }

// get returns the image that is kept under key, if there is one and it is whole.
func (s store) get(key string, report event.Report) (Image, bool) {
	dir := filepath.Join(s.dir, key)
	if _, err := os.Stat(dir); err != nil {
		return Image{}, false
	}
	img, err := s.open(dir)
	if err != nil {
		report.Warn("the kept image of %s is damaged (%v); it is made again", s.name, err)
		_ = os.RemoveAll(dir)
		return Image{}, false
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // the age by which prune goes
	img.Cached = true
	return img, true
}

// open reads the layout in dir and compares every blob with its digest.
func (s store) open(dir string) (Image, error) {
	digest, err := onlyManifest(dir)
	if err != nil {
		return Image{}, err
	}
	manifest, err := readBlob(dir, digest, 0)
	if err != nil {
		return Image{}, err
	}
	parsed, err := v1.ParseManifest(strings.NewReader(string(manifest)))
	if err != nil {
		return Image{}, err
	}
	size := int64(len(manifest))
	for _, d := range append([]v1.Descriptor{parsed.Config}, parsed.Layers...) {
		if err := checkBlob(dir, d.Digest, d.Size); err != nil {
			return Image{}, err
		}
		size += d.Size
	}
	return Image{Name: s.name, Digest: digest.String(), Path: dir, Size: size}, nil
}

// put writes img aside, and names it key when it is whole. fetched, if not nil, is told of each byte of a layer.
func (s store) put(ctx context.Context, key string, img v1.Image, fetched func(n int)) (Image, error) {
	work, err := s.stage()
	if err != nil {
		return Image{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	to, err := layout.Write(work, empty.Index)
	if err != nil {
		return Image{}, err
	}
	layers, err := img.Layers()
	if err != nil {
		return Image{}, err
	}
	for _, layer := range layers {
		if err := putLayer(ctx, to, layer, fetched); err != nil {
			return Image{}, fmt.Errorf("keep the image: %w", err)
		}
	}
	if err := to.AppendImage(img); err != nil {
		return Image{}, fmt.Errorf("keep the image: %w", err)
	}
	done, err := s.open(work) // also that what was pulled is what was promised
	if err != nil {
		return Image{}, fmt.Errorf("keep the image: %w", err)
	}
	dir := filepath.Join(s.dir, key)
	if err := os.RemoveAll(dir); err != nil {
		return Image{}, err
	}
	if err := os.Chmod(work, 0o755); err != nil { //nolint:gosec // images are no secret
		return Image{}, err
	}
	if err := os.Rename(work, dir); err != nil {
		return Image{}, err
	}
	done.Path = dir
	return done, s.prune(key)
}

func putLayer(ctx context.Context, to layout.Path, layer v1.Layer, fetched func(int)) error {
	digest, err := layer.Digest()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	return to.WriteBlob(digest, &watched{ReadCloser: content, ctx: ctx, read: fetched})
}

// watched tells of what is read, and stops when its context ends.
type watched struct {
	io.ReadCloser
	ctx  context.Context //nolint:containedctx // it lives as long as one copy
	read func(int)
}

func (w *watched) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.ReadCloser.Read(p)
	if w.read != nil {
		w.read(n)
	}
	return n, err
}

// prune removes all but the newest images. current is newest whatever its time says.
func (s store) prune(current string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	type entry struct {
		name string
		at   time.Time
	}
	var old []entry
	for _, e := range entries {
		if !e.IsDir() || e.Name() == current || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		old = append(old, entry{e.Name(), info.ModTime()})
	}
	slices.SortFunc(old, func(a, b entry) int { return cmp.Compare(b.at.UnixNano(), a.at.UnixNano()) })
	for i, e := range old {
		if i < keepEntries-1 {
			continue
		}
		if err := os.RemoveAll(filepath.Join(s.dir, e.name)); err != nil {
			return err
		}
	}
	return nil
}

// onlyManifest returns the digest of the one image in the layout in dir.
func onlyManifest(dir string) (v1.Hash, error) {
	content, err := os.ReadFile(filepath.Join(dir, "index.json")) //nolint:gosec // in our own cache
	if err != nil {
		return v1.Hash{}, err
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(content, &index); err != nil {
		return v1.Hash{}, fmt.Errorf("index.json: %w", err)
	}
	if len(index.Manifests) != 1 {
		return v1.Hash{}, fmt.Errorf("index.json names %d images, not one", len(index.Manifests))
	}
	return index.Manifests[0].Digest, nil
}

func blobPath(dir string, digest v1.Hash) string {
	return filepath.Join(dir, "blobs", digest.Algorithm, digest.Hex)
}

func readBlob(dir string, digest v1.Hash, size int64) ([]byte, error) {
	if err := checkBlob(dir, digest, size); err != nil {
		return nil, err
	}
	return os.ReadFile(blobPath(dir, digest))
}

// checkBlob compares a blob with its digest, and with its size if that is known.
func checkBlob(dir string, digest v1.Hash, size int64) error {
	file, err := os.Open(blobPath(dir, digest))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	hash := sha256.New()
	n, err := io.Copy(hash, file)
	switch {
	case err != nil:
		return err
	case size > 0 && n != size, hex.EncodeToString(hash.Sum(nil)) != digest.Hex:
		return fmt.Errorf("the blob %s has other content", digest)
	}
	return nil
}
