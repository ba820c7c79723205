package chart

import (
	"context"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/release"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes"

	"github.com/labctl/labctl/pkg/event"
)

// ownership knows the objects of a release by their UIDs, so that its pods are found by their controllers, whatever
// their labels are.
type ownership struct {
	core       kubernetes.Interface
	namespaces map[string]bool
	uids       map[types.UID]bool
}

// ownedBy looks up the objects of a revision.
func (s *session) ownedBy(ctx context.Context, r *release.Release) (*ownership, error) {
	o := &ownership{core: s.core, namespaces: map[string]bool{}, uids: map[types.UID]bool{}}
	infos, err := s.objects(r.Manifest)
	if err != nil {
		return nil, fmt.Errorf("read what the release is made of: %w", err)
	}
	for _, info := range infos {
		live, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", objectName(info), err)
		}
		m, err := meta.Accessor(live)
		if err != nil {
			return nil, err
		}
		if m.GetNamespace() != "" && belongs(m, r.Name) {
			o.namespaces[m.GetNamespace()], o.uids[m.GetUID()] = true, true
		}
	}
	_, err = o.pods(ctx)
	return o, err
}

// pods follows the controllers from the release's objects down to pods. What it meets on its way it remembers: a
// controller may be gone before its pods are.
func (o *ownership) pods(ctx context.Context) ([]string, error) {
	var names []string
	for namespace := range o.namespaces {
		// From what controls to what is controlled: an operator's resource owns a StatefulSet, a CronJob owns jobs.
		for _, list := range []func() ([]metav1.Object, error){
			func() ([]metav1.Object, error) {
				return items(o.core.AppsV1().Deployments(namespace).List(ctx, metav1.ListOptions{}))
			},
			func() ([]metav1.Object, error) {
				return items(o.core.AppsV1().StatefulSets(namespace).List(ctx, metav1.ListOptions{}))
			},
			func() ([]metav1.Object, error) {
				return items(o.core.AppsV1().DaemonSets(namespace).List(ctx, metav1.ListOptions{}))
			},
			func() ([]metav1.Object, error) {
				return items(o.core.AppsV1().ReplicaSets(namespace).List(ctx, metav1.ListOptions{}))
			},
			func() ([]metav1.Object, error) {
				return items(o.core.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{}))
			},
		} {
			all, err := list()
			if err != nil {
				return nil, fmt.Errorf("list what controls pods: %w", err)
			}
			for _, m := range all {
				if o.owns(m) {
					o.uids[m.GetUID()] = true
				}
			}
		}
		pods, err := items(o.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{}))
		if err != nil {
			return nil, fmt.Errorf("list pods: %w", err)
		}
		for _, m := range pods {
			if o.owns(m) || o.uids[m.GetUID()] {
				names = append(names, m.GetName())
			}
		}
	}
	return names, nil
}

func (o *ownership) owns(m metav1.Object) bool {
	controller := metav1.GetControllerOf(m)
	return controller != nil && o.uids[controller.UID]
}

// items gives the objects of a typed list.
func items[L runtime.Object](list L, err error) ([]metav1.Object, error) {
	if err != nil {
		return nil, err
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	out := make([]metav1.Object, 0, len(objects))
	for _, object := range objects {
		m, err := meta.Accessor(object)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// podsGone waits until the release has no pods left.
func (o *ownership) podsGone(ctx context.Context, report event.Report) error {
	for {
		names, err := o.pods(ctx)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		report.Doing("wait for %d pods to end", len(names))
		if err := pause(ctx); err != nil {
			return fmt.Errorf("waited for the pods %s to end: %w", strings.Join(names, ", "), err)
		}
	}
}
