// Command labctl turns one command into a whole DevOps lab.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/root"
	"github.com/labctl/labctl/pkg/iostreams"
)

// The linker sets these: -ldflags "-X main.version=v1.2.3".
var version, commit, date string

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		cancel() // what runs says that it is stopping
		<-signals
		os.Exit(int(cli.ExitInterrupted))
	}()
	code := root.Main(ctx, iostreams.System(os.Getenv), os.Getenv, cli.Build{Version: version, Commit: commit, Date: date}, os.Args)
	os.Exit(int(code))
}
