package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// setUpNetwork brings up loopback and eth0 with the node's address. eth0 is one end of a pair whose other end stays
// here too: the kubelet, the API's advertised address and the default route need a device that is no loopback, and
// not every kernel has the dummy driver, while every kernel that can run containers has veth.
func setUpNetwork(address, gateway string) error {
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
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return fmt.Errorf("address %q: %w", address, err)
	}
	if err := netlink.AddrAdd(eth0, addr); err != nil {
		return fmt.Errorf("give eth0 %s: %w", address, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: net.ParseIP(gateway)}); err != nil {
		return fmt.Errorf("default route by %s: %w", gateway, err)
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
	return nil
}
