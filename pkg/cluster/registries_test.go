package cluster

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http/httpproxy"

	"github.com/labctl/labctl/pkg/event"
)

func TestTheNodePullsWithTheUsersCredentials(t *testing.T) {
	for name, tt := range map[string]struct{ docker, want, warning string }{
		"none":                 {},
		"logged in":            {docker: `{"auths":{"registry.test":{"auth":"YTpi"}},"HttpHeaders":{"x":"y"}}`, want: `{"auths":{"registry.test":{"auth":"YTpi"}}}`},
		"a helper has all":     {docker: `{"auths":{"registry.test":{}},"credsStore":"desktop"}`, warning: "login to registry.test, which a credential helper keeps"},
		"a helper has another": {docker: `{"auths":{"a.test":{"auth":"YTpi"}},"credHelpers":{"b.test":"cloud"}}`, want: `{"auths":{"a.test":{"auth":"YTpi"}}}`, warning: "login to b.test"},
		"no JSON":              {docker: `{`, warning: "are not used"},
	} {
		t.Run(name, func(t *testing.T) {
			docker, dir := t.TempDir(), t.TempDir()
			t.Setenv("DOCKER_CONFIG", docker)
			target := filepath.Join(dir, "lib", "kubelet", "config.json")
			require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
			require.NoError(t, os.WriteFile(target, []byte("of an earlier login"), 0o600))
			if tt.docker != "" {
				require.NoError(t, os.WriteFile(filepath.Join(docker, "config.json"), []byte(tt.docker), 0o600))
			}
			var warnings []string
			report := func(e event.Event) { warnings = append(warnings, e.Message) }
			require.NoError(t, writeCredentials(dir, report))
			if tt.want == "" {
				require.NoFileExists(t, target)
			} else {
				b, err := os.ReadFile(target)
				require.NoError(t, err)
				require.JSONEq(t, tt.want, string(b))
				info, err := os.Stat(target)
				require.NoError(t, err)
				require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
			}
			require.Contains(t, strings.Join(warnings, ""), tt.warning)
			require.Equal(t, tt.warning == "", len(warnings) == 0)
		})
	}
}

func TestTheNodePullsByDockersMirrors(t *testing.T) {
	dir := t.TempDir()
	was := dockerDaemon
	t.Cleanup(func() { dockerDaemon = was })
	dockerDaemon = filepath.Join(t.TempDir(), "daemon.json")
	hosts := filepath.Join(dir, "conf", "certs.d", "docker.io", "hosts.toml")
	require.NoError(t, writeMirrors(dir, nil))
	require.NoFileExists(t, hosts)

	require.NoError(t, os.WriteFile(dockerDaemon, []byte(`{"registry-mirrors":["https://one.test/","http://two.test:5000"]}`), 0o600))
	require.NoError(t, writeMirrors(dir, nil))
	b, err := os.ReadFile(hosts)
	require.NoError(t, err)
	require.Equal(t, `server = "https://registry-1.docker.io"
[host."https://one.test"]
  capabilities = ["pull", "resolve"]
[host."http://two.test:5000"]
  capabilities = ["pull", "resolve"]
`, string(b))

	require.NoError(t, os.Remove(dockerDaemon))
	require.NoError(t, writeMirrors(dir, nil))
	require.NoFileExists(t, hosts)
}

func TestProxiesOfTheMachineAreTheNodes(t *testing.T) {
	require.Empty(t, proxyVariables(&httpproxy.Config{NoProxy: "example.test"}))
	require.Equal(t, []string{
		"HTTP_PROXY=http://proxy.test:3128", "HTTPS_PROXY=",
		"NO_PROXY=localhost,127.0.0.1,10.40.0.0/24,10.42.0.0/16,10.43.0.0/16,.svc,.cluster.local,example.test",
	}, proxyVariables(&httpproxy.Config{HTTPProxy: "http://proxy.test:3128", NoProxy: "example.test"}))
}
