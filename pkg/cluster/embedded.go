package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/cluster/cgroup"
	"github.com/labctl/labctl/pkg/cluster/datadir"
	"github.com/labctl/labctl/pkg/cluster/node"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// KubernetesVersion is the version that images/kubernetes pins.
const KubernetesVersion = "v1.34.3"

// The images of the cluster's own parts, in the order in which they are needed.
const (
	imagePause   = "pause"
	imageDNS     = "coredns"
	imageIngress = "skipper"
)

var partImages = []string{imagePause, imageDNS, imageIngress}

//go:embed addons/*.yaml
var addonFiles embed.FS

// readyWithin bounds the wait for a started node. A slow laptop needs a quarter of it.
const readyWithin = 4 * time.Minute

// ensureNode builds what the node is made of, starts it where it does not run as it should, and applies the
// cluster's own parts.
func (m *Manager) ensureNode(ctx context.Context, s Spec, report event.Report) error {
	// Before anything is built: sources that change meanwhile are not in what runs then.
	made, err := m.fingerprint(ctx)
	if err != nil {
		return err
	}
	programs, err := m.programs(ctx, report)
	if err != nil {
		return err
	}
	digests := map[string]string{}
	for _, name := range partImages {
		digest, err := m.Images.Build(ctx, name, report)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		digests[name] = "localhost:5000/lab/" + name + "@" + digest
	}
	facts, err := machineFacts(s, digests[imagePause])
	if err != nil {
		return err
	}
	if err := writeNodes(s, facts, programs); err != nil {
		return err
	}
	if err := writeRegistries(s.Dir, report); err != nil {
		return err
	}
	digest, err := nodeDigest(s, programs["node"])
	if err != nil {
		return err
	}
	if p, running := runningNode(s.Dir); running && startedWith(s.Dir) != digest {
		report.Doing("restarting the node (process %d), which was started with another configuration or program", p.pid)
		if err := stopNode(ctx, s.Dir, gracefully); err != nil {
			return err
		}
	}
	stopped, err := unstop(s)
	if err != nil {
		return err
	}
	if len(stopped) > 0 {
		report.Doing("starting the stopped nodes: %s", strings.Join(stopped, ", "))
	}
	if err := start(ctx, s, programs["node"], digest, report); err != nil {
		return err
	}
	kubeconfig, err := os.ReadFile(KubeconfigPath(s.Dir))
	if err != nil {
		return err
	}
	client, err := kube.New(kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for _, name := range partImages {
		report.Doing("pushing image %s", name)
		if err := waitRegistry(ctx, s.Dir, s.RegistryPort); err != nil {
			return err
		}
		if err := m.Images.Push(ctx, name, fmt.Sprintf("127.0.0.1:%d/lab/%s", s.RegistryPort, name), report); err != nil {
			return fmt.Errorf("push image %s: %w", name, err)
		}
	}
	report.Doing("waiting for the Kubernetes API")
	if err := waitHealthy(ctx, s.Dir, client); err != nil {
		return err
	}
	authority, err := os.ReadFile(filepath.Join(s.Dir, "pki", "ca.crt"))
	if err != nil {
		return err
	}
	manifests, err := addons(digests, authority, s.Egress)
	if err != nil {
		return err
	}
	report.Doing("applying name service, metrics, ingress and storage")
	if err := client.Apply(ctx, kube.Set{Name: "labctl-cluster"}, manifests, report); err != nil {
		return err
	}
	if err := forgetOthers(ctx, client, s); err != nil {
		return err
	}
	if s.Nodes > 1 {
		report.Doing("waiting for the %d nodes to be ready", s.Nodes)
	} else {
		report.Doing("waiting for the node to be ready")
	}
	if err := waitHealthy(ctx, s.Dir, client, nodesReady(s)); err != nil {
		return err
	}
	report.Doing("waiting for the name service")
	err = waitFor(ctx, s.Dir, "the name service", func(ctx context.Context) error { return nameService(ctx, s.Dir, client) })
	if err != nil {
		return fmt.Errorf("%w\nmore: `labctl cluster logs kube-proxy` and `labctl kubectl -n kube-system logs deployment/coredns`", err)
	}
	return atomicfile.Write(filepath.Join(s.Dir, fingerprintFile), []byte(made))
}

// fingerprintFile keeps what the node was last made from, written when it stood.
const fingerprintFile = "fingerprint"

// everything is a node with all components that there can be.
var everything = nodeFacts{Egress: egressFacts{Slirp: "slirp4netns"}}

// fingerprint is that of what a node would be made from now.
func (m *Manager) fingerprint(ctx context.Context) (string, error) {
	sources, err := m.Programs.Fingerprint(ctx)
	if err != nil {
		return "", err
	}
	manifests, err := addons(map[string]string{}, nil, true)
	if err != nil {
		return "", err
	}
	two := Spec{Nodes: 2}.members()
	parts, err := json.Marshal(append(components(everything.of(two[0], two)), append(components(everything.of(two[1], two)), worker(two[1], ""))...))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(sources + configTemplates + string(manifests) + string(parts)))
	return hex.EncodeToString(sum[:]), nil
}

