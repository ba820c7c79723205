package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/kube"
)

// answerWithin bounds a question to the name service, which is asked again.
const answerWithin = 2 * time.Second

// nameService checks that names are answered at the address where pods ask. The API calls the name server ready by its own
// health; whether a service's address leads to it is the work of others, and what they get wrong would show in every
// pod as a time-out.
func nameService(ctx context.Context, dir string, client *kube.Client) error {
	p, running := runningNode(dir)
	if !running {
		return errors.New("the node does not run")
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialIn(ctx, p.pid, network, net.JoinHostPort(dnsIP, "53"))
	}}
	_, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w; %s", err, behindNameService(client))
}

// behindNameService says who the API says has the name service's address. It has its own time: that of the question is over.
func behindNameService(client *kube.Client) string {
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	slices, err := client.Core.DiscoveryV1().EndpointSlices("kube-system").List(ctx,
		metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=kube-dns"})
	if err != nil {
		return fmt.Sprintf("who is behind %s is not known: %v", dnsIP, err)
	}
	var behind []string
	for _, s := range slices.Items {
		for _, e := range s.Endpoints {
			state := "ready"
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				state = "not ready"
			}
			behind = append(behind, fmt.Sprintf("%s (%s)", strings.Join(e.Addresses, " "), state))
		}
	}
	if len(behind) == 0 {
		return "nobody is behind " + dnsIP
	}
	return fmt.Sprintf("behind %s is %s", dnsIP, strings.Join(behind, ", "))
}

// dialIn connects from the network of a process.
func dialIn(ctx context.Context, pid int, network, address string) (net.Conn, error) {
	theirs, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	type answer struct {
		conn net.Conn
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		// The thread ends with the goroutine, since it is never unlocked: no other comes to run in that network.
		runtime.LockOSThread()
		if err := unix.Setns(int(theirs.Fd()), unix.CLONE_NEWNET); err != nil {
			answers <- answer{err: fmt.Errorf("enter the node's network: %w", err)}
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		answers <- answer{conn, err}
	}()
	a := <-answers
	return a.conn, a.err
}
