package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"golang.org/x/sys/unix"
)

// Plugin is the name under which the node's program is a CNI plugin (github.com/containernetworking/cni, SPEC.md), chained
// behind the one that gives a pod its address: it tells those who enforce NetworkPolicies, on every node, before anything of the
// pod runs. From the API they would hear a second later, and until then a closed pod would be open, and be refused where it may go.
const Plugin = "labctl-policies"

// announceWithin bounds how long a pod waits for the policies. Right after a node's start they are not in force yet.
const announceWithin = 20 * time.Second

// pluginConf is the plugin's part of the network's configuration.
type pluginConf struct {
	types.NetConf
	Own    string   `json:"own"`    // socket of those who enforce policies on this node
	Others []string `json:"others"` // and on the others, which may not run
	HostIP string   `json:"hostIP"` // the node's address
}

// podArgs is what the container runtime says of the pod in CNI_ARGS.
type podArgs struct {
	types.CommonArgs
	// The names that types.LoadArgs looks for.
	K8S_POD_NAMESPACE, K8S_POD_NAME types.UnmarshallableString //nolint:revive,staticcheck // see above
}

// Announcement says which address a pod has. images/kubernetes reads it, a line of JSON, and answers with a line: "ok", or what
// is wrong.
type Announcement struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IP        string `json:"ip"`
	HostIP    string `json:"hostIP"`
}

// RunPlugin is the program's main function as a CNI plugin.
func RunPlugin() {
	nothing := func(*skel.CmdArgs) error { return nil } // a pod that is gone is gone from the API, too
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: nothing, Check: nothing}, version.All, Plugin+": NetworkPolicies before a pod runs")
}

func add(args *skel.CmdArgs) error {
	var conf pluginConf
	if err := json.Unmarshal(args.StdinData, &conf); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := version.ParsePrevResult(&conf.NetConf); err != nil {
		return err
	}
	if conf.PrevResult == nil {
		return errors.New("it must stand behind the plugin that gives the address")
	}
	result, err := current.NewResultFromResult(conf.PrevResult)
	if err != nil {
		return err
	}
	var pod podArgs
	if err := types.LoadArgs(args.Args, &pod); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), announceWithin)
	defer cancel()
	for _, ip := range result.IPs {
		a := Announcement{Namespace: string(pod.K8S_POD_NAMESPACE), Name: string(pod.K8S_POD_NAME), IP: ip.Address.IP.String(), HostIP: conf.HostIP}
		if err := announceToAll(ctx, conf.Own, conf.Others, a); err != nil {
			return err
		}
	}
	return types.PrintResult(conf.PrevResult, conf.CNIVersion)
}

// announceToAll tells all nodes, and waits for each that runs. Without a word of its own node a pod must not run.
func announceToAll(ctx context.Context, own string, others []string, a Announcement) error {
	var told sync.WaitGroup
	for _, socket := range others {
		told.Go(func() { _ = announce(ctx, socket, a) }) // one that does not run has no pod to protect, and learns from the API
	}
	err := announceUntil(ctx, own, a)
	told.Wait()
	if err != nil {
		return fmt.Errorf("the NetworkPolicies for %s/%s are not in force: %w (`labctl cluster logs network-policies`)", a.Namespace, a.Name, err)
	}
	return nil
}

// announceUntil tries until somebody listens.
func announceUntil(ctx context.Context, socket string, a Announcement) error {
	for {
		err := announce(ctx, socket, a)
		if !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(readyEvery):
		}
	}
}

func announce(ctx context.Context, socket string, a Announcement) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(conn).Encode(a); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if answer != "ok\n" {
		return fmt.Errorf("%s: %.200s", socket, answer)
	}
	return nil
}
