package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/net/http/httpproxy"
)

// findEgress finds what gets a node out of its network.
func findEgress() (egressFacts, error) {
	var f egressFacts
	var err error
	if f.Slirp, err = exec.LookPath("slirp4netns"); err != nil {
		return f, errors.New("slirp4netns, by which the cluster reaches other networks, is not installed: run `labctl doctor --fix`, or set egress = false in lab.hcl's vars")
	}
	if f.Nsenter, err = exec.LookPath("nsenter"); err != nil {
		return f, errors.New("nsenter is not installed: install util-linux, or set egress = false in lab.hcl's vars")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return f, fmt.Errorf("the cluster cannot reach other networks, because this machine gives no tap devices (%w): run `modprobe tun`, or set egress = false in lab.hcl's vars", err)
	}
	f.Proxies = proxyVariables(httpproxy.FromEnvironment())
	return f, nil
}

// proxyVariables are those by which the node's programs go by the machine's proxies. What is in the lab is asked directly.
func proxyVariables(c *httpproxy.Config) []string {
	if c.HTTPProxy == "" && c.HTTPSProxy == "" {
		return nil
	}
	direct := []string{"localhost", "127.0.0.1", nodesCIDR, podCIDR, serviceCIDR, ".svc", ".cluster.local"}
	if c.NoProxy != "" {
		direct = append(direct, c.NoProxy)
	}
	return []string{"HTTP_PROXY=" + c.HTTPProxy, "HTTPS_PROXY=" + c.HTTPSProxy, "NO_PROXY=" + strings.Join(direct, ",")}
}
