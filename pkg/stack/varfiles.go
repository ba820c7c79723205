package stack

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// variableFiles reads the files of variables that the engine loads by itself, in its order: terraform.tfvars,
// terraform.tfvars.json, then *.auto.tfvars and *.auto.tfvars.json by name. The wiring is given to the engine after all of them,
// and wins. A value that its variable cannot take is a problem here, before anything runs.
func (l *loader) variableFiles(s *Stack) {
	entries, err := os.ReadDir(s.Dir)
	if err != nil || !s.HasTerraform() {
		return
	}
	var files []string
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, ".auto.tfvars") || strings.HasSuffix(name, ".auto.tfvars.json") {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	s.varFiles = map[string]hcl.Range{}
	for _, name := range append([]string{"terraform.tfvars", "terraform.tfvars.json"}, files...) {
		path := filepath.Join(s.Dir, name)
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		var f *hcl.File
		var diags hcl.Diagnostics
		if strings.HasSuffix(name, ".json") {
			f, diags = l.parser.ParseJSONFile(path)
		} else {
			f, diags = l.parser.ParseHCLFile(path)
		}
		if l.unparsed(f, diags) {
			continue
		}
		attrs, diags := f.Body.JustAttributes()
		l.add(diags...)
		for _, name := range names(attrs) {
			attr := attrs[name]
			s.varFiles[name] = attr.NameRange
			v, declared := s.Variables[name]
			value, diags := attr.Expr.Value(nil)
			if !declared || diags.HasErrors() || value.IsNull() {
				continue // the engine warns of the first, and refuses the second with the place
			}
			if _, at := v.take(value); at != nil {
				l.add(problem("wrong-type", within(attr.Expr, at.path), l.typeOf(v), "%s", at))
			}
		}
	}
}
