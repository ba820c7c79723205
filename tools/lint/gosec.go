package main

import (
	"io"
	"log"
	"strconv"
	"strings"

	"github.com/securego/gosec/v2"
	ssa "github.com/securego/gosec/v2/analyzers"
	"github.com/securego/gosec/v2/rules"
	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/passes/buildssa"
	"golang.org/x/tools/go/packages"
)

// excludedRules and fileModes are those of .golangci.yaml, which gives the reasons.
var (
	excludedRules = []string{"G104", "G204", "G304", "G115", "G122", "G703"}
	fileModes     = map[string]string{"G301": "0755", "G302": "0755", "G306": "0755"}
)

// gosecAnalyzer is gosec's own analyzer with our configuration, which that one has no way to take.
var gosecAnalyzer = &analysis.Analyzer{
	Name:     "gosec",
	Doc:      "look for security problems",
	Requires: []*analysis.Analyzer{buildssa.Analyzer},
	Run:      runGosec,
}

func runGosec(pass *analysis.Pass) (any, error) {
	config := gosec.NewConfig()
	for rule, mode := range fileModes {
		config.Set(rule, mode)
	}
	checker := gosec.NewAnalyzer(config, false, true, false, 1, log.New(io.Discard, "", 0))
	checker.LoadRules(rules.Generate(false, rules.NewRuleFilter(true, excludedRules...)).RulesInfo())
	checker.LoadAnalyzers(ssa.Generate(false, ssa.NewAnalyzerFilter(true, excludedRules...)).AnalyzersInfo())

	pkg := &packages.Package{
		Name: pass.Pkg.Name(), Fset: pass.Fset, Syntax: pass.Files, Types: pass.Pkg, TypesInfo: pass.TypesInfo, TypesSizes: pass.TypesSizes,
	}
	for _, f := range pass.Files {
		pkg.CompiledGoFiles = append(pkg.CompiledGoFiles, pass.Fset.File(f.Pos()).Name())
	}
	checker.CheckRules(pkg)
	checker.CheckAnalyzersWithSSA(pkg, pass.ResultOf[buildssa.Analyzer].(*buildssa.SSA))

	issues, _, _ := checker.Report()
	for _, issue := range issues {
		line, _, _ := strings.Cut(issue.Line, "-") // of a range, its first
		n, err := strconv.Atoi(line)
		if err != nil {
			continue
		}
		for _, f := range pass.Files {
			if file := pass.Fset.File(f.Pos()); file.Name() == issue.File && n <= file.LineCount() {
				pass.Reportf(file.LineStart(n), "%s: %s", issue.RuleID, issue.What)
			}
		}
	}
	return nil, nil
}
