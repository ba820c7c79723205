package workload

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/topics"
)

// Annotations of Ingresses that Skipper serves.
const (
	skipperPrefix    = "zalando.org/"
	skipperFilter    = skipperPrefix + "skipper-filter"
	skipperPredicate = skipperPrefix + "skipper-predicate"
	skipperRoutes    = skipperPrefix + "skipper-routes"
)

// Ingresses give the live service's requests a way by the ingress's filter capture, which copies them to the comparer
// (docs/protocol.md, section 9). No live object changes: these are copies of the live Ingresses, with the paths and the
// backend of the service alone, which Skipper prefers. Without them, it goes by the live ones again. There are none where
// Skipper serves no Ingress of the service.
func Ingresses(live Live, o Options) (all []runtime.Object, err error) {
	c, err := newPart(live, o, topics.Comparer(o.Service))
	if err != nil {
		return nil, err
	}
	if o.Service == mirror.Service {
		return nil, nil // it mirrors its sockets itself
	}
	for _, i := range live.Ingresses {
		filter, served := i.Annotations[skipperFilter]
		rules := c.liveRules(i.Spec.Rules)
		if _, shadow := i.Labels[Label]; !served || shadow || len(rules) == 0 {
			continue
		}
		if _, more := i.Annotations[skipperRoutes]; more {
			return nil, fmt.Errorf("the Ingress %s has routes in the annotation %s, and Skipper could not tell which of them come before those of a shadow; remove the annotation", i.Name, skipperRoutes)
		}
		copied := &networkingv1.Ingress{
			TypeMeta:   metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"},
			ObjectMeta: c.meta(i.Name + "-" + c.name),
			// Without TLS: certificates belong to hosts, and those of the live Ingress are there.
			Spec: networkingv1.IngressSpec{IngressClassName: i.Spec.IngressClassName, Rules: rules},
		}
		// Only Skipper's: by others, such as cert-manager's, more would be made.
		copied.Annotations = without(i.Annotations, func(key string) bool { return !strings.HasPrefix(key, skipperPrefix) })
		copied.Annotations[skipperFilter] = filter + " -> " + c.capture()
		// Of routes with the same path, Skipper takes the one with the greater weight.
		copied.Annotations[skipperPredicate] = "Weight(1)"
		if predicate := i.Annotations[skipperPredicate]; predicate != "" {
			copied.Annotations[skipperPredicate] = predicate + " && Weight(1)"
		}
		all = append(all, copied)
	}
	return all, nil
}

// liveRules gives the rules that lead to the live service, without the paths of others.
func (c part) liveRules(of []networkingv1.IngressRule) (rules []networkingv1.IngressRule) {
	for _, r := range of {
		if r.HTTP == nil {
			continue
		}
		paths := slices.DeleteFunc(slices.Clone(r.HTTP.Paths), func(p networkingv1.HTTPIngressPath) bool {
			return p.Backend.Service == nil || p.Backend.Service.Name != c.live.Service.Name
		})
		if len(paths) > 0 {
			r.HTTP = &networkingv1.HTTPIngressRuleValue{Paths: paths}
			rules = append(rules, r)
		}
	}
	return rules
}

// capture gives the filter that copies to the comparer.
func (c part) capture() string {
	args := []string{
		fmt.Sprintf("http://%s.%s.svc:%d", c.name, c.live.Deployment.Namespace, c.live.Service.Spec.Ports[0].Port), "service=" + c.o.Service,
	}
	for _, path := range exchange.ExceptedPaths(c.o.Service) {
		args = append(args, "except="+path)
	}
	return `capture("` + strings.Join(args, `", "`) + `")`
}
