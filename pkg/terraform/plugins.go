package terraform

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"

	"github.com/labctl/labctl/pkg/filelock"
)

// needs is what a stack's Terraform wants beside terraform itself.
type needs struct {
	lab      bool // the lab provider, which labctl serves
	download bool // a provider or a module from elsewhere
	backend  bool // a place for the state that its own files name
	programs bool // what its provisioners run
}

// needsOf reads a stack's files. Where it cannot tell, it says that the need is there.
func needsOf(files []string) needs {
	parser := hclparse.NewParser()
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "resource", LabelNames: []string{"type", "name"}},
		{Type: "data", LabelNames: []string{"type", "name"}},
		{Type: "ephemeral", LabelNames: []string{"type", "name"}},
		{Type: "module", LabelNames: []string{"name"}},
		{Type: "provider", LabelNames: []string{"name"}},
		{Type: "terraform"},
	}}
	provisioner := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "provisioner", LabelNames: []string{"type"}}}}
	inside := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "backend", LabelNames: []string{"type"}}, {Type: "cloud"}}}
	var n needs
	for _, path := range files {
		var f *hcl.File
		var diags hcl.Diagnostics
		if strings.HasSuffix(path, ".json") {
			f, diags = parser.ParseJSONFile(path)
		} else {
			f, diags = parser.ParseHCLFile(path)
		}
		if diags.HasErrors() {
			return needs{true, true, true, true}
		}
		content, _, diags := f.Body.PartialContent(schema)
		if diags.HasErrors() {
			return needs{true, true, true, true}
		}
		for _, b := range content.Blocks {
			if b.Type == "terraform" {
				settings, _, diags := b.Body.PartialContent(inside)
				n.backend = n.backend || diags.HasErrors() || len(settings.Blocks) > 0
				continue
			}
			if b.Type == "resource" {
				resource, _, diags := b.Body.PartialContent(provisioner)
				n.programs = n.programs || diags.HasErrors() || len(resource.Blocks) > 0
			}
			switch prefix, _, _ := strings.Cut(b.Labels[0], "_"); {
			case b.Type == "module":
				n.lab, n.download = true, true
			case prefix == "lab":
				n.lab = true
			case prefix != "terraform": // that one is built in
				n.download = true
			}
		}
	}
	return n
}

// lockPlugins lets one init at a time, of any labctl on this machine, fill the shared cache of providers.
func (s *session) lockPlugins(ctx context.Context) (unlock func(), err error) {
	dir := s.env[pluginCache]
	if dir == "" || !s.needs.download {
		return func() {}, nil
	}
	lock, err := filelock.Wait(ctx, filepath.Join(dir, ".labctl-lock"), func() {
		s.report.Doing("terraform init (waiting for another one, which fills the cache of providers)")
	})
	if err != nil {
		return nil, err
	}
	return lock.Unlock, nil
}