// current says why a node that runs is not the one that would be made now.
func (m *Manager) current(ctx context.Context, dir string) error {
	made, err := os.ReadFile(filepath.Join(dir, fingerprintFile))
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("it was not finished")
	}
	if err != nil {
		return err
	}
	now, err := m.fingerprint(ctx)
	if err != nil {
		return err
	}
	if string(made) != now {
		return errors.New("it was made from other sources")
	}
	return nil
}

func (m *Manager) programs(ctx context.Context, report event.Report) (map[string]string, error) {
	paths := map[string]string{}
	for _, name := range []string{"kubernetes", "node"} {
		path, err := m.Programs.Program(ctx, name, report)
		if err != nil {
			return nil, err
		}
		paths[name] = path
	}
	return paths, nil
}

// machineFacts finds what the machine's distribution gives to the nodes.
func machineFacts(s Spec, pauseImage string) (nodeFacts, error) {
	f := nodeFacts{
		PauseImage: pauseImage, CgroupRoot: cgroup.Root(labID(s.Dir)),
		PodCIDR: podCIDR, DNSIP: dnsIP, API: "https://" + nodeIP + ":" + apiPortInside, Inside: inside, Resolver: node.ResolverFile, CertsDirs: certsDirs,
	}
	var err error
	if s.Egress {
		if f.Egress, err = findEgress(); err != nil {
			return f, err
		}
	}
	if f.Containerd, err = exec.LookPath("containerd"); err != nil {
		return f, errors.New("containerd is not installed: run `labctl doctor --fix`")
	}
	for _, dir := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if exists(filepath.Join(dir, "bridge")) {
			f.CNIBin = dir
			break
		}
	}
	if f.CNIBin == "" {
		return f, errors.New("the CNI plugins are not installed: run `labctl doctor --fix`")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return f, fmt.Errorf("limit of open files: %w", err)
	}
	f.MaxOpenFiles = min(limit.Max, 1_000_000) // the kubelet's own default, where it is allowed
	f.Snapshotter = "native"
	if overlayWorks(s.Dir) {
		f.Snapshotter = "overlayfs"
	}
	return f, nil
}

// overlayWorks tells whether overlay mounts can be made on dir's file system, which they cannot on another overlay.
func overlayWorks(dir string) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(dir), &fs); err != nil {
		return false
	}
	return fs.Type != unix.OVERLAYFS_SUPER_MAGIC
}

// writeNodes writes everything that the nodes read.
func writeNodes(s Spec, facts nodeFacts, programs map[string]string) error {
	if err := datadir.Claim(s.Dir); err != nil {
		return err
	}
	if err := makePKI(filepath.Join(s.Dir, "pki"), s.members()); err != nil {
		return err
	}
	for _, m := range s.members() {
		home := filepath.Join(s.Dir, m.home())
		own := facts.of(m, s.members())
		if err := writeConfigs(home, own); err != nil {
			return err
		}
		b, err := json.MarshalIndent(nodeConfig(s, m, own, programs), "", "  ")
		if err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(home, node.ConfigFile), b); err != nil {
			return err
		}
	}
	return writeKubeconfig(s)
}

// nodeConfig is what a node's process 1 reads.
func nodeConfig(s Spec, m member, facts nodeFacts, programs map[string]string) node.Config {
	all := s.members()
	config := node.Config{
		Name: m.name, Home: m.home(), CNI: facts.CNIBin, Address: m.address() + nodePrefix, Routes: m.routes(all), Components: components(facts),
	}
	if facts.Egress.on() {
		config.Resolver = egressDNS
	}
	if m.index > 0 {
		// The first node's process starts this one, and sees the machine as the first node does.
		config.Worker, config.Dir, config.Programs = true, inside, []string{kubernetesProgram, nodeProgram}
		config.Gateway = nodeIP
		config.Relays = []node.Relay{{Listen: registryListens, Target: registrySocket}}
		return config
	}
	config.Dir, config.Programs = s.Dir, []string{programs["kubernetes"], programs["node"]}
	config.Gateway = nodeGateway
	if facts.Egress.on() {
		config.Egress = &node.Egress{Device: egressDevice, Sources: []string{podCIDR, nodesCIDR}, Kept: []string{podCIDR, serviceCIDR}}
	}
	for _, p := range s.ports() {
		config.Proxies = append(config.Proxies, node.Proxy{Name: fmt.Sprintf("%d %s", p.port, p.use), Target: p.target})
	}
	for _, other := range all[1:] {
		config.Components = append(config.Components, worker(other, facts.of(other, all).CgroupRoot))
	}
	if len(all) > 1 {
		config.Relays = []node.Relay{{Listen: registrySocket, Target: registryListens}}
	}
	return config
}

