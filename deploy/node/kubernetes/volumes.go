package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what the node's StorageClass names.
const provisionerName = "kfspawner.io/local"

// The people of the notebook images: uid 1000, gid 100.
const ownerUID, ownerGID = 1000, 100

// localVolumes makes a directory of the node for every claim. Directories
// are kept when their claim goes: whoever runs the node deletes data.
type localVolumes struct{ root string }

// Provision makes <root>/<namespace>/<claim>, owned by the notebook user, and
// the PersistentVolume that points there.
func (l localVolumes) Provision(_ context.Context, o controller.ProvisionOptions) (*v1.PersistentVolume, controller.ProvisioningState, error) {
	dir := filepath.Join(l.root, o.PVC.Namespace, o.PVC.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, controller.ProvisioningNoChange, fmt.Errorf("making the directory of claim %s/%s: %w", o.PVC.Namespace, o.PVC.Name, err)
	}
	if err := os.Chown(dir, ownerUID, ownerGID); err != nil {
		return nil, controller.ProvisioningNoChange, fmt.Errorf("giving %s to the notebook user: %w", dir, err)
	}
	if err := os.Chmod(dir, 0o770|os.ModeSetgid); err != nil {
		return nil, controller.ProvisioningNoChange, fmt.Errorf("setting the mode of %s: %w", dir, err)
	}
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: v1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      v1.ResourceList{v1.ResourceStorage: o.PVC.Spec.Resources.Requests[v1.ResourceStorage]},
			PersistentVolumeSource:        v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: dir}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete refuses: the node's StorageClass retains, and data is not ours to drop.
func (l localVolumes) Delete(_ context.Context, pv *v1.PersistentVolume) error {
	return &controller.IgnoredError{Reason: "the directory of " + pv.Name + " is kept"}
}

func newLocalVolumesCommand() *cobra.Command {
	var kubeconfig, root string
	command := &cobra.Command{
		Use:   "local-volumes",
		Short: "make a directory of this node for every claim of its StorageClass",
		RunE: func(command *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			ctx := klog.NewContext(command.Context(), klog.Background())
			controller.NewProvisionController(ctx, client, provisionerName, localVolumes{root},
				controller.LeaderElection(false)).Run(ctx)
			return nil
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "the kubeconfig to use")
	command.Flags().StringVar(&root, "root", "", "the directory that holds the volumes")
	return command
}
