package node

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// behindEgress is the metric of the routes by eth0, which lead nowhere: those of the pods' bridge and of an egress device come
// before them.
const behindEgress = 1000

// setUpNetwork brings up loopback and eth0 with the node's address. eth0 is one end of a pair whose other end stays
// here too: the kubelet, the API's advertised address and the default route need a device that is no loopback, and
// not every kernel has the dummy driver, while every kernel that can run containers has veth.
func setUpNetwork(config Config) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring up lo: %w", err)
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0-end"}
	if err := netlink.LinkAdd(pair); err != nil {
		return fmt.Errorf("add eth0 (does the kernel have veth?): %w", err)
	}
	for _, name := range []string{"eth0", "eth0-end"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("bring up %s: %w", name, err)
		}
	}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(config.Address)
	if err != nil {
		return fmt.Errorf("address %q: %w", config.Address, err)
	}
	if err := netlink.AddrAdd(eth0, addr); err != nil {
		return fmt.Errorf("give eth0 %s: %w", config.Address, err)
	}
	var routes []*net.IPNet
	if config.Egress != nil {
		for _, cidr := range config.Egress.Kept {
			_, network, err := net.ParseCIDR(cidr)
			if err != nil {
				return fmt.Errorf("network that is kept: %w", err)
			}
			routes = append(routes, network)
		}
	}
	for _, to := range append(routes, nil) { // nil is the default route
		route := &netlink.Route{LinkIndex: eth0.Attrs().Index, Dst: to, Gw: net.ParseIP(config.Gateway), Priority: behindEgress}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("route %v by %s: %w", to, config.Gateway, err)
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
			"--source", e.Sources, "--out-interface", e.Device, "--jump", "MASQUERADE")
		cmd.Env = []string{"PATH=" + searchPath}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("translate the pods' addresses: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	return nil
}
