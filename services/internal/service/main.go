package service

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/labctl/labctl/services/check"
)

// Command is what a service's program does instead of serving when its first argument is Name.
type Command[C any] struct {
	Name string
	// Run gets the arguments behind the name. What it returns is written to stdout.
	Run func(ctx context.Context, c C, args []string) (string, error)
}

// Main runs a service until it ends or gets SIGINT or SIGTERM, and gives its exit code. With the arguments
// `-check URL` the program asks that URL instead: 0 for an answer of 200, 1 for any other. The images hold no other
// client that `helm test` could use.
func Main[C any](name string, configure func(getenv func(string) string) (C, error), run func(context.Context, C) error, commands ...Command[C]) int {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("service", name)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if args := os.Args[1:]; len(args) == 2 && args[0] == "-check" {
		if err := check.Ask(ctx, args[1]); err != nil {
			log.Error("check", "error", err)
			return 1
		}
		return 0
	}
	c, err := configure(os.Getenv)
	if err != nil {
		log.Error("bad configuration", "error", err)
		return 3
	}
	if len(os.Args) > 1 {
		return command(ctx, log, os.Stdout, c, os.Args[1:], commands)
	}
	if err := run(ctx, c); err != nil {
		log.Error("ends", "error", err)
		return 1
	}
	return 0
}

func command[C any](ctx context.Context, log *slog.Logger, stdout io.Writer, c C, args []string, commands []Command[C]) int {
	names := []string{"-check"}
	for _, cmd := range commands {
		if cmd.Name != args[0] {
			names = append(names, cmd.Name)
			continue
		}
		out, err := cmd.Run(ctx, c, args[1:])
		if err != nil {
			log.Error(cmd.Name, "error", err)
			return 1
		}
		_, _ = fmt.Fprintln(stdout, out)
		return 0
	}
	log.Error("no such command; to serve, give none", "command", args[0], "known", names)
	return 3
}
