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
	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/stack"
)

// NewCmdShadow makes the command.
func NewCmdShadow(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shadow",
		Short: "Try a version of a service on live traffic, and compare",
		Long: `See what a shadow found: a version of a service that gets the live traffic beside the live version, and whose results
nobody hears. ` + "`labctl dev --shadow`" + ` starts one.`,
		Example: `  labctl dev --shadow messaging=../my-change
  labctl shadow status
  labctl shadow diff messaging`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCmdStatus(f, nil), newCmdDiff(f, nil), newCmdReport(f, nil))
	return cmd
}

// evidence asks the shadow that labctl dev runs. service may be empty.
func evidence(ctx context.Context, f *cli.Factory, service string) (e shadow.Evidence, err error) {
	dir, err := labDir(f)
	if err != nil {
		return e, err
	}
	none := &cli.Error{What: "there is no shadow", Next: []string{"labctl dev --shadow messaging=DIRECTORY"}}
	b, err := os.ReadFile(filepath.Join(dir, ".lab", "dev", devlab.ShadowFile)) //nolint:gosec // a path of the lab's own
	if errors.Is(err, fs.ErrNotExist) {
		return e, none
	}
	var at shadow.Address
	if err == nil {
		err = json.Unmarshal(b, &at)
	}
	if err != nil {
		return e, fmt.Errorf("find the shadow: %w", err)
	}
	if service != "" && service != at.Service {
		none.What = fmt.Sprintf("there is no shadow of %s; there is one of %s", service, at.Service)
		none.Next = []string{"labctl shadow status " + at.Service}
		return e, none
	}
	e, err = at.Evidence(ctx)
	if errors.Is(err, shadow.ErrAway) { // labctl dev was killed
		none.Err = err
		return e, none
	}
	return e, err
}

// labDir is where lab.hcl is. The stacks are not looked at.
func labDir(f *cli.Factory) (string, error) {
	file := f.File
	if file == "" {
		found, err := stack.Find(f.WorkDir)
		if err != nil {
			return "", err
		}
		file = found
	}
	file, err := filepath.Abs(file)
	return filepath.Dir(file), err
}

// takes gives the name of the service that is asked about, which may be left out.
func takes(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
