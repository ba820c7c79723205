package capture_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/skipper/dataclients/kubernetes"
	"github.com/zalando/skipper/filters/builtin"
	"github.com/zalando/skipper/proxy"
	"github.com/zalando/skipper/proxy/proxytest"
	"github.com/zalando/skipper/routing"

	"github.com/labctl/labctl/images/skipper/capture"
)

// apiServer is a cluster's API as Skipper asks it. It has a live Ingress, and perhaps the shadow's.
type apiServer struct {
	backend string
	shadow  atomic.Pointer[json.RawMessage]
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, _ := url.Parse(a.backend)
	path := func(at, service string) string {
		return fmt.Sprintf(`{"path": %q, "pathType": "Prefix", "backend": {"service": {"name": %q, "port": {"name": "http"}}}}`, at, service)
	}
	named := func(name string) string { return fmt.Sprintf(`"metadata": {"name": %q, "namespace": "chat"}`, name) }
	var items []string
	switch {
	case strings.HasSuffix(r.URL.Path, "/ingresses"):
		items = append(items, fmt.Sprintf(`{
			"metadata": {"name": "chat", "namespace": "chat", "annotations": {"zalando.org/skipper-filter": "flowId(\"reuse\")"}},
			"spec": {"ingressClassName": "skipper", "rules": [{"host": "chat.example.org", "http": {"paths": [%s, %s, %s]}}]}
		}`, path("/api/conversations", "messaging"), path("/api/messages", "messaging"), path("/api/groups", "groups")))
		if shadow := a.shadow.Load(); shadow != nil {
			items = append(items, string(*shadow))
		}
	case strings.HasSuffix(r.URL.Path, "/services"):
		for _, name := range []string{"messaging", "groups"} {
			items = append(items, fmt.Sprintf(`{%s, "spec": {"clusterIP": "10.0.0.1", "ports": [{"name": "http", "port": 8080, "targetPort": "http"}]}}`, named(name)))
		}
	case strings.HasSuffix(r.URL.Path, "/endpoints"):
		for _, name := range []string{"messaging", "groups"} {
			items = append(items, fmt.Sprintf(`{%s, "subsets": [{"addresses": [{"ip": %q}], "ports": [{"name": "http", "port": %s}]}]}`, named(name), at.Hostname(), at.Port()))
		}
	}
	_, _ = fmt.Fprintf(w, `{"items": [%s]}`, strings.Join(items, ","))
}

// shadowIngress gives the Ingress that labctl makes for a shadow of messaging, with another address of the comparer.
func shadowIngress(t *testing.T, comparer string) *json.RawMessage {
	t.Helper()
	text, err := os.ReadFile("../../../pkg/shadow/workload/testdata/ingress.json")
	require.NoError(t, err)
	const address = "http://messaging-comparer.chat.svc:8080"
	require.Contains(t, string(text), address)
	ingress := json.RawMessage(strings.ReplaceAll(string(text), address, comparer))
	return &ingress
}

// Skipper prefers the Ingress of a shadow to the live one with the same paths. It comes and goes while requests are
// answered, and the paths of other services have nothing to do with it.
func TestIngressOfAShadow(t *testing.T) {
	backend := newBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "live "+r.URL.Path) })
	comparer := newComparer(t, nil)
	api := &apiServer{backend: backend}
	cluster := httptest.NewServer(api)
	t.Cleanup(cluster.Close)
	objects, err := kubernetes.New(kubernetes.Options{KubernetesURL: cluster.URL, IngressClass: "^skipper$"})
	require.NoError(t, err)
	t.Cleanup(objects.Close)

	spec, counts := newFilter(capture.Options{})
	registry := builtin.MakeRegistry()
	registry.Register(spec)
	p := proxytest.Config{
		RoutingOptions: routing.Options{FilterRegistry: registry, DataClients: []routing.DataClient{objects}, PollTimeout: 10 * time.Millisecond},
		ProxyParams:    proxy.Params{Flags: proxy.PreserveHost, AccessLogDisabled: true, CloseIdleConnsPeriod: -time.Second},
	}.Create()
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	get := func(path string) {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, p.URL+path, nil)
		require.NoError(t, err)
		req.Host = "chat.example.org"
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, "live "+path, string(body), res.Status)
	}
	all := func() {
		t.Helper()
		for _, path := range []string{"/api/messages/search", "/api/conversations", "/api/groups/7"} {
			get(path)
		}
	}

	all()
	applied := 1
	require.NoError(t, p.Log.WaitForN("route settings applied", applied, patience))
	api.shadow.Store(shadowIngress(t, comparer.URL))
	applied++
	require.NoError(t, p.Log.WaitForN("route settings applied", applied, patience))
	all()
	counts.wait(t, "capture.messaging.captured", 2)
	var got []string
	for _, e := range comparer.got() {
		got = append(got, e.Request.Target)
	}
	require.ElementsMatch(t, []string{"/api/messages/search", "/api/conversations"}, got)

	api.shadow.Store(nil)
	applied++
	require.NoError(t, p.Log.WaitForN("route settings applied", applied, patience))
	all()
	api.shadow.Store(shadowIngress(t, comparer.URL))
	applied++
	require.NoError(t, p.Log.WaitForN("route settings applied", applied, patience))
	get("/api/messages/last")
	counts.wait(t, "capture.messaging.captured", 3)
	require.Equal(t, "/api/messages/last", comparer.got()[0].Request.Target, "without the Ingress nothing is copied")
}
