package workload

import (
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/topics"
)

// Policies of a pod add up: each opens some ways. So those of a shadow are objects of their own, and go with it; no live
// policy changes. The only way that a live pod gets is the gateway's to the comparer. Where there is none for the live service, there is none for its shadow.

// sidePolicies give a side the ways of the live pods: where they may go, and who reads their health and metrics. Of all
// who ask the live service only the comparer asks a side.
func (c part) sidePolicies() []runtime.Object {
	comparer := networkingv1.NetworkPolicyIngressRule{
		Ports: c.ports(), From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: c.comparer().selector()}}},
	}
	all := c.likeLive(func(live networkingv1.NetworkPolicySpec) networkingv1.NetworkPolicySpec {
		live.Ingress = append(healthRules(live.Ingress), comparer)
		return live
	})
	return append(all, c.openings()...)
}

// comparerPolicies let the comparer reach the sides and the databases. It is asked from the namespaces from which the
// live service is asked, since the ingress copies requests to it.
func (c part) comparerPolicies() []runtime.Object {
	sides := networkingv1.NetworkPolicyEgressRule{Ports: c.ports()}
	for _, side := range topics.Sides() {
		s := part{c.live, c.o, topics.Copy(c.o.Service, side)}
		sides.To = append(sides.To, networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: s.selector()}})
	}
	all := c.likeLive(func(live networkingv1.NetworkPolicySpec) networkingv1.NetworkPolicySpec {
		ingress := healthRules(live.Ingress)
		if c.o.Service == mirror.Service {
			livePods := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: c.live.Service.Spec.Selector}}
			ingress = append(ingress, networkingv1.NetworkPolicyIngressRule{Ports: c.servicePorts(), From: []networkingv1.NetworkPolicyPeer{livePods}})
		}
		for _, r := range live.Ingress {
			r.From = slices.DeleteFunc(slices.Clone(r.From), func(p networkingv1.NetworkPolicyPeer) bool { return p.NamespaceSelector == nil })
			if !onHealth(r.Ports) && len(r.From) > 0 {
				ingress = append(ingress, r)
			}
		}
		egress := []networkingv1.NetworkPolicyEgressRule{sides}
		for _, r := range live.Egress {
			if !slices.ContainsFunc(r.To, func(p networkingv1.NetworkPolicyPeer) bool { return p.NamespaceSelector == nil }) { // name service, databases
				egress = append(egress, r)
			}
		}
		live.Ingress, live.Egress = ingress, egress
		return live
	})
	if c.o.Service == mirror.Service {
		all = append(all, c.mirrorWays()...)
	}
	return all
}

// mirrorWays let the live pods out to the comparer, to which they mirror sockets.
func (c part) mirrorWays() (all []runtime.Object) {
	comparer := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: c.selector()}}
	for _, p := range c.live.Policies {
		if !c.onlyLive(&p.Spec.PodSelector) || !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			continue
		}
		all = append(all, c.policy(p.Name+"-to-"+c.name, networkingv1.NetworkPolicySpec{
			PodSelector: p.Spec.PodSelector, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
			Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: c.servicePorts(), To: []networkingv1.NetworkPolicyPeer{comparer}}},
		}))
	}
	return all
}

// likeLive gives a policy for each that selects the live pods and not the part's.
func (c part) likeLive(change func(networkingv1.NetworkPolicySpec) networkingv1.NetworkPolicySpec) (all []runtime.Object) {
	for _, p := range c.live.Policies {
		if !c.onlyLive(&p.Spec.PodSelector) {
			continue
		}
		spec := change(*p.Spec.DeepCopy())
		spec.PodSelector = metav1.LabelSelector{MatchLabels: c.selector()}
		all = append(all, c.policy(p.Name+c.suffix(), spec))
	}
	return all
}

// openings let a side in wherever a policy lets in the live pods, such as auth's.
func (c part) openings() (all []runtime.Object) {
	side := networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{MatchLabels: c.selector()}}
	for _, p := range c.live.Policies {
		if !slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
			continue // these pods are open, and a policy of ours would close them
		}
		var rules []networkingv1.NetworkPolicyIngressRule
		for _, r := range p.Spec.Ingress {
			if slices.ContainsFunc(r.From, func(peer networkingv1.NetworkPolicyPeer) bool {
				return peer.NamespaceSelector == nil && peer.PodSelector != nil && c.onlyLive(peer.PodSelector)
			}) {
				rules = append(rules, networkingv1.NetworkPolicyIngressRule{Ports: r.Ports, From: []networkingv1.NetworkPolicyPeer{side}})
			}
		}
		if len(rules) > 0 {
			all = append(all, c.policy(p.Name+"-from-"+c.name, networkingv1.NetworkPolicySpec{
				PodSelector: p.Spec.PodSelector, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}, Ingress: rules,
			}))
		}
	}
	return all
}

// onlyLive says whether a selector selects the live pods and not the part's.
func (c part) onlyLive(s *metav1.LabelSelector) bool {
	pod := c.live.Deployment.Spec.Template.Labels
	return selects(s, pod) && !selects(s, c.podLabels(pod))
}

func (c part) policy(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: c.meta(name), Spec: spec,
	}
}

// ports gives the ports of the service's container, by name where they have one.
func (c part) ports() (all []networkingv1.NetworkPolicyPort) {
	for _, p := range containerOf(&c.live.Deployment.Spec.Template.Spec, c.o.Service).Ports {
		port := intstr.FromInt32(p.ContainerPort)
		if p.Name != "" {
			port = intstr.FromString(p.Name)
		}
		all = append(all, networkingv1.NetworkPolicyPort{Port: &port})
	}
	return all
}

// servicePorts gives those but the one of health.
func (c part) servicePorts() []networkingv1.NetworkPolicyPort {
	return slices.DeleteFunc(c.ports(), func(p networkingv1.NetworkPolicyPort) bool { return p.Port.StrVal == HealthPort })
}

// HealthPort is the name of the port with health and metrics, where no ingress leads.
const HealthPort = "health"

func healthRules(rules []networkingv1.NetworkPolicyIngressRule) (health []networkingv1.NetworkPolicyIngressRule) {
	for _, r := range rules {
		if onHealth(r.Ports) {
			health = append(health, r)
		}
	}
	return health
}

// onHealth says whether a rule opens the port of health alone.
func onHealth(ports []networkingv1.NetworkPolicyPort) bool {
	return len(ports) == 1 && ports[0].Port != nil && ports[0].Port.StrVal == HealthPort
}
