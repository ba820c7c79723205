package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// behindEgress is the metric of the routes by the gateway. On the first node they lead nowhere: those of the pods' bridge,
	// of the other nodes and of an egress device come before them.
	behindEgress = 1000

	bridgeName   = "nodes" // joins the nodes; the first node has it, with an address
	workerDevice = "eth0"  // another node's end of its device
)

// setUpNetwork brings up loopback and the device with the node's address, the routes and the firewall.
func setUpNetwork(config Config) error {
	if err := setUp("lo"); err != nil {
		return err
	}
	device := workerDevice
	if !config.Worker {
		device = bridgeName
		if err := makeBridge(); err != nil {
			return err
		}
	}
	if err := setUp(device); err != nil {
		return err
	}
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(config.Address)
	if err != nil {
		return fmt.Errorf("address %q: %w", config.Address, err)
	}
	if err := netlink.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s %s: %w", device, config.Address, err)
	}
	routes := []netlink.Route{{Gw: net.ParseIP(config.Gateway), Priority: behindEgress}}
	if config.Egress != nil {
		for _, cidr := range config.Egress.Kept {
			_, network, err := net.ParseCIDR(cidr)
			if err != nil {
				return fmt.Errorf("network that is kept: %w", err)
			}
			routes = append(routes, netlink.Route{Dst: network, Gw: net.ParseIP(config.Gateway), Priority: behindEgress})
		}
	}
	for _, r := range config.Routes {
		_, network, err := net.ParseCIDR(r.To)
		if err != nil {
			return fmt.Errorf("network of another node's pods: %w", err)
		}
		routes = append(routes, netlink.Route{Dst: network, Gw: net.ParseIP(r.Via)})
	}
	for _, route := range routes {
		route.LinkIndex = link.Attrs().Index
		if err := netlink.RouteAdd(&route); err != nil {
			return fmt.Errorf("route %v by %s: %w", route.Dst, route.Gw, err)
		}
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_forward":                 "1",
		"net/bridge/bridge-nf-call-iptables":  "1",
		"net/ipv4/ip_unprivileged_port_start": "0", // every port of this network is the lab's own
	} {
		err := os.WriteFile(filepath.Join("/proc/sys", name), []byte(value), 0o644) //nolint:gosec // G306: exists
		if errors.Is(err, os.ErrNotExist) && name == "net/bridge/bridge-nf-call-iptables" {
			return fmt.Errorf("the kernel has no bridge netfilter, without which services do not work: run `modprobe br_netfilter`")
		}
		if err != nil {
			return err
		}
	}
	if e := config.Egress; e != nil {
		//nolint:gosec // G204: from labctl's own configuration
		cmd := exec.Command("iptables", "--wait", "--table", "nat", "--append", "POSTROUTING",
			"--source", strings.Join(e.Sources, ","), "--out-interface", e.Device, "--jump", "MASQUERADE")
		cmd.Env = []string{"PATH=" + searchPath}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("translate the pods' addresses: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	return nil
}

func setUp(device string) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s: %w", device, err)
	}
	return nil
}

// makeBridge makes the bridge that joins the nodes. The kubelet, the API's advertised address and the default route need a
// device that is no loopback and has a carrier, also where there are no other nodes: the bridge's comes from a pair of which
// both ends stay here. Not every kernel has the dummy driver, while every kernel that can run containers has veth.
func makeBridge() error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: bridgeName}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return fmt.Errorf("add the nodes' bridge: %w", err)
	}
	const port, end = "carrier", "carrier-end"
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port, MasterIndex: bridge.Index}, PeerName: end}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add %s (does the kernel have veth?): %w", port, err)
	}
	if err := setUp(end); err != nil {
		return err
	}
	return setUp(port)
}

// join links the network of the process to the nodes' bridge, by a device of that name here.
func join(device string, pid int) error {
	bridge, err := netlink.LinkByName(bridgeName)
	if err != nil {
		return fmt.Errorf("find the nodes' bridge: %w", err)
	}
	// The kernel removes the device of a node that ended, but not at once.
	if old, err := netlink.LinkByName(device); err == nil {
		if err := netlink.LinkDel(old); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("remove the device of the node that ended: %w", err)
		}
	}
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: device, MasterIndex: bridge.Attrs().Index},
		PeerName:  workerDevice, PeerNamespace: netlink.NsPid(pid),
	}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add %s: %w", device, err)
	}
	return setUp(device)
}
