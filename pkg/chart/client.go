// Package chart brings Helm releases to the state that a chart and its values describe, and says what they lack. It is
// the only importer of the Helm SDK.
package chart

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"helm.sh/helm/v3/pkg/action"
	helmkube "helm.sh/helm/v3/pkg/kube"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/secret"
)

// waiter waits until objects are ready. It reports progress, and its error says which one is not ready and why.
// kube.Client is the one outside of tests.
type waiter interface {
	WaitObjects(ctx context.Context, objects []kube.Object, report event.Report) error
}

// UnreachableError says that the cluster of a kubeconfig does not answer.
type UnreachableError struct {
	Host string
	Err  error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("the Kubernetes API at %s does not answer: %v", e.Host, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Hint is the next command to type.
func (e *UnreachableError) Hint() string { return "labctl status" }

// Client manages the releases of one cluster. It is safe for concurrent use; calls about one release run one by one.
// That no other process works on the same lab is the concern of the lab's lock: a release that is found in the middle
// of an operation is taken to be abandoned.
type Client struct {
	open   func(ctx context.Context, namespace string, log func(string)) (*session, error)
	waiter waiter

	mu    sync.Mutex
	locks map[string]chan struct{}
}

// New makes a client from the content of a kubeconfig, which is kept in memory only. It does not connect.
func New(kubeconfig string) (*Client, error) {
	raw, err := clientcmd.Load([]byte(kubeconfig))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config, err := clientcmd.NewDefaultClientConfig(*raw, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS = -1 // the API's own fairness queues do the limiting
	config.UserAgent = "labctl"
	waiter, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return nil, err
	}
	c := &Client{waiter: waiter}
	c.open = func(ctx context.Context, namespace string, log func(string)) (*session, error) {
		return connect(ctx, raw, config, namespace, waiter, log)
	}
	return c, nil
}

// session is what one call works with. Helm's actions know no context, so the requests that they make carry that of
// the call.
type session struct {
	cfg  *action.Configuration
	core kubernetes.Interface
	// records gives the metadata of objects alone.
	records metadata.Interface
	waiter  waiter
	// complaint is the last failure that Helm logged; some of its errors say less than its log.
	complaint func() string
}

func connect(ctx context.Context, raw *clientcmdapi.Config, shared *rest.Config, namespace string, waiter waiter, log func(string)) (*session, error) {
	config := rest.CopyConfig(shared)
	config.WarningHandler = warnings(log)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &bound{ctx: ctx, next: next} })
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	if _, err := core.Discovery().ServerVersion(); err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, &UnreachableError{Host: config.Host, Err: err}
	}
	records, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &session{core: core, records: records, waiter: waiter, cfg: &action.Configuration{}}
	var mu sync.Mutex
	var last string
	s.complaint = func() string {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
	debug := func(format string, a ...any) {
		line := strings.TrimSpace(fmt.Sprintf(format, a...))
		if strings.Contains(line, "ailed") {
			mu.Lock()
			last = line
			mu.Unlock()
		}
		log(line)
	}
	cached := memory.NewMemCacheClient(core.Discovery())
	deferred := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	// An object that names no namespace goes into the release's, whatever the kubeconfig's is.
	overrides := &clientcmd.ConfigOverrides{Context: clientcmdapi.Context{Namespace: namespace}}
	getter := &getter{
		loader: clientcmd.NewDefaultClientConfig(*raw, overrides), config: config, discovery: cached,
		mapper: restmapper.NewShortcutExpander(deferred, cached, func(w string) { log(w) }),
	}
	if err := s.cfg.Init(getter, namespace, "secret", debug); err != nil {
		return nil, fmt.Errorf("set up Helm: %w", err)
	}
	s.cfg.Releases.Driver = &compactDriver{Driver: s.cfg.Releases.Driver, log: log}
	if helms, ok := s.cfg.KubeClient.(*helmkube.Client); ok {
		helms.Namespace = namespace
		s.cfg.KubeClient = &patient{Client: helms, ctx: ctx, waiter: waiter, log: log}
	}
	s.cfg.HookOutputFunc = func(_, pod, container string) io.Writer {
		return lineWriter(func(line string) { log(pod + "/" + container + ": " + line) })
	}
	return s, nil
}

// getter hands Helm its clients without a kubeconfig file.
type getter struct {
	loader    clientcmd.ClientConfig
	config    *rest.Config
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.RESTMapper
}

func (g *getter) ToRESTConfig() (*rest.Config, error) { return rest.CopyConfig(g.config), nil }
func (g *getter) ToDiscoveryClient() (discovery.CachedDiscoveryInterface, error) {
	return g.discovery, nil
}
func (g *getter) ToRESTMapper() (meta.RESTMapper, error)        { return g.mapper, nil }
func (g *getter) ToRawKubeConfigLoader() clientcmd.ClientConfig { return g.loader }

// bound ends every request, and the reading of its answer, with the context of the call that it belongs to.
type bound struct {
	ctx  context.Context //nolint:containedctx // lives as long as one call of the client
	next http.RoundTripper
}

func (b *bound) RoundTrip(req *http.Request) (*http.Response, error) {
	if b.ctx.Err() != nil {
		return nil, context.Cause(b.ctx)
	}
	ctx, cancel := context.WithCancel(req.Context())
	stop := context.AfterFunc(b.ctx, cancel)
	resp, err := b.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		stop()
		cancel()
		if b.ctx.Err() != nil {
			return nil, context.Cause(b.ctx)
		}
		return nil, err
	}
	resp.Body = &boundBody{ReadCloser: resp.Body, done: func() { stop(); cancel() }}
	return resp, nil
}

type boundBody struct {
	io.ReadCloser
	done func()
}

func (b *boundBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}

type warnings func(string)

func (w warnings) HandleWarningHeader(code int, _ string, text string) {
	if code == 299 && text != "" { // the one code that the API uses
		w("warning: " + text)
	}
}

// lineWriter passes on what is written to it, as one line a write or more.
type lineWriter func(string)

func (w lineWriter) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		w(strings.TrimRight(line, "\r\n"))
	}
	return len(p), nil
}

// lock keeps others off one release until the returned function is called.
func (c *Client) lock(ctx context.Context, namespace, name string) (func(), error) {
	c.mu.Lock()
	if c.locks == nil {
		c.locks = map[string]chan struct{}{}
	}
	key := namespace + "/" + name
	if c.locks[key] == nil {
		c.locks[key] = make(chan struct{}, 1)
	}
	l := c.locks[key]
	c.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another operation on the release: %w", context.Cause(ctx))
	}
}

// redacting is report without the secrets.
func redacting(report event.Report, secrets *secret.Set) event.Report {
	if report == nil {
		return nil
	}
	return func(e event.Event) {
		e.Message, e.Err = secrets.Redact(e.Message), secrets.Redact(e.Err)
		report(e)
	}
}
