//go:build unix

package image

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The labels that tell where an image comes from, beside those of the OCI.
const (
	labelBuilder = "io.labctl.build.builder"
	labelGo      = "io.labctl.build.go"
	labelPackage = "io.labctl.build.package"
	labelSource  = "io.labctl.build.source" // hash of all sources
	labelSBOM    = "io.labctl.build.sbom"   // where the bill of materials lies
)

// base returns the image that the program's layer goes on. Nil packages is none.
func (b *Builder) base(ctx context.Context, r *recipe, packages v1.Layer) (v1.Image, error) {
	if r.Base != "" {
		img, err := b.fetch(ctx, r.Base)
		if err != nil {
			return nil, fmt.Errorf("get the base image %s: %w: make its registry reachable, or leave `base` out of %s to build on an empty one",
				r.Base, err, filepath.Join(r.dir, recipeFile))
		}
		return img, nil
	}
	layer, err := baseLayer()
	if err != nil {
		return nil, err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	layers := []mutate.Addendum{{Layer: layer, History: v1.History{
		Created: v1.Time{Time: epoch}, CreatedBy: "labctl: certificate authorities, users, directories",
	}}}
	if packages != nil {
		layers = append(layers, mutate.Addendum{Layer: packages, History: v1.History{
			Created: v1.Time{Time: epoch}, CreatedBy: "labctl: packages " + strings.Join(r.Packages, ", "),
		}})
	}
	return mutate.Append(img, layers...)
}

// compose puts the program's layer on base and configures the result.
func compose(base v1.Image, layer v1.Layer, arch string, r *recipe, in *inputs) (v1.Image, error) {
	img, err := mutate.Append(base, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: epoch}, CreatedBy: "labctl: " + r.Binary + " and its bill of materials",
	}})
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Created, config.Author = v1.Time{Time: epoch}, ""
	config.OS, config.Architecture = "linux", arch // containerd drops an image that does not say so
	if arch == "arm64" {
		config.Variant = "v8"
	}
	config.Config.Entrypoint, config.Config.Cmd = r.Entrypoint, r.Args
	config.Config.User = strconv.Itoa(*r.User) + ":" + strconv.Itoa(*r.User)
	config.Config.WorkingDir = r.Workdir
	config.Config.Env = environment(config.Config.Env, r.Env)
	labels := map[string]string{
		"org.opencontainers.image.title": r.name,
		// The revision is left out on purpose: a commit that does not touch this image must not change its digest. The
		// hash of the sources says more exactly what is in it.
		labelBuilder: "labctl/pkg/image " + recipeVersion,
		labelGo:      in.Go,
		labelSource:  "sha256:" + in.sourceHash(),
		labelSBOM:    "/usr/share/sbom/" + r.name + ".cdx.json",
	}
	if r.Package != "" {
		labels[labelPackage] = r.Package
	}
	if r.own {
		labels["org.opencontainers.image.source"] = "https://github.com/labctl/labctl"
		labels["org.opencontainers.image.licenses"] = "Apache-2.0"
	}
	if r.Version != "" {
		labels["org.opencontainers.image.version"] = r.Version
	}
	maps.Copy(labels, r.Labels)
	if config.Config.Labels == nil {
		config.Config.Labels = map[string]string{}
	}
	maps.Copy(config.Config.Labels, labels)
	return mutate.ConfigFile(img, config)
}

// environment sets the recipe's variables over the base's.
func environment(base []string, set map[string]string) []string {
	all := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, kv := range base {
		key, value, _ := strings.Cut(kv, "=")
		all[key] = value
	}
	maps.Copy(all, set)
	var env []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		env = append(env, key+"="+all[key])
	}
	return env
}
