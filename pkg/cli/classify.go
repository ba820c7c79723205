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
		build  *gobuild.Error
		lacks  *doctor.NotReadyError
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
	case errors.As(err, &lacks) && lacks.Lacks("root"), errors.Is(err, cluster.ErrNotRoot):
		out.Code = ExitMachine
		out.Next = []string{"sudo " + SameCommand, "labctl dev   (it needs neither root nor Kubernetes)"}
	case errors.Is(err, doctor.ErrNotReady), errors.Is(err, gobuild.ErrNoGo):
		out.Code = ExitMachine
		out.Next = []string{SameCommand + "   (afterwards)"}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, gobuild.ErrDiskFull):
		out.Code = ExitMachine
		out.Next = []string{"labctl doctor   (it shows how much space the lab needs)"}
	case errors.Is(err, gobuild.ErrNetwork):
		out.Next = []string{SameCommand + "   (afterwards)"}
	case errors.As(err, &build):
		out.Next = []string{SameCommand + "   (after correcting it)"}
	case errors.As(err, &locked):
		out.Next = []string{SameCommand + "   (when it is done)"}
	case errors.Is(err, lab.ErrNotUp), errors.Is(err, cluster.ErrGone):
		out.Next = []string{"labctl up"}
	}
	return out
}
