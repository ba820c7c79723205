package cluster

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/cluster/node"
)

// The node's networks. They are the same in every lab, because no lab's network is connected to another's or to
// the machine's.
const (
	nodeIP        = "10.40.0.2"
	nodeAddress   = nodeIP + "/24"
	nodeGateway   = "10.40.0.1"
	egressCIDR    = "10.41.0.0/24"
	egressDNS     = "10.41.0.3" // slirp4netns(1): the third address of its network
	egressDevice  = "tap0"
	podCIDR       = "10.42.0.0/16"
	serviceCIDR   = "10.43.0.0/16"
	apiServiceIP  = "10.43.0.1"
	dnsIP         = "10.43.0.10"
	ingressIP     = "10.43.0.80"
	registryAddr  = "localhost:5000" // containerd speaks plain HTTP to localhost without being told
	apiPortInside = "6443"
	metricsPort   = "4443"
)

// inside is where the cluster directory is seen by the components.
const inside = node.Base + "/cluster"

//go:embed config.tmpl
var configTemplates string

// files that are made from config.tmpl, by template name.
var configFiles = map[string]string{
	"containerd":  "conf/containerd.toml",
	"cni":         "conf/cni/10-labctl.conflist",
	"kubelet":     "conf/kubelet.yaml",
	"kube-proxy":  "conf/kube-proxy.yaml",
	"registry":    "conf/registry.yaml",
	"audit":       "conf/audit.yaml",
	"kubeconfigs": "",
}

// nodeFacts is what differs from one machine or lab to the next.
type nodeFacts struct {
	Name         string
	PauseImage   string
	CNIBin       string
	Snapshotter  string
	Containerd   string
	CgroupRoot   string
	PodCIDR      string
	ServiceCIDR  string
	DNSIP        string
	NodeIP       string
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

// writeConfigs writes every configuration file of the components into dir.
func writeConfigs(dir string, f nodeFacts) error {
	t, err := template.New("config").Parse(configTemplates)
	if err != nil {
		return err
	}
	for _, d := range []string{"conf/cni", "logs", "etcd", "registry", "volumes"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	for name, file := range configFiles {
		if file == "" {
			continue
		}
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, name, f); err != nil {
			return fmt.Errorf("configuration of %s: %w", name, err)
		}
		if err := atomicfile.Write(filepath.Join(dir, file), b.Bytes()); err != nil {
			return err
		}
	}
	for _, user := range []string{"controller-manager", "scheduler", "kubelet", "proxy", "storage-provisioner", "metrics-server"} {
		var b bytes.Buffer
		if err := t.ExecuteTemplate(&b, "kubeconfigs", map[string]string{"User": user, "PKI": inside + "/pki"}); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", user, err)
		}
		if err := atomicfile.Write(filepath.Join(dir, "conf", user+".kubeconfig"), b.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// components lists the node's programs in starting order.
func components(f nodeFacts) []node.Component {
	kubernetes := node.Base + "/bin/kubernetes"
	pki, conf := inside+"/pki", inside+"/conf"
	part := func(name string, args ...string) []string { return append([]string{kubernetes, name}, args...) }
	client := func(user string) []string {
		file := conf + "/" + user + ".kubeconfig"
		return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file}
	}
	all := []node.Component{
		{
			Name: "containerd", Env: f.Egress.Proxies, Ready: "/run/containerd/containerd.sock",
			Args: []string{f.Containerd, "--config", conf + "/containerd.toml"},
		},
		{
			Name: "registry", Ready: "127.0.0.1:5000",
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
			Name: "kubelet", After: []string{"kube-apiserver", "containerd"},
			Args: part("kubelet", "--config="+conf+"/kubelet.yaml", "--kubeconfig="+conf+"/kubelet.kubeconfig",
				"--hostname-override="+f.Name, "--node-ip="+nodeIP),
		},
		{
			Name: "kube-proxy", After: []string{"kube-apiserver"},
			Args: part("kube-proxy", "--config="+conf+"/kube-proxy.yaml"),
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
				"--root="+inside+"/volumes", "--node="+f.Name),
		},
	}
	if f.Egress.on() {
		all = append(all, egress(f.Egress))
	}
	return all
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
