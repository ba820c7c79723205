package chart

import (
	"context"
	"errors"
	"fmt"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/labctl/labctl/pkg/event"
	labkube "github.com/labctl/labctl/pkg/kube"
)

// Remove takes a release away and waits until its objects and pods are gone. It is no error if there is none, or if an
// earlier removal was cut off. A namespace that Ensure made goes with its last release, unless the chart chose to keep
// volumes there; that it is gone is not waited for. A timeout of 0 means DefaultTimeout.
func (c *Client) Remove(ctx context.Context, namespace, name string, timeout time.Duration, report event.Report) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove release %q from namespace %q: %w", name, namespace, err)
		}
	}()
	timeout = Release{Timeout: timeout}.timeout()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not done within %s: %w", timeout, context.DeadlineExceeded))
	defer cancel()
	unlock, err := c.lock(ctx, namespace, name)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := c.open(ctx, namespace, report.Line)
	if err != nil {
		return err
	}
	revisions, err := s.history(name)
	if err != nil {
		return ended(ctx, err)
	}
	if len(revisions) > 0 {
		report.Doing("remove")
		owned, err := s.ownedBy(ctx, revisions[len(revisions)-1])
		if err != nil {
			return ended(ctx, err)
		}
		if err := s.uninstall(ctx, name, revisions); err != nil {
			return ended(ctx, err)
		}
		report.Doing("wait until its pods have ended")
		if err := owned.podsGone(ctx, report); err != nil {
			return ended(ctx, err)
		}
	}
	return ended(ctx, labkube.ForgetNamespace(ctx, s.core, namespace))
}

// uninstall removes a release, whatever state it is in, and waits until the objects of its last revision, and of those
// that were abandoned before it, are gone.
func (s *session) uninstall(ctx context.Context, name string, revisions []*release.Release) error {
	from := abandoned(revisions)
	if len(from) == 0 {
		from = revisions[len(revisions)-1:]
	} else if len(from) < len(revisions) {
		from = revisions[len(revisions)-len(from)-1:] // with the one that was deployed
	}
	var all kube.ResourceList
	for _, r := range from {
		infos, err := s.objects(r.Manifest)
		if err != nil {
			return fmt.Errorf("read what revision %d made: %w", r.Version, err)
		}
		all = append(all, infos.Difference(all)...)
	}
	// First what Helm would leave behind, because with it goes the record of what there is: objects of abandoned
	// revisions, and hooks, such as the pod of a test that failed.
	last := revisions[len(revisions)-1]
	known, err := s.objects(last.Manifest)
	if err != nil {
		return err
	}
	if err := s.delete(ctx, all.Difference(known), name); err != nil {
		return err
	}
	for _, h := range last.Hooks {
		if err := s.deleteHook(h); err != nil {
			return fmt.Errorf("remove hook %s: %w", h.Name, err)
		}
	}
	a := action.NewUninstall(s.cfg)
	a.IgnoreNotFound = true
	if _, err := a.Run(name); err != nil {
		if why := s.complaint(); why != "" {
			return fmt.Errorf("%w (%s)", err, why)
		}
		return err
	}
	return gone(ctx, all, func(m metav1.Object) bool { return belongs(m, name) })
}

func (s *session) deleteHook(h *release.Hook) error {
	if h.LastRun.StartedAt.IsZero() || h.Kind == "CustomResourceDefinition" {
		return nil // it never ran, or others may have come to need it
	}
	infos, err := s.objects(h.Manifest)
	if err != nil || len(infos) == 0 {
		return err
	}
	_, errs := s.cfg.KubeClient.Delete(infos)
	return errors.Join(errs...)
}

// gone waits until those of infos that ours picks are no more.
func gone(ctx context.Context, infos kube.ResourceList, ours func(metav1.Object) bool) error {
	for _, info := range infos {
		for {
			live, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
			if apierrors.IsNotFound(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", objectName(info), err)
			}
			m, err := meta.Accessor(live)
			if err != nil {
				return err
			}
			if m.GetDeletionTimestamp() == nil && !ours(m) {
				break
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("waited for %s to go (finalizers %v): %w", objectName(info), m.GetFinalizers(), err)
			}
		}
	}
	return nil
}
