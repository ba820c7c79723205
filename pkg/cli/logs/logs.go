// Package logs is `labctl logs`.
package logs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/cli/app"
	"github.com/labctl/labctl/pkg/kube"
)

// nameLabel is where the lab's charts put a service's name.
const nameLabel = "app.kubernetes.io/name"

// listTimeout bounds the question which pods there are, so that a stopped cluster is told from a slow one.
const listTimeout = 10 * time.Second

// maxLine is the longest line, in bytes, that is shown whole.
const maxLine = 1 << 20

// Options are the command's flags.
type Options struct {
	Factory  *cli.Factory
	Service  string
	Follow   bool
	Previous bool
	Lines    int64
}

// NewCmdLogs makes the command.
func NewCmdLogs(f *cli.Factory, runF func(*Options) error) *cobra.Command {
	opts := &Options{Factory: f}
	cmd := &cobra.Command{
		Use:   "logs SERVICE",
		Short: "Print the logs of a service",
		Long: `Print the logs of a service's pods. SERVICE is a service of the chat or of its databases. If a service has several
pods, each line starts with the name of its pod.`,
		Example: `  labctl logs messaging
  labctl logs gateway -f
  labctl logs kafka --previous    the log of the container before its last restart`,
		Args: cli.Takes("SERVICE"),
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			l, err := app.Open(f)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			pods, err := podsOf(cmd.Context(), l)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return names(pods), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.Service = args[0]
			if runF != nil {
				return runF(opts)
			}
			return run(cmd.Context(), opts)
		},
	}
	cmd.Flags().BoolVarP(&opts.Follow, "follow", "f", false, "follow the logs")
	cmd.Flags().BoolVar(&opts.Previous, "previous", false, "print the log of the container before its last restart")
	cmd.Flags().Int64VarP(&opts.Lines, "lines", "n", 50, "start with the last `N` lines of each pod")
	return cmd
}

type found struct {
	core kubernetes.Interface
	pods []corev1.Pod
}

func podsOf(ctx context.Context, l *app.Lab) (found, error) {
	kubeconfig, err := l.Kubeconfig(ctx)
	if err != nil {
		return found{}, err
	}
	client, err := kube.New([]byte(kubeconfig))
	if err != nil {
		return found{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	out := found{core: client.Core}
	for _, namespace := range l.Namespaces() {
		list, err := client.Core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel})
		if err != nil {
			return found{}, &cli.Error{What: "the pods of the lab cannot be listed", Err: err,
				Next: []string{"labctl cluster status", "labctl up"}}
		}
		out.pods = append(out.pods, list.Items...)
	}
	return out, nil
}

func names(f found) []string {
	var out []string
	for _, p := range f.pods {
		out = append(out, p.Labels[nameLabel])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func run(ctx context.Context, opts *Options) error {
	l, err := app.Open(opts.Factory)
	if err != nil {
		return err
	}
	f, err := podsOf(ctx, l)
	if err != nil {
		return err
	}
	return show(ctx, opts, f)
}

func show(ctx context.Context, opts *Options, f found) error {
	pods := slices.DeleteFunc(slices.Clone(f.pods), func(p corev1.Pod) bool { return p.Labels[nameLabel] != opts.Service })
	if len(pods) == 0 {
		known := names(f)
		if len(known) == 0 {
			return &cli.Error{What: fmt.Sprintf("the lab has no pods, so %q has no logs", opts.Service), Next: []string{"labctl status", "labctl up"}}
		}
		return &cli.Error{What: fmt.Sprintf("there is no service %q; there are %s", opts.Service, strings.Join(known, ", "))}
	}
	out := &lineWriter{w: opts.Factory.IO.Out}
	group, ctx := errgroup.WithContext(ctx)
	for _, pod := range pods {
		prefix := ""
		if len(pods) > 1 {
			prefix = pod.Name + "  "
		}
		for _, container := range pod.Spec.Containers {
			group.Go(func() error {
				request := f.core.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
					Container: container.Name, Follow: opts.Follow, Previous: opts.Previous, TailLines: &opts.Lines,
				})
				stream, err := request.Stream(ctx)
				if err != nil {
					return &cli.Error{What: fmt.Sprintf("pod %s has no log", pod.Name), Err: err, Next: []string{"labctl status"}}
				}
				defer func() { _ = stream.Close() }()
				return out.copy(prefix, stream)
			})
		}
	}
	return group.Wait()
}

// lineWriter keeps the lines of several pods whole.
type lineWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lineWriter) copy(prefix string, from io.Reader) error {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		l.mu.Lock()
		_, err := fmt.Fprintf(l.w, "%s%s\n", prefix, lines.Text())
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return lines.Err()
}
