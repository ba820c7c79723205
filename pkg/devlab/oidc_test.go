package devlab

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
)

// campus starts a whole OpenID Connect provider, which knows test-user@127.0.0.1 and test-user2, and gives what auth has to know of it.
func (w *world) campus() auth.OIDC {
	w.t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	issuer := "http://" + srv.Listener.Addr().String()
	o := auth.OIDC{Issuer: issuer, ClientID: "chat", ClientSecret: "a shared secret", RedirectURL: w.url + "/api/auth/oidc/callback", Name: "Campus"}
	clients := map[string]*storage.Client{o.ClientID: storage.WebClient(o.ClientID, o.ClientSecret, o.RedirectURL)}
	store := storage.NewStorageWithClients(storage.NewUserStore(issuer), clients)
	srv.Config.Handler = exampleop.SetupServer(issuer, store, slog.New(slog.DiscardHandler), false)
	srv.Start()
	w.t.Cleanup(srv.Close)
	return o
}

// browser keeps cookies and follows redirects one by one.
type browser struct {
	w    *world
	http *http.Client
}

func (w *world) browser() *browser {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	c := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w.t.Cleanup(c.CloseIdleConnections)
	return &browser{w: w, http: c}
}

// visit gets a page and gives where it leads to, or its text.
func (b *browser) visit(address string, header ...string) (to string, body string) {
	b.w.t.Helper()
	req, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodGet, address, nil)
	require.NoError(b.w.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return b.do(req)
}

func (b *browser) do(req *http.Request) (to, body string) {
	b.w.t.Helper()
	res, err := b.http.Do(req)
	require.NoError(b.w.t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(b.w.t, err)
	require.NoError(b.w.t, res.Body.Close())
	to = res.Header.Get("Location")
	if strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/#") {
		to = req.URL.Scheme + "://" + req.URL.Host + to
	}
	return to, string(text)
}

// begin leaves for the provider.
func (b *browser) begin() (provider string) {
	b.w.t.Helper()
	to, _ := b.visit(b.w.url + "/api/auth/oidc/login")
	return to
}

// consent logs in at the provider and gives where that leads back to.
func (b *browser) consent(provider, name string) (callback string) {
	b.w.t.Helper()
	page, body := b.visit(provider)
	require.Contains(b.w.t, page, "/login/username?", body)
	at, err := url.Parse(page)
	require.NoError(b.w.t, err)
	form := url.Values{"username": {name}, "password": {"verysecure"}, "id": {at.Query().Get("authRequestID")}}
	req, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodPost, page, strings.NewReader(form.Encode()))
	require.NoError(b.w.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	next, body := b.do(req)
	require.NotEmpty(b.w.t, next, body)
	callback, body = b.visit(next)
	require.NotEmpty(b.w.t, callback, body)
	return callback
}

// back comes back from the provider, and gives what the page finds in its address.
func (b *browser) back(callback string) (key, value string) {
	b.w.t.Helper()
	to, _ := b.visit(callback)
	word, ok := strings.CutPrefix(to, "/#")
	require.True(b.w.t, ok, "%q is not the page", to)
	key, value, _ = strings.Cut(word, "=")
	return key, value
}

// exchange is what the page does with its code.
func (b *browser) exchange(code string) (*client.Session, error) {
	b.w.t.Helper()
	in, err := json.Marshal(map[string]string{"code": code, "device": "browser"})
	require.NoError(b.w.t, err)
	req, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodPost, b.w.url+"/api/auth/oidc/session", strings.NewReader(string(in)))
	require.NoError(b.w.t, err)
	req.Header.Set("Content-Type", "application/json")
	_, body := b.do(req)
	var a struct {
		RefreshToken string       `json:"refresh_token"`
		Error        client.Error `json:"error"`
	}
	require.NoError(b.w.t, json.Unmarshal([]byte(body), &a), body)
	if a.Error.Code != "" {
		return nil, &a.Error
	}
	c := client.New(b.w.url)
	b.w.t.Cleanup(c.Close)
	return c.Resume(b.w.t.Context(), a.RefreshToken)
}

// enter is a whole login.
func (b *browser) enter(name string) (*client.Session, error) {
	b.w.t.Helper()
	key, code := b.back(b.consent(b.begin(), name))
	if key != "login" {
		return nil, errors.New(code)
	}
	return b.exchange(code)
}

