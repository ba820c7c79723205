package app

import (
	"context"
	"fmt"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/gitops"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/stack"
)

// gitSide is where Git holds an environment.
type gitSide struct {
	name     string        // of the environment
	settings *stack.GitOps // nil where it has none
	author   gitops.Author
	getenv   func(string) string
}

func (g gitSide) environment() gitops.Environment {
	return gitops.Environment{Name: g.name, Dir: g.settings.Path}
}

// isLocal says whether the repository is on the lab's own Git server.
func (g gitSide) isLocal() bool { return g.settings.Repo == "" }

// clusterURL is the repository as the cluster reaches it.
func (g gitSide) clusterURL() string {
	if g.isLocal() {
		return argocd.RepositoryURL
	}
	return g.settings.Repo
}

// remote is the repository as this machine reaches it. Stop ends the way there.
func (g gitSide) remote(ctx context.Context, client *kube.Client) (remote gitops.Remote, stop func(), err error) {
	remote = gitops.Remote{URL: g.settings.Repo, Branch: g.settings.Revision}
	if !g.isLocal() {
		c, err := g.credentials()
		if err != nil {
			return remote, nil, err
		}
		remote.SSHKey = c.sshKey
		remote.User, remote.Password, err = c.login(ctx, g.settings.Repo)
		return remote, func() {}, err
	}
	if remote.Password, err = argocd.GitPassword(ctx, client, argocd.Writer); err != nil {
		return remote, nil, err
	}
	address, stop, err := client.Forward(ctx, argocd.Namespace, "git", 80)
	if err != nil {
		return remote, nil, fmt.Errorf("the lab's Git server: %w", err)
	}
	remote.User, remote.URL = argocd.Writer, "http://"+address+argocd.RepositoryPath
	return remote, stop, nil
}

// connect gives Argo CD the credentials of a repository on another host, where there are any.
func (g gitSide) connect(ctx context.Context, client *kube.Client) error {
	if g.isLocal() {
		return nil
	}
	c, err := g.credentials()
	if err != nil || c.isNone() {
		return err
	}
	return argocd.Connect(ctx, client, g.settings.Repo, c.forArgoCD(g.settings.Repo))
}
