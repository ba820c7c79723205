package tool

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
)

// Call is a call of a tool with all that follows its name.
type Call struct {
	Factory *cli.Factory
	Name    string
	Args    []string
}

// NewCmdKubectl makes `labctl kubectl`.
func NewCmdKubectl(f *cli.Factory, runF func(*Call) error) *cobra.Command {
	cmd := newPassThrough(f, "kubectl", runF)
	cmd.Short = "Run kubectl on the lab's cluster"
	cmd.Long = `Run kubectl on the lab's cluster. Where labctl has built the cluster, it is a kubectl of the same version; elsewhere it is the
one on your PATH, or one that labctl builds. All arguments are kubectl's; labctl's own flags stand before the word kubectl. The exit
code is kubectl's.`
	cmd.Example = `  labctl kubectl get pods --all-namespaces
  labctl kubectl top pods -n chat
  labctl -e staging kubectl get nodes`
	return cmd
}

// NewCmdHelm makes `labctl helm`.
func NewCmdHelm(f *cli.Factory, runF func(*Call) error) *cobra.Command {
	cmd := newPassThrough(f, "helm", runF)
	cmd.Short = "Run helm on the lab's cluster"
	cmd.Long = `Run helm on the lab's cluster. All arguments are helm's; labctl's own flags stand before the word helm. The exit code is
helm's.`
	cmd.Example = `  labctl helm list --all-namespaces
  labctl helm history chat -n chat`
	return cmd
}

func newPassThrough(f *cli.Factory, name string, runF func(*Call) error) *cobra.Command {
	return &cobra.Command{
		Use:                name + " ARGUMENTS",
		Args:               cobra.ArbitraryArgs,
		DisableFlagParsing: true,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			return complete(cmd.Context(), f, name, append(args, toComplete))
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			own, args, err := divide(cmd.Root().PersistentFlags(), name, f.Args)
			if err != nil {
				return cli.Usagef("labctl "+name, "%v", err)
			}
			if err := cmd.Root().PersistentFlags().Parse(own); err != nil {
				return cli.Usagef("labctl "+name, "%v", err)
			}
			call := &Call{Factory: f, Name: name, Args: args}
			if runF != nil {
				return runF(call)
			}
			return become(cmd.Context(), call)
		},
	}
}

// divide parts the command line at the tool's name: labctl's own flags are before it, the tool's arguments behind. A "--"
// that comes first behind it is labctl's, and means nothing more. cobra alone would not tell the two sides apart.
func divide(flags *pflag.FlagSet, name string, line []string) (own, args []string, err error) {
	for i := 0; i < len(line); i++ {
		word := line[i]
		if word == name {
			own, args = line[:i], line[i+1:]
			if len(args) > 0 && args[0] == "--" {
				args = args[1:]
			}
			return own, args, nil
		}
		var flag *pflag.Flag
		if long, ok := strings.CutPrefix(word, "--"); ok {
			flag = flags.Lookup(long) // nil where the value is in the same word
		} else if len(word) == 2 && word[0] == '-' {
			flag = flags.ShorthandLookup(word[1:])
		}
		if flag != nil && flag.NoOptDefVal == "" {
			i++ // its value
		}
	}
	return nil, nil, fmt.Errorf("the command line %q has no %s", strings.Join(line, " "), name)
}

// command is the tool's process, with the lab's cluster as its own.
func command(ctx context.Context, call *Call) (path string, env []string, err error) {
	l, err := app.Open(call.Factory)
	if err != nil {
		return "", nil, err
	}
	if env, err = l.ClusterEnviron(ctx); err != nil {
		return "", nil, err
	}
	path, err = find(ctx, call.Factory, call.Name)
	return path, env, err
}

// become replaces labctl by the tool, so that the terminal, signals and the exit code are its own.
func become(ctx context.Context, call *Call) error {
	path, env, err := command(ctx, call)
	if err != nil {
		return err
	}
	err = syscall.Exec(path, append([]string{call.Name}, call.Args...), env)
	return fmt.Errorf("run %s: %w", path, err)
}

// complete asks the tool itself, which is made with cobra, too.
func complete(ctx context.Context, f *cli.Factory, name string, args []string) ([]string, cobra.ShellCompDirective) {
	path, env, err := command(ctx, &Call{Factory: f, Name: name})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cmd := exec.CommandContext(ctx, path, append([]string{cobra.ShellCompRequestCmd}, args...)...)
	cmd.Env = env
	out, err := cmd.Output()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return suggestions(out)
}

// suggestions reads what cobra's __complete prints: a suggestion a line, and a directive behind a colon in the last one.
func suggestions(out []byte) ([]string, cobra.ShellCompDirective) {
	lines := strings.Split(string(bytes.TrimRight(out, "\n")), "\n")
	last := lines[len(lines)-1]
	directive, err := strconv.Atoi(strings.TrimPrefix(last, ":"))
	if err != nil || !strings.HasPrefix(last, ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return lines[:len(lines)-1], cobra.ShellCompDirective(directive)
}
