// Command kubernetes is every program of the embedded node in one binary: the part to run is its first argument.
// One binary instead of eight shares its pages in memory and is linked once.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // CronJobs name time zones, and the node has no zone files of its own

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // where the registry keeps its blobs
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go's metrics on /metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // build information on /metrics
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metrics "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

func main() {
	components := map[string]func() *cobra.Command{
		"kube-apiserver":          apiserver.NewAPIServerCommand,
		"kube-controller-manager": controllermanager.NewControllerManagerCommand,
		"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
		"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
		"kube-proxy":              proxy.NewProxyCommand,
		"storage-provisioner":     newStorageProvisionerCommand,
		"network-policies":        newNetworkPoliciesCommand,
		"metrics-server":          func() *cobra.Command { return metrics.NewMetricsServerCommand(server.SetupSignalHandler()) },
	}

	// Called through a link, the link's name is the part (as kubectl's plugins and busybox do it).
	name, args := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"), os.Args[1:]
	own := map[string]func(){ // those that are no cobra command, or not one that Kubernetes' cli package takes
		"etcd":     func() { etcdmain.Main(os.Args) },
		"registry": func() { exitOn(registry.RootCmd.Execute()) },
		"kubectl":  runKubectl,
	}
	if components[name] == nil && own[name] == nil && len(args) > 0 {
		name, args = args[0], args[1:]
	}
	// The components read os.Args themselves (cobra's default), so it must look as if each were its own program.
	os.Args = append([]string{name}, args...)
	if run := own[name]; run != nil {
		run()
		return
	}
	newCommand := components[name]
	if newCommand == nil {
		names := slices.Sorted(maps.Keys(components))
		names = slices.Sorted(slices.Values(slices.AppendSeq(names, maps.Keys(own))))
		fmt.Fprintf(os.Stderr, "kubernetes: %q is no part of this binary; its parts are: %s\n", name, strings.Join(names, ", "))
		os.Exit(2)
	}
	os.Exit(cli.Run(newCommand()))
}

// runKubectl is the main function of Kubernetes' cmd/kubectl. kubectl reads os.Args for its plugins, too.
func runKubectl() {
	logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) //nolint:errcheck // it returns what it was given
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // ends with kubectl's exit code
	}
}

func exitOn(err error) {
	if err != nil {
		os.Exit(1) // the command has said why
	}
}
