package chart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v3/pkg/action"
	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/labctl/labctl/pkg/event"
)

// ErrNoTests says that a release's chart has no test hooks.
var ErrNoTests = errors.New("its chart has no tests")

// Check runs the tests of a release, its chart's `helm test` hooks. The error of a test that fails holds the last lines
// of what it said. A timeout of 0 means DefaultTimeout.
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
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ended(ctx, err)
	}
	for _, test := range tests {
		for _, said := range s.lastWords(ctx, namespace, test) {
			err = fmt.Errorf("%w\n%s", err, said)
		}
	}
	return err
}

// patient is Helm's client with waiting that ends with the context of the call, and that looks more often: Helm's own
// knows no context.
type patient struct {
	*kube.Client
	ctx context.Context //nolint:containedctx // lives as long as one call of the client
	log func(string)
}

// WatchUntilReady waits until the pods and jobs of a hook have ended well.
func (p *patient) WatchUntilReady(infos kube.ResourceList, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	for _, info := range infos {
		last := "nothing yet"
		for {
			done, seen, err := outcome(info)
			if err != nil {
				return err
			}
			if done {
				break
			}
			if seen != last {
				p.log(objectName(info) + ": " + seen)
				last = seen
			}
			if err := pause(ctx); err != nil {
				return fmt.Errorf("waited for %s to end, last seen: %s: %w", objectName(info), last, err)
			}
		}
	}
	return nil
}

// outcome says whether what a hook made has ended. Only pods and jobs run.
func outcome(info *resource.Info) (done bool, seen string, err error) {
	kind := info.Mapping.GroupVersionKind.Kind
	if kind != "Pod" && kind != "Job" {
		return true, "", nil
	}
	live, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
	if err != nil {
		return false, "", fmt.Errorf("read %s: %w", objectName(info), err)
	}
	switch o := kube.AsVersioned(&resource.Info{Mapping: info.Mapping, Object: live}).(type) {
	case *corev1.Pod:
		switch o.Status.Phase {
		case corev1.PodSucceeded:
			return true, "", nil
		case corev1.PodFailed:
			return false, "", fmt.Errorf("%s failed%s", objectName(info), strings.TrimRight(": "+o.Status.Message, ": "))
		}
		return false, strings.ToLower(string(o.Status.Phase)), nil
	case *batchv1.Job:
		for _, c := range o.Status.Conditions {
			if c.Status != corev1.ConditionTrue {
				continue
			}
			switch c.Type {
			case batchv1.JobComplete:
				return true, "", nil
			case batchv1.JobFailed:
				return false, "", fmt.Errorf("%s failed: %s: %s", objectName(info), c.Reason, c.Message)
			}
		}
		return false, fmt.Sprintf("%d pods run, %d failed", o.Status.Active, o.Status.Failed), nil
	default:
		return true, "", nil
	}
}

// WaitForDelete waits until the objects of a hook are gone.
func (p *patient) WaitForDelete(infos kube.ResourceList, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(p.ctx, timeout)
	defer cancel()
	return gone(ctx, infos, func(metav1.Object) bool { return true })
}

// lastWords gives, for each container of a pod that has failed, its name and the last lines of its log.
func (s *session) lastWords(ctx context.Context, namespace, pod string) []string {
	p, err := s.core.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	var out []string
	for _, status := range p.Status.ContainerStatuses {
		t := status.State.Terminated
		if t == nil || t.ExitCode == 0 {
			continue
		}
		text := fmt.Sprintf("container %s ended with exit code %d", status.Name, t.ExitCode)
		lines := int64(10)
		stream, err := s.core.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: status.Name, TailLines: &lines}).Stream(ctx)
		if err == nil {
			said, _ := io.ReadAll(io.LimitReader(stream, 64<<10)) // what could be read is better than nothing
			_ = stream.Close()
			for line := range strings.Lines(string(said)) {
				text += "\n    " + strings.TrimRight(line, "\r\n")
			}
		}
		out = append(out, text)
	}
	return out
}
