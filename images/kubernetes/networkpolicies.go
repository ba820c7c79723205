package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// policyResync is how often all rules are compared with the policies again, beside each time something changes.
const policyResync = time.Minute

func newNetworkPoliciesCommand() *cobra.Command {
	config := options.NewKubeRouterConfig()
	config.EnableIPv4 = true
	config.IPTablesSyncPeriod = policyResync
	var socket string
	cmd := &cobra.Command{
		Use:   "network-policies",
		Short: "Enforce NetworkPolicies on this node's pods, by kube-router's controller",
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return enforceNetworkPolicies(ctx, config, socket)
		},
	}
	cmd.Flags().StringVar(&config.Kubeconfig, "kubeconfig", "", "how to reach the API")
	cmd.Flags().StringVar(&config.HostnameOverride, "node", "", "this node's name")
	cmd.Flags().StringSliceVar(&config.ClusterIPCIDRs, "service-cluster-ip-range", nil, "the CIDR of the services' addresses")
	cmd.Flags().StringVar(&socket, "socket", "", "where the addresses of new pods are announced")
	return cmd
}

// enforceNetworkPolicies keeps iptables' filter table as the policies say. The rules stay when it ends, so that nothing
// opens while it starts again.
func enforceNetworkPolicies(ctx context.Context, config *options.KubeRouterConfig, socket string) error {
	// First, since pods wait for it.
	known, ready := &addresses{known: map[string]announcement{}}, make(chan struct{})
	rounds := &syncs{changed: make(chan struct{})}
	if err := serveAnnouncements(ctx, socket, known, ready, rounds.await); err != nil {
		return err
	}
	rest, err := clientcmd.BuildConfigFromFlags("", config.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return err
	}
	// The controller reads the node's address once, and the kubelet may not have registered it yet.
	if err := awaitNode(ctx, client, config.HostnameOverride); err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := overlaid{factory.Core().V1().Pods().Informer(), known}
	if err := pods.SetTransform(withoutManagedFields); err != nil {
		return err
	}
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), pods.HasSynced, namespaces.HasSynced, policies.HasSynced) {
		return errors.New("ended before the API had said what pods and policies there are")
	}
	iptables, ipsets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(client, config, pods, policies, namespaces, &sync.Mutex{}, iptables, ipsets)
	if err != nil {
		return err
	}
	for _, watched := range []struct {
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{pods, controller.PodEventHandler},
		{pods, known.forget()},
		{namespaces, controller.NamespaceEventHandler},
		{policies, controller.NetworkPolicyEventHandler},
	} {
		if _, err := watched.informer.AddEventHandler(watched.handler); err != nil {
			return err
		}
	}
	heartbeats := make(chan *healthcheck.ControllerHeartbeat) // one at the beginning of each round; the controller waits until it is taken
	go func() {
		for range heartbeats {
			rounds.begins()
		}
	}()
	rounds.request = controller.RequestFullSync
	close(ready)
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(heartbeats, ctx.Done(), &running)
	running.Wait()
	return nil
}

// awaitNode waits until the API knows the node and an address of it.
func awaitNode(ctx context.Context, client kubernetes.Interface, name string) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if last = err; err != nil {
			if !apierrors.IsNotFound(err) {
				klog.ErrorS(err, "ask for the node")
			}
			return false, nil
		}
		return len(node.Status.Addresses) > 0, nil
	})
	if err != nil {
		return fmt.Errorf("wait for node %s: %w", name, errors.Join(last, err))
	}
	return nil
}
