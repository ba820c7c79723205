package app

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/gitops"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/stack"
)

func TestImagesHaveAFileOfTheirOwn(t *testing.T) {
	const auth, web = "r/auth@sha256:1", "r/web@sha256:2"
	rest, images := splitImages(map[string]any{
		"images": map[string]any{"auth": auth, "web": web}, "url": "http://here", "sidecar": map[string]any{"image": web, "port": 1},
		"empty": map[string]any{}, "list": []any{auth}, "none": nil,
	}, []string{auth, web})
	require.Equal(t, map[string]any{"images": map[string]any{"auth": auth, "web": web}, "sidecar": map[string]any{"image": web}}, images)
	require.Equal(t, map[string]any{
		"url": "http://here", "sidecar": map[string]any{"port": 1}, "empty": map[string]any{}, "list": []any{auth}, "none": nil,
	}, rest)
}

func TestACommitSaysWhatItIsAbout(t *testing.T) {
	d := &deliveries{git: gitSide{name: "prod", settings: &stack.GitOps{Path: "environments/prod"}}}
	s := lab.ReleaseSpec{Name: "chat", Command: "labctl ship auth"}
	require.Equal(t, "prod: images of chat\n\nlabctl ship auth", d.message(s, gitops.Files{"environments/prod/chat/images.yaml": nil, "environments/prod/labctl.sum": nil}))
	require.Equal(t, "prod: chart, values of chat\n\nlabctl ship auth", d.message(s, gitops.Files{
		"environments/prod/chat/chart/Chart.yaml": nil, "environments/prod/chat/chart/values.yaml": nil, "environments/prod/chat/values.yaml": nil,
	}))
}

func TestCredentialsFitTheAddress(t *testing.T) {
	env := map[string]string{gitToken: "token"}
	g := gitSide{settings: &stack.GitOps{Repo: "https://git.example.org/lab.git"}, getenv: func(name string) string { return env[name] }}
	read := func() gitCredentials {
		t.Helper()
		c, err := g.credentials()
		require.NoError(t, err)
		return c
	}
	require.Equal(t, map[string]string{"username": "git", "password": "token"}, read().forArgoCD(g.settings.Repo))
	env[gitUser] = "oauth2"
	user, password, err := read().login(t.Context(), g.settings.Repo)
	require.NoError(t, err)
	require.Equal(t, "oauth2 token", user+" "+password)

	key := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(key, []byte("PEM"), 0o600))
	env[gitApp], env[gitInstall], env[gitAppKey] = "7", "42", key
	require.Equal(t, map[string]string{
		"githubAppID": "7", "githubAppInstallationID": "42", "githubAppPrivateKey": "PEM", "githubAppEnterpriseBaseUrl": "https://git.example.org/api/v3",
	}, read().forArgoCD(g.settings.Repo))
	require.NotContains(t, read().forArgoCD("https://github.com/me/lab.git"), "githubAppEnterpriseBaseUrl")
	delete(env, gitInstall)
	_, err = g.credentials()
	require.EqualError(t, err, "LABCTL_GIT_APP_ID is set, and LABCTL_GIT_APP_INSTALLATION_ID is not: a GitHub App needs both")

	g.settings.Repo = "git@git.example.org:me/lab.git"
	require.True(t, read().isNone(), "SSH's agent has the key")
	env[gitSSHKey] = key
	require.Equal(t, map[string]string{"sshPrivateKey": "PEM"}, read().forArgoCD(g.settings.Repo))
	env[gitSSHKey] = key + ".none"
	_, err = g.credentials()
	require.ErrorContains(t, err, "LABCTL_GIT_SSH_KEY: open ")
}

func TestSecretsAreManifests(t *testing.T) {
	_, err := secrets{}.manifests(lab.ReleaseSpec{})
	require.ErrorContains(t, err, "there are no secrets")
	_, err = secrets{}.manifests(lab.ReleaseSpec{Values: map[string]any{"a": map[string]any{"b": 1}}})
	require.EqualError(t, err, "values.a.b: a string is required")
	text, err := secrets{}.manifests(lab.ReleaseSpec{Values: map[string]any{"a": map[string]any{"b": "c"}}})
	require.NoError(t, err)
	require.Contains(t, string(text), `"data":{"b":"Yw=="}`)
	require.NotContains(t, string(text), "stringData", "a key that is left out has to go")
}
