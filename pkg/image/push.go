//go:build unix

package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/labctl/labctl/pkg/event"
)

// Push sends the blobs of img that repository ("127.0.0.1:5050/lab/auth") does not have, and its manifest, under a tag
// made of its digest. It returns the digest. Registries on this machine are spoken to over plain HTTP and without
// credentials; for others the user's Docker credentials are used, and for Azure's those of whoever is logged in there.
func (b *Builder) Push(ctx context.Context, img Image, repository string, report event.Report) (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("push the image %q to %s: %w", img.Name, repository, err)
	}
	repo, err := repositoryOf(repository)
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
	options := []remote.Option{remote.WithContext(ctx)}
	if !loopback(repo.RegistryStr()) {
		options = append(options, remote.WithAuthFromKeychain(b.keys), remote.WithTransport(b.o.Transport))
	}
	updates := make(chan v1.Update, 64)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for update := range updates {
			if update.Error == nil {
				report.At(update.Complete, update.Total, "pushing %s: %s of %s", img.Name, megabytes(update.Complete), megabytes(update.Total))
			}
		}
	}()
	report.Doing("pushing %s", img.Name)
	err = remote.Write(repo.Tag("sha256-"+digest.Hex[:12]), content, append(options, remote.WithProgress(updates))...)
	<-drained
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if loopback(repo.RegistryStr()) && unreachable(err) {
			err = fmt.Errorf("the lab's registry does not answer (`labctl cluster status` tells why): %w", err)
		} else if refused := new(transport.Error); isAzure(repo.RegistryStr()) && errors.As(err, &refused) && refused.StatusCode == http.StatusUnauthorized {
			err = fmt.Errorf("nobody is logged in to it (az login, or az acr login --name %s): %w", repo.RegistryStr(), err)
		}
		return fail(err)
	}
	return img.Digest, nil
}

func repositoryOf(repository string) (name.Repository, error) {
	var options []name.Option
	if host, _, ok := strings.Cut(repository, "/"); ok && loopback(host) {
		options = append(options, name.Insecure)
	}
	return name.NewRepository(repository, options...)
}

// loopback says whether a registry is on this machine.
func loopback(registry string) bool {
	parsed, err := url.Parse("http://" + registry)
	if err != nil {
		return false
	}
	host := parsed.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
