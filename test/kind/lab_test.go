package kind

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cluster/kind"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/image"
	"github.com/labctl/labctl/pkg/kube"
)

// images gives the parts' images from their recipes.
type images struct{ builder *image.Builder }

func (i images) image(ctx context.Context, name string, report event.Report) (image.Image, error) {
	return i.builder.Build(ctx, image.Spec{Name: name, Source: "images/" + name}, report)
}

func (i images) Build(ctx context.Context, name string, report event.Report) (string, error) {
	img, err := i.image(ctx, name, report)
	return img.Digest, err
}

func (i images) Archive(ctx context.Context, part, reference string, w io.Writer) error {
	img, err := i.image(ctx, part, nil)
	if err != nil {
		return err
	}
	return i.builder.Archive(ctx, img, reference, w)
}

// lab is a cluster of a test's own.
type lab struct {
	t       *testing.T
	o       kind.Options
	cluster *kind.Cluster
	images  images

	mu   sync.Mutex
	said []string
}

// newLab prepares a cluster of the one name that all tests use, in a directory of its own. Nothing of it is left at the
// end, also where the test fails.
func newLab(t *testing.T) *lab {
	t.Helper()
	nodeImage := os.Getenv("LABCTL_KIND_NODE_IMAGE")
	if out, err := exec.Command("docker", "image", "inspect", nodeImage).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: there is no Docker with the node image %q (run tools/kind.sh): %s", nodeImage, out)
	}
	cache := os.Getenv("LABCTL_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		require.NoError(t, err)
		cache = filepath.Join(user, "labctl")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	l := &lab{t: t, o: kind.Options{Name: "kindtest", Dir: filepath.Join(t.TempDir(), "cluster"), NodeImage: nodeImage}}
	for _, port := range []*int{&l.o.APIPort, &l.o.HTTPPort, &l.o.RegistryPort} {
		*port = freeport.Of(t).Port
	}
	l.images = images{image.New(image.Options{Root: root, CacheDir: cache, FromSource: true})}
	l.cluster = &kind.Cluster{Images: l.images}
	t.Cleanup(func() {
		if t.Failed() {
			l.keepLogs()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := l.cluster.Destroy(ctx, l.o, nil); err != nil {
			t.Errorf("destroy in the end: %v", err)
		}
	})
	return l
}

func (l *lab) node() string { return kind.ClusterName(l.o.Name, l.o.Dir) + "-control-plane" }

// report keeps what is said, and shows it.
func (l *lab) report(e event.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, e.Message)
	l.t.Logf("%s %s: %s", time.Now().Format("15:04:05.0"), e.Kind, e.Message)
}

// ensure brings the cluster up and gives what was said.
func (l *lab) ensure() string {
	l.t.Helper()
	l.said = nil
	began := time.Now()
	require.NoError(l.t, l.cluster.Ensure(l.t.Context(), l.o, l.report))
	l.t.Logf("ensured in %s", time.Since(began).Round(100*time.Millisecond))
	state := l.read()
	require.True(l.t, state.Healthy, state.Reason)
	return strings.Join(l.said, "\n")
}

func (l *lab) read() kind.State {
	l.t.Helper()
	state, err := l.cluster.Read(l.t.Context(), l.o)
	require.NoError(l.t, err)
	return state
}

func (l *lab) docker(args ...string) string {
	l.t.Helper()
	out, err := exec.Command("docker", args...).CombinedOutput()
	require.NoError(l.t, err, "docker %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

func (l *lab) client() *kube.Client {
	l.t.Helper()
	client, err := kube.New([]byte(l.read().Kubeconfig))
	require.NoError(l.t, err)
	return client
}

// keepLogs keeps what a node says of itself where people look after a failed run.
func (l *lab) keepLogs() {
	to, err := filepath.Abs("../../.lab/artifacts/kind-" + l.t.Name())
	if err != nil || os.MkdirAll(to, 0o755) != nil {
		return
	}
	for file, command := range map[string]string{
		"journal.log": "journalctl --no-pager", "images.log": "ctr -n k8s.io images ls",
		"pods.log":     "kubectl --kubeconfig=/etc/kubernetes/admin.conf get pods -A -o wide",
		"describe.log": "kubectl --kubeconfig=/etc/kubernetes/admin.conf describe nodes,pods -A",
	} {
		out, _ := exec.Command("docker", append([]string{"exec", l.node()}, strings.Fields(command)...)...).CombinedOutput()
		_ = os.WriteFile(filepath.Join(to, file), out, 0o644) // a help for people, not a result
	}
	out, _ := exec.Command("docker", "logs", l.node()).CombinedOutput()
	_ = os.WriteFile(filepath.Join(to, "node.log"), out, 0o644)
	l.t.Logf("the node's logs are in %s", to)
}

// get asks an address of this machine, under another host's name where one is given, until it answers 200.
func (l *lab) get(port int, host, path string) {
	l.t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
	require.EventuallyWithT(l.t, func(t *assert.CollectT) {
		request, err := http.NewRequest(http.MethodGet, url, nil)
		require.NoError(t, err)
		request.Host = host
		request.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		require.Equal(t, http.StatusOK, response.StatusCode)
	}, time.Minute, 200*time.Millisecond, "%s of %q", url, host)
}
