// Command images writes the archives of the images that kubeadm asks for, from what this repository builds: the
// control plane is the multi-call binary of images/kubernetes under every one of its names. It also builds the images
// that the test puts into its clusters, because the test may run without a network.
//
//	images -out DIR -program FILE -files TAR REFERENCE…
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/image"
)

// parts are the names under which the binary is called in its image.
var parts = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "etcd", "storage-provisioner"}

// sandbox is the image that the configuration of kind's containerd names; kubeadm may ask for a newer one.
const sandbox = "registry.k8s.io/pause:3.10"

// storage is the image that manifests/default-storage.yaml names.
const storage = "localhost/test/kubernetes:test"

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("out", "", "the directory for the archives")
	program := flag.String("program", "", "where the multi-call binary is copied to")
	files := flag.String("files", "", "a tar of what kube-proxy needs beside it")
	flag.Parse()
	if *out == "" || *program == "" || *files == "" || flag.NArg() == 0 {
		return errors.New("-out, -program, -files and the references are needed")
	}
	cache := os.Getenv("LABCTL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(user, "labctl")
	}
	report := event.Report(func(e event.Event) { fmt.Fprintln(os.Stderr, e.Message) })
	binary, err := (&cluster.Builder{Root: ".", CacheDir: cache}).Program(ctx, "kubernetes", report)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := os.WriteFile(*program, content, 0o755); err != nil {
		return err
	}
	kubernetes, err := compose(*files, content)
	if err != nil {
		return err
	}
	archives := map[string]map[name.Reference]v1.Image{}
	add := func(archive, reference string, img v1.Image) error {
		ref, err := name.NewTag(reference)
		if err != nil {
			return err
		}
		if archives[archive] == nil {
			archives[archive] = map[name.Reference]v1.Image{}
		}
		archives[archive][ref] = img
		return nil
	}
	builder := image.New(image.Options{Root: ".", CacheDir: cache, FromSource: true})
	for _, reference := range append(flag.Args(), sandbox, storage) {
		part, _, _ := strings.Cut(path.Base(reference), ":")
		archive, img := "kubernetes", kubernetes
		if part == "coredns" || part == "pause" {
			archive = part
			if img, err = built(ctx, builder, part, report); err != nil {
				return err
			}
		}
		if err := add(archive, reference, img); err != nil {
			return err
		}
	}
	for archive, images := range archives {
		if err := tarball.MultiRefWriteToFile(filepath.Join(*out, archive+".tar"), images); err != nil {
			return fmt.Errorf("write the archive %s: %w", archive, err)
		}
	}
	for _, part := range []string{"registry", "skipper"} {
		if _, err := built(ctx, builder, part, report); err != nil {
			return err
		}
	}
	return nil
}

// built gives the image of a recipe.
func built(ctx context.Context, builder *image.Builder, part string, report event.Report) (v1.Image, error) {
	img, err := builder.Build(ctx, image.Spec{Name: part, Source: "images/" + part}, report)
	if err != nil {
		return nil, err
	}
	digest, err := v1.NewHash(img.Digest)
	if err != nil {
		return nil, err
	}
	return layout.Path(img.Path).Image(digest)
}

// compose makes the image of the control plane and kube-proxy.
func compose(files string, program []byte) (v1.Image, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "usr/local/bin/kubernetes", Mode: 0o755, Size: int64(len(program)), Typeflag: tar.TypeReg}); err != nil {
		return nil, err
	}
	if _, err := w.Write(program); err != nil {
		return nil, err
	}
	for _, part := range parts {
		if err := w.WriteHeader(&tar.Header{Name: "usr/local/bin/" + part, Linkname: "kubernetes", Mode: 0o777, Typeflag: tar.TypeSymlink}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	below, err := tarball.LayerFromFile(files)
	if err != nil {
		return nil, err
	}
	above, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, below, above)
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH // containerd drops an image that does not say so
	config.Config.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return mutate.ConfigFile(img, config)
}
