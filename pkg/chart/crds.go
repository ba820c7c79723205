package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/resource"

	"github.com/labctl/labctl/pkg/kube"
)

// upgradeCRDs applies the definitions in the crds/ of a chart and its subcharts, by server-side apply, and waits until
// the API serves them. It removes none.
func (s *session) upgradeCRDs(ctx context.Context, ch *helmchart.Chart) error {
	var objects []kube.Object
	for _, crd := range ch.CRDObjects() {
		infos, err := s.cfg.KubeClient.Build(bytes.NewReader(crd.File.Data), false)
		if err != nil {
			return fmt.Errorf("read %s: %w", crd.Filename, err)
		}
		for _, info := range infos {
			body, err := json.Marshal(info.Object)
			if err != nil {
				return err
			}
			force := true
			helper := resource.NewHelper(info.Client, info.Mapping).WithFieldManager(kube.FieldOwner)
			if _, err := helper.Patch(info.Namespace, info.Name, types.ApplyPatchType, body, &metav1.PatchOptions{Force: &force}); err != nil {
				return fmt.Errorf("upgrade %s: %w", objectName(info), err)
			}
			objects = append(objects, objectOf(info))
		}
	}
	if len(objects) == 0 {
		return nil
	}
	if err := s.waiter.WaitObjects(ctx, objects, nil); err != nil {
		return err
	}
	mapper, err := s.cfg.RESTClientGetter.ToRESTMapper()
	if err != nil {
		return err
	}
	if m, ok := mapper.(meta.ResettableRESTMapper); ok {
		m.Reset()
	}
	return nil
}
