// Package cluster makes the lab's Kubernetes: an embedded node built from source, one that kind makes, or a cluster that is
// there already.
package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/labctl/labctl/pkg/cluster/cgroup"
	"github.com/labctl/labctl/pkg/cluster/datadir"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// The kinds of cluster.
const (
	Embedded   = "embedded"   // nodes on this machine, built from Go modules
	Kind       = "kind"       // one node that is a container of Docker, nerdctl or Podman, made by kind
	Kubeconfig = "kubeconfig" // an existing cluster, adopted by its kubeconfig
)

// ErrGone says that there is no cluster.
var ErrGone = errors.New("there is no cluster")

// ErrNotRoot says that the user may not make what a node is made of.
var ErrNotRoot = errors.New("the embedded cluster needs root")

// Spec says which cluster a lab wants.
type Spec struct {
	Kind string
	Name string // the lab's name, and the first node's
	Dir  string // absolute; everything of an embedded cluster is below it

	// Ports on 127.0.0.1.
	APIPort, HTTPPort, RegistryPort int

	// Nodes is how many nodes an embedded cluster has, from 1 to MostNodes.
	Nodes int

	// Egress lets an embedded cluster reach what the machine reaches. Nothing reaches the cluster by it.
	Egress bool

	// NodeImage is what kind's node is made of; "" means kind's own.
	NodeImage string

	// Of an adopted cluster: its kubeconfig's path, and the registry's name for pushing and for the cluster's pulling.
	KubeconfigPath             string
	RegistryPush, RegistryPull string
}

// Info is what others need to know of a cluster.
type Info struct {
	Kubeconfig                 string // the content; it grants everything
	RegistryPush, RegistryPull string
	URL                        string // where the ingress answers
	IngressClass, StorageClass string
	KubernetesVersion          string
	Healthy                    bool
	Reason                     string // why it is not healthy
}

// Programs gives the programs that the node runs, building what is not built yet.
type Programs interface {
	Program(ctx context.Context, name string, report event.Report) (path string, err error)
	// Fingerprint changes with anything that the node and its own parts are built from.
	Fingerprint(ctx context.Context) (string, error)
	// PartsFingerprint changes with anything that the named images are built from.
	PartsFingerprint(ctx context.Context, names ...string) (string, error)
}

// Images gives the images of the cluster's own parts, images/<name>, and pushes them.
type Images interface {
	Build(ctx context.Context, name string, report event.Report) (digest string, err error)
	Push(ctx context.Context, name, repository string, report event.Report) error
	// Archive writes an image that was built as `docker save` does, under reference.
	Archive(ctx context.Context, name, reference string, w io.Writer) error
}

// Manager makes and unmakes clusters.
type Manager struct {
	Programs Programs
	Images   Images
	// StateDir is the environment's state directory, where older versions of labctl left clusters without a marker. It may
	// be empty.
	StateDir string
	// Now is the clock, for messages.
	Now func() time.Time
}

// Node names are DNS labels (RFC 1123), and the name is part of more names.
var validName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (s Spec) check() error {
	switch s.Kind {
	case Embedded, Kind:
		if !validName.MatchString(s.Name) {
			return fmt.Errorf("cluster name %q: use 1 to 32 lower-case letters, digits and dashes, beginning with a letter", s.Name)
		}
		if !filepath.IsAbs(s.Dir) {
			return fmt.Errorf("cluster directory %q is not absolute", s.Dir)
		}
		if s.Kind == Embedded && (s.Nodes < 1 || s.Nodes > MostNodes) {
			return fmt.Errorf("%d nodes: an embedded cluster has from 1 to %d", s.Nodes, MostNodes)
		}
		if s.Kind == Kind && s.Nodes > 1 {
			return fmt.Errorf("%d nodes: a cluster of kind has one", s.Nodes)
		}
		ports := map[int]string{}
		for _, p := range s.ports() {
			if p.port < 1 || p.port > 65535 {
				return fmt.Errorf("port %d for %s: ports are from 1 to 65535", p.port, p.use)
			}
			if other, ok := ports[p.port]; ok {
				return fmt.Errorf("port %d is given both to %s and to %s", p.port, other, p.use)
			}
			ports[p.port] = p.use
		}
		return nil
	case Kubeconfig:
		if s.KubeconfigPath == "" || s.RegistryPush == "" || s.RegistryPull == "" {
			return errors.New("a cluster of kind kubeconfig needs kubeconfig_path, registry_push and registry_pull")
		}
		return nil
	}
	return fmt.Errorf("cluster kind %q: use %s, %s or %s", s.Kind, Embedded, Kind, Kubeconfig)
}

type portUse struct {
	port   int
	use    string
	target string // inside the node
}

func (s Spec) ports() []portUse {
	return []portUse{
		{s.APIPort, "the Kubernetes API (api_port)", "127.0.0.1:" + apiPortInside},
		{s.HTTPPort, "the chat (http_port)", ingressIP + ":80"},
		{s.RegistryPort, "the image registry (registry_port)", registryAddr},
	}
}

