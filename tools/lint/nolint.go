package main

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/tools/go/analysis"
)

// keep says whether a diagnostic in a file is reported.
type keep func(pass *analysis.Pass, file *ast.File, d analysis.Diagnostic) bool

// filter lets an analyzer report only what no nolint comment of its linter allows and what keep, if there is one, wants.
// It changes the analyzer in place, because analyzers that build on its result know it by its address.
func filter(a *analysis.Analyzer, linter string, keep keep) {
	run := a.Run
	a.Run = func(pass *analysis.Pass) (any, error) {
		report := pass.Report
		pass.Report = func(d analysis.Diagnostic) {
			file := fileOf(pass, d.Pos)
			if file == nil || ast.IsGenerated(file) || linter != "nolintlint" && allowed(pass.Fset, file, linter, d.Pos) {
				return
			}
			if keep == nil || keep(pass, file, d) {
				d.Message += " (" + linter + ")"
				report(d)
			}
		}
		defer func() { pass.Report = report }()
		return run(pass)
	}
}

func fileOf(pass *analysis.Pass, pos token.Pos) *ast.File {
	for _, f := range pass.Files {
		if f.FileStart <= pos && pos <= f.FileEnd {
			return f
		}
	}
	return nil
}

var nolint = regexp.MustCompile(`^//\s*nolint(?::([\w,]+))?(.*)$`)

// allowed says whether a nolint comment covers the line of pos. As in golangci-lint, a comment on a line of its own covers
// the declaration or statement that begins on the next line, and one that begins a file covers it whole.
func allowed(fset *token.FileSet, file *ast.File, linter string, pos token.Pos) bool {
	line := fset.Position(pos).Line
	for _, group := range file.Comments {
		for _, c := range group.List {
			found := nolint.FindStringSubmatch(c.Text)
			if found == nil || found[1] != "" && !slices.Contains(strings.Split(found[1], ","), linter) {
				continue
			}
			from := fset.Position(c.Pos()).Line
			if from == line || c.Pos() < file.Package || from <= line && line <= lastLine(fset, file, from) {
				return true
			}
		}
	}
	return false
}

// lastLine gives the last line of the largest node that begins on a line or, if the line holds only a comment, on the next.
func lastLine(fset *token.FileSet, file *ast.File, line int) int {
	last := line
	ast.Inspect(file, func(n ast.Node) bool {
		switch n.(type) {
		case nil, *ast.File, *ast.Comment, *ast.CommentGroup:
			return n != nil
		}
		begin, end := fset.Position(n.Pos()).Line, fset.Position(n.End()).Line
		if begin == line || begin == line+1 && fset.Position(n.Pos()).Column == commentColumn(fset, file, line) {
			last = max(last, end)
		}
		return begin <= line+1 && end >= line
	})
	return last
}

// commentColumn is where the comment of a line begins.
func commentColumn(fset *token.FileSet, file *ast.File, line int) int {
	for _, group := range file.Comments {
		if at := fset.Position(group.Pos()); at.Line == line {
			return at.Column
		}
	}
	return 0
}

// nolintAnalyzer wants each nolint comment to name its linters and its reason.
var nolintAnalyzer = &analysis.Analyzer{
	Name: "nolintlint",
	Doc:  "a nolint comment names its linters and its reason",
	Run: func(pass *analysis.Pass) (any, error) {
		for _, file := range pass.Files {
			for _, group := range file.Comments {
				for _, c := range group.List {
					switch found := nolint.FindStringSubmatch(c.Text); {
					case found == nil:
					case strings.HasPrefix(c.Text, "// "):
						pass.Reportf(c.Pos(), "write //nolint without a space")
					case found[1] == "":
						pass.Reportf(c.Pos(), "a nolint comment must name its linters: //nolint:gosec // reason")
					case len(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(found[2]), "//"))) == 0:
						pass.Reportf(c.Pos(), "a nolint comment must give its reason: //nolint:%s // reason", found[1])
					}
				}
			}
		}
		return nil, nil
	},
}

// outsideTests keeps what is in the code that runs.
func outsideTests(pass *analysis.Pass, _ *ast.File, d analysis.Diagnostic) bool {
	return !strings.HasSuffix(pass.Fset.Position(d.Pos).Filename, "_test.go") && !strings.HasPrefix(pass.Pkg.Path(), module+"/test/")
}

// harmless are the calls whose errors nobody can act upon; golangci-lint calls this list std-error-handling.
var harmless = regexp.MustCompile(`^(?:(?:os\.)?std(?:out|err)\..*|.*Close|.*Flush|os\.Remove(?:All)?|.*print(?:f|ln)?|os\.(?:Un)?Setenv)$`)

// failsToAnEnd keeps the unchecked errors that somebody can act upon.
func failsToAnEnd(_ *analysis.Pass, file *ast.File, d analysis.Diagnostic) bool {
	name := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil || n.Pos() > d.Pos || n.End() <= d.Pos {
			return false
		}
		if call, ok := n.(*ast.CallExpr); ok && (call.Pos() == d.Pos || call.Lparen == d.Pos) {
			name = render(call.Fun)
			return false
		}
		return true
	})
	return name == "" || !harmless.MatchString(name)
}

// render writes the name of a called function as in the source.
func render(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return render(e.X) + "." + e.Sel.Name
	case *ast.CallExpr:
		return render(e.Fun) + "()"
	case *ast.IndexExpr:
		return render(e.X) + "[]"
	default:
		return "?"
	}
}
