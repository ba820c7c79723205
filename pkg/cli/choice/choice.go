// Package choice is how commands are told which stacks they are about, and how to go about them.
package choice

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/lab"
)

// Flags choose stacks.
type Flags struct {
	Stacks   []string // the arguments
	From, To string
	Only     []string
	Skip     []string
	Since    string // a revision of Git
	Parallel int
	FailFast bool

	changed []string // what Changed found
}

// defaultParallel uses the machine: terraform mostly waits for others, so two stacks at once pay on one core, too.
func defaultParallel() int { return min(max(runtime.NumCPU(), 2), 8) }

// maxParallel is a guard against a slip of the finger: every stack at work is a process of terraform, of some 100 MB.
const maxParallel = 64

// Add gives cmd the flags, and lets the shell complete the names of stacks.
func (c *Flags) Add(cmd *cobra.Command, f *cli.Factory) {
	flags := cmd.Flags()
	flags.StringVar(&c.From, "from", "", "choose the stacks from `STACK` on")
	flags.StringVar(&c.To, "to", "", "choose the stacks up to `STACK`")
	flags.StringSliceVar(&c.Only, "only", nil, "choose exactly these stacks: `STACK,...`")
	flags.StringVar(&c.Since, "since", "", "only the stacks that changed since the Git revision `REF`, and the stacks that need them")
	flags.StringSliceVar(&c.Skip, "skip", nil, "leave out these stacks: `STACK,...`")
	complete := func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		g, err := f.Graph()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var ids []string
		for _, s := range g.Stacks {
			ids = append(ids, s.ID)
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.ValidArgsFunction = complete
	for _, name := range []string{"from", "to", "only", "skip"} {
		_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails for a flag that is not there only
	}
}

// AddParallel adds the flags of commands that can work on several stacks at once.
func (c *Flags) AddParallel(cmd *cobra.Command) {
	c.AddParallelOnly(cmd)
	cmd.Flags().BoolVar(&c.FailFast, "fail-fast", false, "stop the whole run when one stack fails, not only the stacks that need it")
}

// AddParallelOnly adds the flag of commands whose first failure ends them anyway.
func (c *Flags) AddParallelOnly(cmd *cobra.Command) {
	cmd.Flags().IntVarP(&c.Parallel, "parallel", "p", 0, "work on up to `N` independent stacks at once (default: one per core, 2 to 8)")
}

// Check looks at the numbers before anything runs.
func (c *Flags) Check(command string) error {
	if c.Parallel < 0 || c.Parallel > maxParallel {
		return cli.Usagef(command, "--parallel %d: use a number from 1 to %d", c.Parallel, maxParallel)
	}
	return nil
}

// Changed asks Git what changed in dir since the revision that was given. It is called before Apply.
func (c *Flags) Changed(ctx context.Context, dir string) error {
	if c.Since == "" {
		return nil
	}
	git := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			return "", &cli.Error{What: "Git does not say what changed since " + c.Since, Err: fmt.Errorf("git %s: %w\n%s", args[0], err, strings.TrimSpace(said.String()))}
		}
		return string(out), nil
	}
	top, err := git("rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	top = strings.TrimSpace(top)
	c.changed = []string{}
	for _, args := range [][]string{{"diff", "--name-only", "-z", "--no-renames", c.Since, "--"}, {"ls-files", "--others", "--exclude-standard", "--full-name", "-z"}} {
		out, err := git(args...)
		if err != nil {
			return err
		}
		for path := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
			if path != "" {
				c.changed = append(c.changed, filepath.Join(top, path))
			}
		}
	}
	return nil
}

// Apply puts what was chosen into the options of a run.
func (c *Flags) Apply(o *lab.Options) {
	o.Selection = lab.Selection{Stacks: c.Stacks, From: c.From, To: c.To, Only: c.Only, Skip: c.Skip, Changed: c.changed}
	o.Parallel, o.FailFast = c.Parallel, c.FailFast
	if o.Parallel == 0 {
		o.Parallel = defaultParallel()
	}
}

// Words gives the choice of stacks as it is typed after a command, beginning with a space where there is any.
func (c *Flags) Words() string {
	words := slices.Clone(c.Stacks)
	for _, flag := range []struct {
		name   string
		values []string
	}{{"--from", []string{c.From}}, {"--to", []string{c.To}}, {"--only", c.Only}, {"--skip", c.Skip}, {"--since", []string{c.Since}}} {
		if value := strings.Join(flag.values, ","); value != "" {
			words = append(words, flag.name, value)
		}
	}
	var b strings.Builder
	for _, w := range words {
		b.WriteString(" " + cli.Quote(w))
	}
	return b.String()
}

// Explain turns an error about the choice into one about the command line.
func Explain(command string, err error) error {
	if errors.Is(err, lab.ErrSelection) {
		return &cli.UsageError{Err: err, Command: command}
	}
	return err
}
