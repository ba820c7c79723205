package devlab

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
)

// TestOpenAPI gets every status of docs/openapi/auth.yaml from a running auth, and finds that it has no other route, status or field.
func TestOpenAPI(t *testing.T) {
	t.Parallel() // it waits for a database that is away
	w := newWorld(t, "auth")
	ctx := t.Context()
	campus := w.campus()
	var now clock
	const perRegistration = 5 * time.Minute
	w.startAuth(func(o *auth.Config) {
		o.WrongPasswords, o.OIDC = auth.WrongPasswords{Burst: 1, Every: time.Hour}, campus
		o.RegistrationRate.PerSecond, o.RegistrationRate.Burst, o.Now = 1/perRegistration.Seconds(), 7, now.now
	})
	for _, name := range []string{"ada", "mo"} {
		w.user(name)
		require.NoError(t, auth.SetRole(ctx, w.authConfig(), name, "admin"))
	}
	login := func(name, device string) string {
		return fmt.Sprintf(`{"name":%q,"password":"correct horse","device":%q}`, name, device)
	}
	as := func(name string) string {
		s, err := w.again(&client.Session{User: client.User{Name: name}}).AccessToken(ctx)
		require.NoError(t, err)
		return s
	}
	user := w.user("uma")
	admin, uma, spare := as("ada"), as("uma"), w.again(user)
	otto := w.user("otto")
	other, err := otto.AccessToken(ctx)
	require.NoError(t, err)
	w.user("gus")
	spared, gone := as("gus"), as("gus")
	pictured, err := otto.ChangePicture(ctx, []byte(drawing(t, 1, 1)))
	require.NoError(t, err)

	// Only the browser that came back from the provider can exchange its code.
	exchange := func(name string) (body string, cookies http.Header) {
		b := w.browser()
		_, code := b.back(b.consent(b.begin(), name))
		oidc, err := url.Parse(w.url + "/api/auth/oidc/session")
		require.NoError(t, err)
		cookies = http.Header{}
		for _, k := range b.http.Jar.Cookies(oidc) {
			cookies.Add("Cookie", k.Name+"="+k.Value)
		}
		return fmt.Sprintf(`{"code":%q}`, code), cookies
	}
	code, cookies := exchange("test-user2")
	sam, err := w.browser().enter("test-user@127.0.0.1")
	require.NoError(t, err)
	_, err = w.again(&client.Session{User: client.User{Name: "ada"}}).Suspend(ctx, sam.User.ID)
	require.NoError(t, err)
	suspended, suspendedCookies := exchange("test-user@127.0.0.1")
	// How to get the statuses that not every operation has in the same way. What ends uma's sessions, or anyone's right to try passwords,
	// comes after what needs them.
	tries := []try{
		{what: "POST /api/auth/oidc/session 200", body: code, header: cookies},
		{what: "POST /api/auth/oidc/session 403", body: suspended, header: suspendedCookies},
		{what: "DELETE /api/auth/profile/picture 200", bearer: uma},
		{what: "DELETE /api/auth/sessions/{id} 204", bearer: uma, path: "/api/auth/sessions/" + user.ID},
		{what: "DELETE /api/auth/sessions/{id} 404", bearer: uma, path: "/api/auth/sessions/x"},
		{what: "DELETE /api/auth/users/{id}/sessions 403", bearer: other},
		{what: "DELETE /api/auth/users/{id}/sessions 404", bearer: admin},
		{what: "GET /api/auth/jwks 200"},
		{what: "GET /api/auth/me 200", bearer: uma},
		{what: "GET /api/auth/oidc 200"},
		{what: "GET /api/auth/oidc/callback 302"},
		{what: "GET /api/auth/oidc/login 302"},
		{what: "GET /api/auth/preferences 200", bearer: uma},
		{what: "GET /api/auth/sessions 200", bearer: uma},
		{what: "GET /api/auth/users 200", bearer: uma, path: "/api/auth/users?q=o"},
		{what: "GET /api/auth/users 400", bearer: uma},
		{what: "GET /api/auth/users/{id}/picture 200", path: pictured.Picture},
		{what: "GET /api/auth/users/{id}/profile 200", bearer: uma, path: "/api/auth/users/" + user.User.ID + "/profile"},
		{what: "POST /api/auth/keys/rotate 200", bearer: admin, body: `{}`},
		{what: "POST /api/auth/keys/rotate 403", bearer: other, body: `{}`},
		{what: "POST /api/auth/logout 204", bearer: as("mo")},
		{what: "POST /api/auth/oidc/session 401", body: `{"code":"x"}`},
		{what: "POST /api/auth/refresh 200", body: fmt.Sprintf(`{"refresh_token":%q}`, spare.RefreshToken())},
		{what: "POST /api/auth/refresh 401", body: `{"refresh_token":"x"}`},
		{what: "PUT /api/auth/preferences 200", bearer: uma, body: `{"theme":"dark","enter_sends":true,"receipts":true,"typing":true}`},
		{what: "PUT /api/auth/profile 200", bearer: uma, body: `{"display_name":"Uma","colour":"red"}`},
		{what: "PUT /api/auth/profile/picture 200", bearer: uma, body: drawing(t, 1, 1)},
		{what: "PUT /api/auth/profile/picture 400", bearer: uma, body: drawing(t, 1, 1)[:50]},
		{what: "PUT /api/auth/users/{id}/role 200", bearer: admin, path: "/api/auth/users/" + user.User.ID + "/role", body: `{"role":"user"}`},
		{what: "PUT /api/auth/users/{id}/role 403", bearer: other},
		{what: "PUT /api/auth/users/{id}/role 404", bearer: admin, body: `{"role":"user"}`},
		{what: "PUT /api/auth/users/{id}/suspension 200", bearer: admin, path: "/api/auth/users/" + otto.User.ID + "/suspension"},
		{what: "PUT /api/auth/users/{id}/suspension 404", bearer: admin},
		{what: "PUT /api/auth/users/{id}/suspension 403", bearer: uma},
		{what: "POST /api/auth/login 403", body: login("otto", "x")},
		{what: "DELETE /api/auth/users/{id}/suspension 204", bearer: admin, path: "/api/auth/users/" + otto.User.ID + "/suspension"},
		{what: "DELETE /api/auth/users/{id}/suspension 404", bearer: admin},
		{what: "DELETE /api/auth/users/{id}/suspension 403", bearer: uma},
		{what: "POST /api/auth/register 201", body: login("new", "x")},
		{what: "POST /api/auth/register 409", body: login("new", "x")},
		{what: "POST /api/auth/register 429", body: login("another", "x")},
		{what: "POST /api/auth/login 200", body: login("new", "x")},
		{what: "POST /api/auth/login 401", body: strings.Replace(login("new", "x"), "correct", "wrong", 1)},
		{what: "POST /api/auth/login 429", body: login("new", "x")},
		{what: "POST /api/auth/password 200", bearer: uma, body: `{"password":"correct horse","new_password":"correct horse"}`},
		{what: "POST /api/auth/password 403", bearer: uma, body: `{"password":"wrong horse","new_password":"correct horse"}`},
		{what: "POST /api/auth/password 429", bearer: uma, body: `{"password":"correct horse","new_password":"correct horse"}`},
		{what: "POST /api/auth/delete 429", bearer: uma, body: `{"password":"correct horse"}`},
		{what: "POST /api/auth/delete 403", bearer: spared, body: `{"password":"wrong horse"}`},
		{what: "GET /api/auth/export 200", bearer: uma},
		{what: "GET /api/auth/export 200", bearer: uma},
		{what: "GET /api/auth/export 200", bearer: uma},
		{what: "GET /api/auth/export 429", bearer: uma},
		{what: "GET /api/auth/export 403", bearer: spared, path: "/api/auth/export?user=" + user.User.ID},
		{what: "GET /api/auth/export 400", bearer: admin, path: "/api/auth/export?user=x"},
		{what: "GET /api/auth/export 404", bearer: admin, path: "/api/auth/export?user=" + nobody},
		{what: "DELETE /api/auth/users/{id} 403", bearer: uma},
		{what: "DELETE /api/auth/users/{id} 404", bearer: admin},
		{what: "DELETE /api/auth/users/{id} 204", bearer: admin, path: "/api/auth/users/" + sam.User.ID},
		{what: "GET /api/auth/users 200", bearer: uma, path: "/api/auth/users?ids=" + sam.User.ID},
		{what: "POST /api/auth/delete 204", bearer: gone, body: `{"password":"correct horse"}`},
		{what: "DELETE /api/auth/sessions 200", bearer: uma},
		{what: "DELETE /api/auth/users/{id}/sessions 200", bearer: admin, path: "/api/auth/users/" + user.User.ID + "/sessions"},
	}
	c := w.contract("auth")
	for _, k := range tries {
		if k.what != "POST /api/auth/login 200" { // where each would be a wrong password, of which there is one
			c.refusesBodies(k)
		}
	}
	c.get(tries...)
	c.rest(admin)

	// Without its database auth can do nothing but show its keys. Each of these waits for the database for seconds.
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	now.forward(perRegistration)
	var without []try
	for _, o := range c.ops {
		if !slices.Contains(o.statuses, "503") {
			continue
		}
		k := try{bearer: admin}
		if i := slices.IndexFunc(tries, func(k try) bool { return strings.HasPrefix(k.what, o.route+" 20") }); i >= 0 {
			k.body, k.path = tries[i].body, tries[i].path
		}
		k.what, k.body = o.route+" 503", strings.ReplaceAll(k.body, `"new"`, `"another"`) // of whom no wrong password is known
		without = append(without, k)
	}
	c.unavailable(without...)
	c.complete()
}
