//go:build !faulty_offline

package presence

// isHeard says whether others are told of a state. It is where the version with a fault differs, which
// docs/guide/shadow.md has a student catch: the build tag faulty_offline. In this version they are told of each.
func isHeard(string) bool { return true }
