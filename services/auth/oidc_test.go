package auth

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOIDCConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("from a file\n"), 0o600))
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	good := map[string]string{
		"OIDC_ISSUER": "https://id.example/realm", "OIDC_CLIENT_ID": "chat", "OIDC_CLIENT_SECRET": "hush",
		"OIDC_REDIRECT_URL": "https://chat.example/api/auth/oidc/callback",
	}
	read := func(change map[string]string) (OIDC, error) {
		env := maps.Clone(good)
		maps.Copy(env, change)
		return oidcFromEnv(func(k string) string { return env[k] })
	}
	o, err := read(nil)
	require.NoError(t, err)
	require.Equal(t, OIDC{
		Issuer: "https://id.example/realm", ClientID: "chat", ClientSecret: "hush", RedirectURL: "https://chat.example/api/auth/oidc/callback", Name: "id.example",
	}, o)
	o, err = read(map[string]string{"OIDC_CLIENT_SECRET": "", "OIDC_CLIENT_SECRET_FILE": file, "OIDC_NAME": "Campus", "OIDC_ISSUER": "http://127.0.0.1:9000"})
	require.NoError(t, err)
	require.Equal(t, "from a file", o.ClientSecret)
	require.Equal(t, "Campus", o.Name)
	o, err = oidcFromEnv(func(string) string { return "" })
	require.NoError(t, err)
	require.False(t, o.enabled())

	for _, tc := range []struct {
		change map[string]string
		want   string
	}{
		{map[string]string{"OIDC_ISSUER": ""}, "OIDC_ISSUER is not"},
		{map[string]string{"OIDC_ISSUER": "http://id.example"}, "OIDC_ISSUER"},
		{map[string]string{"OIDC_ISSUER": "id.example"}, "OIDC_ISSUER"},
		{map[string]string{"OIDC_ISSUER": "https://id.example?x=y"}, "OIDC_ISSUER"},
		{map[string]string{"OIDC_ISSUER": "https://me:hush@id.example"}, "OIDC_ISSUER"},
		{map[string]string{"OIDC_CLIENT_ID": ""}, "OIDC_CLIENT_ID"},
		{map[string]string{"OIDC_CLIENT_SECRET": ""}, "OIDC_CLIENT_SECRET"},
		{map[string]string{"OIDC_CLIENT_SECRET_FILE": file}, "both set"},
		{map[string]string{"OIDC_CLIENT_SECRET": "", "OIDC_CLIENT_SECRET_FILE": empty}, "is empty"},
		{map[string]string{"OIDC_CLIENT_SECRET": "", "OIDC_CLIENT_SECRET_FILE": file + "x"}, "OIDC_CLIENT_SECRET_FILE"},
		{map[string]string{"OIDC_REDIRECT_URL": ""}, "OIDC_REDIRECT_URL"},
		{map[string]string{"OIDC_REDIRECT_URL": "http://chat.example/api/auth/oidc/callback"}, "not https"},
		{map[string]string{"OIDC_REDIRECT_URL": "https://chat.example/elsewhere"}, "whose path is not"},
		{map[string]string{"OIDC_REDIRECT_URL": "https://chat.example/api/auth/oidc/callback#x"}, "OIDC_REDIRECT_URL"},
	} {
		_, err := read(tc.change)
		require.ErrorContains(t, err, tc.want, "%v", tc.change)
		require.NotContains(t, err.Error(), "hush", "%v", tc.change)
	}
}

// A shadow takes part in no log-in at a provider.
func TestShadowHasNoProvider(t *testing.T) {
	env := map[string]string{
		"KAFKA_BROKERS": "kafka:9092", "MONGODB_URI": "mongodb://mongodb", "KEY_ENCRYPTION_SECRET": strings.Repeat("s", 32),
		"OIDC_ISSUER": "https://id.example", "OIDC_CLIENT_ID": "chat", "OIDC_CLIENT_SECRET": "hush", "OIDC_REDIRECT_URL": "https://chat.example/api/auth/oidc/callback",
		"KAFKA_WRITE_PREFIX": "shadow.", "MONGODB_DATABASE": "shadow",
	}
	for switched, enabled := range map[string]bool{"on": true, "off": false} {
		env["SIDE_EFFECTS"] = switched
		c, err := ConfigFromEnv(func(k string) string { return env[k] })
		require.NoError(t, err)
		require.Equal(t, enabled, c.OIDC.enabled(), switched)
	}
}

func TestTheCookieOfALogin(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	value := fmt.Sprintf("x.%d", now.Add(time.Minute).UnixMilli())
	for redirect, want := range map[string]http.Cookie{
		"https://chat.example/api/auth/oidc/callback":  {Name: "__Host-oidc", Path: "/", Secure: true},
		"http://127.0.0.1:8080/api/auth/oidc/callback": {Name: "oidc", Path: "/api/auth/oidc"},
	} {
		p := newProvider(OIDC{RedirectURL: redirect}, func() time.Time { return now })
		c := p.cookie(value)
		require.Equal(t, want, http.Cookie{Name: c.Name, Path: c.Path, Secure: c.Secure, Domain: c.Domain}, redirect)
		require.True(t, c.HttpOnly)
		gone := p.cookie("")
		require.Equal(t, want, http.Cookie{Name: gone.Name, Path: gone.Path, Secure: gone.Secure, Domain: gone.Domain}, redirect)
		require.Negative(t, gone.MaxAge)
		for _, name := range []string{"oidc", "__Host-oidc"} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.AddCookie(&http.Cookie{Name: name, Value: value})
			_, ok := p.begun(r)
			require.Equal(t, name == want.Name, ok, "%s, %s", redirect, name)
		}
	}
}

func TestFreeNames(t *testing.T) {
	id := digest("x")
	for wish, want := range map[string]string{
		"alice": "alice", "Alice.B@example.org": "Alice.B", "Jane Doe": "Jane-Doe", "Žofie": "ofie", "": "user", "@x": "user", "陈": "user", "x": "user", "a\x00b": "a-b",
		"$where": "where", strings.Repeat("a", 99): strings.Repeat("a", 23), "..": "user",
	} {
		names := freeNames(wish, id)
		require.Equal(t, want, names[0], "%q", wish)
		require.Equal(t, want+"-2", names[1], "%q", wish)
		for _, n := range names {
			require.NoError(t, checkName(n), "%q gives %q", wish, n)
		}
		require.Equal(t, names, freeNames(wish, id), "always the same")
	}
}
