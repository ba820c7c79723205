// Command labctl turns one command into a whole DevOps lab.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/root"
	"github.com/labctl/labctl/pkg/interrupt"
	"github.com/labctl/labctl/pkg/iostreams"
)

// The linker sets these: -ldflags "-X main.version=v1.2.3".
var version, commit, date string

// insistGrace is how long what runs may take to give up after the second signal.
const insistGrace = 5 * time.Second

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	ctx, insist := interrupt.WithInsist(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel() // what runs says that it is stopping
		<-signals
		insist() // it leaves to themselves those that must not be cut off
		select {
		case <-signals:
		case <-time.After(insistGrace):
		}
		os.Exit(int(cli.ExitInterrupted))
	}()
	// A reader of our output that goes away ends nothing in the middle: a write to it fails, and the command decides.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	code := root.Main(ctx, iostreams.System(os.Getenv), os.Getenv, cli.Build{Version: version, Commit: commit, Date: date}, os.Args)
	os.Exit(int(code))
}
