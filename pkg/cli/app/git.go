package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/labctl/labctl/pkg/argocd"
	"github.com/labctl/labctl/pkg/gitops"
	"github.com/labctl/labctl/pkg/kube"
	"github.com/labctl/labctl/pkg/stack"
)

// The variables that hold the credentials of a repository on another host than the lab's.
const (
	gitToken = "LABCTL_GIT_TOKEN" //nolint:gosec // the name of one
	gitUser  = "LABCTL_GIT_USER"
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
		remote.User, remote.Password = g.credentials()
		return remote, func() {}, nil
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

// credentials are those for another host; none where no token is given, or where SSH's agent has the key.
func (g gitSide) credentials() (user, password string) {
	password = g.getenv(gitToken)
	if password == "" || !strings.HasPrefix(g.settings.Repo, "http") {
		return "", ""
	}
	if user = g.getenv(gitUser); user == "" {
		user = "git"
	}
	return user, password
}

// connect gives Argo CD the credentials of a repository on another host.
func (g gitSide) connect(ctx context.Context, client *kube.Client) error {
	if user, password := g.credentials(); !g.isLocal() && password != "" {
		return argocd.Connect(ctx, client, g.settings.Repo, user, password)
	}
	return nil
}
