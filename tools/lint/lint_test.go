package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestConfigurationIsGolangciLints holds what this program leaves out to what .golangci.yaml leaves out.
func TestConfigurationIsGolangciLints(t *testing.T) {
	b, err := os.ReadFile("../../.golangci.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var checks []string
	for name := range excludedChecks {
		checks = append(checks, `"-`+name+`"`)
	}
	slices.Sort(checks)
	if want := `checks: ["all", ` + strings.Join(checks, ", ") + `, "-QF*"]`; !strings.Contains(string(b), want) {
		t.Errorf(".golangci.yaml has no line %s", want)
	}
	var rules []string
	for _, found := range regexp.MustCompile(`(?m)^ +- (G\d+)`).FindAllStringSubmatch(string(b), -1) {
		rules = append(rules, found[1])
	}
	if !slices.Equal(rules, excludedRules) {
		t.Errorf("gosec's rules that are left out: %v in .golangci.yaml, %v here", rules, excludedRules)
	}
	for rule, mode := range fileModes {
		if want := rule + `: "` + mode + `"`; !strings.Contains(string(b), want) {
			t.Errorf(".golangci.yaml has no line %s", want)
		}
	}
}

// TestFaultsAreFound checks a package with a fault for each linter.
func TestFaultsAreFound(t *testing.T) {
	t.Chdir("testdata/faults")
	found, err := run([]string{"."})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(found, "\n")
	for _, want := range []string{
		`faults.go:11:.*func neverCalled is unused \(unused\)`,
		`faults.go:14:.*unchecked error \(errcheck\)`,
		`faults.go:16:.*wrong type string \(govet\)`,
		`faults.go:17:.*ineffectual assignment to x \(ineffassign\)`,
		`faults.go:4:.*G501.*\(gosec\)`,
		`faults.go:20:.*does not return negative values \(staticcheck\)`,
		`faults.go:23:.*must name its linters.*\(nolintlint\)`,
		`faults.go:24:.*G306.*\(gosec\)`,
		`faults.go:25:.*must give its reason.*\(nolintlint\)`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("%s is not found in\n%s", want, text)
		}
	}
	for _, line := range []string{"faults.go:15:", "faults.go:26:", "faults.go:27:"} {
		if strings.Contains(text, line) {
			t.Errorf("%s is reported in\n%s", line, text)
		}
	}
}

func TestImports(t *testing.T) {
	for _, c := range []struct {
		name, path, imported string
		test, forbidden      bool
	}{
		{name: "main imports the engine", path: "cmd/labctl", imported: module + "/pkg/lab", forbidden: true},
		{name: "an adapter imports the engine", path: "pkg/image", imported: module + "/pkg/lab", forbidden: true},
		{name: "the tests of an adapter", path: "pkg/image", imported: module + "/pkg/lab", test: true},
		{name: "the commands import the engine", path: "pkg/cli/up", imported: module + "/pkg/lab"},
		{name: "the engine imports an adapter", path: "pkg/lab", imported: module + "/pkg/chart", forbidden: true},
		{name: "a service imports pkg", path: "services/auth", imported: module + "/pkg/kafka", forbidden: true},
		{name: "the tests of a service import pkg", path: "services/auth", imported: module + "/pkg/kafka", test: true, forbidden: true},
		{name: "an adapter imports a service", path: "pkg/kafka", imported: module + "/services/auth", forbidden: true},
		{name: "the chat's harness imports a service", path: "pkg/devlab", imported: module + "/services/auth"},
		{name: "Helm", path: "pkg/lab", imported: "helm.sh/helm/v4/pkg/action", forbidden: true},
		{name: "Helm in its package", path: "pkg/chart", imported: "helm.sh/helm/v4/pkg/action"},
		{name: "a package whose name begins alike", path: "pkg/lab", imported: module + "/pkg/charts"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if why := forbidden(c.path, c.imported, c.test); (why != "") != c.forbidden {
				t.Errorf("forbidden: %q", why)
			}
		})
	}
}
