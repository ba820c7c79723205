// Package cli is what all commands share: the factory that gives a command what it needs, the exit codes, and the way in
// which errors are shown. The commands are in the packages below it, one package for each.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// ExitCode is the exit code of the process. Scripts rely on the numbers (docs/guide/exit-codes.md).
type ExitCode int

// The exit codes.
const (
	ExitOK          ExitCode = 0   // success
	ExitFailed      ExitCode = 1   // something failed, or the command line is wrong
	ExitChanges     ExitCode = 2   // success, and there are changes or drift
	ExitConfig      ExitCode = 3   // lab.hcl, a stack or a chart is wrong; nothing was changed
	ExitMachine     ExitCode = 4   // the machine is not ready: a tool, a permission, a port or disk space is missing
	ExitInterrupted ExitCode = 130 // Ctrl-C, or the signal that a supervisor sends
)

// Error is a failure that the user can act on. Every field but What may be empty.
type Error struct {
	What  string   // what failed: "the lab is not up"
	Where string   // a file, a pod, a log
	Next  []string // commands to type next, the best first
	Err   error    // why
	Code  ExitCode // zero means ExitFailed
	// Shown says that the command has printed the error already, so that only the exit code is left.
	Shown bool
}

// Error gives what and why on one line, for logs and for wrapping.
func (e *Error) Error() string {
	switch {
	case e.Err == nil:
		return e.What
	case e.What == "":
		return e.Err.Error()
	}
	return e.What + ": " + e.Err.Error()
}

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// UsageError says that the command line is wrong.
type UsageError struct {
	Err     error
	Command string   // the command whose --help explains it, "labctl ship"
	Meant   []string // command lines that were probably meant
}

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the reason.
func (e *UsageError) Unwrap() error { return e.Err }

// Usagef says what is wrong with the command line of command.
func Usagef(command, format string, a ...any) error {
	return &UsageError{Err: fmt.Errorf(format, a...), Command: command}
}

// Takes wants exactly the named arguments, and says their names when one is missing.
func Takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return Usagef(cmd.CommandPath(), "%s needs %s", cmd.CommandPath(), strings.Join(names[len(args):], " "))
		case len(args) > len(names):
			return Usagef(cmd.CommandPath(), "%s does not take the argument %q", cmd.CommandPath(), strings.Join(args[len(names):], " "))
		}
		return nil
	}
}

// Silent ends the command with code and prints nothing: everything was said.
func Silent(code ExitCode) error { return &Error{Code: code, Shown: true, What: "see above"} }

// isReaderGone says whether err is only that nobody reads stdout any more, as after `labctl outputs | head -1`: whoever read had enough.
func isReaderGone(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && path.Path == os.Stdout.Name() && errors.Is(err, syscall.EPIPE)
}

// Code maps an error to the exit code. An interruption wins over whatever it made fail on its way out.
func Code(ctx context.Context, err error) ExitCode {
	if err == nil {
		return ExitOK
	}
	if isReaderGone(err) {
		return ExitOK
	}
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return ExitInterrupted
	}
	return Explain(err).Code
}
