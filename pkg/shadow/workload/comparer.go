package workload

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/labctl/labctl/services/topics"
)

// Comparer gives the objects of a shadow's comparer. It reaches Kafka and MongoDB as the live service does, as a user
// of its own, and has these variables beside:
//
//	SERVICE         the service whose shadow it compares, such as messaging
//	CANDIDATE_URL   where it replays requests: http://messaging-shadow:8080
//	BASELINE_URL    http://messaging-baseline:8080
func Comparer(live Live, o Options) ([]runtime.Object, error) {
	c, err := newPart(live, o, topics.Comparer(o.Service))
	if err != nil {
		return nil, err
	}
	spec := live.Deployment.Spec.Template.Spec.DeepCopy()
	of := *containerOf(spec, o.Service)
	container, err := c.container(of)
	if err != nil {
		return nil, fmt.Errorf("deployment %s: %w", live.Deployment.Name, err)
	}
	spec.Containers, spec.InitContainers = []corev1.Container{container}, nil
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v corev1.Volume) bool { return v.ConfigMap == nil })
	spec.TopologySpreadConstraints = nil
	spec.ServiceAccountName, spec.DeprecatedServiceAccount = c.name, ""

	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: c.podLabels(nil)}, Spec: *spec}
	account := &corev1.ServiceAccount{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: c.meta(c.name), AutomountServiceAccountToken: new(bool),
	}
	d := c.deployment(template)
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType // two at once would both set the groups' offsets
	return slices.Concat([]runtime.Object{account, c.service()}, c.comparerPolicies(), []runtime.Object{d}), nil
}

// comparer gives the comparer of the shadow that c belongs to.
func (c part) comparer() part {
	return part{c.live, c.o, topics.Comparer(c.o.Service)}
}

// container gives the comparer's, which reaches the databases as the service's does: with the same addresses,
// mechanisms and authorities.
func (c part) container(of corev1.Container) (corev1.Container, error) {
	own := corev1.Container{
		Name: "comparer", Image: c.o.ComparerImage, ImagePullPolicy: of.ImagePullPolicy, Ports: of.Ports,
		StartupProbe: of.StartupProbe, ReadinessProbe: of.ReadinessProbe, LivenessProbe: of.LivenessProbe,
		SecurityContext: of.SecurityContext,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
		},
	}
	for _, v := range of.Env {
		if strings.HasPrefix(v.Name, "OTEL_") || slices.Contains([]string{"LISTEN", "HEALTH", "LOG_LEVEL", "KAFKA_BROKERS", "KAFKA_TLS", "KAFKA_SASL", "MONGODB_URI", "MONGODB_URI_FILE"}, v.Name) {
			own.Env = append(own.Env, v)
		}
	}
	if topics.ReadsLive(c.o.Service) { // so there is nothing but requests to compare
		own.Env = slices.DeleteFunc(own.Env, func(v corev1.EnvVar) bool {
			return strings.HasPrefix(v.Name, "KAFKA_") || strings.HasPrefix(v.Name, "MONGODB_")
		})
	} else if err := logIn(&own, c.name); err != nil {
		return own, err
	}
	set(&own, "OTEL_SERVICE_NAME", c.name)
	set(&own, "SERVICE", c.o.Service)
	set(&own, "CANDIDATE_URL", c.url(topics.Candidate))
	set(&own, "BASELINE_URL", c.url(topics.Baseline))
	for _, v := range c.live.Deployment.Spec.Template.Spec.Volumes {
		for _, m := range of.VolumeMounts {
			if v.ConfigMap != nil && m.Name == v.Name { // the authorities of the databases
				own.VolumeMounts = append(own.VolumeMounts, m)
			}
		}
	}
	return own, nil
}

// url gives the address of a side, at the live Service's first port.
func (c part) url(side string) string {
	return fmt.Sprintf("http://%s:%d", topics.Copy(c.o.Service, side), c.live.Service.Spec.Ports[0].Port)
}
