package gitops

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/pmezard/go-difflib/difflib"
)

// Diff shows a change of files as a unified diff.
func Diff(before, change Files) (string, error) {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(change)) {
		content := change[name]
		if bytes.Equal(before[name], content) {
			continue
		}
		from, to := "a/"+name, "b/"+name
		if _, there := before[name]; !there {
			from = "/dev/null"
		}
		if content == nil {
			to = "/dev/null"
		}
		err := difflib.WriteUnifiedDiff(&b, difflib.UnifiedDiff{
			A: difflib.SplitLines(string(before[name])), B: difflib.SplitLines(string(content)), FromFile: from, ToFile: to, Context: 3,
		})
		if err != nil {
			return "", fmt.Errorf("compare %s: %w", name, err)
		}
	}
	return b.String(), nil
}
