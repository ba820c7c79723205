// Package workload derives the objects of a shadow from the service that runs in the cluster
// (docs/adr/0026-shadows.md). The copies are like the live service but for what must differ, whoever installed that
// one: Helm, Argo CD or a person.
//
// The functions neither read nor change a cluster.
package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/services/topics"
)

// Label is on everything that belongs to a shadow. Its value is the service.
const Label = "labctl/shadow"

const (
	nameLabel   = "app.kubernetes.io/name"
	partOfLabel = "app.kubernetes.io/part-of"
)

// Live is a service as it is in the cluster.
type Live struct {
	Deployment appsv1.Deployment
	Service    corev1.Service
	Policies   []networkingv1.NetworkPolicy // all of the namespace
	Ingresses  []networkingv1.Ingress       // likewise
}

// Options say what is tried.
type Options struct {
	Service        string     // whose shadow it is
	CandidateImage string     // whole reference of the new version
	ComparerImage  string     // whole reference
	Owner          kube.Owner // the stack that the service belongs to
}

// Side gives the objects of a side of the shadow: the candidate, which has the new version's image, or the baseline.
func Side(live Live, o Options, side string) ([]runtime.Object, error) {
	c, err := newPart(live, o, topics.Copy(o.Service, side))
	if err != nil {
		return nil, err
	}
	template := live.Deployment.Spec.Template.DeepCopy()
	template.Labels = c.podLabels(template.Labels)
	template.Annotations = without(template.Annotations, isOwnership)
	template.Spec.TopologySpreadConstraints = nil // they count the live pods
	container := containerOf(&template.Spec, o.Service)
	if side == topics.Candidate {
		container.Image = o.CandidateImage
	}
	if err := setSide(container, o.Service, side); err != nil {
		return nil, fmt.Errorf("deployment %s: %w", live.Deployment.Name, err)
	}

	d := c.deployment(*template)
	d.Spec.Strategy = live.Deployment.Spec.Strategy
	d.Spec.MinReadySeconds = live.Deployment.Spec.MinReadySeconds
	return slices.Concat([]runtime.Object{c.service()}, c.sidePolicies(), []runtime.Object{d}), nil
}

// part is a side or the comparer of a shadow, whose objects are derived from the live ones.
type part struct {
	live Live
	o    Options
	name string
}

func newPart(live Live, o Options, name string) (part, error) {
	if !slices.Contains(topics.Shadowed(), o.Service) {
		return part{}, fmt.Errorf("%s can have no shadow; %s can", o.Service, strings.Join(topics.Shadowed(), ", "))
	}
	if containerOf(&live.Deployment.Spec.Template.Spec, o.Service) == nil {
		return part{}, fmt.Errorf("deployment %s has several containers and none called %s, so it is not known which one is the service", live.Deployment.Name, o.Service)
	}
	if len(live.Service.Spec.Ports) == 0 {
		return part{}, fmt.Errorf("service %s has no port, so no request can be replayed", live.Service.Name)
	}
	// Policies of another service's shadow, or of this one's from before, are not live.
	live.Policies = slices.DeleteFunc(slices.Clone(live.Policies), func(p networkingv1.NetworkPolicy) bool { _, ok := p.Labels[Label]; return ok })
	return part{live, o, name}, nil
}

// suffix gives what the names of the part's objects end with, such as "-shadow".
func (c part) suffix() string { return strings.TrimPrefix(c.name, c.o.Service) }

// containerOf gives the service's container: the one that bears its name, or the only one.
func containerOf(spec *corev1.PodSpec, service string) *corev1.Container {
	if len(spec.Containers) == 1 {
		return &spec.Containers[0]
	}
	i := slices.IndexFunc(spec.Containers, func(c corev1.Container) bool { return c.Name == service })
	if i < 0 {
		return nil
	}
	return &spec.Containers[i]
}

// selector selects the pods. No live selector does, since the live name is among what those ask for.
func (c part) selector() map[string]string { return PodsOf(c.o.Service, c.name) }

