package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/cluster/cgroup"
	"github.com/labctl/labctl/pkg/cluster/datadir"
	"github.com/labctl/labctl/pkg/cluster/node"
	"github.com/labctl/labctl/pkg/kube"
)

func embedded(dir string) Spec {
	return Spec{Kind: Embedded, Name: "unit", Dir: dir, Nodes: 1, APIPort: 1, HTTPPort: 2, RegistryPort: 3}
}

func TestSpecIsCheckedBeforeAnythingChanges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	for name, tc := range map[string]struct {
		change func(*Spec)
		want   string
	}{
		"unknown kind":        {func(s *Spec) { s.Kind = "minikube" }, `cluster kind "minikube": use embedded, kind or kubeconfig`},
		"upper-case name":     {func(s *Spec) { s.Name = "Lab" }, `cluster name "Lab"`},
		"name too long":       {func(s *Spec) { s.Name = strings.Repeat("a", 33) }, "1 to 32 lower-case letters"},
		"relative directory":  {func(s *Spec) { s.Dir = "x" }, `"x" is not absolute`},
		"port out of range":   {func(s *Spec) { s.HTTPPort = 70000 }, "port 70000 for the chat (http_port)"},
		"the same port twice": {func(s *Spec) { s.HTTPPort = s.APIPort }, "port 1 is given both to the Kubernetes API (api_port) and to the chat (http_port)"},
		"no node":             {func(s *Spec) { s.Nodes = 0 }, "0 nodes: an embedded cluster has from 1 to 9"},
		"too many nodes":      {func(s *Spec) { s.Nodes = 10 }, "10 nodes: an embedded cluster has from 1 to 9"},
		"nodes of kind":       {func(s *Spec) { s.Kind, s.Nodes = Kind, 2 }, "2 nodes: a cluster of kind has one"},
		"nothing to adopt":    {func(s *Spec) { s.Kind = Kubeconfig }, "needs kubeconfig_path"},
	} {
		t.Run(name, func(t *testing.T) {
			s := embedded(dir)
			tc.change(&s)
			_, err := (&Manager{}).Ensure(context.Background(), s, nil)
			require.ErrorContains(t, err, tc.want)
			require.NoDirExists(t, dir)
		})
	}
}

func TestReadSaysWhenThereIsNone(t *testing.T) {
	_, err := (&Manager{}).Read(context.Background(), embedded(t.TempDir()))
	require.ErrorIs(t, err, ErrGone)
	_, err = os.ReadFile("/nonexistent")
	require.False(t, errors.Is(err, ErrGone))
}

func TestReadSaysWhyAStoppedNodeIsNotHealthy(t *testing.T) {
	dir := t.TempDir()
	s := embedded(dir)
	require.NoError(t, makePKI(filepath.Join(dir, "pki"), s.members()))
	require.NoError(t, writeKubeconfig(s))
	info, err := (&Manager{}).Read(context.Background(), s)
	require.NoError(t, err)
	require.False(t, info.Healthy)
	require.Equal(t, "the node does not run", info.Reason)
	require.Equal(t, "127.0.0.1:3", info.RegistryPush)
}

func TestCertificatesVerifyAndAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	require.NoError(t, makePKI(dir, Spec{Name: "unit"}.members()))
	before, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	require.NoError(t, err)

	caPEM, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(caPEM))
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "apiserver.crt"), filepath.Join(dir, "apiserver.key"))
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", apiServiceIP, "kubernetes.default.svc"} {
		_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
		require.NoError(t, err, host)
	}
	_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "example.com"})
	require.Error(t, err)

	kubelet, err := tls.LoadX509KeyPair(filepath.Join(dir, "kubelet.crt"), filepath.Join(dir, "kubelet.key"))
	require.NoError(t, err)
	require.Equal(t, "system:node:unit", kubelet.Leaf.Subject.CommonName)
	require.Equal(t, []string{"system:nodes"}, kubelet.Leaf.Subject.Organization)
	_, err = kubelet.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	require.Error(t, err, "a client's certificate must not serve")

	require.NoError(t, os.Remove(filepath.Join(dir, "proxy.crt")))
	require.NoError(t, makePKI(dir, Spec{Name: "unit"}.members()))
	after, err := os.ReadFile(filepath.Join(dir, "apiserver.crt"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.FileExists(t, filepath.Join(dir, "proxy.crt"))

	keys, err := filepath.Glob(filepath.Join(dir, "*.key"))
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		info, err := os.Stat(key)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), key)
	}
}

