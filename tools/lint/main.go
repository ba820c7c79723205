// Command lint checks this module with the analyzers that .golangci.yaml names, in one small program that builds in a
// tenth of the time that golangci-lint takes. golangci-lint itself runs in `make test-full`.
//
// usage: lint PACKAGES...
//
// It reads other modules from the export data that the build has made, which GOFLAGS chooses, and never their source. So
// it knows no facts about them: a call of a function that another module calls deprecated is found by golangci-lint only.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/gordonklaus/ineffassign/pkg/ineffassign"
	"github.com/kisielk/errcheck/errcheck"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/passes/appends"
	"golang.org/x/tools/go/analysis/passes/asmdecl"
	"golang.org/x/tools/go/analysis/passes/assign"
	"golang.org/x/tools/go/analysis/passes/atomic"
	"golang.org/x/tools/go/analysis/passes/bools"
	"golang.org/x/tools/go/analysis/passes/buildtag"
	"golang.org/x/tools/go/analysis/passes/cgocall"
	"golang.org/x/tools/go/analysis/passes/composite"
	"golang.org/x/tools/go/analysis/passes/copylock"
	"golang.org/x/tools/go/analysis/passes/defers"
	"golang.org/x/tools/go/analysis/passes/directive"
	"golang.org/x/tools/go/analysis/passes/errorsas"
	"golang.org/x/tools/go/analysis/passes/framepointer"
	"golang.org/x/tools/go/analysis/passes/hostport"
	"golang.org/x/tools/go/analysis/passes/httpresponse"
	"golang.org/x/tools/go/analysis/passes/ifaceassert"
	"golang.org/x/tools/go/analysis/passes/loopclosure"
	"golang.org/x/tools/go/analysis/passes/lostcancel"
	"golang.org/x/tools/go/analysis/passes/nilfunc"
	"golang.org/x/tools/go/analysis/passes/printf"
	"golang.org/x/tools/go/analysis/passes/shift"
	"golang.org/x/tools/go/analysis/passes/sigchanyzer"
	"golang.org/x/tools/go/analysis/passes/slog"
	"golang.org/x/tools/go/analysis/passes/stdmethods"
	"golang.org/x/tools/go/analysis/passes/stdversion"
	"golang.org/x/tools/go/analysis/passes/stringintconv"
	"golang.org/x/tools/go/analysis/passes/structtag"
	"golang.org/x/tools/go/analysis/passes/testinggoroutine"
	"golang.org/x/tools/go/analysis/passes/tests"
	"golang.org/x/tools/go/analysis/passes/timeformat"
	"golang.org/x/tools/go/analysis/passes/unmarshal"
	"golang.org/x/tools/go/analysis/passes/unreachable"
	"golang.org/x/tools/go/analysis/passes/unsafeptr"
	"golang.org/x/tools/go/analysis/passes/unusedresult"
	"golang.org/x/tools/go/analysis/passes/waitgroup"
	"golang.org/x/tools/go/packages"
	"honnef.co/go/tools/analysis/lint"
	"honnef.co/go/tools/simple"
	"honnef.co/go/tools/staticcheck"
	"honnef.co/go/tools/stylecheck"
)

// module is the path of the module that is checked.
const module = "github.com/labctl/labctl"

func main() {
	found, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(1)
	}
	for _, line := range found {
		fmt.Println(line)
	}
	if len(found) > 0 {
		os.Exit(3)
	}
}

