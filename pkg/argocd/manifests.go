// Package argocd installs Argo CD in a lab's cluster.
package argocd

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/labctl/labctl/pkg/kube"
)

// Namespace is where Argo CD runs. Its own manifests name it in the subjects of cluster role bindings.
const Namespace = "argocd"

// Settings are what differs from one lab to another.
type Settings struct {
	// References by digest, which the lab's registry has.
	ArgoCD string
	Redis  string
	Git    string // of the lab's own Git server

	IngressClass     string // by which the Git server is reached from the machine; "" is not at all
	IngressNamespace string // of the ingress controller; "" is not known
}

//go:embed git.yaml
var gitManifests string

var gitServer = template.Must(template.New("git").Parse(gitManifests))

// leftOut are the components of the official manifests that a lab does not run: single sign-on, and messages to chat rooms and
// mailboxes. A lab has one user, and two processes less.
var leftOut = []string{"dex-server", "notifications-controller"}

// settings are the keys of Argo CD's config maps that differ from the default, and why.
var settings = map[string]map[string]any{
	"argocd-cm": {
		// The label that is the default is one that charts set themselves, to another value than the application's name.
		"application.resourceTrackingMethod": "annotation",
		// Of an object with that label Argo CD believes that it has the annotation, too: what Helm made would look synced, and its changes would
		// go unnoticed.
		"application.instanceLabelKey": "argocd.argoproj.io/instance",
		// Without it a wave that makes Applications does not wait for what they make. It is not enough to ask for health: a
		// child whose commit was not applied yet is healthy by what it was before.
		"resource.customizations.health.argoproj.io_Application": applicationHealth,
		// Argo CD waits for an address in its status, which not every ingress controller writes.
		"resource.customizations.health.networking.k8s.io_Ingress": "return { status = \"Healthy\" }",
	},
	"argocd-cmd-params-cm": {
		// labctl comes by a port-forward, which the TLS of the cluster's API protects, and no ingress leads to the server.
		"server.insecure": "true",
		// Two at a time are enough on a laptop: each is a process of Helm.
		"reposerver.parallelism.limit": "2",
		// Who learns breaks a thing more than once. By default Argo CD waits longer each time before it heals it again, up to five minutes.
		"controller.self.heal.backoff.cap.seconds": "5",
	},
}

// applicationHealth is a script of Argo CD (https://argo-cd.readthedocs.io/en/stable/operator-manual/health/).
const applicationHealth = `local health = { status = "Progressing", message = "not looked at yet" }
if obj.status ~= nil and obj.status.health ~= nil then
  health.status = obj.status.health.status
  health.message = obj.status.health.message
  if health.status == "Healthy" and (obj.status.sync == nil or obj.status.sync.status ~= "Synced") then
    health.status = "Progressing"
    health.message = "what is in Git is not applied yet"
  end
end
return health
`

// Manifests makes Argo CD's official manifests those of a lab: with its images, its settings, its Git server, and without leftOut.
func Manifests(official []byte, lab Settings) ([]byte, error) {
	replace := map[string]string{"argocd": lab.ArgoCD, "redis": lab.Redis}
	used, set := map[string]bool{}, map[string]bool{}
	out := bytes.NewBufferString("apiVersion: v1\nkind: Namespace\nmetadata: { name: " + Namespace + ", labels: { app.kubernetes.io/managed-by: " + kube.FieldOwner + " } }\n")
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(official), 4096); ; {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(o)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read Argo CD's manifests: %w", err)
		}
		if len(o.Object) == 0 || isLeftOut(o) {
			continue
		}
		if values, ok := settings[o.GetName()]; ok && o.GetKind() == "ConfigMap" {
			set[o.GetName()] = true
			for key, value := range values {
				if err := unstructured.SetNestedField(o.Object, value, "data", key); err != nil {
					return nil, fmt.Errorf("config map %s: %w", o.GetName(), err)
				}
			}
		}
		if err := eachContainer(o, func(container map[string]any) error {
			image, _ := container["image"].(string)
			part, _, _ := strings.Cut(path.Base(image), ":")
			if replace[part] == "" {
				return fmt.Errorf("container %v has the image %s, which is none of those that the lab has", container["name"], image)
			}
			container["image"] = replace[part]
			container["imagePullPolicy"] = "IfNotPresent" // a digest is always the same
			used[part] = true
			return nil
		}); err != nil {
			return nil, fmt.Errorf("%s %s of Argo CD's manifests: %w", o.GetKind(), o.GetName(), err)
		}
		text, err := sigsyaml.Marshal(o.Object)
		if err != nil {
			return nil, err
		}
		out.WriteString("---\n")
		out.Write(text)
	}
	if len(used) != len(replace) || len(set) != len(settings) {
		return nil, errors.New("these are not the manifests of an Argo CD that this labctl knows: its images or config maps are missing")
	}
	out.WriteString("---\n")
	if err := gitServer.Execute(out, map[string]string{
		"Image": lab.Git, "IngressClass": lab.IngressClass, "IngressNamespace": lab.IngressNamespace, "Path": RepositoryPath,
	}); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func isLeftOut(o *unstructured.Unstructured) bool {
	if slices.Contains(leftOut, o.GetLabels()["app.kubernetes.io/component"]) {
		return true
	}
	for _, name := range leftOut { // a policy has no labels
		if strings.HasPrefix(o.GetName(), "argocd-"+name) {
			return true
		}
	}
	return false
}

// eachContainer calls f with each container of a workload's pods.
func eachContainer(o *unstructured.Unstructured, f func(container map[string]any) error) error {
	for _, list := range []string{"initContainers", "containers"} {
		containers, found, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", list)
		if err != nil || !found {
			continue // no workload, or one without such containers
		}
		for _, c := range containers {
			container, ok := c.(map[string]any)
			if !ok {
				return fmt.Errorf("%s: no list of containers", list)
			}
			if err := f(container); err != nil {
				return err
			}
		}
		if err := unstructured.SetNestedSlice(o.Object, containers, "spec", "template", "spec", list); err != nil {
			return err
		}
	}
	return nil
}