func TestConfigurationIsWholeAndStable(t *testing.T) {
	s := embedded(filepath.Join(t.TempDir(), "cluster"))
	facts := nodeFacts{
		PauseImage: "localhost:5000/lab/pause@sha256:0", CNIBin: "/usr/lib/cni", Snapshotter: "overlayfs",
		Containerd: "/usr/bin/containerd", CgroupRoot: cgroup.Root(labID(s.Dir)), PodCIDR: podCIDR,
		DNSIP: dnsIP, API: "https://10.40.0.2:6443", Inside: inside, Resolver: node.ResolverFile, CertsDirs: certsDirs, MaxOpenFiles: 20000,
	}
	supervisor := filepath.Join(t.TempDir(), "node")
	require.NoError(t, os.WriteFile(supervisor, []byte("one"), 0o600))
	programs := map[string]string{"kubernetes": "/cache/kubernetes", "node": supervisor}
	digest := func() string {
		require.NoError(t, writeNodes(s, facts, programs))
		d, err := nodeDigest(s, programs["node"])
		require.NoError(t, err)
		return d
	}
	before := digest()
	require.Equal(t, before, digest(), "the same node again must not be restarted")
	require.NoError(t, os.WriteFile(supervisor, []byte("two"), 0o600))
	require.NotEqual(t, before, digest(), "another supervisor")
	require.NoError(t, os.WriteFile(supervisor, []byte("one"), 0o600))
	programs["kubernetes"] = "/cache/another/kubernetes"
	require.NotEqual(t, before, digest(), "another Kubernetes")
	programs["kubernetes"] = "/cache/kubernetes"
	require.Equal(t, before, digest())

	for _, file := range []string{"kubelet.yaml", "kube-proxy.yaml", "registry.yaml", "audit.yaml"} {
		b, err := os.ReadFile(filepath.Join(s.Dir, "conf", file))
		require.NoError(t, err)
		var v map[string]any
		require.NoError(t, yaml.UnmarshalStrict(b, &v), file)
		require.NotContains(t, string(b), "<no value>", file)
	}
	info, err := os.Stat(KubeconfigPath(s.Dir))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	kubeconfig, err := os.ReadFile(KubeconfigPath(s.Dir))
	require.NoError(t, err)
	client, err := kube.New(kubeconfig)
	require.NoError(t, err)
	require.Equal(t, "https://127.0.0.1:1", client.Config.Host)

	b, err := os.ReadFile(filepath.Join(s.Dir, node.ConfigFile))
	require.NoError(t, err)
	var config node.Config
	require.NoError(t, json.Unmarshal(b, &config))
	known := map[string]bool{}
	for _, c := range config.Components {
		for _, after := range c.After {
			require.True(t, known[after], "%s waits for %s, which comes later or not at all", c.Name, after)
		}
		known[c.Name] = true
	}

	require.Nil(t, config.Egress)
	facts.Egress = egressFacts{Slirp: "/usr/bin/slirp4netns", Nsenter: "/usr/bin/nsenter"}
	require.NotEqual(t, before, digest(), "a way out")
	b, err = os.ReadFile(filepath.Join(s.Dir, node.ConfigFile))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &config))
	require.NotNil(t, config.Egress)
	for _, c := range config.Components {
		require.Equal(t, c.Name == "egress", c.AcrossNamespaces, c.Name)
	}
	facts.Egress = egressFacts{}

	facts.MaxOpenFiles++
	require.NotEqual(t, before, digest(), "another configuration")
}