// nodeDigest is the hash of what a node would be started with now: its configuration, which names the programs of its
// components by their content, and its own program.
func nodeDigest(s Spec, program string) (string, error) {
	h := sha256.New()
	for _, m := range s.members() {
		all, err := configuration(filepath.Join(s.Dir, m.home()))
		if err != nil {
			return "", err
		}
		h.Write(all)
	}
	f, err := os.Open(program) //nolint:gosec // G304: a program that labctl built
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hash %s: %w", program, err)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// configuration is all that a node reads at its start, as one text. dir is that of its own files.
func configuration(dir string) ([]byte, error) {
	var all bytes.Buffer
	files, err := filepath.Glob(filepath.Join(dir, "conf", "*"))
	if err != nil {
		return nil, err
	}
	files = append(files, filepath.Join(dir, "conf/cni/10-labctl.conflist"), filepath.Join(dir, node.ConfigFile))
	sort.Strings(files)
	for _, f := range files {
		b, err := os.ReadFile(f)
		switch {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, unix.EISDIR):
		case err != nil:
			return nil, err
		default:
			all.WriteString(f + "\n")
			all.Write(b)
		}
	}
	return all.Bytes(), nil
}

func writeKubeconfig(s Spec) error {
	data := map[string]string{}
	for key, file := range map[string]string{"ca": "ca.crt", "cert": "admin.crt", "key": "admin.key"} {
		b, err := os.ReadFile(filepath.Join(s.Dir, "pki", file))
		if err != nil {
			return err
		}
		data[key] = base64.StdEncoding.EncodeToString(b)
	}
	return atomicfile.Write(KubeconfigPath(s.Dir), fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters:
  - name: %[1]s
    cluster: { server: "https://127.0.0.1:%[2]d", certificate-authority-data: %[3]s }
users:
  - name: %[1]s-admin
    user: { client-certificate-data: %[4]s, client-key-data: %[5]s }
contexts:
  - name: %[1]s
    context: { cluster: %[1]s, user: %[1]s-admin }
current-context: %[1]s
`, s.Name, s.APIPort, data["ca"], data["cert"], data["key"]))
}

// start starts the node unless it runs.
func start(ctx context.Context, s Spec, program, digest string, report event.Report) error {
	if _, running := runningNode(s.Dir); running {
		return nil
	}
	report.Doing("starting the node")
	// What a node that was killed left: the kubelet would look for each dead container's task, for seconds each.
	if err := cgroup.Remove(ctx, cgroup.Root(labID(s.Dir))); err != nil {
		return err
	}
	if err := removeOthersFiles(s); err != nil {
		return err
	}
	var listeners []*net.TCPListener
	for _, p := range s.ports() {
		l, err := listen(p.port, p.use)
		if err != nil {
			for _, open := range listeners {
				_ = open.Close() // nothing was accepted yet
			}
			return err
		}
		listeners = append(listeners, l)
	}
	return startNode(s, program, digest, listeners)
}

// waitRegistry waits until the node's registry answers through the node's way in.
func waitRegistry(ctx context.Context, dir string, port int) error {
	return waitFor(ctx, dir, "the image registry", func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(2 * time.Second)) // a connection that cannot have one fails below
		if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil {
			return fmt.Errorf("no answer yet: %w", err)
		}
		if !strings.HasSuffix(string(answer), "200") {
			return fmt.Errorf("it answers %q", answer)
		}
		return nil
	})
}

// addons are the manifests of the cluster's own parts. authority is the certificate of the cluster's authority, in PEM.
func addons(images map[string]string, authority []byte, egress bool) ([]byte, error) {
	t, err := template.ParseFS(addonFiles, "addons/*.yaml")
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	for _, file := range []string{"rbac.yaml", "limits.yaml", "storage.yaml", "dns.yaml", "metrics.yaml", "ingress.yaml"} {
		all.WriteString("---\n")
		err := t.ExecuteTemplate(&all, file, map[string]any{
			"CoreDNS": images[imageDNS], "Ingress": images[imageIngress], "DNSIP": dnsIP, "IngressIP": ingressIP, "Egress": egress,
			"NodeIP": nodeIP, "MetricsPort": metricsPort, "Authority": base64.StdEncoding.EncodeToString(authority),
		})
		if err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

// tail is the end of a file, indented for an error message.
func tail(path string, lines int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "    (" + err.Error() + ")"
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return "    " + strings.Join(all, "\n    ")
}