// PodsOf selects the pods of a part of a service's shadow: a side, or the comparer.
func PodsOf(service, part string) labels.Set { return labels.Set{nameLabel: part, Label: service} }

// partOf says which application the live service is part of. The chat closes all pods that are part of it.
func (c part) partOf() map[string]string {
	if v, ok := c.live.Deployment.Spec.Template.Labels[partOfLabel]; ok {
		return map[string]string{partOfLabel: v}
	}
	return nil
}

// meta names an object of the part. It has no label and no annotation of the live one, by which Helm or Argo CD would
// take it for its own.
func (c part) meta(name string) metav1.ObjectMeta {
	m := metav1.ObjectMeta{Name: name, Namespace: c.live.Deployment.Namespace, Labels: c.o.Owner.Labels()}
	maps.Copy(m.Labels, c.partOf())
	maps.Copy(m.Labels, c.selector())
	return m
}

// podLabels gives the part's labels and those of the live pods, such as of a webhook, but for those by which others
// know the live pods.
func (c part) podLabels(of map[string]string) map[string]string {
	asked := []map[string]string{c.live.Service.Spec.Selector}
	if s := c.live.Deployment.Spec.Selector; s != nil {
		asked = append(asked, s.MatchLabels)
		for _, e := range s.MatchExpressions {
			asked = append(asked, map[string]string{e.Key: ""})
		}
	}
	l := without(of, func(key string) bool {
		return isOwnership(key) || slices.ContainsFunc(asked, func(m map[string]string) bool { _, ok := m[key]; return ok })
	})
	if l == nil {
		l = map[string]string{}
	}
	maps.Copy(l, c.partOf())
	maps.Copy(l, c.selector())
	return l
}

// isOwnership says that a label or an annotation tells by whom an object was made, or from what.
func isOwnership(key string) bool {
	prefix, _, _ := strings.Cut(key, "/")
	return slices.Contains([]string{"argocd.argoproj.io", "helm.sh", "meta.helm.sh"}, prefix) ||
		slices.Contains([]string{"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", appsv1.DefaultDeploymentUniqueLabelKey}, key)
}

func without(m map[string]string, drop func(key string) bool) map[string]string {
	m = maps.Clone(m)
	maps.DeleteFunc(m, func(key, _ string) bool { return drop(key) })
	return m
}

func (c part) deployment(template corev1.PodTemplateSpec) *appsv1.Deployment {
	return &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: c.meta(c.name),
		Spec: appsv1.DeploymentSpec{
			Replicas:                new(int32(1)),
			RevisionHistoryLimit:    c.live.Deployment.Spec.RevisionHistoryLimit,
			ProgressDeadlineSeconds: c.live.Deployment.Spec.ProgressDeadlineSeconds,
			Selector:                &metav1.LabelSelector{MatchLabels: c.selector()},
			Template:                template,
		},
	}
}

// service gives a Service with the live one's ports, by which requests are replayed.
func (c part) service() *corev1.Service {
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: c.meta(c.name),
		Spec:       corev1.ServiceSpec{Selector: c.selector()},
	}
	for _, p := range c.live.Service.Spec.Ports {
		p.NodePort = 0
		s.Spec.Ports = append(s.Spec.Ports, p)
	}
	return s
}

// Manifests writes objects as a YAML stream, for kube.Client.Apply.
func Manifests(objects []runtime.Object) ([]byte, error) {
	var all []byte
	for _, o := range objects {
		m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("write %T: %w", o, err)
		}
		delete(m, "status")
		for _, path := range [][]string{{"metadata"}, {"spec", "template", "metadata"}} { // a null, since it is not there yet
			unstructured.RemoveNestedField(m, append(path, "creationTimestamp")...)
		}
		text, err := yaml.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("write %T: %w", o, err)
		}
		all = append(append(all, "---\n"...), text...)
	}
	return all, nil
}

// selects says whether a selector selects pods with these labels. One that the API would not take selects none.
func selects(s *metav1.LabelSelector, pod map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(pod))
}
