package image_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/image"
)

// azure is a registry of Azure's, and the place where one logs in to Azure, in one server for all host names.
type azure struct {
	*httptest.Server
	mu     sync.Mutex
	forms  []map[string]string // what was posted, with the path
	refuse bool                // the exchange says no
}

const azureHost = "lab123.azurecr.io"

func newAzure(t *testing.T) *azure {
	a := &azure{}
	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	answer := func(w http.ResponseWriter, code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	a.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "oauth2/") {
			_ = r.ParseForm()
			form := map[string]string{"path": r.Host + r.URL.Path}
			for k := range r.PostForm {
				form[k] = r.PostForm.Get(k)
			}
			a.mu.Lock()
			a.forms = append(a.forms, form)
			refuse := a.refuse
			a.mu.Unlock()
			switch {
			case refuse:
				answer(w, http.StatusUnauthorized, map[string]any{"errors": []any{map[string]string{"code": "UNAUTHORIZED", "message": "not in this tenant"}}})
			case r.URL.Path == "/my-tenant/oauth2/v2.0/token":
				answer(w, http.StatusOK, map[string]string{"access_token": "entra-token"})
			case r.URL.Path == "/oauth2/exchange" && strings.HasPrefix(form["access_token"], "entra-token"):
				answer(w, http.StatusOK, map[string]string{"refresh_token": "registry-refresh"})
			case r.URL.Path == "/oauth2/token" && form["refresh_token"] == "registry-refresh":
				answer(w, http.StatusOK, map[string]string{"access_token": "registry-access"})
			default:
				answer(w, http.StatusBadRequest, map[string]string{"error_description": "no such thing\nTrace ID: 1"})
			}
			return
		}
		if r.Header.Get("Authorization") != "Bearer registry-access" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+azureHost+`/oauth2/token",service="`+azureHost+`"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		images.ServeHTTP(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

// transport reaches the server under every name.
func (a *azure) transport() http.RoundTripper {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, a.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: a.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", MinVersion: tls.VersionTLS12},
	}
}

// posted gives the forms since the last call, by path.
func (a *azure) posted(path string) []map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []map[string]string
	for _, f := range a.forms {
		if strings.HasSuffix(f["path"], path) {
			out = append(out, f)
		}
	}
	return out
}

// fakeAz puts an az command first on PATH.
func fakeAz(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\n"+script), 0o700)) //nolint:gosec // it is run
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// pushes builds the tiny service and pushes it to Azure twice.
func pushes(t *testing.T, a *azure, env map[string]string) error {
	t.Helper()
	builder := image.New(image.Options{Root: repository(t), CacheDir: t.TempDir(), Transport: a.transport(), Getenv: func(name string) string { return env[name] }})
	img, err := builder.Build(t.Context(), tiny, nil)
	require.NoError(t, err)
	for range 2 {
		if _, err = builder.Push(t.Context(), img, azureHost+"/lab/tiny", nil); err != nil {
			return err
		}
	}
	return nil
}

func TestPushToAzure(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir()) // nobody is logged in with Docker
	t.Run("as the user of the az command", func(t *testing.T) {
		a := newAzure(t)
		fakeAz(t, `test "$*" = "account get-access-token --output json" || exit 9
echo '{"accessToken": "entra-token-of-ada", "tenant": "hers", "tokenType": "Bearer"}'`)
		require.NoError(t, pushes(t, a, nil))
		require.Equal(t, []map[string]string{{
			"path": azureHost + "/oauth2/exchange", "grant_type": "access_token", "service": azureHost, "tenant": "hers", "access_token": "entra-token-of-ada",
		}}, a.posted("/exchange"), "asked once for all pushes")
	})
	t.Run("as a pipeline without a secret", func(t *testing.T) {
		a := newAzure(t)
		file := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(file, []byte("federated\n"), 0o600))
		require.NoError(t, pushes(t, a, map[string]string{"AZURE_CLIENT_ID": "robot", "AZURE_TENANT_ID": "my-tenant", "AZURE_FEDERATED_TOKEN_FILE": file}))
		require.Equal(t, []map[string]string{{
			"path": "login.microsoftonline.com/my-tenant/oauth2/v2.0/token", "grant_type": "client_credentials", "client_id": "robot",
			"client_assertion": "federated", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "scope": "https://management.azure.com/.default",
		}}, a.posted("/v2.0/token"))
	})
	t.Run("as terraform's service principal", func(t *testing.T) {
		a := newAzure(t)
		require.NoError(t, pushes(t, a, map[string]string{"ARM_CLIENT_ID": "robot", "ARM_TENANT_ID": "my-tenant", "ARM_CLIENT_SECRET": "s3cret", "AZURE_AUTHORITY_HOST": "https://login.example.test/"}))
		require.Equal(t, "s3cret", a.posted("/v2.0/token")[0]["client_secret"])
		require.Equal(t, "login.example.test/my-tenant/oauth2/v2.0/token", a.posted("/v2.0/token")[0]["path"])
	})
	t.Run("not where Docker knows who", func(t *testing.T) {
		a := newAzure(t)
		fakeAz(t, "exit 9")
		dir := t.TempDir()
		t.Setenv("DOCKER_CONFIG", dir)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"auths": {"`+azureHost+`": {"identitytoken": "registry-refresh"}}}`), 0o600))
		require.NoError(t, pushes(t, a, nil))
		require.Empty(t, a.posted("/exchange"))
	})
	t.Run("nobody is logged in", func(t *testing.T) {
		fakeAz(t, "echo 'ERROR: Please run az login to setup account.' >&2\necho more >&2\nexit 1")
		require.ErrorContains(t, pushes(t, newAzure(t), nil),
			`log in to lab123.azurecr.io: az account get-access-token: ERROR: Please run az login to setup account.; run: az login`)
	})
	t.Run("a refusal", func(t *testing.T) {
		a := newAzure(t)
		a.refuse = true
		fakeAz(t, `echo '{"accessToken": "entra-token-that-nobody-may-see"}'`)
		err := pushes(t, a, nil)
		require.ErrorContains(t, err, "https://lab123.azurecr.io/oauth2/exchange answered 401 Unauthorized: not in this tenant; whoever pushes needs the role AcrPush there")
		require.NotContains(t, err.Error(), "nobody-may-see")
	})
	t.Run("no az, no variables", func(t *testing.T) {
		program, err := exec.LookPath("go") // all that building the image needs
		require.NoError(t, err)
		bin := t.TempDir()
		require.NoError(t, os.Symlink(program, filepath.Join(bin, "go")))
		t.Setenv("PATH", bin)
		require.ErrorContains(t, pushes(t, newAzure(t), nil), "nobody is logged in to it (az login, or az acr login --name lab123.azurecr.io)")
	})
}