// Ensure makes the cluster, starts it, repairs it: afterwards it is healthy, or the error says what is not. Nothing
// is done where nothing is to do. The error wraps datadir.ErrForeign where the directory holds files of somebody else's.
func (m *Manager) Ensure(ctx context.Context, s Spec, report event.Report) (Info, error) {
	if err := s.check(); err != nil {
		return Info{}, err
	}
	if s.Kind == Kubeconfig {
		return m.adopt(ctx, s)
	}
	if err := m.checkDir(s.Dir); err != nil {
		return Info{}, err
	}
	if s.Kind == Kind {
		return m.ensureKind(ctx, s, report)
	}
	if os.Geteuid() != 0 {
		return Info{}, fmt.Errorf("%w: run labctl with sudo, or use `labctl dev`, which needs neither root nor Kubernetes", ErrNotRoot)
	}
	if err := m.ensureNode(ctx, s, report); err != nil {
		return Info{}, err
	}
	info, err := m.Read(ctx, s)
	if err == nil && !info.Healthy {
		err = fmt.Errorf("the cluster stands but is not healthy: %s", info.Reason)
	}
	return info, err
}

// Read says how the cluster is. It changes nothing and takes no longer than a few seconds. The error is ErrGone
// where there is none.
func (m *Manager) Read(ctx context.Context, s Spec) (Info, error) {
	if err := s.check(); err != nil {
		return Info{}, err
	}
	switch s.Kind {
	case Kubeconfig:
		return m.adopt(ctx, s)
	case Kind:
		return m.readKind(ctx, s)
	}
	kubeconfig, err := os.ReadFile(KubeconfigPath(s.Dir))
	if errors.Is(err, os.ErrNotExist) {
		return Info{}, ErrGone
	}
	if err != nil {
		return Info{}, err
	}
	info := Info{
		Kubeconfig:   string(kubeconfig),
		RegistryPush: fmt.Sprintf("127.0.0.1:%d", s.RegistryPort), RegistryPull: registryAddr,
		URL:          fmt.Sprintf("http://127.0.0.1:%d", s.HTTPPort),
		IngressClass: "skipper", StorageClass: "directory",
		KubernetesVersion: KubernetesVersion,
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := health(ctx, s, kubeconfig); err != nil {
		info.Reason = err.Error()
		return info, nil
	}
	if err := m.current(ctx, s.Dir); err != nil {
		info.Reason = err.Error()
		return info, nil
	}
	info.Healthy = true
	return info, nil
}

// Destroy removes the cluster and all that it left: afterwards the machine is as before. An adopted cluster is left
// alone. Destroying what is not there is no error. The error wraps datadir.ErrForeign, and nothing was done, where labctl
// did not make the directory.
func (m *Manager) Destroy(ctx context.Context, s Spec, report event.Report) error {
	if s.Kind == Kubeconfig {
		return nil
	}
	if err := s.check(); err != nil {
		return err
	}
	if err := m.checkDir(s.Dir); err != nil {
		return fmt.Errorf("remove the cluster: %w", err)
	}
	if s.Kind == Kind {
		return m.kind().Destroy(ctx, kindOptions(s, ""), report)
	}
	report.Doing("stopping the node")
	if err := stopNode(ctx, s.Dir, atOnce); err != nil {
		return err
	}
	report.Doing("removing its files")
	if err := cgroup.Remove(ctx, cgroup.Root(labID(s.Dir))); err != nil {
		return err
	}
	return datadir.Remove(s.Dir)
}

// checkDir refuses a directory that holds files of somebody else's.
func (m *Manager) checkDir(dir string) error {
	if err := datadir.MarkOlder(dir, m.StateDir); err != nil {
		return err
	}
	return datadir.Check(dir)
}

// KubeconfigPath is where the administrator's kubeconfig of an embedded cluster is, mode 0600.
func KubeconfigPath(dir string) string { return filepath.Join(dir, "kubeconfig") }

// labID names what a cluster puts into the machine's common places. It follows from the directory, so that labs of
// the same name do not meet.
func labID(dir string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(dir)))
	return hex.EncodeToString(sum[:6])
}

// adopt looks at a cluster that somebody else made.
func (m *Manager) adopt(ctx context.Context, s Spec) (Info, error) {
	kubeconfig, err := os.ReadFile(s.KubeconfigPath)
	if err != nil {
		return Info{}, fmt.Errorf("adopt a cluster: %w", err)
	}
	client, err := kube.New(kubeconfig)
	if err != nil {
		return Info{}, fmt.Errorf("adopt the cluster of %s: %w", s.KubeconfigPath, err)
	}
	info := Info{
		Kubeconfig: string(kubeconfig), RegistryPush: s.RegistryPush, RegistryPull: s.RegistryPull,
		URL: fmt.Sprintf("http://127.0.0.1:%d", s.HTTPPort),
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	info.KubernetesVersion, err = client.Ready(ctx)
	if err != nil {
		info.Reason = err.Error()
		return info, nil
	}
	if info.StorageClass, err = client.DefaultStorageClass(ctx); err != nil {
		return info, fmt.Errorf("adopt the cluster of %s: %w", s.KubeconfigPath, err)
	}
	if info.IngressClass, err = client.DefaultIngressClass(ctx); err != nil {
		return info, fmt.Errorf("adopt the cluster of %s: %w", s.KubeconfigPath, err)
	}
	info.Healthy = true
	return info, nil
}
