package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/cli"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/gitops"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

// GitOps is the Git side of an environment, and Argo CD's.
type GitOps struct {
	lab    *Lab
	client *kube.Client
}

// GitOps connects to the environment's cluster. The error says what to do where the environment has no gitops.
func (l *Lab) GitOps(ctx context.Context) (*GitOps, error) {
	if l.git.settings == nil {
		return nil, &cli.Error{
			What: fmt.Sprintf("environment %q has no Argo CD", l.Graph.Env.Name),
			Err:  errors.New("add a line gitops {} to it in lab.hcl, and bring it up again"), Next: []string{"labctl up"},
		}
	}
	kubeconfig, err := l.Kubeconfig(ctx)
	if err != nil {
		return nil, err
	}
	client, err := kube.New([]byte(kubeconfig))
	return &GitOps{l, client}, err
}

// Passwords keeps Argo CD's password on this machine.
func (g *GitOps) Passwords() argocd.Passwords { return g.lab.passwords }

// Client is the cluster's API.
func (g *GitOps) Client() *kube.Client { return g.client }

// GitOpsStatus is what runs of what Git holds.
type GitOpsStatus struct {
	Environment string         `json:"environment"`
	Repo        string         `json:"repo"`
	Revision    string         `json:"revision"`
	Path        string         `json:"path"`
	Head        *gitops.Commit `json:"head,omitempty"` // the last commit that changed the environment
	Pin         *gitops.Pin    `json:"pin,omitempty"`
	Apps        []argocd.App   `json:"applications"`
}

// Well says whether all that is in Git stands and is healthy.
func (s GitOpsStatus) Well() bool {
	for _, a := range s.Apps {
		if !a.Well() {
			return false
		}
	}
	return len(s.Apps) > 0
}

// Status looks at Git and at Argo CD.
func (g *GitOps) Status(ctx context.Context) (GitOpsStatus, error) {
	settings := g.lab.git.settings
	s := GitOpsStatus{Environment: g.lab.Graph.Env.Name, Repo: g.lab.git.clusterURL(), Revision: settings.Revision, Path: settings.Path}
	err := g.open(ctx, func(r *gitops.Repository) error {
		log, err := r.Log(settings.Path, 1)
		if err != nil {
			return err
		}
		if len(log) > 0 {
			s.Head = &log[0]
		}
		pin, ok, err := g.lab.git.environment().Pinned(r)
		if ok {
			s.Pin = &pin
		}
		return err
	})
	if err != nil {
		return s, err
	}
	s.Apps, err = g.apps(ctx)
	return s, err
}

// apps gives the applications of this environment's releases.
func (g *GitOps) apps(ctx context.Context) ([]argocd.App, error) {
	all, err := argocd.Deliveries(ctx, g.client, kube.Owner{Lab: g.lab.Graph.Lab.Name, Environment: g.lab.Graph.Env.Name})
	if err != nil {
		return nil, err
	}
	var out []argocd.App
	for _, d := range all {
		apps, err := argocd.Apps(ctx, g.client, labels.Set{argocd.RootLabel: d.Root()})
		if err != nil {
			return nil, err
		}
		out = append(out, apps...)
	}
	return out, nil
}

// open reads the repository.
func (g *GitOps) open(ctx context.Context, do func(r *gitops.Repository) error) error {
	remote, stop, err := g.lab.git.remote(ctx, g.client)
	if err != nil {
		return err
	}
	defer stop()
	r, err := gitops.Open(ctx, remote)
	if err != nil {
		return err
	}
	return do(r)
}

// Log gives the last commits that changed the environment, the newest first.
func (g *GitOps) Log(ctx context.Context, limit int) (log []gitops.Commit, err error) {
	err = g.open(ctx, func(r *gitops.Repository) error {
		log, err = r.Log(g.lab.git.settings.Path, limit)
		return err
	})
	return log, err
}

