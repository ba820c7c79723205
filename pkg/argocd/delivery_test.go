package argocd_test

import (
	"testing"

	"github.com/argoproj/argo-cd/v2/pkg/apis/application/v1alpha1"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/kube"
)

func TestAnApplicationForEachPart(t *testing.T) {
	d := argocd.Delivery{
		Release: "chat", Namespace: "talk", Owner: kube.Owner{Lab: "lab", Environment: "prod", Stack: "5-release"},
		Repo: "https://git.example.org/lab.git", Revision: "next", AppsDir: "environments/prod/chat/apps", ChartDir: "environments/prod/chat/chart",
		Parts: []string{"auth", "shared"},
	}
	files, err := d.Apps()
	require.NoError(t, err)
	require.Len(t, files, 2)
	for part, text := range map[string][]byte{"auth": files["auth.yaml"], "shared": files["shared.yaml"]} {
		var a v1alpha1.Application
		require.NoError(t, yaml.UnmarshalStrict(text, &a))
		require.Equal(t, "prod-chat-"+part, a.Name)
		require.Equal(t, d.Root(), a.Spec.Project)
		require.Equal(t, []string{v1alpha1.ResourcesFinalizerName}, a.Finalizers, "what it made goes with it")
		require.Equal(t, "prod-chat", a.Labels[argocd.RootLabel])
		require.Equal(t, v1alpha1.ApplicationDestination{Server: "https://kubernetes.default.svc", Namespace: "talk"}, a.Spec.Destination)
		source := a.Spec.Source
		require.Equal(t, []string{d.Repo, d.Revision, d.ChartDir}, []string{source.RepoURL, source.TargetRevision, source.Path})
		require.Equal(t, "chat", source.Helm.ReleaseName, "as Helm calls it")
		require.Equal(t, []string{"../values.yaml", "../images.yaml"}, source.Helm.ValueFiles)
		require.JSONEq(t, `{"part":"`+part+`"}`, string(source.Helm.ValuesObject.Raw))
		require.True(t, a.Spec.SyncPolicy.Automated.Prune && a.Spec.SyncPolicy.Automated.SelfHeal)
	}

	d.Parts = nil
	files, err = d.Apps()
	require.NoError(t, err)
	var a v1alpha1.Application
	require.NoError(t, yaml.UnmarshalStrict(files["whole.yaml"], &a))
	require.Nil(t, a.Spec.Source.Helm.ValuesObject, "a chart without parts knows no value of that name")
}
