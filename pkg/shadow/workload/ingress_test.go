package workload_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/labctl/labctl/pkg/shadow/workload"
	"github.com/labctl/labctl/test/golden"
)

// The shadow's Ingress leads where the live one leads, for the paths of the service alone, and copies what passes. A test
// of images/skipper gives the golden file to Skipper.
func TestIngresses(t *testing.T) {
	l := live(rendered(t, release(t, "all")), "messaging")
	l.Ingresses[0].Annotations["argocd.argoproj.io/tracking-id"] = "chat:networking.k8s.io/Ingress:chat/chat"
	objects, err := workload.Ingresses(l, options("messaging"))
	require.NoError(t, err)
	require.Len(t, objects, 1)
	text, err := json.MarshalIndent(objects[0], "", "  ")
	require.NoError(t, err)
	golden.Equal(t, "ingress.json", string(text)+"\n")

	is := objects[0].(*networkingv1.Ingress)
	require.Equal(t, "chat-messaging-comparer", is.Name)
	require.Equal(t, "skipper", *is.Spec.IngressClassName)
	require.Equal(t, map[string]string{
		"zalando.org/skipper-filter":    filters + ` -> capture("http://messaging-comparer.chat.svc:8080", "service=messaging")`,
		"zalando.org/skipper-predicate": "Weight(1)",
	}, is.Annotations, "only Skipper has to do with it")
	require.Empty(t, is.Spec.TLS)
	require.Len(t, is.Spec.Rules, 1)
	require.Equal(t, "chat.example.org", is.Spec.Rules[0].Host)
	var paths []string
	for _, p := range is.Spec.Rules[0].HTTP.Paths {
		require.Equal(t, networkingv1.PathTypePrefix, *p.PathType)
		require.Equal(t, "messaging", p.Backend.Service.Name)
		require.Equal(t, "http", p.Backend.Service.Port.Name)
		paths = append(paths, p.Path)
	}
	require.Equal(t, []string{"/api/conversations", "/api/messages"}, paths)

	// That of another shadow, and of this one, is not live.
	l.Ingresses = append(l.Ingresses, *is)
	again, err := workload.Ingresses(l, options("messaging"))
	require.NoError(t, err)
	require.Equal(t, objects, again)
}

// A login with a provider changes something with each GET.
func TestExceptedPaths(t *testing.T) {
	objects, err := workload.Ingresses(live(rendered(t, release(t, "all")), "auth"), options("auth"))
	require.NoError(t, err)
	require.Contains(t, objects[0].(*networkingv1.Ingress).Annotations["zalando.org/skipper-filter"],
		`capture("http://auth-comparer.chat.svc:8080", "service=auth", "except=/api/auth/oidc")`)
}

// Predicates of the live Ingress hold for the shadow's, too.
func TestPredicates(t *testing.T) {
	l := live(rendered(t, release(t, "all")), "messaging")
	l.Ingresses[0].Annotations["zalando.org/skipper-predicate"] = "ClientIP(`10.0.0.0/8`)"
	objects, err := workload.Ingresses(l, options("messaging"))
	require.NoError(t, err)
	require.Equal(t, "ClientIP(`10.0.0.0/8`) && Weight(1)", objects[0].(*networkingv1.Ingress).Annotations["zalando.org/skipper-predicate"])
}

// Where requests cannot be copied, there is no Ingress, or the reason why.
func TestNoIngress(t *testing.T) {
	l := live(rendered(t, release(t, "all")), "messaging")
	delete(l.Ingresses[0].Annotations, "zalando.org/skipper-filter")
	objects, err := workload.Ingresses(l, options("messaging"))
	require.NoError(t, err)
	require.Empty(t, objects, "another controller's")

	l = live(rendered(t, release(t, "all")), "messaging")
	l.Ingresses[0].Annotations["zalando.org/skipper-routes"] = `Method("OPTIONS") -> <shunt>`
	_, err = workload.Ingresses(l, options("messaging"))
	require.ErrorContains(t, err, "the Ingress chat has routes in the annotation zalando.org/skipper-routes")
}