func TestLoginWithAProvider(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	campus := w.campus()
	var c clock
	w.startAuth(func(o *auth.Config) { o.OIDC, o.Now = campus, c.now })
	_, body := call(t, "GET", w.url+"/api/auth/oidc", "", "")
	require.JSONEq(t, `{"enabled":true,"name":"Campus"}`, body)
	taken := w.user("test-user2")

	s, err := w.browser().enter("test-user@127.0.0.1")
	require.NoError(t, err)
	require.Equal(t, "test-user", s.User.Name)
	again, err := w.browser().enter("test-user@127.0.0.1")
	require.NoError(t, err)
	require.Equal(t, s.User, again.User, "by issuer and subject")
	other, err := w.browser().enter("test-user2")
	require.NoError(t, err)
	require.Equal(t, "test-user2-2", other.User.Name)
	require.NotEqual(t, taken.User.ID, other.User.ID, "a name is no proof")
	found, ok, err := taken.FindUser(ctx, "test-user2-2")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, other.User.ID, found.ID)
	list, err := s.Logins(ctx)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, "browser", list[0].Device)
	var kept strings.Builder
	require.NoError(t, s.Export(ctx, &kept))
	require.Contains(t, kept.String(), `"identity":{"issuer":"`+campus.Issuer+`","subject":"id1","created":`)
	kept.Reset()
	require.NoError(t, taken.Export(ctx, &kept))
	require.NotContains(t, kept.String(), "identity")

	t.Run("what goes to the provider", func(t *testing.T) {
		b := w.browser()
		to, _ := b.visit(w.url+"/api/auth/oidc/login?return_to=//evil.example&redirect_uri=https://evil.example", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https")
		u, err := url.Parse(to)
		require.NoError(t, err)
		q := u.Query()
		require.Equal(t, campus.Issuer+"/auth", u.Scheme+"://"+u.Host+u.Path)
		require.Equal(t, campus.RedirectURL, q.Get("redirect_uri"))
		require.Equal(t, "S256", q.Get("code_challenge_method"))
		require.Equal(t, "code", q.Get("response_type"))
		require.Len(t, q.Get("code_challenge"), 43)
		require.NotContains(t, to, "evil")
		seen := map[string]bool{}
		for _, k := range []string{"state", "nonce", "code_challenge"} {
			require.GreaterOrEqual(t, len(q.Get(k)), 43, k)
			seen[q.Get(k)] = true
		}
		second, err := url.Parse(b.begin())
		require.NoError(t, err)
		for _, k := range []string{"state", "nonce", "code_challenge"} {
			seen[second.Query().Get(k)] = true
		}
		require.Len(t, seen, 6, "each login has its own")

		req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+"/api/auth/oidc/login", nil)
		require.NoError(t, err)
		res, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		cookie := res.Cookies()[0]
		require.True(t, cookie.HttpOnly)
		require.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
		require.Equal(t, "/api/auth/oidc", cookie.Path)
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
	})
	t.Run("a code works once, soon, and in its browser", func(t *testing.T) {
		b, thief := w.browser(), w.browser()
		key, code := b.back(b.consent(b.begin(), "test-user2"))
		require.Equal(t, "login", key)
		require.NotContains(t, code, ".", "no token is in an address")
		thief.begin()
		for who, other := range map[string]*browser{"another": thief, "one without a cookie": w.browser()} {
			_, err := other.exchange(code)
			require.True(t, client.IsCode(err, "login_expired"), "%s: %v", who, err)
		}
		_, err := b.exchange("x")
		require.True(t, client.IsCode(err, "login_expired"), "%v", err)
		_, err = b.exchange(code)
		require.NoError(t, err)
		_, err = b.exchange(code)
		require.True(t, client.IsCode(err, "login_expired"), "%v", err)

		callback := b.consent(b.begin(), "test-user2")
		_, code = b.back(callback)
		c.forward(61 * time.Second)
		_, err = b.exchange(code)
		require.True(t, client.IsCode(err, "login_expired"), "%v", err)
		key, why := b.back(callback)
		require.Equal(t, "login_error=failed", key+"="+why, "the provider takes its own code once")
	})
	t.Run("what comes back must be of this login", func(t *testing.T) {
		b := w.browser()
		callback := b.consent(b.begin(), "test-user2")
		for name, tc := range map[string]struct {
			by       *browser
			callback string
			why      string
		}{
			"in another browser":      {w.browser(), callback, "expired"},
			"with another state":      {b, strings.Replace(callback, "state=", "state=x", 1), "expired"},
			"without a state":         {b, w.url + "/api/auth/oidc/callback?code=x", "expired"},
			"of another issuer":       {b, callback + "&iss=https://evil.example", "failed"},
			"without a code":          {b, strings.Replace(callback, "code=", "c=", 1), "failed"},
			"with another code":       {b, strings.Replace(callback, "code=", "code=x", 1), "failed"},
			"when the user says no":   {b, callback + "&error=access_denied", "denied"},
			"when the provider can't": {b, callback + "&error=server_error&error_description=%0d%0aX", "failed"},
		} {
			key, why := tc.by.back(tc.callback)
			require.Equal(t, "login_error="+tc.why, key+"="+why, name)
		}
		key, _ := b.back(callback)
		require.Equal(t, "login", key, "and the good one is good still")

		callback = b.consent(b.begin(), "test-user2")
		c.forward(11 * time.Minute)
		key, why := b.back(callback)
		require.Equal(t, "login_error=expired", key+"="+why)
	})
	t.Run("there is no password until one is set", func(t *testing.T) {
		has := func(s *client.Session) bool {
			access, err := s.AccessToken(ctx)
			require.NoError(t, err)
			_, body := call(t, "GET", w.url+"/api/auth/me", access, "")
			return strings.Contains(body, `"password":true`)
		}
		require.NoError(t, taken.Refresh(ctx))
		require.True(t, has(taken))
		d := client.New(w.url)
		t.Cleanup(d.Close)
		for _, password := range []string{"", "verysecure", "correct horse"} {
			_, err := d.Login(ctx, "test-user", password, "")
			require.True(t, client.IsCode(err, "wrong_credentials"), "%q: %v", password, err)
		}
		require.NoError(t, s.Refresh(ctx))
		require.False(t, has(s))
		_, err := s.ChangePassword(ctx, "", "battery staple")
		require.True(t, client.IsCode(err, "login_again"), "%v", err)
		now, err := w.browser().enter("test-user@127.0.0.1")
		require.NoError(t, err)
		_, err = now.ChangePassword(ctx, "verysecure", "battery staple")
		require.True(t, client.IsCode(err, "wrong_password"), "%v", err)
		n, err := now.ChangePassword(ctx, "", "battery staple")
		require.NoError(t, err)
		require.Equal(t, 2, n, "the other sessions end")
		require.True(t, has(now))
		_, err = now.ChangePassword(ctx, "", "another horse")
		require.True(t, client.IsCode(err, "wrong_password"), "%v", err)
		p, err := d.Login(ctx, "test-user", "battery staple", "")
		require.NoError(t, err)
		require.Equal(t, s.User, p.User)
		_, err = w.browser().enter("test-user@127.0.0.1")
		require.NoError(t, err, "and the provider is good still")
	})
}

func TestNoProvider(t *testing.T) {
	w := newWorld(t, "auth")
	dead := httptest.NewServer(http.NotFoundHandler())
	defer dead.Close()
	w.startAuth(func(*auth.Config) {})
	b := w.browser()
	for _, path := range []string{"login", "callback?code=x&state=x"} {
		to, _ := b.visit(w.url + "/api/auth/oidc/" + path)
		require.Equal(t, "/#login_error=off", to)
	}
	_, body := call(t, "GET", w.url+"/api/auth/oidc", "", "")
	require.JSONEq(t, `{"enabled":false,"name":""}`, body)

	w.parts["auth"].stop()
	w.startAuth(func(o *auth.Config) {
		o.OIDC = auth.OIDC{Issuer: dead.URL, ClientID: "chat", ClientSecret: "x", RedirectURL: w.url + "/api/auth/oidc/callback"}
	})
	to, _ := b.visit(w.url + "/api/auth/oidc/login")
	require.Equal(t, "/#login_error=unavailable", to)
}
