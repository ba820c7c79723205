// Package shadow is `labctl shadow` and its subcommands.
package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/incluster"
)

// NewCmdShadow makes the command.
func NewCmdShadow(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shadow",
		Short: "Try a version of a service on live traffic, and compare",
		Long: `Try a version of a service on the traffic of the live one: it gets all that the live version gets, nobody hears what it says,
and labctl compares what the two make of it. Start it in the lab's cluster, or with ` + "`labctl dev --shadow`" + `.`,
		Example: `  labctl shadow start messaging --working-tree
  labctl shadow status
  labctl shadow diff messaging
  labctl shadow abort messaging`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCmdStart(f, nil), newCmdStatus(f, nil), newCmdDiff(f, nil), newCmdReport(f, nil), newCmdPromote(f, nil), newCmdRollback(f, nil), newCmdAbort(f, nil))
	return cmd
}

// evidence asks a shadow: the one of labctl dev where that runs one, else the one in the lab's cluster. service may be empty,
// where there is no other.
func evidence(ctx context.Context, f *cli.Factory, service string) (shadow.Evidence, error) {
	e, err := ask(ctx, f, service)
	return e, explainNone(err, service)
}

// explainNone says what to type where there is no shadow.
func explainNone(err error, service string) error {
	if !errors.Is(err, incluster.ErrNone) {
		return err
	}
	what := "there is no shadow"
	if service != "" {
		what += " of " + service
	}
	return &cli.Error{What: what, Next: []string{"labctl shadow start messaging --working-tree", "labctl dev --shadow messaging=DIRECTORY"}}
}

// ask is evidence whose error is incluster.ErrNone where there is no shadow.
func ask(ctx context.Context, f *cli.Factory, service string) (e shadow.Evidence, err error) {
	dir, err := f.LabDir()
	if err != nil {
		return e, err
	}
	e, err = askDev(ctx, dir, service)
	if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, shadow.ErrAway) {
		return e, err
	}
	l, err := app.Open(f)
	if err != nil {
		return e, err
	}
	return askCluster(ctx, l, service)
}

// askDev asks the shadow of labctl dev. The error is fs.ErrNotExist where it runs none, and shadow.ErrAway where it was killed.
func askDev(ctx context.Context, dir, service string) (e shadow.Evidence, err error) {
	b, err := os.ReadFile(filepath.Join(dir, ".lab", "dev", devlab.ShadowFile)) //nolint:gosec // a path of the lab's own
	if err != nil {
		return e, fmt.Errorf("find the shadow of labctl dev: %w", err)
	}
	var at shadow.Address
	if err := json.Unmarshal(b, &at); err != nil {
		return e, fmt.Errorf("find the shadow of labctl dev: %w", err)
	}
	if service != "" && service != at.Service {
		return e, fs.ErrNotExist
	}
	return at.Evidence(ctx)
}

// takes gives the name of the service that is asked about, which may be left out.
func takes(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
