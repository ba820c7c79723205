package workload_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/labctl/labctl/pkg/shadow/workload"
)

// pod is one end of a connection.
type pod struct {
	namespace string
	labels    map[string]string
}

// allowed says whether policies of the namespace chat let a pod connect to another at a port: the way out of the one
// and the way into the other must both be open.
func allowed(policies []networkingv1.NetworkPolicy, from, to pod, port string) bool {
	out, in := true, true
	for _, direction := range []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress} {
		selected, open := false, false
		own, other := from, to
		if direction == networkingv1.PolicyTypeIngress {
			own, other = to, from
		}
		for _, p := range policies {
			if own.namespace != "chat" || !matches(&p.Spec.PodSelector, own.labels) || !slices.Contains(p.Spec.PolicyTypes, direction) {
				continue
			}
			selected = true
			if direction == networkingv1.PolicyTypeEgress {
				for _, r := range p.Spec.Egress {
					open = open || opens(r.Ports, r.To, other, port)
				}
				continue
			}
			for _, r := range p.Spec.Ingress {
				open = open || opens(r.Ports, r.From, other, port)
			}
		}
		if direction == networkingv1.PolicyTypeEgress {
			out = open || !selected
		} else {
			in = open || !selected
		}
	}
	return out && in
}

func opens(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, other pod, port string) bool {
	onPort := len(ports) == 0 || slices.ContainsFunc(ports, func(p networkingv1.NetworkPolicyPort) bool {
		return p.Port == nil || *p.Port == intstr.Parse(port)
	})
	return onPort && (len(peers) == 0 || slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		switch {
		case p.IPBlock != nil:
			return false
		case p.NamespaceSelector != nil && !matches(p.NamespaceSelector, map[string]string{"kubernetes.io/metadata.name": other.namespace}):
			return false
		case p.NamespaceSelector == nil && other.namespace != "chat":
			return false
		}
		return p.PodSelector == nil || matches(p.PodSelector, other.labels)
	}))
}

func matches(s *metav1.LabelSelector, l map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && selector.Matches(labels.Set(l))
}

// A shadow's pods may go where the live ones may, and are reached by the comparer alone. The ways between the live pods
// stay as they are, and the gateway gets one more: to the comparer.
func TestWays(t *testing.T) {
	objects := rendered(t, release(t, "all"))
	all := map[string]pod{
		"kafka": {"data", nil}, "dns": {"kube-system", nil}, "prometheus": {"monitoring", nil}, "skipper": {"ingress-nginx", nil}, "stranger": {"default", nil},
	}
	for name, d := range deployments(objects) {
		all[name] = pod{"chat", d.Spec.Template.Labels}
	}
	policies := live(objects, "").Policies
	before := slices.Clone(policies)
	var made []runtime.Object
	for _, service := range []string{"gateway", "messaging"} {
		made = append(made, shadow(t, live(objects, service), service)...)
	}
	for name, d := range deployments(made) {
		all[name] = pod{"chat", d.Spec.Template.Labels}
	}
	for _, o := range made {
		if p, ok := o.(*networkingv1.NetworkPolicy); ok {
			policies = append(policies, *p)
		}
	}

	ways := map[string]bool{} // from to port
	for _, service := range []string{"gateway", "messaging"} {
		for _, side := range []string{"-shadow", "-baseline"} {
			for _, way := range []string{"kafka 9092", "dns 53", "auth http"} {
				ways[service+side+" "+way] = true
			}
			ways[service+"-comparer "+service+side+" http"] = true
			ways[service+"-comparer "+service+side+" health"] = true
			ways["prometheus "+service+side+" health"] = true
		}
		for _, way := range []string{"kafka 9092", "dns 53"} {
			ways[service+"-comparer "+way] = true
		}
		ways["skipper "+service+"-comparer http"] = true
		ways["prometheus "+service+"-comparer health"] = true
	}
	ways["gateway-shadow messaging http"], ways["gateway-baseline messaging http"] = true, true
	ways["gateway gateway-comparer http"] = true // the one way that a live pod gets

	isNew := func(name string) bool { return deployments(objects)[name] == nil && all[name].namespace == "chat" }
	tried := 0
	for from := range all {
		for to := range all {
			for _, port := range []string{"http", "health", "9092", "53", "443"} {
				if all[from].namespace != "chat" && all[to].namespace != "chat" {
					continue
				}
				if !isNew(from) && !isNew(to) {
					require.Equal(t, allowed(before, all[from], all[to], port), allowed(policies, all[from], all[to], port), "%s to %s at %s", from, to, port)
					continue
				}
				tried++
				open := allowed(policies, all[from], all[to], port)
				if all[to].namespace == "data" {
					require.Equal(t, ways[from+" "+to+" 9092"], open, "%s to %s at %s", from, to, port) // any port there
					continue
				}
				require.Equal(t, ways[from+" "+to+" "+port], open, "%s to %s at %s", from, to, port)
			}
		}
	}
	require.Greater(t, tried, 500)
}

// The policies of another shadow, and of an earlier one of the same service, change nothing.
func TestPoliciesBesideAnotherShadow(t *testing.T) {
	objects := rendered(t, release(t, "all"))
	alone, err := workload.Manifests(shadow(t, live(objects, "messaging"), "messaging"))
	require.NoError(t, err)
	for _, service := range []string{"gateway", "messaging"} {
		objects = append(objects, shadow(t, live(objects, service), service)...)
	}
	beside, err := workload.Manifests(shadow(t, live(objects, "messaging"), "messaging"))
	require.NoError(t, err)
	require.Equal(t, string(alone), string(beside))
}

// Where the live pods are closed by no policy, neither is a shadow's.
func TestNoPolicies(t *testing.T) {
	r := release(t, "default")
	r.Values["networkPolicies"] = map[string]any{"enabled": false}
	for _, o := range shadow(t, live(rendered(t, r), "messaging"), "messaging") {
		require.NotEqual(t, "NetworkPolicy", o.GetObjectKind().GroupVersionKind().Kind)
	}
}
