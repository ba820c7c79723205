// Package iostreams holds the streams of one invocation: stdout carries the result, stderr the progress.
package iostreams

import (
	"bytes"
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// Streams are the three standard streams and what is known about them.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
	// Terminal says that Err is a terminal, so that progress may be redrawn in place.
	Terminal bool
	// Interactive says that In is a terminal, so that somebody is there to answer a question.
	Interactive bool
	// Screen says that In and Out are a terminal that can be drawn on.
	Screen bool
	// Color says that escape sequences may be written to Err.
	Color bool
}

// System gives the process's own streams. Colour follows NO_COLOR (no-color.org) and TERM=dumb.
func System(getenv func(string) string) *Streams {
	tty := isatty.IsTerminal(os.Stderr.Fd())
	return &Streams{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Terminal:    tty,
		Interactive: isatty.IsTerminal(os.Stdin.Fd()),
		Screen:      isatty.IsTerminal(os.Stdin.Fd()) && isatty.IsTerminal(os.Stdout.Fd()) && getenv("TERM") != "dumb",
		Color:       tty && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb",
	}
}

// Test gives streams that write to buffers.
func Test() (s *Streams, out, err *bytes.Buffer) {
	out, err = new(bytes.Buffer), new(bytes.Buffer)
	return &Streams{In: new(bytes.Buffer), Out: out, Err: err}, out, err
}
