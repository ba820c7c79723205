package main

import (
	"strconv"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// rule forbids imports.
type rule struct {
	applies func(path string) bool // to the package of that path within the module
	tests   bool                   // to tests, too
	deny    []string               // packages, with those below them
	reason  string
}

// Imports run one way: cmd -> cli -> {lab, status, tui, adapters} -> leaves.
var importRules = []rule{
	{
		applies: is("cmd/labctl"), tests: true,
		deny:   []string{module + "/services", module + "/pkg/lab"},
		reason: "main knows signals and the exit code; the commands are in pkg/cli",
	},
	{
		applies: is("pkg/lab"),
		deny: []string{
			module + "/pkg/terraform", module + "/pkg/provider", module + "/pkg/cluster", module + "/pkg/image", module + "/pkg/chart", module + "/pkg/lease",
			module + "/pkg/argocd", module + "/pkg/gitops",
		},
		reason: "the engine declares interfaces; cli hands it the adapters",
	},
	{
		applies: func(path string) bool { return under("pkg")(path) && !under("pkg/cli")(path) },
		deny:    []string{module + "/pkg/cli"},
		reason:  "cli wires the engine and the adapters, never the other way",
	},
	{
		applies: func(path string) bool { return under("pkg")(path) && !under("pkg/cli")(path) && path != "pkg/lab" },
		deny:    []string{module + "/pkg/lab"},
		reason:  "adapters never import lab; cli wires them",
	},
	{
		applies: is("test/protocol"),
		deny:    []string{module + "/services", module + "/pkg"},
		reason:  "it knows the chat by docs/protocol.md alone",
	},
	{
		applies: is("pkg/stack", "pkg/event", "pkg/iostreams"),
		deny: []string{
			module + "/pkg/lab", module + "/pkg/cluster", module + "/pkg/image", module + "/pkg/chart", module + "/pkg/kube",
			module + "/pkg/terraform", module + "/pkg/provider",
		},
		reason: "a leaf stands alone",
	},
	{
		applies: under("services"), tests: true,
		deny:   []string{module + "/pkg"},
		reason: "services never import pkg",
	},
	{
		applies: func(path string) bool {
			return under("pkg")(path) && !is("pkg/cli/dev")(path) && !under("pkg/devlab", "pkg/chat", "pkg/load", "pkg/chaos", "pkg/shadow")(path)
		},
		deny:   []string{module + "/services"},
		reason: "only what runs them on this machine, and what tries them, import services",
	},
	{
		applies: func(path string) bool { return !under("pkg/terraform")(path) }, tests: true,
		deny:   []string{"github.com/hashicorp/terraform-exec"},
		reason: "pkg/terraform is its only importer",
	},
	{
		applies: func(path string) bool { return !under("pkg/image", "test")(path) },
		deny:    []string{"github.com/google/go-containerregistry"},
		reason:  "pkg/image is its only importer",
	},
	{
		// The tests of charts serve a registry with it.
		applies: func(path string) bool { return !under("pkg/image", "pkg/chart", "test")(path) }, tests: true,
		deny:   []string{"github.com/google/go-containerregistry"},
		reason: "pkg/image is its only importer",
	},
	{
		applies: func(path string) bool { return !under("pkg/argocd")(path) }, tests: true,
		deny:   []string{"github.com/argoproj"},
		reason: "pkg/argocd is its only importer",
	},
	{
		applies: func(path string) bool { return !under("pkg/gitops")(path) }, tests: true,
		deny:   []string{"github.com/go-git"},
		reason: "pkg/gitops is its only importer",
	},
	{
		applies: func(path string) bool { return !under("pkg/lease")(path) }, tests: true,
		deny:   []string{"github.com/Azure/azure-sdk-for-go"},
		reason: "pkg/lease is its only importer",
	},
	{
		applies: func(path string) bool { return !under("pkg/chart")(path) }, tests: true,
		deny:   []string{"helm.sh/helm"},
		reason: "pkg/chart is its only importer",
	},
	{
		applies: func(path string) bool { return !under("pkg/tui")(path) }, tests: true,
		deny:   []string{"github.com/charmbracelet"},
		reason: "pkg/tui is its only importer",
	},
}

func is(paths ...string) func(string) bool {
	return func(path string) bool {
		for _, p := range paths {
			if path == p {
				return true
			}
		}
		return false
	}
}

func under(paths ...string) func(string) bool {
	return func(path string) bool {
		for _, p := range paths {
			if path == p || strings.HasPrefix(path, p+"/") {
				return true
			}
		}
		return false
	}
}

// importsAnalyzer holds each package to importRules.
var importsAnalyzer = &analysis.Analyzer{
	Name: "depguard",
	Doc:  "imports run one way",
	Run: func(pass *analysis.Pass) (any, error) {
		if !ours(pass.Pkg.Path()) {
			return nil, nil
		}
		path := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(pass.Pkg.Path(), module), "/"), "_test")
		for _, file := range pass.Files {
			test := strings.HasSuffix(pass.Fset.Position(file.Pos()).Filename, "_test.go")
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return nil, err
				}
				if why := forbidden(path, imported, test); why != "" {
					pass.Reportf(spec.Pos(), "%s must not import %s: %s", path, imported, why)
				}
			}
		}
		return nil, nil
	},
}

// forbidden gives why a package, or its tests, must not import another, or "".
func forbidden(path, imported string, test bool) string {
	for _, r := range importRules {
		if r.applies(path) && (r.tests || !test) && under(r.deny...)(imported) {
			return r.reason
		}
	}
	return ""
}
