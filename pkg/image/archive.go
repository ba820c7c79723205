//go:build unix

package image

import (
	"context"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Archive writes img as `docker save` does, under a reference such as "localhost/labctl/registry:1", for an engine that
// loads archives. It stops at the next write after ctx ended.
func (b *Builder) Archive(ctx context.Context, img Image, reference string, w io.Writer) error {
	fail := func(err error) error { return fmt.Errorf("archive the image %q as %s: %w", img.Name, reference, err) }
	tag, err := name.NewTag(reference)
	if err != nil {
		return fail(err)
	}
	digest, err := v1.NewHash(img.Digest)
	if err != nil {
		return fail(err)
	}
	content, err := layout.Path(img.Path).Image(digest)
	if err != nil {
		return fail(fmt.Errorf("read the kept image: %w", err))
	}
	if err := tarball.Write(tag, content, cancelled{ctx, w}); err != nil {
		return fail(err)
	}
	return nil
}

// cancelled is a writer that fails once its context has ended.
type cancelled struct {
	ctx context.Context //nolint:containedctx // io.Writer has no place for it
	w   io.Writer
}

func (c cancelled) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}
