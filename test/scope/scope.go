// Package scope says how much a test tries: `make test` a part, `make test-full` all of it.
package scope

import (
	"os"
	"testing"
)

// variable is set to 1 by `make test-full`. Beside this package, the browser test reads it.
const variable = "LABCTL_TEST_FULL"

// Full says whether everything is to be tried, however long it takes.
func Full() bool { return os.Getenv(variable) == "1" }

// Of gives one of two values: how many seeds, or which points.
func Of[T any](quick, full T) T {
	if Full() {
		return full
	}
	return quick
}

// SkipUnlessFull leaves a test to `make test-full`.
func SkipUnlessFull(t *testing.T, why string) {
	t.Helper()
	if !Full() {
		t.Skip("left to make test-full: " + why)
	}
}
