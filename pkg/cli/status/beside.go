package status

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/incluster"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/pkg/shadow/workload"
	"github.com/labctl/labctl/pkg/status"
)

// applications gives those of Argo CD.
func (s *stateReader) applications(ctx context.Context) ([]status.Application, error) {
	client := s.cluster(ctx)
	if client == nil {
		return nil, nil
	}
	apps, err := argocd.Apps(ctx, client, nil)
	var out []status.Application
	for _, a := range apps {
		out = append(out, application(a))
	}
	return out, err
}

// application judges one by the words of Argo CD.
func application(a argocd.App) status.Application {
	out := status.Application{Name: a.Name, Sync: a.Sync, Health: a.Health, Revision: cmp.Or(a.Synced, a.Revision)}
	out.Reason, _, _ = strings.Cut(a.Message, "\n")
	out.Next = "labctl gitops status"
	switch {
	case a.Health == "Degraded" || a.Sync != "Synced" && a.Message != "":
		out.State = status.Failed
	case a.Health == "Progressing":
		out.State = status.Working
	case a.Sync == "Synced" && a.Health == "Healthy":
		out.State, out.Reason, out.Next = status.Up, "", ""
	case a.Sync == "" || a.Sync == "Unknown":
		out.State = status.Unknown
	default: // not in sync, suspended, or something of it is missing
		out.State = status.Partial
	}
	if out.State != status.Up {
		out.Reason = cmp.Or(out.Reason, strings.TrimSpace(strings.ToLower(a.Sync+", "+a.Health)))
	}
	return out
}

// shadows gives the versions that are tried.
func (s *stateReader) shadows(ctx context.Context) (out []status.Shadow, err error) {
	client := s.cluster(ctx)
	if client == nil {
		return nil, nil
	}
	first, _ := s.lab.ShadowBy(client, shadow.Services()[0]) // all are in the namespace of the chat
	services, err := incluster.All(ctx, client, first.Namespace)
	for _, service := range services {
		one, _ := s.lab.ShadowBy(client, service)
		e, err := one.Evidence(ctx)
		out = append(out, shadowOf(service, e, err))
	}
	return out, err
}

// shadowOf says how a shadow does, by its evidence or by why there is none.
func shadowOf(service string, e shadow.Evidence, err error) status.Shadow {
	v := e.Verdict
	out := status.Shadow{Service: service, Version: e.Version, Verdict: string(v.State), Samples: v.Samples, Remaining: v.Remaining, Agreement: v.Agreement.Candidate}
	out.Reason, out.Next = v.Sentence(), "labctl shadow status "+service
	switch {
	case err != nil:
		out.State, out.Reason = status.Unknown, err.Error()
	case e.Error != "":
		out.State, out.Reason = status.Failed, "it stopped: "+e.Error
	case v.State == verdict.Pass:
		out.State, out.Next = status.Up, "labctl shadow promote "+service
	case v.State == verdict.Fail:
		out.State, out.Next = status.Failed, "labctl shadow diff "+service
	case e.Ended != "":
		out.State, out.Reason = status.Partial, e.Ended+"; "+out.Reason
	default:
		out.State = status.Working
	}
	return out
}

// meters read what the pods of the lab's services count. Each pod is reached by a port-forward that is kept.
type meters struct {
	states     *stateReader
	namespaces []string
	meter      status.Meter

	mu       sync.Mutex // a look that was given up may still be going on
	forwards map[string]forward
	client   *kube.Client // of the forwards
}

type forward struct {
	url  string
	stop func()
}

// readFor bounds the question to one pod.
const readFor = 3 * time.Second

func (m *meters) look(ctx context.Context) ([]status.Service, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	client := m.states.cluster(ctx)
	if client != m.client {
		m.closeBut(nil)
		m.client = client
	}
	if client == nil {
		return m.meter.Measure(nil), nil
	}
	var pods []corev1.Pod
	for _, namespace := range m.namespaces {
		list, err := client.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		for _, p := range list.Items {
			if isService(&p) {
				pods = append(pods, p)
			}
		}
	}
	readings := make([]status.Reading, len(pods))
	var all sync.WaitGroup
	opened := make([]*forward, len(pods))
	for i := range pods {
		key := podKey(&pods[i])
		f, there := m.forwards[key]
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, readFor)
			defer cancel()
			readings[i] = status.Reading{Namespace: pods[i].Namespace, Service: pods[i].Labels[nameLabel], Pod: pods[i].Name}
			if !there {
				if f, readings[i].Err = m.open(ctx, &pods[i]); readings[i].Err != nil {
					return
				}
			}
			readings[i].Metrics, readings[i].Err = shadow.Metrics(ctx, http.DefaultClient, f.url)
			readings[i].At = time.Now()
			if err := readings[i].Err; err != nil && !errors.Is(err, shadow.ErrNoMetrics) {
				f.stop() // the next look reaches the pod anew
				return
			}
			opened[i] = &f
		})
	}
	all.Wait()
	keep := map[string]forward{}
	for i, f := range opened {
		if f != nil {
			keep[podKey(&pods[i])] = *f
		}
	}
	m.closeBut(keep)
	if ctx.Err() != nil {
		m.closeBut(nil)
		return nil, context.Cause(ctx)
	}
	readings = slices.DeleteFunc(readings, func(r status.Reading) bool { return errors.Is(r.Err, shadow.ErrNoMetrics) }) // a database, say
	return m.meter.Measure(readings), nil
}

// closeBut ends the forwards that are not to be kept.
func (m *meters) closeBut(keep map[string]forward) {
	for key, f := range m.forwards {
		if _, kept := keep[key]; !kept {
			f.stop()
		}
	}
	m.forwards = keep
}

func (m *meters) open(ctx context.Context, p *corev1.Pod) (f forward, err error) {
	port, err := kube.ContainerPort(p, workload.HealthPort)
	if err != nil {
		return f, err
	}
	address, stop, err := m.client.ForwardPod(ctx, p.Namespace, p.Name, port)
	return forward{"http://" + address, sync.OnceFunc(stop)}, err
}

// nameLabel is the well-known label of the name of what a pod is of.
const nameLabel = "app.kubernetes.io/name"

func podKey(p *corev1.Pod) string { return p.Namespace + "/" + p.Name + "/" + string(p.UID) }

// isService says whether a pod is of a service of the lab that counts what it does, and can be asked now.
func isService(p *corev1.Pod) bool {
	_, err := kube.ContainerPort(p, workload.HealthPort)
	_, ofShadow := p.Labels[workload.Label]
	return err == nil && !ofShadow && p.Labels[nameLabel] != "" && p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning
}
