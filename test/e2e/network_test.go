package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/labctl/labctl/pkg/kube"
)

// showNetwork logs, after a failure, what a pod that reaches nobody is explained by: the addresses and the readiness of the pods,
// the rules that lead to the name service, and who gets an answer of it.
func (l *testLab) showNetwork() {
	var b strings.Builder
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	kubeconfig, _ := l.try(ctx, "kubeconfig")
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return // it failed before there was a cluster
	}
	pods, err := client.Core.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		l.t.Logf("the pods of the lab cannot be listed: %v", err)
		return
	}
	for _, p := range pods.Items {
		state := "ready"
		for _, c := range p.Status.ContainerStatuses {
			if !c.Ready {
				state = "not ready"
			}
		}
		fmt.Fprintf(&b, "%s %s %s; ", p.Name, p.Status.PodIP, state)
	}
	b.WriteString("\n")
	networks := map[string]string{} // the process that shows each network
	for _, p := range processesIn(l.t, l.cgroup()) {
		pid, _, _ := strings.Cut(p, " ")
		if network, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil && networks[network] == "" {
			networks[network] = pid
		}
	}
	for _, pid := range networks {
		out, err := exec.CommandContext(ctx, "nsenter", "--target", pid, "--net", "sh", "-c",
			`ip -4 -oneline address show scope global | awk '{print $2, $4}'; ip neigh show to 10.42.0.1; ip -brief link show type bridge
			iptables-save -t nat | sed -n 's/.*kube-dns:dns".*\(DNAT.*\)/\1/p'`).CombinedOutput()
		fmt.Fprintf(&b, "names %v: %s (%v)\n", resolveIn(ctx, pid), strings.ReplaceAll(strings.TrimSpace(string(out)), "\n", "; "), err)
	}
	l.t.Logf("the lab's network:\n%s", b.String())
}

// resolveIn asks the lab's name service from a process's network. Nil is an answer.
func resolveIn(ctx context.Context, pid string) error {
	said := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never given back, so that nobody else gets this network
		network, err := os.Open("/proc/" + pid + "/ns/net")
		if err != nil {
			said <- err
			return
		}
		defer network.Close()
		if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
			said <- err
			return
		}
		conn, err := net.Dial("udp", "10.43.0.10:53")
		if err != nil {
			said <- err
			return
		}
		r := net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err = r.LookupNetIP(ctx, "ip4", "kubernetes.default.svc.cluster.local.")
		said <- err
	}()
	return <-said
}
