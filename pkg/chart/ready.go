package chart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"helm.sh/helm/v3/pkg/release"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// ErrNotInstalled says that there is no such release.
var ErrNotInstalled = errors.New("there is no such release")

// WaitReady waits until every object of the release's newest revision is ready, those of its hooks included.
func (c *Client) WaitReady(ctx context.Context, namespace, name string, report event.Report) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("release %q in namespace %q: %w", name, namespace, err)
		}
	}()
	s, err := c.open(ctx, namespace, func(string) {})
	if err != nil {
		return err
	}
	revisions, err := s.history(name)
	if err != nil {
		return err
	}
	return c.waitReady(ctx, s, revisions, report)
}

// waitReady waits for what the newest of revisions is made of.
func (c *Client) waitReady(ctx context.Context, s *session, revisions []*release.Release, report event.Report) error {
	if len(revisions) == 0 {
		return ErrNotInstalled
	}
	objects, err := s.made(revisions[len(revisions)-1])
	if err != nil {
		return fmt.Errorf("read what the release is made of: %w", err)
	}
	if len(objects) == 0 {
		report.Line("the chart makes no objects with these values")
	}
	return c.waiter.WaitObjects(ctx, objects, report)
}

// made lists the objects of a revision: those of its manifest, and those of the hooks that installed or upgraded it.
// The latter may be gone, by their deletion policy or their time to live.
func (s *session) made(r *release.Release) ([]kube.Object, error) {
	infos, err := s.objects(r.Manifest)
	if err != nil {
		return nil, err
	}
	out := make([]kube.Object, 0, len(infos))
	for _, info := range infos {
		o := objectOf(info)
		o.Optional = shortLived(info)
		out = append(out, o)
	}
	for _, h := range r.Hooks {
		if h.LastRun.Phase != release.HookPhaseSucceeded || !slices.ContainsFunc(h.Events, makes) {
			continue
		}
		infos, err := s.objects(h.Manifest)
		if err != nil {
			return nil, fmt.Errorf("hook %s: %w", h.Path, err)
		}
		for _, info := range infos {
			o := objectOf(info)
			o.Complete, o.Optional = true, true
			out = append(out, o)
		}
	}
	return out, nil
}

func makes(e release.HookEvent) bool {
	switch e {
	case release.HookPreInstall, release.HookPostInstall, release.HookPreUpgrade, release.HookPostUpgrade:
		return true
	}
	return false
}

func objectOf(info *resource.Info) kube.Object {
	return kube.Object{GVK: info.Mapping.GroupVersionKind, Namespace: info.Namespace, Name: info.Name}
}

// shortLived tells whether an object goes away by itself: a job with a time to live.
func shortLived(info *resource.Info) bool {
	if info.Mapping.GroupVersionKind.GroupKind() != batchv1.SchemeGroupVersion.WithKind("Job").GroupKind() {
		return false
	}
	data, err := json.Marshal(info.Object)
	if err != nil {
		return false
	}
	var job batchv1.Job
	return json.Unmarshal(data, &job) == nil && job.Spec.TTLSecondsAfterFinished != nil
}
