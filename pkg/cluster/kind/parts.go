package kind

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"text/template"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kind/pkg/cluster/nodes"
	"sigs.k8s.io/kind/pkg/cluster/nodeutils"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kube"
)

// The images of the cluster's own parts. They are put into the node itself, so that it works without any registry.
const (
	imageRegistry = "registry"
	imageIngress  = "skipper"
)

//go:embed manifests/*.yaml
var manifestFiles embed.FS

// The registry's blobs are on the node's /var, a volume that lives as long as the node. The registry's user owns them.
const (
	registryDir  = "/var/lib/labctl/registry"
	registryUser = "65532"
)

// parts are the workloads without which the cluster is not what a lab wants. The name service is kind's own.
var parts = [...]struct{ what, namespace, deployment string }{
	{"the name service", "kube-system", "coredns"},
	{"the image registry", "kube-system", "registry"},
	{"the ingress", "ingress", "skipper"},
}

// installParts brings the registry and the ingress into the cluster.
func (c *Cluster) installParts(ctx context.Context, e engine, o Options, client *kube.Client, report event.Report) error {
	handle, err := e.handle(o, report)
	if err != nil {
		return err
	}
	references := map[string]string{}
	for _, name := range []string{imageRegistry, imageIngress} {
		digest, err := c.Images.Build(ctx, name, report)
		if err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		if references[name], err = reference(name, digest); err != nil {
			return fmt.Errorf("image %s: %w", name, err)
		}
		if err := c.load(ctx, handle, name, references[name], report); err != nil {
			return err
		}
	}
	owned := []string{"-d", "-m", "0700", "-o", registryUser, "-g", registryUser, registryDir}
	if err := handle.CommandContext(ctx, "install", owned...).Run(); err != nil {
		return fmt.Errorf("make the registry's directory in the node: %w", explain(err))
	}
	rendered, err := manifests(references)
	if err != nil {
		return err
	}
	report.Doing("applying registry and ingress")
	if err := client.Apply(ctx, kube.Set{Name: "labctl-cluster"}, rendered, report); err != nil {
		return err
	}
	var deployments []kube.Object
	for _, p := range parts {
		deployments = append(deployments, kube.Object{GVK: appsv1.SchemeGroupVersion.WithKind("Deployment"), Namespace: p.namespace, Name: p.deployment})
	}
	return client.WaitObjects(ctx, deployments, report)
}

// reference names an image in the node after its content, so that a name that is there is the image that is wanted.
func reference(name, digest string) (string, error) {
	algorithm, sum, _ := strings.Cut(digest, ":")
	if algorithm != "sha256" || len(sum) != 2*sha256.Size {
		return "", fmt.Errorf("%q is no digest", digest)
	}
	return "localhost/lab/" + name + ":" + sum[:12], nil
}

// load puts an image into the node's containerd, where it is not there yet.
func (c *Cluster) load(ctx context.Context, handle nodes.Node, name, reference string, report event.Report) error {
	var there bytes.Buffer
	list := handle.CommandContext(ctx, "ctr", "--namespace=k8s.io", "images", "ls", "--quiet", "name=="+reference)
	if err := list.SetStdout(&there).Run(); err != nil {
		return fmt.Errorf("list the node's images: %w", explain(err))
	}
	if strings.TrimSpace(there.String()) == reference {
		return nil
	}
	report.Doing("loading image %s into the node", name)
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := c.Images.Archive(ctx, name, reference, w)
		_ = w.CloseWithError(err) // never fails
		written <- err
	}()
	err := nodeutils.LoadImageArchive(handle, r)
	_ = r.Close() // never fails; ends an Archive that nobody reads any more
	if archived := <-written; archived != nil && ctx.Err() != nil {
		return fmt.Errorf("load image %s into the node: %w", name, ctx.Err())
	} else if archived != nil && err == nil {
		err = archived
	}
	if err != nil {
		return fmt.Errorf("load image %s into the node: %w", name, explain(err))
	}
	return nil
}

// manifests are those of the cluster's own parts, with the given images.
func manifests(references map[string]string) ([]byte, error) {
	t, err := template.ParseFS(manifestFiles, "manifests/*.yaml")
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	for _, file := range []string{"registry.yaml", "ingress.yaml"} {
		all.WriteString("---\n")
		err := t.ExecuteTemplate(&all, file, map[string]any{
			"Registry": references[imageRegistry], "Ingress": references[imageIngress],
			"RegistryDir": registryDir, "RegistryUser": registryUser, "RegistryPort": registryPort,
			"IngressPort": ingressPort, "IngressClass": IngressClass,
		})
		if err != nil {
			return nil, err
		}
	}
	return all.Bytes(), nil
}

// partsOf is the hash of what the parts are made from.
func partsOf(o Options) string {
	rendered, err := manifests(nil)
	if err != nil {
		return "" // it is no cluster's; Ensure says the error
	}
	sum := sha256.Sum256(append(rendered, o.Sources...))
	return hex.EncodeToString(sum[:10])
}
