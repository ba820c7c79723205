// Package root puts the commands together.
package root

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/argocd"
	"github.com/labctl/labctl/pkg/cli/chaos"
	"github.com/labctl/labctl/pkg/cli/cluster"
	"github.com/labctl/labctl/pkg/cli/dev"
	"github.com/labctl/labctl/pkg/cli/doctor"
	"github.com/labctl/labctl/pkg/cli/down"
	"github.com/labctl/labctl/pkg/cli/drift"
	labexec "github.com/labctl/labctl/pkg/cli/exec"
	"github.com/labctl/labctl/pkg/cli/gitops"
	"github.com/labctl/labctl/pkg/cli/graph"
	"github.com/labctl/labctl/pkg/cli/kubeconfig"
	"github.com/labctl/labctl/pkg/cli/load"
	"github.com/labctl/labctl/pkg/cli/logs"
	"github.com/labctl/labctl/pkg/cli/open"
	"github.com/labctl/labctl/pkg/cli/outputs"
	"github.com/labctl/labctl/pkg/cli/plan"
	"github.com/labctl/labctl/pkg/cli/promote"
	"github.com/labctl/labctl/pkg/cli/rollback"
	"github.com/labctl/labctl/pkg/cli/shadow"
	"github.com/labctl/labctl/pkg/cli/ship"
	"github.com/labctl/labctl/pkg/cli/status"
	"github.com/labctl/labctl/pkg/cli/tool"
	"github.com/labctl/labctl/pkg/cli/up"
	"github.com/labctl/labctl/pkg/cli/validate"
	"github.com/labctl/labctl/pkg/cli/version"
	"github.com/labctl/labctl/pkg/iostreams"
)

// Main runs one command line, which begins with the program, and gives the exit code. Every error that a command returns
// is shown here, once.
func Main(ctx context.Context, streams *iostreams.Streams, getenv func(string) string, build cli.Build, argv []string) cli.ExitCode {
	// Libraries write to the standard logger (Helm's lint does). What a user is to know, a command says.
	log.SetOutput(io.Discard)
	f := &cli.Factory{IO: streams, Getenv: getenv, Build: build, Program: called(argv[0]), Args: argv[1:]}
	workDir, err := os.Getwd()
	if err == nil {
		f.WorkDir = workDir
		err = execute(ctx, f, argv[1:])
	}
	code := cli.Code(ctx, err)
	if err != nil {
		cli.Print(streams.Err, cli.Explain(err), f, streams.Color)
	}
	return code
}

// called is the shortest way to call this program again: its name alone where PATH leads to it.
func called(program string) string {
	name := filepath.Base(program)
	if path, err := exec.LookPath(name); err == nil && path == program {
		return name
	}
	return program
}

func execute(ctx context.Context, f *cli.Factory, args []string) error {
	cmd := NewCmdRoot(f)
	cmd.SetArgs(args)
	understood := false
	cmd.PersistentPreRun = func(_ *cobra.Command, _ []string) {
		understood = true
		if noColor, err := cmd.PersistentFlags().GetBool("no-color"); err == nil && noColor {
			f.IO.Color = false
		}
	}
	ran, err := cmd.ExecuteContextC(ctx)
	var usage *cli.UsageError
	if err != nil && !understood && !errors.As(err, &usage) {
		// cobra turned the command line down before any command saw it.
		return refused(ran, err)
	}
	return err
}

// refused explains a command line that no command took.
func refused(cmd *cobra.Command, err error) error {
	// cobra puts its suggestions into the text; they belong with the commands to type next.
	what, suggestions, _ := strings.Cut(err.Error(), "\n")
	out := &cli.UsageError{Err: errors.New(what), Command: cmd.CommandPath()}
	for line := range strings.Lines(suggestions) {
		if name, ok := strings.CutPrefix(line, "\t"); ok {
			out.Meant = append(out.Meant, cmd.CommandPath()+" "+strings.TrimSpace(name))
		}
	}
	return out
}

// NewCmdRoot makes labctl's command tree.
func NewCmdRoot(f *cli.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "labctl",
		Short: "A whole DevOps lab from one command",
		Long: `Bring up a DevOps lab: infrastructure in numbered Terraform stacks, a Kubernetes cluster, databases, and a
real-time chat that labctl builds and ships onto it. Every step checks before it acts, so you can run
` + "`labctl up`" + ` again at any time: it resumes, repairs, or finds nothing to do.`,
		Example: `  labctl up                       bring the lab up, or repair it
  labctl open                     open the chat
  labctl ship messaging           build one changed service and roll it out
  labctl logs messaging -f        follow its log
  labctl exec cluster -- plan     run terraform by hand in a stack
  labctl down                     destroy the lab`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	cmd.SetOut(f.IO.Out)
	cmd.SetErr(f.IO.Err)
	cmd.SetIn(f.IO.In)

	flags := cmd.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&f.File, "file", "", "use the lab.hcl at `PATH` (default: the nearest one at or above the working directory)")
	flags.StringVarP(&f.Env, "env", "e", cli.DefaultEnv, "work on the environment `NAME` of lab.hcl")
	flags.BoolVar(&f.Verbose, "verbose", false, "also show the output of the tools that labctl runs")
	flags.Bool("no-color", false, "do not print colours (NO_COLOR=1 does the same)")

	const lab, services, inside, machine = "lab", "services", "inside", "machine"
	cmd.AddGroup(
		&cobra.Group{ID: lab, Title: "The lab:"},
		&cobra.Group{ID: services, Title: "Its services:"},
		&cobra.Group{ID: inside, Title: "Looking inside:"},
		&cobra.Group{ID: machine, Title: "This machine:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			cmd.AddCommand(c)
		}
	}
	add(lab, up.NewCmdUp(f, nil), plan.NewCmdPlan(f, nil), status.NewCmdStatus(f, nil), open.NewCmdOpen(f, nil), drift.NewCmdDrift(f, nil), down.NewCmdDown(f, nil))
	add(services, ship.NewCmdShip(f, nil), promote.NewCmdPromote(f, nil), rollback.NewCmdRollback(f, nil), logs.NewCmdLogs(f, nil), dev.NewCmdDev(f, nil), shadow.NewCmdShadow(f), load.NewCmdLoad(f, nil), chaos.NewCmdChaos(f, nil))
	add(inside, validate.NewCmdValidate(f, nil), graph.NewCmdGraph(f, nil), outputs.NewCmdOutputs(f, nil), labexec.NewCmdExec(f, nil), tool.NewCmdKubectl(f, nil), tool.NewCmdHelm(f, nil), kubeconfig.NewCmdKubeconfig(f, nil), cluster.NewCmdCluster(f), gitops.NewCmdGitOps(f), argocd.NewCmdArgoCD(f))
	add(machine, doctor.NewCmdDoctor(f, nil), tool.NewCmdTool(f, nil), version.NewCmdVersion(f, nil))
	cmd.AddCommand(chaos.NewCmdPart(f))
	cmd.SetHelpCommandGroupID(machine)
	cmd.SetCompletionCommandGroupID(machine)
	cobra.EnableCommandSorting = false
	return cmd
}
