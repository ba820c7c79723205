package chart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	helmkube "helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// ErrNoTests says that a release's chart has no test hooks.
var ErrNoTests = errors.New("its chart has no tests")

// Check runs the tests of a release, its chart's `helm test` hooks. The error of a test that fails holds why its
// pod failed and the last lines of its log. A timeout of 0 means DefaultTimeout.
func (c *Client) Check(ctx context.Context, namespace, name string, timeout time.Duration, report event.Report) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("test release %q in namespace %q: %w", name, namespace, err)
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
	if len(revisions) == 0 {
		return errors.New("there is no such release: run `labctl up`")
	}
	var tests []string
	for _, h := range revisions[len(revisions)-1].Hooks {
		if slices.Contains(h.Events, release.HookTest) {
			tests = append(tests, h.Name)
		}
	}
	if len(tests) == 0 {
		return ErrNoTests
	}
	report.Doing("run %s", strings.Join(tests, ", "))
	a := action.NewReleaseTesting(s.cfg)
	a.Namespace, a.Timeout = namespace, timeout
	_, err = a.Run(name)
	if ctx.Err() != nil {
		return ended(ctx, err)
	}
	return s.withCause(err)
}

// patient is Helm's client with waiting that ends with the context of the call and says why: Helm's own knows no
// context, and of a job that fails it says no more than that.
type patient struct {
	*helmkube.Client
	ctx    context.Context //nolint:containedctx // lives as long as one call of the client
	waiter waiter
	log    func(string)
	failed error // why the last hook failed
}

// withCause puts the reason of a failed hook back into the chain of errors: Helm keeps its text only.
func (s *session) withCause(err error) error {
	p, ok := s.cfg.KubeClient.(*patient)
	if err == nil || !ok || p.failed == nil || errors.Is(err, p.failed) {
		return err
	}
	before, found := strings.CutSuffix(err.Error(), p.failed.Error())
	if !found {
		return err
	}
	return fmt.Errorf("%s%w", before, p.failed)
}

// WatchUntilReady waits until the pods and jobs of a hook have ended well. Other objects of hooks are part of what the
// release waits for at its end.
func (p *patient) WatchUntilReady(infos helmkube.ResourceList, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	var run []kube.Object
	for _, info := range infos {
		if kind := info.Mapping.GroupVersionKind.Kind; kind == "Pod" || kind == "Job" {
			o := objectOf(info)
			o.Complete = true
			run = append(run, o)
		}
	}
	if len(run) == 0 {
		return nil
	}
	last := ""
	p.failed = p.waiter.WaitObjects(ctx, run, func(e event.Event) {
		if e.Message != last {
			last = e.Message
			p.log(last)
		}
	})
	return p.failed
}

// WaitForDelete waits until the objects of a hook are gone.
func (p *patient) WaitForDelete(infos helmkube.ResourceList, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	return gone(ctx, infos, func(metav1.Object) bool { return true })
}
