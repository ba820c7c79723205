package kind

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/kind/pkg/apis/config/defaults"
	"sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

const (
	loopback = "127.0.0.1"
	// Ports of the node.
	ingressPort  = 80
	registryPort = 5000
)

// The name is a part of the node's host name, which has at most 63 characters: 32, a dash, 12 of the hash, and
// "-control-plane".
var validName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$`)

func (o Options) check() error {
	if !validName.MatchString(o.Name) {
		return fmt.Errorf("cluster name %q: use 1 to 32 lower-case letters, digits and dashes, beginning with a letter", o.Name)
	}
	if !filepath.IsAbs(o.Dir) {
		return fmt.Errorf("cluster directory %q is not absolute", o.Dir)
	}
	seen := map[int]string{}
	for _, p := range o.ports() {
		if p.port < 1 || p.port > 65535 {
			return fmt.Errorf("port %d for %s: ports are from 1 to 65535", p.port, p.use)
		}
		if other, ok := seen[p.port]; ok {
			return fmt.Errorf("port %d is given both to %s and to %s", p.port, other, p.use)
		}
		seen[p.port] = p.use
	}
	return nil
}

// ClusterName is the name that kind knows the cluster by. It follows from the directory too, so that labs of one name
// in two directories do not meet.
func ClusterName(name, dir string) string {
	sum := sha256.Sum256([]byte(filepath.Clean(dir)))
	return name + "-" + hex.EncodeToString(sum[:6])
}

// nodeName is the name that kind gives to the container of a cluster's only node, and so the node's in Kubernetes.
func nodeName(o Options) string { return ClusterName(o.Name, o.Dir) + "-control-plane" }

func nodeImage(o Options) string {
	if o.NodeImage != "" {
		return o.NodeImage
	}
	return defaults.Image
}

// configuration is what kind makes the cluster from. Everything that the machine can reach is on its loopback.
func configuration(o Options, cgroupV1 bool) *v1alpha4.Cluster {
	publish := func(inside int, port int) v1alpha4.PortMapping {
		return v1alpha4.PortMapping{
			ContainerPort: int32(inside), HostPort: int32(port), ListenAddress: loopback, Protocol: v1alpha4.PortMappingProtocolTCP,
		}
	}
	config := &v1alpha4.Cluster{
		TypeMeta: v1alpha4.TypeMeta{Kind: "Cluster", APIVersion: "kind.x-k8s.io/v1alpha4"},
		Name:     ClusterName(o.Name, o.Dir),
		Nodes: []v1alpha4.Node{{
			Role: v1alpha4.ControlPlaneRole, Image: nodeImage(o),
			ExtraPortMappings: []v1alpha4.PortMapping{publish(ingressPort, o.HTTPPort), publish(registryPort, o.RegistryPort)},
		}},
		Networking: v1alpha4.Networking{APIServerAddress: loopback, APIServerPort: int32(o.APIPort), IPFamily: v1alpha4.IPv4Family},
	}
	if cgroupV1 {
		// A kubelet of 1.35 or later ends on such a machine unless it is told not to.
		config.KubeadmConfigPatches = append(config.KubeadmConfigPatches,
			"apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailCgroupV1: false\n")
	}
	v1alpha4.SetDefaultsCluster(config)
	return config
}
