package app

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/gitops"
)

// The variables that hold the credentials of a repository on another host than the lab's: a token, a key for SSH, or those of a
// GitHub App. Keys are files, so that they are in no environment.
const (
	gitToken   = "LABCTL_GIT_TOKEN" //nolint:gosec // the name of one
	gitUser    = "LABCTL_GIT_USER"
	gitSSHKey  = "LABCTL_GIT_SSH_KEY"
	gitApp     = "LABCTL_GIT_APP_ID"
	gitInstall = "LABCTL_GIT_APP_INSTALLATION_ID"
	gitAppKey  = "LABCTL_GIT_APP_KEY"
)

// gitCredentials are one of these three, or none: then nobody is asked, or SSH's agent has a key.
type gitCredentials struct {
	user, token string
	sshKey      []byte
	app         *gitops.GitHubApp
}

func (c gitCredentials) isNone() bool { return c.token == "" && c.sshKey == nil && c.app == nil }

// credentials reads those that fit the repository's address.
func (g gitSide) credentials() (c gitCredentials, err error) {
	if !strings.HasPrefix(g.settings.Repo, "http") {
		if path := g.getenv(gitSSHKey); path != "" {
			c.sshKey, err = readKey(gitSSHKey, path)
		}
		return c, err
	}
	if id := g.getenv(gitApp); id != "" {
		app := &gitops.GitHubApp{ID: id, Installation: g.getenv(gitInstall)}
		for name, value := range map[string]string{gitInstall: app.Installation, gitAppKey: g.getenv(gitAppKey)} {
			if value == "" {
				return c, fmt.Errorf("%s is set, and %s is not: a GitHub App needs both", gitApp, name)
			}
		}
		app.Key, err = readKey(gitAppKey, g.getenv(gitAppKey))
		return gitCredentials{app: app}, err
	}
	if c.token = g.getenv(gitToken); c.token == "" {
		return c, nil
	}
	if c.user = g.getenv(gitUser); c.user == "" {
		c.user = "git"
	}
	return c, nil
}

func readKey(variable, path string) ([]byte, error) {
	key, err := os.ReadFile(path) //nolint:gosec // G304: the user's own file
	if err != nil {
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	return key, nil
}

// login gives the user and the password for https; none where there are none.
func (c gitCredentials) login(ctx context.Context, repository string) (user, password string, err error) {
	if c.app == nil {
		return c.user, c.token, nil
	}
	password, err = c.app.Token(ctx, repository, time.Now())
	return gitops.TokenUser, password, err
}

// forArgoCD are the fields of Argo CD's Secret of a repository (argo-cd.readthedocs.io, "Declarative Setup", Repositories).
func (c gitCredentials) forArgoCD(repository string) map[string]string {
	switch {
	case c.sshKey != nil:
		return map[string]string{"sshPrivateKey": string(c.sshKey)}
	case c.app != nil:
		fields := map[string]string{
			"githubAppID": c.app.ID, "githubAppInstallationID": c.app.Installation, "githubAppPrivateKey": string(c.app.Key),
		}
		if api, err := c.app.API(repository); err == nil && api != gitops.GitHubAPI {
			fields["githubAppEnterpriseBaseUrl"] = api
		}
		return fields
	}
	return map[string]string{"username": c.user, "password": c.token}
}
