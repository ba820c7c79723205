//go:build unix && !linux

package doctor

import (
	"context"
	"errors"
)

var errNotLinux = errors.New("a lab's node runs on Linux only; `labctl dev` runs here")

func tryNamespaces(context.Context) error { return errNotLinux }
func tryOverlay(context.Context) error    { return errNotLinux }
