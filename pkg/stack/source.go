package stack

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

var (
	// upward matches what leads out of a directory in a relative path.
	upward = regexp.MustCompile(`\.\.(/\.\.)*`)
	// impureCall matches calls whose result depends on more than files and inputs.
	impureCall = regexp.MustCompile(`\b(timestamp|plantimestamp|uuid|bcrypt|pathexpand|abspath)\(|\bpath\.cwd\b`)
	// fileCall matches calls that read files, with the beginning of the path.
	fileCall = regexp.MustCompile(`\b(?:file[a-z0-9]*|templatefile)\(\s*(.{0,16})`)
	// insidePath matches the beginning of a path that stays in the module, unless it goes up, which upward finds.
	insidePath = regexp.MustCompile(`^"(\$\{path\.(module|root)\}|[^/~$"])|^path\.module\b`)
)

var sourceSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
	{Type: "module", LabelNames: []string{"name"}},
	{Type: "data", LabelNames: []string{"type", "name"}},
	{Type: "ephemeral", LabelNames: []string{"type", "name"}},
	{Type: "check", LabelNames: []string{"name"}},
}}

// sources finds what the stack's configuration is made of beside the stack's own directory: the local modules, how far up its
// relative paths lead, and whether the same files and inputs always give the same.
func (l *loader) sources(s *Stack) {
	if !s.HasTerraform() {
		return
	}
	s.reach = s.Real
	seen := map[string]bool{s.Real: true}
	queue := []string{s.Real} // as the engine names them: relative to the stack's real directory, links not resolved
	for len(queue) > 0 {
		dir := queue[0]
		queue = queue[1:]
		files := s.Files
		if dir != s.Real {
			files, _ = terraformFiles(dir, l.tofu) // a directory that cannot be read was reported where it is called
		}
		for _, path := range files {
			for _, module := range l.sourceFile(s, dir, path) {
				if at := real(module); !seen[at] {
					seen[at] = true
					queue = append(queue, module)
					if !isBelow(s.Real, at) {
						s.Modules = append(s.Modules, at)
					}
				}
			}
		}
	}
}

// sourceFile looks at one file of the module in dir and gives the local modules that it calls.
func (l *loader) sourceFile(s *Stack, dir, path string) []string {
	f, parsed := l.parser.Files()[path]
	if !parsed {
		var diags hcl.Diagnostics
		if strings.HasSuffix(path, ".json") {
			f, diags = l.parser.ParseJSONFile(path)
		} else {
			f, diags = l.parser.ParseHCLFile(path)
		}
		if diags.HasErrors() || f == nil { // of a module: the engine says what is wrong with it
			return nil
		}
	}
	impure := func(why string) {
		if s.Impure == "" {
			s.Impure = why + " (" + l.display(path) + ")"
		}
	}
	content, _, _ := f.Body.PartialContent(sourceSchema) // what is wrong with the rest is the engine's to say
	var modules []string
	climbs := 0 // relative paths to modules, which are followed
	for _, block := range content.Blocks {
		if block.Type != "module" {
			impure("it reads " + block.Type + " blocks")
			continue
		}
		attrs, _, _ := block.Body.PartialContent(&hcl.BodySchema{Attributes: []hcl.AttributeSchema{{Name: "source"}}})
		attr, has := attrs.Attributes["source"]
		if !has {
			continue
		}
		v, diags := attr.Expr.Value(nil)
		if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
			impure("it calls a module whose source is not a plain value")
			continue
		}
		source := filepath.ToSlash(v.AsString())
		if !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, "../") {
			impure("it calls a module from elsewhere")
			continue
		}
		climbs += len(upward.FindAllString(source, -1))
		module := filepath.Join(dir, filepath.FromSlash(source))
		if info, err := os.Stat(module); err != nil || !info.IsDir() {
			if slices.ContainsFunc(s.Hooks, func(h *Hook) bool { return h.When == "before" }) {
				impure("it calls a module that a hook may write")
				continue
			}
			l.add(problem("no-such-module", attr.Expr.Range(), "A module is a directory, named from the one that the file lies in.", "there is no module at %s", l.display(module)))
			continue
		}
		modules = append(modules, module)
	}
	text := string(f.Bytes)
	found := upward.FindAllString(text, -1)
	for _, path := range found {
		up := strings.Count(path, "..")
		for _, from := range []string{dir, s.Real} { // path.module and path.root
			s.reach = commonDir(s.reach, ancestor(from, up))
		}
	}
	if len(found) > climbs {
		impure("it reads outside its directory")
	}
	if impureCall.MatchString(text) {
		impure("it calls a function that gives something else each time or place")
	}
	for _, m := range fileCall.FindAllStringSubmatch(text, -1) {
		if !insidePath.MatchString(m[1]) {
			impure("it may read a file outside its directory")
		}
	}
	return modules
}

// ancestor is the directory so many levels above dir.
func ancestor(dir string, up int) string {
	for range up {
		dir = filepath.Dir(dir)
	}
	return dir
}

// commonDir is the lowest directory that holds, or is, both. Both are absolute.
func commonDir(a, b string) string {
	for !isBelow(a, b) {
		a = filepath.Dir(a)
	}
	return a
}

// isBelow says whether path is dir or lies in it.
func isBelow(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// real resolves every link in path, as far as path exists.
func real(path string) string {
	if out, err := filepath.EvalSymlinks(path); err == nil {
		return out
	}
	return path
}
