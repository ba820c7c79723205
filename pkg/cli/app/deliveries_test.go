package app

import (
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

func TestCredentialsAreForOtherHostsAlone(t *testing.T) {
	env := map[string]string{gitToken: "token"}
	g := gitSide{settings: &stack.GitOps{Repo: "https://git.example.org/lab.git"}, getenv: func(name string) string { return env[name] }}
	user, password := g.credentials()
	require.Equal(t, "git token", user+" "+password)
	env[gitUser] = "oauth2"
	user, _ = g.credentials()
	require.Equal(t, "oauth2", user)
	g.settings.Repo = "git@git.example.org:me/lab.git"
	user, password = g.credentials()
	require.Empty(t, user+password, "SSH's agent has the key")
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