func TestAddonsAreWholeManifests(t *testing.T) {
	b, err := addons(map[string]string{imageDNS: "localhost:5000/lab/coredns@sha256:1", imageIngress: "localhost:5000/lab/skipper@sha256:2"}, []byte("PEM"), true)
	require.NoError(t, err)
	var kinds []string
	for _, doc := range strings.Split(string(b), "\n---\n") {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
		}
		require.NoError(t, yaml.Unmarshal([]byte(doc), &object), doc)
		if object.Kind != "" {
			kinds = append(kinds, object.Kind+"/"+object.Metadata.Name)
		}
	}
	require.Subset(t, kinds, []string{"StorageClass/directory", "Deployment/coredns", "Service/kube-dns", "Deployment/skipper", "IngressClass/skipper"})
	require.NotContains(t, string(b), "<no value>")
}

func TestAPortThatIsTakenNamesTheProcess(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	_, err = listen(port, "the chat (http_port)")
	var taken *PortTakenError
	require.ErrorAs(t, err, &taken)
	require.Equal(t, port, taken.Port)
	require.Contains(t, taken.By, "cluster.test")
	require.ErrorContains(t, err, "choose another port in lab.hcl")
}

func TestProcessIsNotMistakenForALaterOne(t *testing.T) {
	dir := t.TempDir()
	_, running := runningNode(dir)
	require.False(t, running)
	self, err := identify(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, pidFile), []byte(strings.Join([]string{"1", self.start, self.boot}, " ")), 0o600))
	_, running = runningNode(dir)
	require.False(t, running, "process 1 did not start when we did")
	require.NoError(t, os.WriteFile(filepath.Join(dir, pidFile), []byte("garbage"), 0o600))
	_, running = runningNode(dir)
	require.False(t, running)
}

func TestMemoryIsThatOfAProcessAndAllItsChildren(t *testing.T) {
	alone := memoryOf(os.Getpid())
	require.Greater(t, alone, int64(1<<20))
	child := exec.CommandContext(t.Context(), "sleep", "60")
	require.NoError(t, child.Start())
	t.Cleanup(func() { _, _ = child.Process.Kill(), child.Wait() })
	all := descendants(os.Getpid())
	require.Equal(t, os.Getpid(), all[0])
	require.Contains(t, all, child.Process.Pid)
	require.NotContains(t, all, os.Getppid())
	require.Positive(t, memoryOf(child.Process.Pid))
	require.Zero(t, memoryOf(1<<30), "there is no such process")
}

func TestADirectoryOfAUserIsRefusedAndKept(t *testing.T) {
	for _, kind := range []string{Embedded, Kind} {
		t.Run(kind, func(t *testing.T) {
			home := t.TempDir()
			file := filepath.Join(home, "thesis.tex")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			t.Setenv("PATH", t.TempDir()) // no container engine
			s := embedded(home)
			s.Kind = kind
			m := &Manager{StateDir: filepath.Join(t.TempDir(), ".lab")}
			_, err := m.Ensure(t.Context(), s, nil)
			require.ErrorIs(t, err, datadir.ErrForeign)
			require.ErrorIs(t, m.Destroy(t.Context(), s, nil), datadir.ErrForeign)
			require.FileExists(t, file)
			entries, err := os.ReadDir(home)
			require.NoError(t, err)
			require.Len(t, entries, 1)
		})
	}
}

func TestTheDirectoryOfAClusterIsRemoved(t *testing.T) {
	state := t.TempDir()
	m := &Manager{StateDir: state}
	for name, prepare := range map[string]func(dir string) error{
		"of now":              datadir.Claim,
		"of an older version": func(dir string) error { return os.Mkdir(dir, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(state, "cluster")
			require.NoError(t, prepare(dir))
			require.NoError(t, os.WriteFile(filepath.Join(dir, node.ConfigFile), nil, 0o600))
			require.NoError(t, m.Destroy(t.Context(), embedded(dir), nil))
			require.NoDirExists(t, dir)
		})
	}
}
