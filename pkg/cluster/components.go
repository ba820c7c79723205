package cluster

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"text/template"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/cluster/node"
)

// The node's networks. They are the same in every lab, because no lab's network is connected to another's or to
// the machine's.
const (
	nodesCIDR    = "10.40.0.0/24"
	nodePrefix   = "/24"
	nodeIP       = "10.40.0.2" // the first node's, which has the control plane
	nodeGateway  = "10.40.0.1" // nobody's
	egressCIDR   = "10.41.0.0/24"
	egressDNS    = "10.41.0.3" // slirp4netns(1): the third address of its network
	egressDevice = "tap0"
	podCIDR      = "10.42.0.0/16"
	serviceCIDR  = "10.43.0.0/16"
	apiServiceIP = "10.43.0.1"
	dnsIP        = "10.43.0.10"
	ingressIP    = "10.43.0.80"
	registryAddr = "localhost:5000" // containerd speaks plain HTTP to localhost without being told
	// The registry asks nobody who they are, so no network but the nodes' loopback may reach it. A socket of the first node
	// carries it to the others.
	registryListens = "127.0.0.1:5000"
	registrySocket  = inside + "/registry.sock"
	apiPortInside   = "6443"
	metricsPort     = "4443"
)

// inside is where the cluster directory is seen by the components, and the others are their programs.
const (
	inside            = node.Base + "/cluster"
	kubernetesProgram = node.Base + "/bin/kubernetes"
	nodeProgram       = node.Base + "/bin/node"
)

//go:embed config.tmpl
var configTemplates string

// files that are made from config.tmpl, by template name: those of every node, and those of the control plane's.
var (
	configFiles = map[string]string{
		"containerd": "conf/containerd.toml",
		"cni":        "conf/cni/10-labctl.conflist",
		"kubelet":    "conf/kubelet.yaml",
		"kube-proxy": "conf/kube-proxy.yaml",
	}
	controlPlaneFiles = map[string]string{
		"registry": "conf/registry.yaml",
		"audit":    "conf/audit.yaml",
	}
)

// nodeFacts is what differs from one machine, lab or node to the next.
type nodeFacts struct {
	member
	Name    string
	Address string
	Pods    string // CIDR of this node's
	Conf    string // the directory of this node's configuration, as its components see it
	Kubelet string // the kubelet's certificates: those of its server, and its own
	Server  string
	// Sockets of those who enforce policies: here, and on the other nodes as a list of JSON.
	Policies, OtherPolicies string

	PauseImage   string
	CNIBin       string
	PluginDir    string
	Plugin       string
	Snapshotter  string
	Containerd   string
	CgroupRoot   string
	PodCIDR      string // of all nodes
	DNSIP        string
	API          string // where the nodes reach the API
	Inside       string
	CertsDirs    string
	MaxOpenFiles uint64
	Resolver     string
	Egress       egressFacts
}

// egressFacts say how the node gets out; the zero value says that it does not.
type egressFacts struct {
	Slirp, Nsenter string   // paths of the programs
	Proxies        []string // the variables for programs that go by a proxy
}

func (e egressFacts) on() bool { return e.Slirp != "" }

// of completes the facts with those of one node.
func (f nodeFacts) of(m member, all []member) nodeFacts {
	f.member, f.Name, f.Address, f.Pods = m, m.name, m.address(), m.pods()
	f.Conf = filepath.Join(inside, m.home(), "conf")
	f.Kubelet, f.Server = m.identity("kubelet"), m.identity("kubelet-server")
	if m.index > 0 {
		f.CgroupRoot += "/" + m.name
	}
	f.Policies, f.PluginDir, f.Plugin = m.policies(), node.PluginDir, node.Plugin
	others := []string{}
	for _, other := range all {
		if other.index != m.index {
			others = append(others, other.policies())
		}
	}
	list, _ := json.Marshal(others) // strings always can be
	f.OtherPolicies = string(list)
	return f
}

