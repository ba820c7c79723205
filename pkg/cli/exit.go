// Package cli is the ground that every command stands on: the factory that hands a command what it needs, the exit
// codes, and the one way in which an error is shown. The commands live in the packages below it, one a verb.
package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// ExitCode is what the process ends with. The numbers are a promise to scripts (docs/guide/exit-codes.md).
type ExitCode int

// The exit codes.
const (
	ExitOK          ExitCode = 0   // done
	ExitFailed      ExitCode = 1   // something went wrong, or the command line was not understood
	ExitChanges     ExitCode = 2   // it went well, and there are changes or drift
	ExitConfig      ExitCode = 3   // lab.hcl, a stack or a chart is wrong; nothing was touched
	ExitMachine     ExitCode = 4   // the machine is not ready: a tool, a right, a port or space is missing
	ExitInterrupted ExitCode = 130 // Ctrl-C, or the signal that a supervisor sends
)

// Error is a failure that the user can act upon. Every part but What may be empty.
type Error struct {
	What  string   // what failed: "the lab is not up"
	Where string   // a file, a pod, a log
	Next  []string // commands to type next, the best first
	Err   error    // why
	Code  ExitCode // zero means ExitFailed
	// Shown says that the command has printed all of this already, so that only the code is left to deliver.
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

// UsageError says that the command line was not understood.
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
			return Usagef(cmd.CommandPath(), "%s wants %s", cmd.CommandPath(), strings.Join(names[len(args):], " "))
		case len(args) > len(names):
			return Usagef(cmd.CommandPath(), "%s does not know what to do with %q", cmd.CommandPath(), strings.Join(args[len(names):], " "))
		}
		return nil
	}
}

// Silent ends the command with code and prints nothing: everything was said.
func Silent(code ExitCode) error { return &Error{Code: code, Shown: true, What: "see above"} }

// Code maps an error to the exit code. An interruption wins over whatever it made fail on its way out.
func Code(ctx context.Context, err error) ExitCode {
	if err == nil {
		return ExitOK
	}
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return ExitInterrupted
	}
	return Explain(err).Code
}
