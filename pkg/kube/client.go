// Package kube talks to a Kubernetes API: it applies manifests, waits until workloads are ready and says why they
// are not, and reads logs.
package kube

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
)

// FieldOwner is the name under which labctl's fields are managed (server-side apply).
const FieldOwner = "labctl"

// Client is one cluster's API.
type Client struct {
	Config  *rest.Config
	Core    kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// New makes a client from a kubeconfig's content. It does not connect.
func New(kubeconfig []byte) (*Client, error) {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1 // no limit here: the API's own fairness queues do that
	config.UserAgent = FieldOwner
	config.WarningHandler = rest.NoWarnings{}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Client{
		Config: config, Core: core, dynamic: dyn,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(core.Discovery())),
	}, nil
}

// Ready asks the API whether it is ready (/readyz) and gives its version.
func (c *Client) Ready(ctx context.Context) (version string, err error) {
	if _, err := c.Core.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return "", fmt.Errorf("the Kubernetes API at %s is not ready: %w", c.Config.Host, err)
	}
	v, err := c.Core.Discovery().ServerVersion()
	if err != nil {
		return "", fmt.Errorf("ask the Kubernetes API at %s for its version: %w", c.Config.Host, err)
	}
	return v.GitVersion, nil
}

// poll calls check until it says done, the context ends, or check fails for good. What the error says is what was
// waited for and what was last seen.
func poll(ctx context.Context, every time.Duration, what string, check func(context.Context) (done bool, seen string, err error)) error {
	t := time.NewTicker(every)
	defer t.Stop()
	last := "nothing yet"
	for {
		done, seen, err := check(ctx)
		switch {
		case err != nil:
			return err
		case done:
			return nil
		case seen != "" && ctx.Err() == nil: // else the end of ctx is all that was seen
			last = seen
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s, last seen: %s: %w", what, last, ctx.Err())
		case <-t.C:
		}
	}
}

// transient tells whether an API call is worth making again: the server is starting, busy or away.
func transient(err error) bool {
	switch {
	case err == nil, meta.IsNoMatchError(err), errors.Is(err, errNoNamespace), misfit(err):
		return false
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) || apierrors.IsConflict(err) || !isStatus(err)
}

// misfit tells whether an object does not fit its kind's schema. A server-side apply answers that as an internal error,
// which says in its text alone that it is none.
func misfit(err error) bool {
	return strings.Contains(err.Error(), "failed to create typed patch object")
}

func isStatus(err error) bool {
	return apierrors.ReasonForError(err) != ""
}

// WaitAPI waits until the API is ready, at most for limit.
func (c *Client) WaitAPI(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return poll(ctx, 100*time.Millisecond, "the Kubernetes API at "+c.Config.Host, func(ctx context.Context) (bool, string, error) {
		if _, err := c.Ready(ctx); err != nil {
			return false, err.Error(), nil
		}
		return true, "", nil
	})
}