// writeConfigs writes every configuration file of a node's components into dir, which is that of the node's own files.
func writeConfigs(dir string, f nodeFacts) error {
	t, err := template.New("config").Parse(configTemplates)
	if err != nil {
		return err
	}
	dirs, files := []string{"conf/cni", "logs"}, maps.Clone(configFiles)
	users := map[string]string{"kubelet": f.Kubelet, "proxy": "proxy", "network-policies": "network-policies"} // certificates by use
	if f.index == 0 {
		dirs = append(dirs, "etcd", "registry", "volumes")
		maps.Copy(files, controlPlaneFiles)
		for _, user := range []string{"controller-manager", "scheduler", "storage-provisioner", "metrics-server"} {
			users[user] = user
		}
	}
	for _, d := range dirs {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, file := range files {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, name, f); err != nil {
			return fmt.Errorf("configuration of %s: %w", name, err)
		}
		if err := atomicfile.Write(filepath.Join(dir, file), b.Bytes()); err != nil {
			return err
		}
	}
	for use, certificate := range users {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, "kubeconfigs", map[string]string{"User": certificate, "PKI": inside + "/pki", "API": f.API}); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", use, err)
		}
		if err := atomicfile.Write(filepath.Join(dir, "conf", use+".kubeconfig"), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// components lists a node's programs in starting order. Other nodes than the first have no control plane.
func components(f nodeFacts) []node.Component {
	part := func(name string, args ...string) []string { return append([]string{kubernetesProgram, name}, args...) }
	all := []node.Component{
		{
			Name: "containerd", Env: f.Egress.Proxies, Ready: "/run/containerd/containerd.sock",
			Args: []string{f.Containerd, "--config", f.Conf + "/containerd.toml"},
		},
	}
	var after []string // what the rest waits for, where it is of the same node
	if f.index == 0 {
		all, after = append(all, controlPlane(f, part)...), []string{"kube-apiserver"}
	}
	conf := f.Conf
	all = append(all, []node.Component{
		{
			Name: "kubelet", After: append([]string{"containerd"}, after...),
			Args: part("kubelet", "--config="+conf+"/kubelet.yaml", "--kubeconfig="+conf+"/kubelet.kubeconfig",
				"--hostname-override="+f.Name, "--node-ip="+f.Address),
		},
		{
			Name: "kube-proxy", After: after,
			Args: part("kube-proxy", "--config="+conf+"/kube-proxy.yaml"),
		},
		{
			Name: "network-policies", After: after,
			Args: part("network-policies", "--kubeconfig="+conf+"/network-policies.kubeconfig", "--node="+f.Name,
				"--service-cluster-ip-range="+serviceCIDR, "--socket="+f.Policies),
		},
	}...)
	if f.index == 0 && f.Egress.on() {
		all = append(all, egress(f.Egress))
	}
	return all
}

// controlPlane is what a cluster has once.
func controlPlane(f nodeFacts, part func(name string, args ...string) []string) []node.Component {
	pki, conf := inside+"/pki", f.Conf
	client := func(user string) []string {
		file := conf + "/" + user + ".kubeconfig"
		return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file}
	}
	return []node.Component{
		{
			Name: "registry", Ready: registryListens,
			Args: part("registry", "serve", conf+"/registry.yaml"),
			Env:  []string{"OTEL_TRACES_EXPORTER=none"},
		},
		{
			Name: "etcd", Ready: "127.0.0.1:2379",
			Args: part("etcd", "--name=default", "--data-dir="+inside+"/etcd",
				"--listen-client-urls=https://127.0.0.1:2379", "--advertise-client-urls=https://127.0.0.1:2379",
				"--listen-peer-urls=https://127.0.0.1:2380", "--initial-advertise-peer-urls=https://127.0.0.1:2380",
				"--initial-cluster=default=https://127.0.0.1:2380",
				"--cert-file="+pki+"/etcd-server.crt", "--key-file="+pki+"/etcd-server.key",
				"--client-cert-auth", "--trusted-ca-file="+pki+"/etcd-ca.crt",
				"--peer-cert-file="+pki+"/etcd-server.crt", "--peer-key-file="+pki+"/etcd-server.key",
				"--peer-client-cert-auth", "--peer-trusted-ca-file="+pki+"/etcd-ca.crt",
				"--quota-backend-bytes=2147483648", "--auto-compaction-mode=periodic", "--auto-compaction-retention=1h",
				"--snapshot-count=10000", "--log-level=warn"),
		},
		{
			Name: "kube-apiserver", After: []string{"etcd"}, Ready: "https://127.0.0.1:" + apiPortInside + "/readyz",
			Args: part("kube-apiserver", "--secure-port="+apiPortInside, "--advertise-address="+nodeIP,
				"--allow-privileged=true", "--authorization-mode=Node,RBAC", "--anonymous-auth=true",
				"--enable-admission-plugins=NodeRestriction", "--profiling=false",
				"--audit-policy-file="+conf+"/audit.yaml", "--audit-log-path="+inside+"/logs/audit.log",
				"--audit-log-maxsize=16", "--audit-log-maxbackup=1",
				"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile="+pki+"/etcd-ca.crt",
				"--etcd-certfile="+pki+"/etcd-client.crt", "--etcd-keyfile="+pki+"/etcd-client.key",
				"--client-ca-file="+pki+"/ca.crt", "--tls-cert-file="+pki+"/apiserver.crt", "--tls-private-key-file="+pki+"/apiserver.key",
				"--tls-min-version=VersionTLS12",
				"--kubelet-certificate-authority="+pki+"/ca.crt",
				"--kubelet-client-certificate="+pki+"/apiserver-kubelet-client.crt", "--kubelet-client-key="+pki+"/apiserver-kubelet-client.key",
				"--kubelet-preferred-address-types=InternalIP",
				"--requestheader-client-ca-file="+pki+"/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
				"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group",
				"--requestheader-extra-headers-prefix=X-Remote-Extra-",
				"--proxy-client-cert-file="+pki+"/front-proxy-client.crt", "--proxy-client-key-file="+pki+"/front-proxy-client.key",
				"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
				"--service-account-key-file="+pki+"/service-account.key", "--service-account-signing-key-file="+pki+"/service-account.key",
				"--service-cluster-ip-range="+serviceCIDR),
		},
		{
			Name: "kube-controller-manager", After: []string{"kube-apiserver"},
			Args: part("kube-controller-manager", append(client("controller-manager"),
				"--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false", "--use-service-account-credentials",
				"--allocate-node-cidrs=false", "--root-ca-file="+pki+"/ca.crt",
				"--service-account-private-key-file="+pki+"/service-account.key",
				"--cluster-signing-cert-file="+pki+"/ca.crt", "--cluster-signing-key-file="+pki+"/ca.key")...),
		},
		{
			Name: "kube-scheduler", After: []string{"kube-apiserver"},
			Args: part("kube-scheduler", append(client("scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false", "--profiling=false")...),
		},
		{
			Name: "metrics-server", After: []string{"kube-apiserver"},
			Args: part("metrics-server", append(client("metrics-server"),
				"--bind-address="+nodeIP, "--secure-port="+metricsPort, "--metric-resolution=15s",
				"--tls-cert-file="+pki+"/metrics-server.crt", "--tls-private-key-file="+pki+"/metrics-server.key",
				"--kubelet-certificate-authority="+pki+"/ca.crt", "--kubelet-preferred-address-types=InternalIP")...),
		},
		{
			Name: "storage-provisioner", After: []string{"kube-apiserver"},
			Args: part("storage-provisioner", "--kubeconfig="+conf+"/storage-provisioner.kubeconfig",
				"--root="+inside+"/volumes"),
		},
	}
}

// worker is another node, as a component of the first.
func worker(m member, cgroup string) node.Component {
	home := filepath.Join(inside, m.home())
	return node.Component{
		Name: m.name, After: []string{"kube-apiserver"}, Unless: filepath.Join(home, stopFile),
		Node: &node.Other{Device: m.device(), Cgroup: cgroup},
		Args: []string{nodeProgram, filepath.Join(home, node.ConfigFile)},
	}
}

// egress is user-mode networking: slirp4netns takes what leaves the node by the device, and makes the machine's own connections of it. It runs
// in the machine's network, and among the machine's files, because the machine's name servers change while the node runs.
func egress(f egressFacts) node.Component {
	return node.Component{
		Name: "egress", AcrossNamespaces: true,
		Args: []string{
			f.Nsenter, "--net=" + node.MachineNetwork, "--mount=" + node.MachineMounts, "--",
			f.Slirp, "--configure", "--cidr=" + egressCIDR, "--mtu=65520",
			// What listens on the machine's loopback is the machine's own.
			"--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
			"--netns-type=path", node.NodeNetwork, egressDevice,
		},
	}
}