// Pending gives what the lab would write to Git, as a unified diff.
func (g *GitOps) Pending(ctx context.Context, report event.Report) (diff string, err error) {
	specs, err := g.lab.Engine.Deliveries(ctx, report)
	if err != nil {
		return "", err
	}
	d := &deliveries{git: g.lab.git}
	err = g.open(ctx, func(r *gitops.Repository) error {
		have, err := r.Files(g.lab.git.settings.Path)
		if err != nil {
			return err
		}
		for _, spec := range specs {
			release, _, _, err := d.open(spec)
			if err != nil {
				return err
			}
			files, err := g.lab.git.environment().Merge(r, release, false)
			var conflict *gitops.ConflictError
			if errors.As(err, &conflict) { // what --overwrite would do
				files, err = g.lab.git.environment().Merge(r, release, true)
			}
			if err != nil {
				return err
			}
			part, err := gitops.Diff(have, files)
			if err != nil {
				return err
			}
			diff += part
		}
		return nil
	})
	return diff, err
}

// change makes a commit, and gives it.
func (g *GitOps) change(ctx context.Context, message string, edit func(r *gitops.Repository) (gitops.Files, error)) (commit string, changed bool, err error) {
	remote, stop, err := g.lab.git.remote(ctx, g.client)
	if err != nil {
		return "", false, err
	}
	defer stop()
	r, changed, err := gitops.Update(ctx, remote, g.lab.git.author, func(r *gitops.Repository) (gitops.Files, string, error) {
		files, err := edit(r)
		return files, message, err
	})
	if err != nil {
		return "", false, err
	}
	return r.Head(), changed, nil
}

// Rollback brings an earlier revision of the environment back, "" for the one before, and keeps it until Undo.
func (g *GitOps) Rollback(ctx context.Context, revision, reason string) (commit string, err error) {
	commit, _, err = g.change(ctx, g.message("roll back", revision, reason), func(r *gitops.Repository) (gitops.Files, error) {
		to := revision
		if to == "" {
			if to, err = g.lab.git.environment().Previous(r); err != nil {
				return nil, err
			}
		}
		return g.lab.git.environment().Rollback(r, gitops.Pin{Revision: to, By: g.lab.git.author.Name, Reason: reason})
	})
	return commit, err
}

func (g *GitOps) message(what, revision, reason string) string {
	subject := g.lab.Graph.Env.Name + ": " + what
	if revision != "" {
		subject += " to " + gitops.Short(revision)
	}
	if reason != "" {
		subject += "\n\n" + reason
	}
	return subject
}

// ErrNotPinned says that no rollback holds.
var ErrNotPinned = errors.New("no rollback holds")

// Undo ends a rollback: the environment is again what it was before.
func (g *GitOps) Undo(ctx context.Context) (commit string, err error) {
	commit, _, err = g.change(ctx, g.message("end the rollback", "", ""), func(r *gitops.Repository) (gitops.Files, error) {
		pin, ok, err := g.lab.git.environment().Pinned(r)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, ErrNotPinned
		}
		return g.lab.git.environment().Unpin(r, pin)
	})
	return commit, err
}

// Promotion shows what a promotion of another environment to this one changes, and makes it.
type Promotion struct {
	g    *GitOps
	from gitops.Environment
	Diff string // "" where there is nothing to promote
}

// Promote prepares a promotion. The two environments have to be in one repository.
func (g *GitOps) Promote(ctx context.Context, from *stack.Environment) (*Promotion, error) {
	mine := g.lab.git.settings
	if from.GitOps == nil {
		return nil, fmt.Errorf("environment %q has no gitops block", from.Name)
	}
	if from.GitOps.Repo != mine.Repo || from.GitOps.Revision != mine.Revision {
		return nil, fmt.Errorf("environments %q and %q are not on one branch of one repository", from.Name, g.lab.Graph.Env.Name)
	}
	p := &Promotion{g: g, from: gitops.Environment{Name: from.Name, Dir: from.GitOps.Path}}
	err := g.open(ctx, func(r *gitops.Repository) error {
		files, err := gitops.Promote(r, p.from, g.lab.git.environment())
		var empty *gitops.EmptyError
		if errors.As(err, &empty) && g.lab.git.isLocal() {
			return fmt.Errorf("%w; each cluster has a Git server of its own: to promote from one to another, give both environments one repo in their gitops blocks", err)
		}
		if err != nil {
			return err
		}
		have, err := r.Files(mine.Path)
		if err != nil {
			return err
		}
		p.Diff, err = gitops.Diff(have, files)
		return err
	})
	return p, err
}