// run gives what the analyzers report about the packages that the patterns name, and about their tests, sorted.
func run(patterns []string) ([]string, error) {
	packs, err := load(patterns)
	if err != nil {
		return nil, err
	}
	graph, err := checker.Analyze(analyzers(), packs, nil)
	if err != nil {
		return nil, err
	}
	tested := map[string]bool{} // import paths of packages that have been loaded with their tests, too
	for _, p := range packs {
		if p.ID != p.PkgPath && !strings.HasSuffix(p.PkgPath, "_test") {
			tested[p.PkgPath] = true
		}
	}
	var found []string
	for _, action := range graph.Roots {
		if action.Err != nil {
			return nil, fmt.Errorf("%s of %s: %w", action.Analyzer.Name, action.Package.ID, action.Err)
		}
		if action.Analyzer == unusedAnalyzer && action.Package.ID == action.Package.PkgPath && tested[action.Package.PkgPath] {
			continue // what only its tests use counts as used
		}
		for _, d := range action.Diagnostics {
			found = append(found, fmt.Sprintf("%s: %s", action.Package.Fset.Position(d.Pos), d.Message))
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// load reads the packages with their syntax, and of what they import from elsewhere the types alone.
func load(patterns []string) ([]*packages.Package, error) {
	mode := packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedTypes |
		packages.NeedTypesSizes | packages.NeedSyntax | packages.NeedTypesInfo | packages.NeedModule
	packs, err := packages.Load(&packages.Config{Mode: mode, Tests: true}, patterns...)
	if err != nil {
		return nil, err
	}
	packs = slices.DeleteFunc(packs, func(p *packages.Package) bool {
		return len(p.Syntax) == 0 || strings.HasSuffix(p.PkgPath, ".test") // all in its tests, or written by the go command
	})
	var problems []error
	for _, p := range packs {
		for _, e := range p.Errors {
			problems = append(problems, e)
		}
		for path, imported := range p.Imports {
			if !slices.Contains(packs, imported) {
				delete(p.Imports, path) // no facts are computed for it
			}
		}
	}
	return packs, errors.Join(problems...)
}

// analyzers lists what runs. Each leaves out what a nolint comment of its linter allows.
func analyzers() []*analysis.Analyzer {
	var all []*analysis.Analyzer
	add := func(linter string, keep keep, list ...*analysis.Analyzer) {
		for _, a := range list {
			filter(a, linter, keep)
			all = append(all, a)
		}
	}
	add("govet", nil,
		appends.Analyzer, asmdecl.Analyzer, assign.Analyzer, atomic.Analyzer, bools.Analyzer, buildtag.Analyzer, cgocall.Analyzer,
		composite.Analyzer, copylock.Analyzer, defers.Analyzer, directive.Analyzer, errorsas.Analyzer, framepointer.Analyzer,
		hostport.Analyzer, httpresponse.Analyzer, ifaceassert.Analyzer, loopclosure.Analyzer, lostcancel.Analyzer, nilfunc.Analyzer,
		printf.Analyzer, shift.Analyzer, sigchanyzer.Analyzer, slog.Analyzer, stdmethods.Analyzer, stdversion.Analyzer,
		stringintconv.Analyzer, structtag.Analyzer, testinggoroutine.Analyzer, tests.Analyzer, timeformat.Analyzer, unmarshal.Analyzer,
		unreachable.Analyzer, unsafeptr.Analyzer, unusedresult.Analyzer, waitgroup.Analyzer)
	add("errcheck", failsToAnEnd, errcheck.Analyzer)
	add("ineffassign", nil, ineffassign.Analyzer)
	for _, list := range [][]*lint.Analyzer{staticcheck.Analyzers, simple.Analyzers, stylecheck.Analyzers} {
		for _, a := range list {
			if !excludedChecks[a.Analyzer.Name] {
				add("staticcheck", nil, a.Analyzer)
			}
		}
	}
	add("unused", nil, unusedAnalyzer)
	add("gosec", outsideTests, gosecAnalyzer)
	add("depguard", nil, importsAnalyzer)
	add("nolintlint", nil, nolintAnalyzer)
	return all
}

// excludedChecks are those of staticcheck that .golangci.yaml leaves out.
var excludedChecks = map[string]bool{"ST1000": true, "ST1003": true, "ST1020": true, "ST1021": true, "ST1022": true}

// ours says whether a package belongs to the module that is checked.
func ours(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }
