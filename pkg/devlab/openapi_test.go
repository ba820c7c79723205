package devlab

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
)

// openAPI is what the tests need of a document in docs/openapi.
type openAPI struct {
	Paths      map[string]map[string]any `json:"paths"`
	Components struct {
		RequestBodies, Responses, Schemas map[string]any
	} `json:"components"`
}

type operation struct {
	route     string // "POST /api/auth/login"
	statuses  []string
	body      bool
	anonymous bool
}

func operations(t *testing.T, service string) (l []operation) {
	t.Helper()
	b, err := os.ReadFile("../../docs/openapi/" + service + ".yaml")
	require.NoError(t, err)
	var doc openAPI
	require.NoError(t, yaml.Unmarshal(b, &doc))
	for path, item := range doc.Paths {
		for method, v := range item {
			if method == "parameters" {
				continue
			}
			op := v.(map[string]any)
			security, own := op["security"].([]any)
			o := operation{
				route: strings.ToUpper(method) + " " + path, body: op["requestBody"] != nil, anonymous: own && len(security) == 0,
				statuses: slices.Sorted(maps.Keys(op["responses"].(map[string]any))),
			}
			l = append(l, o)
		}
	}
	// Every reference leads somewhere, and everything is referred to.
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`#/components/(\w+)/(\w+)`).FindAllStringSubmatch(string(b), -1) {
		used[m[1]+"/"+m[2]] = true
	}
	there := map[string]bool{}
	for kind, parts := range map[string]map[string]any{"requestBodies": doc.Components.RequestBodies, "responses": doc.Components.Responses, "schemas": doc.Components.Schemas} {
		for name := range parts {
			there[kind+"/"+name] = true
		}
	}
	require.Equal(t, there, used)
	return l
}

// TestOpenAPI gets every status of docs/openapi/auth.yaml from a running auth, and by auth's own count of what it answered finds that there
// is no route and no status beside them.
func TestOpenAPI(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	campus := w.campus()
	w.startAuth(func(o *auth.Config) {
		o.WrongPasswords, o.OIDC = auth.WrongPasswords{Burst: 1, Every: time.Hour}, campus
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
	pictured, err := otto.ChangePicture(ctx, []byte(drawing(t, 1, 1)))
	require.NoError(t, err)

	// How to get the statuses that not every operation has in the same way: "route status" to a caller, a path and a body.
	type try struct{ bearer, path, body string }
	tries := map[string]try{
		"POST /api/auth/register 201":              {"", "", login("new", "x")},
		"POST /api/auth/register 409":              {"", "", login("new", "x")},
		"POST /api/auth/login 200":                 {"", "", login("new", "x")},
		"POST /api/auth/login 401":                 {"", "", strings.Replace(login("new", "x"), "correct", "wrong", 1)},
		"POST /api/auth/login 429":                 {"", "", login("new", "x")},
		"POST /api/auth/refresh 200":               {"", "", fmt.Sprintf(`{"refresh_token":%q}`, spare.RefreshToken())},
		"POST /api/auth/refresh 401":               {"", "", `{"refresh_token":"x"}`},
		"POST /api/auth/password 200":              {uma, "", `{"password":"correct horse","new_password":"correct horse"}`},
		"POST /api/auth/password 403":              {uma, "", `{"password":"wrong horse","new_password":"correct horse"}`},
		"POST /api/auth/password 429":              {uma, "", `{"password":"correct horse","new_password":"correct horse"}`},
		"GET /api/auth/sessions 200":               {uma, "", ""},
		"DELETE /api/auth/sessions 200":            {uma, "", ""},
		"DELETE /api/auth/sessions/{id} 204":       {uma, "/api/auth/sessions/" + user.ID, ""},
		"DELETE /api/auth/sessions/{id} 404":       {uma, "/api/auth/sessions/x", ""},
		"GET /api/auth/me 200":                     {uma, "", ""},
		"GET /api/auth/users 200":                  {uma, "/api/auth/users?q=a", ""},
		"GET /api/auth/users 400":                  {uma, "", ""},
		"GET /api/auth/users/{id}/profile 200":     {uma, "/api/auth/users/" + user.User.ID + "/profile", ""},
		"GET /api/auth/users/{id}/picture 200":     {"", pictured.Picture, ""},
		"PUT /api/auth/profile 200":                {uma, "", `{"display_name":"Uma","colour":"red"}`},
		"PUT /api/auth/profile/picture 200":        {uma, "", drawing(t, 1, 1)},
		"PUT /api/auth/profile/picture 400":        {uma, "", drawing(t, 1, 1)[:50]},
		"DELETE /api/auth/profile/picture 200":     {uma, "", ""},
		"GET /api/auth/preferences 200":            {uma, "", ""},
		"PUT /api/auth/preferences 200":            {uma, "", `{"theme":"dark","enter_sends":true,"receipts":true,"typing":true}`},
		"DELETE /api/auth/users/{id}/sessions 200": {admin, "/api/auth/users/" + user.User.ID + "/sessions", ""},
		"DELETE /api/auth/users/{id}/sessions 403": {other, "", ""},
		"DELETE /api/auth/users/{id}/sessions 404": {admin, "", ""},
		"PUT /api/auth/users/{id}/role 200":        {admin, "/api/auth/users/" + user.User.ID + "/role", `{"role":"user"}`},
		"PUT /api/auth/users/{id}/role 403":        {other, "", ""},
		"PUT /api/auth/users/{id}/role 404":        {admin, "", `{"role":"user"}`},
		"POST /api/auth/keys/rotate 200":           {admin, "", `{}`},
		"POST /api/auth/keys/rotate 403":           {other, "", `{}`},
		"POST /api/auth/logout 204":                {as("mo"), "", ""},
		"GET /api/auth/jwks 200":                   {"", "", ""},
		"GET /api/auth/oidc 200":                   {"", "", ""},
		"GET /api/auth/oidc/login 302":             {"", "", ""},
		"GET /api/auth/oidc/callback 302":          {"", "", ""},
		"POST /api/auth/oidc/session 200":          {"", "", `{"code":"x"}`}, // done already, with a code that was one
		"POST /api/auth/oidc/session 401":          {"", "", `{"code":"x"}`},
	}
	_, err = w.browser().enter("test-user2")
	require.NoError(t, err)
	// What ends uma's sessions, or anyone's right to try passwords, comes after what needs them.
	order := func(what string) int {
		return slices.Index([]string{
			"POST /api/auth/register 201", "POST /api/auth/register 409", "POST /api/auth/login 200", "POST /api/auth/login 401", "POST /api/auth/login 429",
			"POST /api/auth/password 200", "POST /api/auth/password 403", "POST /api/auth/password 429",
			"DELETE /api/auth/sessions 200", "DELETE /api/auth/users/{id}/sessions 200",
		}, what)
	}
	ops := operations(t, "auth")
	var keys []string
	want := map[string]bool{}
	for _, o := range ops {
		for _, status := range o.statuses {
			what := o.route + " " + status
			want[what] = true
			if _, ok := tries[what]; !ok && status != "503" {
				bearer := admin
				if status == "401" || o.anonymous {
					bearer = ""
				}
				k := try{bearer: bearer, body: "{"}
				if status == "413" {
					k.body = `"` + strings.Repeat("x", 65<<10) + `"`
				}
				if !o.body {
					k.body = ""
				}
				tries[what] = k
			}
			if status != "503" && what != "POST /api/auth/oidc/session 200" {
				keys = append(keys, what)
			}
		}
	}
	for what := range tries {
		require.Contains(t, want, what, "not in the document")
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := order(a) - order(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	status := func(what string, k try) int {
		f := strings.Fields(what)
		path := f[1]
		if k.path != "" {
			path = k.path
		}
		kind := "application/json"
		if f[2] == "415" {
			kind = "text/plain"
		}
		got, body := callAs(t, f[0], w.url+strings.ReplaceAll(path, "{id}", "00000000-0000-4000-8000-000000000000"), k.bearer, kind, k.body)
		if got >= 400 {
			require.Regexp(t, `^{"error":{"code":"[a-z_]+","message":".+"}}\n$`, body, what)
		}
		return got
	}
	for _, what := range keys {
		require.Equal(t, what[len(what)-3:], fmt.Sprint(status(what, tries[what])), what)
	}
	// Without its database auth can do nothing but show its keys. Each of these waits for the database for seconds.
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	var g sync.WaitGroup
	for _, o := range ops {
		if !slices.Contains(o.statuses, "503") {
			continue
		}
		g.Go(func() {
			k := try{bearer: admin}
			for _, status := range []string{"200", "201"} {
				if good, ok := tries[o.route+" "+status]; ok {
					k.body, k.path = good.body, good.path
				}
			}
			k.body = strings.ReplaceAll(k.body, `"new"`, `"another"`) // of whom no wrong password is known
			if got := status(o.route+" 503", k); got != 503 {
				t.Errorf("%s answers %d without a database", o.route, got)
			}
		})
	}
	g.Wait()

	_, body := call(t, "GET", w.urls["auth"]+"/metrics", "", "")
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^http_requests_total{method="\w+",route="(\w+ /api/[^"]+)",status="(\d+)"}`).FindAllStringSubmatch(body, -1) {
		seen[m[1]+" "+m[2]] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(seen)))
}
