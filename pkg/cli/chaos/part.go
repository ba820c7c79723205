package chaos

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/devlab"
)

// NewCmdPart makes the hidden `labctl part`, as which labctl chaos starts itself for each part of the chat.
func NewCmdPart(f *cli.Factory) *cobra.Command {
	return &cobra.Command{
		Use:    "part NAME",
		Short:  "Run one part of the chat (labctl chaos uses this)",
		Hidden: true,
		Args:   cli.Takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := context.WithCancel(cmd.Context())
			defer stop()
			go func() {
				// Whoever started it holds its input: when they are gone, however that came, this is to go, too.
				_, _ = io.Copy(io.Discard, f.IO.In)
				stop()
			}()
			var level slog.Level
			if err := level.UnmarshalText([]byte(os.Getenv("LOG_LEVEL"))); err != nil {
				level = slog.LevelInfo
			}
			log := slog.New(slog.NewJSONHandler(f.IO.Err, &slog.HandlerOptions{Level: level})).With("service", args[0])
			return devlab.RunPart(ctx, args[0], f.Getenv, log)
		},
	}
}
