package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what a StorageClass names to get its volumes from here.
const provisionerName = "labctl.local/directory"

// directories provisions a persistent volume as a directory of the machine. All nodes see it, as they would see a disk
// that a network brings, so a volume outlives its pods and the death of their node.
type directories struct {
	root string // absolute, the same on all nodes
}

func newStorageProvisionerCommand() *cobra.Command {
	var kubeconfig, root string
	cmd := &cobra.Command{
		Use:   "storage-provisioner",
		Short: "Provision persistent volumes as directories of this machine",
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			controller.NewProvisionController(ctx, client, provisionerName, &directories{root: root},
				controller.LeaderElection(false)).Run(ctx)
			return nil
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API")
	cmd.Flags().StringVar(&root, "root", "", "the directory that holds the volumes")
	return cmd
}

// Provision makes the directory. It is writable by every user, because a claim says no owner and pods run as
// users of their own; the parent directory is root's alone, which keeps the machine's other users out.
func (d *directories) Provision(ctx context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	if o.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("claim %s/%s has a selector, which directory volumes cannot honour", o.PVC.Namespace, o.PVC.Name)
	}
	dir := filepath.Join(d.root, o.PVName)
	if err := os.Mkdir(dir, 0o777); err != nil && !os.IsExist(err) {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // Mkdir's mode went through the umask
		return nil, controller.ProvisioningFinished, err
	}
	klog.FromContext(ctx).Info("provisioned", "volume", o.PVName, "claim", o.PVC.Namespace+"/"+o.PVC.Name, "directory", dir)
	hostPathType := v1.HostPathDirectory
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    o.PVC.Spec.VolumeMode,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource: v1.PersistentVolumeSource{
				HostPath: &v1.HostPathVolumeSource{Path: dir, Type: &hostPathType},
			},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the volume's directory. It never follows the volume's own path, which an API user could have
// pointed elsewhere, but the place where Provision put it.
func (d *directories) Delete(_ context.Context, volume *v1.PersistentVolume) error {
	return os.RemoveAll(filepath.Join(d.root, filepath.Base(volume.Name)))
}
