package cli

import (
	"context"
	"errors"
	"syscall"

	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/doctor"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// classify knows the errors of the packages below: which exit code each means, and what to type next.
func classify(err error) *Error {
	out := &Error{Err: err, Code: ExitFailed}
	var (
		config *stack.ConfigError
		locked *lab.LockedError
		port   *cluster.PortTakenError
		hint   interface{ Hint() string }
	)
	if errors.As(err, &hint) {
		out.Next = []string{hint.Hint()}
	}
	switch {
	case errors.Is(err, context.Canceled):
		out.Code = ExitInterrupted
	case errors.As(err, &config):
		out.Code = ExitConfig
		out.Next = []string{"labctl validate   (after correcting it)"}
	case errors.Is(err, stack.ErrNoLab):
		out.Code = ExitConfig
	case errors.As(err, &port):
		out.Code = ExitMachine
	case errors.Is(err, doctor.ErrNotReady):
		out.Code = ExitMachine
		out.Next = []string{"labctl up   (afterwards)"}
	case errors.Is(err, gobuild.ErrNoGo):
		out.Code = ExitMachine
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, gobuild.ErrDiskFull):
		out.Code = ExitMachine
		out.Next = []string{"labctl doctor   (it shows how much space the lab needs)"}
	case errors.As(err, &locked):
		// Nothing to type: it ends by itself, and the text says whose it is.
	case errors.Is(err, lab.ErrNotUp), errors.Is(err, cluster.ErrGone):
		out.Next = []string{"labctl up"}
	}
	return out
}
