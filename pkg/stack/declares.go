package stack

import "github.com/hashicorp/hcl/v2"

// Declares says whether a stack declares a resource of that type.
func (g *Graph) Declares(resourceType string) bool {
	schema := &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "resource", LabelNames: []string{"type", "name"}}}}
	files := g.loader.parser.Files()
	for _, s := range g.Stacks {
		for _, path := range s.Files {
			f, parsed := files[path]
			if !parsed {
				continue
			}
			content, _, _ := f.Body.PartialContent(schema) // what is wrong with a block is terraform's to say
			for _, b := range content.Blocks {
				if b.Labels[0] == resourceType {
					return true
				}
			}
		}
	}
	return false
}
