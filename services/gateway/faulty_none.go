//go:build !faulty_sends

package gateway

import "github.com/labctl/labctl/services/internal/wire"

// isDropped is where a version with a fault differs, which docs/guide/shadow.md has a student catch: the build tag faulty_sends. This version has none.
func isDropped(wire.Record) bool { return false }
