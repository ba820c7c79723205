//go:build unix

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gobuild"
)

// upstreamKey is the name under which a pulled image is kept.
func upstreamKey(reference, arch string) string {
	sum := sha256.Sum256([]byte(reference + "\x00" + arch))
	return "upstream-" + hex.EncodeToString(sum[:8])
}

// pull gets the recipe's upstream image, and keeps it.
func (b *Builder) pull(ctx context.Context, r *recipe, kept store, report event.Report) (Image, error) {
	report.Doing("looking for %s", r.Upstream)
	img, err := b.fetch(ctx, r.Upstream)
	if err != nil {
		if answered := new(transport.Error); errors.As(err, &answered) {
			report.Warn("%s: its registry answered that it can't be had: %v", r.Upstream, err)
		}
		return Image{}, err
	}
	manifest, err := img.Manifest()
	if err != nil {
		return Image{}, err
	}
	var total, done int64
	for _, layer := range manifest.Layers {
		total += layer.Size
	}
	pulled, err := kept.put(ctx, upstreamKey(r.Upstream, b.o.Arch), img, func(n int) {
		done += int64(n)
		report.At(done, total, "pulling %s: %s of %s", r.Upstream, megabytes(done), megabytes(total))
	})
	pulled.Upstream = r.Upstream
	return pulled, err
}

// fetch reads the manifest of a reference for the Builder's platform; the layers are read later. A registry that gave
// no answer in time is not asked again.
func (b *Builder) fetch(ctx context.Context, reference string) (v1.Image, error) {
	ref, err := name.ParseReference(reference)
	if err != nil {
		return nil, err
	}
	registry := ref.Context().RegistryStr()
	if loopback(registry) {
		if ref, err = name.ParseReference(reference, name.Insecure); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	before := b.unanswered[registry]
	b.mu.Unlock()
	if before != nil {
		return nil, before
	}
	descriptor, err := remote.Get(ref,
		remote.WithContext(ctx),
		remote.WithPlatform(v1.Platform{OS: "linux", Architecture: b.o.Arch}),
		remote.WithAuthFromKeychain(b.keys),
		remote.WithTransport(b.impatient()),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}), // there is another way, so no second try
	)
	if err != nil {
		b.remember(ctx, registry, err)
		return nil, err
	}
	return descriptor.Image()
}

// impatient bounds the wait for a connection and for each answer's first byte. A layer may then take its time.
func (b *Builder) impatient() http.RoundTripper {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: b.o.UpstreamTimeout}).DialContext,
		TLSHandshakeTimeout:   b.o.UpstreamTimeout,
		ResponseHeaderTimeout: b.o.UpstreamTimeout,
		ForceAttemptHTTP2:     true,
	}
}

// remember keeps that a registry did not answer. One that answered, even with a refusal, is asked again.
func (b *Builder) remember(ctx context.Context, registry string, err error) {
	if answered := new(transport.Error); ctx.Err() != nil || errors.As(err, &answered) {
		return
	}
	b.mu.Lock()
	b.unanswered[registry] = err
	b.mu.Unlock()
}

// unreachable says whether err is a server's that could not be reached, not a refusal.
func unreachable(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || gobuild.IsNetwork(err.Error())
}
