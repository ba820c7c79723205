package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/cluster"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

type hinted struct{}

func (hinted) Error() string { return "not ready" }
func (hinted) Hint() string  { return "labctl logs auth" }

func TestCode(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, tc := range map[string]struct {
		ctx  context.Context
		err  error
		want ExitCode
	}{
		"done":                        {err: nil, want: ExitOK},
		"anything":                    {err: errors.New("x"), want: ExitFailed},
		"usage":                       {err: Usagef("labctl ship", "x"), want: ExitFailed},
		"configuration":               {err: fmt.Errorf("open: %w", &stack.ConfigError{}), want: ExitConfig},
		"no lab":                      {err: fmt.Errorf("open: %w", stack.ErrNoLab), want: ExitConfig},
		"port":                        {err: fmt.Errorf("up: %w", &cluster.PortTakenError{Port: 1}), want: ExitMachine},
		"port inside an error":        {err: &Error{What: "up", Err: &cluster.PortTakenError{Port: 1}}, want: ExitMachine},
		"disk full":                   {err: fmt.Errorf("write: %w", syscall.ENOSPC), want: ExitMachine},
		"locked":                      {err: &lab.LockedError{}, want: ExitFailed},
		"its own code":                {err: fmt.Errorf("x: %w", &Error{Code: ExitChanges}), want: ExitChanges},
		"canceled within":             {err: fmt.Errorf("x: %w", context.Canceled), want: ExitInterrupted},
		"failed after an interrupt":   {ctx: canceled, err: errors.New("signal: killed"), want: ExitInterrupted},
		"finished after an interrupt": {ctx: canceled, err: nil, want: ExitOK},
		"silent":                      {err: Silent(7), want: 7},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := tc.ctx
			if ctx == nil {
				ctx = t.Context()
			}
			require.Equal(t, tc.want, Code(ctx, tc.err))
		})
	}
}

func TestPrint(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"plain":       {errors.New("it broke"), "error: it broke\n"},
		"many lines":  {errors.New("it broke\nhere\n  and there"), "error: it broke\n  here\n    and there\n"},
		"with a hint": {fmt.Errorf("up: %w", hinted{}), "error: up: not ready\nnext:  labctl logs auth\n"},
		"whole": {&Error{What: "the lab is not up", Err: errors.New("reason"), Where: "log x", Next: []string{"a", "b"}},
			"error: the lab is not up\n  reason\nwhere: log x\nnext:  a\nor:    b\n"},
		"wrapped": {fmt.Errorf("outer: %w", &Error{What: "inner", Next: []string{"a"}}), "error: outer: inner\nnext:  a\n"},
		"not up":  {fmt.Errorf("read: %w", lab.ErrNotUp), "error: read: " + lab.ErrNotUp.Error() + "\nnext:  labctl up\n"},
		"usage":   {Usagef("labctl ship", "say which"), "error: say which\nnext:  labctl ship --help\n"},
		"silent":  {Silent(2), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			Print(&b, Explain(tc.err), &Factory{}, false)
			require.Equal(t, tc.want, b.String())
		})
	}
}
