package chart

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"helm.sh/helm/v3/pkg/kube"
	"helm.sh/helm/v3/pkg/release"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/cli-runtime/pkg/resource"
)

const releaseNameAnnotation = "meta.helm.sh/release-name"

func (s *session) objects(manifest string) (kube.ResourceList, error) {
	if strings.TrimSpace(manifest) == "" {
		return nil, nil
	}
	return s.cfg.KubeClient.Build(strings.NewReader(manifest), false)
}

func objectName(info *resource.Info) string {
	return info.Mapping.GroupVersionKind.Kind + " " + info.Name
}

// drift names the objects of a manifest that are missing from the cluster, or that no longer are as it says. What others
// have added to an object is theirs.
func (s *session) drift(ctx context.Context, manifest string) ([]string, error) {
	infos, err := s.objects(manifest)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, info := range infos {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		live, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
		if apierrors.IsNotFound(err) {
			if !shortLived(info) {
				out = append(out, objectName(info)+": missing")
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", objectName(info), err)
		}
		changed, err := differs(info, live)
		if err != nil {
			return nil, fmt.Errorf("compare %s: %w", objectName(info), err)
		}
		if changed {
			out = append(out, objectName(info)+": changed")
		}
	}
	return out, nil
}

// differs tells whether bringing live to what info says would change it. The API has the last word, by a dry run: a
// patch may name what the API's defaults have only spelled in another way.
func differs(info *resource.Info, live runtime.Object) (bool, error) {
	want, err := json.Marshal(info.Object)
	if err != nil {
		return false, err
	}
	have, err := json.Marshal(live)
	if err != nil {
		return false, err
	}
	kind := types.MergePatchType
	var patch []byte
	if typed := kube.AsVersioned(info); isUnstructured(typed) {
		patch, err = jsonmergepatch.CreateThreeWayJSONMergePatch(want, want, have)
	} else {
		kind = types.StrategicMergePatchType
		var fields strategicpatch.PatchMetaFromStruct
		if fields, err = strategicpatch.NewPatchMetaFromStruct(typed); err == nil {
			patch, err = strategicpatch.CreateThreeWayMergePatch(want, want, have, fields, true)
		}
	}
	if err != nil {
		return false, err
	}
	if len(patch) == 0 || string(patch) == "{}" {
		return false, nil
	}
	after, err := resource.NewHelper(info.Client, info.Mapping).DryRun(true).Patch(info.Namespace, info.Name, kind, patch, nil)
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		return true, nil // it differs where it cannot be changed; the upgrade says where
	}
	if err != nil {
		return false, err
	}
	before, err := substance(live)
	if err != nil {
		return false, err
	}
	then, err := substance(after)
	if err != nil {
		return false, err
	}
	return !equality.Semantic.DeepEqual(before, then), nil
}

func isUnstructured(o runtime.Object) bool {
	_, ok := o.(runtime.Unstructured)
	return ok
}

// substance is an object without what the API keeps count of.
func substance(o runtime.Object) (map[string]any, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	m = runtime.DeepCopyJSON(m)
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(m, "metadata", field)
	}
	unstructured.RemoveNestedField(m, "status")
	return m, nil
}

// sweep deletes the objects that revisions made and now does not have.
func (s *session) sweep(ctx context.Context, revisions []*release.Release, now *release.Release) error {
	stays, err := s.objects(now.Manifest)
	if err != nil {
		return err
	}
	for _, r := range revisions {
		had, err := s.objects(r.Manifest)
		if err != nil {
			return fmt.Errorf("read what revision %d made: %w", r.Version, err)
		}
		if err := s.delete(ctx, had.Difference(stays), r.Name); err != nil {
			return fmt.Errorf("remove what revision %d made: %w", r.Version, err)
		}
	}
	return nil
}

// belongs tells whether an object goes with its release: it is no other's, and its chart does not want it kept.
func belongs(m metav1.Object, name string) bool {
	a := m.GetAnnotations()
	return a[releaseNameAnnotation] == name && a[kube.ResourcePolicyAnno] != kube.KeepPolicy
}

// delete deletes those of infos that still belong to the release.
func (s *session) delete(ctx context.Context, infos kube.ResourceList, name string) error {
	var ours kube.ResourceList
	for _, info := range infos {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		live, err := resource.NewHelper(info.Client, info.Mapping).Get(info.Namespace, info.Name)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", objectName(info), err)
		}
		m, err := meta.Accessor(live)
		if err != nil {
			return err
		}
		if belongs(m, name) {
			ours = append(ours, info)
		}
	}
	if len(ours) == 0 {
		return nil
	}
	_, errs := s.cfg.KubeClient.Delete(ours)
	return errors.Join(errs...)
}