// Commit makes the promotion.
func (p *Promotion) Commit(ctx context.Context) (commit string, err error) {
	commit, _, err = p.g.change(ctx, p.g.message("promote "+p.from.Name, "", ""), func(r *gitops.Repository) (gitops.Files, error) {
		return gitops.Promote(r, p.from, p.g.lab.git.environment())
	})
	return commit, err
}

// Wait waits until what is in Git at a commit, "" for the last, stands and is ready. With sync, Argo CD applies it again first.
func (g *GitOps) Wait(ctx context.Context, commit string, sync bool, report event.Report) error {
	all, err := argocd.Deliveries(ctx, g.client, kube.Owner{Lab: g.lab.Graph.Lab.Name, Environment: g.lab.Graph.Env.Name})
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("no release of environment %q is with Argo CD: %w", g.lab.Graph.Env.Name, lab.ErrNotUp)
	}
	if commit == "" {
		if err := g.open(ctx, func(r *gitops.Repository) error { commit = r.Head(); return nil }); err != nil {
			return err
		}
	}
	if sync {
		api, err := g.lab.passwords.Open(ctx, g.client)
		if err != nil {
			return err
		}
		defer api.Close()
		apps, err := g.apps(ctx)
		if err != nil {
			return err
		}
		for _, a := range apps {
			if err := api.Sync(ctx, a.Name); err != nil {
				return err
			}
		}
	}
	for _, d := range all {
		if err := d.Wait(ctx, g.client, commit, report); err != nil {
			return judge(err)
		}
	}
	return nil
}

// URL is the repository as this machine reaches it with git, and who logs in there.
func (g *GitOps) URL(ctx context.Context) (string, error) {
	if !g.lab.git.isLocal() {
		return g.lab.git.settings.Repo, nil
	}
	url, err := g.lab.output(ctx, "cluster", "url")
	return url + argocd.RepositoryPath, err
}

// Credentials are what git asks for.
func (g *GitOps) Credentials(ctx context.Context) (user, password string, err error) {
	if !g.lab.git.isLocal() {
		c, err := g.lab.git.credentials()
		if err != nil {
			return "", "", err
		}
		return c.login(ctx, g.lab.git.settings.Repo)
	}
	password, err = argocd.GitPassword(ctx, g.client, argocd.Writer)
	return argocd.Writer, password, err
}

// Differences are what the lab would write to Git, and what in the cluster is not as Git says.
type Differences struct {
	Lab     string              `json:"lab"` // a unified diff
	Cluster []argocd.Difference `json:"cluster"`
}

// Any says whether there is one.
func (d Differences) Any() bool { return d.Lab != "" || len(d.Cluster) > 0 }

// Text shows them as unified diffs.
func (d Differences) Text() string {
	var b strings.Builder
	b.WriteString(d.Lab)
	for _, one := range d.Cluster {
		name := fmt.Sprintf("%s/%s", strings.ToLower(one.Kind), one.Name)
		text, err := gitops.Diff(gitops.Files{name: []byte(one.Live)}, gitops.Files{name: []byte(one.Target)})
		if err != nil {
			text = err.Error() + "\n"
		}
		fmt.Fprintf(&b, "# %s in namespace %s, as it is and as Git says (application %s)\n%s", name, one.Namespace, one.App, text)
	}
	return b.String()
}

// Differences compares the lab with Git, and Git with the cluster.
func (g *GitOps) Differences(ctx context.Context) (d Differences, err error) {
	if d.Lab, err = g.Pending(ctx, nil); err != nil {
		return d, err
	}
	api, err := g.lab.passwords.Open(ctx, g.client)
	if err != nil {
		return d, err
	}
	defer api.Close()
	apps, err := g.apps(ctx)
	if err != nil {
		return d, err
	}
	for _, a := range apps {
		part, err := api.Differences(ctx, a.Name)
		if err != nil {
			return d, err
		}
		d.Cluster = append(d.Cluster, part...)
	}
	return d, nil
}

// Page makes Argo CD's page reachable at an address of this machine, until stop. One that was built from source has none.
func (g *GitOps) Page(ctx context.Context) (address string, stop func(), err error) {
	address, stop, err = g.client.Forward(ctx, argocd.Namespace, "argocd-server", 80)
	if err != nil {
		return "", nil, err
	}
	address = "http://" + address
	if err := argocd.HasPage(ctx, address); err != nil {
		stop()
		return "", nil, err
	}
	return address, stop, nil
}
