package main

import (
	"golang.org/x/tools/go/analysis"
	"honnef.co/go/tools/unused"
)

// unusedAnalyzer reports what staticcheck's unused finds.
var unusedAnalyzer = &analysis.Analyzer{
	Name:     "unused",
	Doc:      "find what nobody uses",
	Requires: []*analysis.Analyzer{unused.Analyzer.Analyzer},
	Run: func(pass *analysis.Pass) (any, error) {
		for _, o := range pass.ResultOf[unused.Analyzer.Analyzer].(unused.Result).Unused {
			for _, f := range pass.Files {
				if file := pass.Fset.File(f.Pos()); file.Name() == o.Position.Filename && o.Position.Line <= file.LineCount() {
					pass.Reportf(file.LineStart(o.Position.Line), "%s %s is unused", o.Kind, o.Name)
				}
			}
		}
		return nil, nil
	},
}
