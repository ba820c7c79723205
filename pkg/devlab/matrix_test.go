package devlab

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

// endpoint is one line of the tables in docs/protocol.md.
type endpoint struct {
	method, path string
	bearer       bool
	role         string // if more than a user's
}

func (e endpoint) String() string { return e.method + " " + e.path }

// endpoints reads every HTTP endpoint from the protocol.
func endpoints(t *testing.T) (l []endpoint) {
	t.Helper()
	b, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	section := ""
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "## ") {
			section = line
		}
		m := regexp.MustCompile("^(?:\\| )?`(GET|POST|PUT|PATCH|DELETE) (/[^`? ]+)[^`]*`( \\((bearer|moderator|admin)[^)]*\\))?").FindStringSubmatch(line)
		if m == nil {
			continue
		}
		e := endpoint{method: m[1], path: m[2], bearer: m[4] != "" || strings.Contains(section, "(bearer)"), role: m[4]}
		if e.role == "bearer" {
			e.role = ""
		}
		if !slices.Contains(l, e) {
			l = append(l, e)
		}
	}
	require.GreaterOrEqual(t, len(l), 25, "what the protocol says is read otherwise than it is written")
	return l
}

// body gives a good body for those endpoints that want one.
func (e endpoint) body(user string) string {
	return map[string]string{
		"POST /api/auth/register":             `{"name":"someone","password":"correct horse","device":"x"}`,
		"POST /api/auth/login":                `{"name":"someone","password":"correct horse","device":"x"}`,
		"POST /api/auth/refresh":              `{"refresh_token":"x"}`,
		"POST /api/auth/password":             `{"password":"wrong horse","new_password":"battery staple"}`,
		"POST /api/auth/delete":               `{"password":"wrong horse"}`,
		"PUT /api/auth/users/{id}/role":       `{"role":"admin"}`,
		"POST /api/auth/keys/rotate":          `{"drop_old":true}`,
		"PUT /api/auth/profile":               `{"display_name":"Mallory","colour":"red","bio":"","status":""}`,
		"PUT /api/auth/preferences":           `{"theme":"dark","enter_sends":true,"receipts":true,"typing":true}`,
		"POST /api/auth/oidc/session":         `{"code":"x","device":"x"}`,
		"POST /api/groups":                    `{"title":"Another","members":["` + user + `"]}`,
		"PATCH /api/groups/{id}":              `{"title":"Taken over"}`,
		"POST /api/groups/{id}/members":       `{"user":"` + user + `"}`,
		"POST /api/groups/{id}/invitations":   `{"user":"` + user + `"}`,
		"PUT /api/groups/{id}/members/{user}": `{"role":"owner"}`,
		"POST /api/contacts/requests":         `{"user":"` + user + `"}`,
		"PATCH /api/contacts/{user}":          `{"nickname":"mine"}`,
	}[e.String()]
}

// claims are those of an access token as docs/protocol.md and the verifiers have them.
func claims(s *client.Session, expires time.Time, role string) map[string]any {
	return map[string]any{
		"iss": "labctl-chat", "aud": "chat", "sub": s.User.ID, "sid": s.ID, "name": s.User.Name, "role": role,
		"iat": expires.Add(-10 * time.Minute).Unix(), "nbf": expires.Add(-10 * time.Minute).Unix(), "exp": expires.Unix(),
	}
}

func forge(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, (&jose.SignerOptions{}).WithType("JWT"))
	require.NoError(t, err)
	raw, err := jwt.Signed(s).Claims(claims).Serialize()
	require.NoError(t, err)
	return raw
}

// Every HTTP endpoint of the protocol, with every token that should not open it.
func TestWhoMayDoWhat(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob, mallory := w.user("alice"), w.user("bob"), w.user("mallory")
	a := w.device(alice)
	g, err := alice.CreateGroup(ctx, "A secret title", bob.User.ID)
	require.NoError(t, err)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.has(g.ID, 1)
	a.send(dm, "a secret word")

	signing := w.signingKeys()[0]
	private := ed25519.NewKeyFromSeed(signing.Seed)
	_, foreign, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	later := time.Now().Add(5 * time.Minute)
	good := forge(t, jose.EdDSA, private, signing.Kid, claims(alice, later, "user"))
	status, body := call(t, "GET", w.url+"/api/auth/me", good, "")
	require.Equal(t, 200, status, "the forger knows the key, and makes tokens that differ in one thing only: %s", body)

	gone := w.again(alice)
	revoked, err := gone.AccessToken(ctx)
	require.NoError(t, err)
	require.NoError(t, gone.Logout(ctx))
	w.untilRefused(revoked)

	part := strings.Split(good, ".")[1]
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"` + signing.Kid + `"}`))
	without := func(claim string) map[string]any {
		c := claims(alice, later, "admin")
		delete(c, claim)
		return c
	}
	bad := map[string]string{
		"no token":                            "",
		"nonsense":                            "nonsense",
		"expired":                             forge(t, jose.EdDSA, private, signing.Kid, claims(alice, time.Now().Add(-time.Minute), "admin")),
		"not valid yet":                       forge(t, jose.EdDSA, private, signing.Kid, claims(alice, later.Add(time.Hour), "admin")),
		"no algorithm":                        none + "." + part + ".",
		"the public key as a shared secret":   forge(t, jose.HS256, []byte(private.Public().(ed25519.PublicKey)), signing.Kid, claims(alice, later, "admin")),
		"an unknown kid":                      forge(t, jose.EdDSA, private, "another", claims(alice, later, "admin")),
		"no kid":                              forge(t, jose.EdDSA, private, "", claims(alice, later, "admin")),
		"another's key with our kid":          forge(t, jose.EdDSA, foreign, signing.Kid, claims(alice, later, "admin")),
		"a role that is none":                 forge(t, jose.EdDSA, private, signing.Kid, claims(alice, later, "root")),
		"no end":                              forge(t, jose.EdDSA, private, signing.Kid, without("exp")),
		"for others":                          forge(t, jose.EdDSA, private, signing.Kid, without("aud")),
		"of a refresh token":                  alice.RefreshToken(),
		"changed":                             strings.Replace(good, "."+part+".", "."+part[:len(part)-1]+"A.", 1),
		"of a session that never was":         forge(t, jose.EdDSA, private, signing.Kid, func() map[string]any { c := claims(alice, later, "admin"); c["sid"] = "x"; return c }()),
		"of a session that is another user's": forge(t, jose.EdDSA, private, signing.Kid, func() map[string]any { c := claims(alice, later, "admin"); c["sid"] = bob.ID; return c }()),
	}
	// Those that only auth, which has the sessions, can tell.
	onlyAuth := []string{"of a session that never was", "of a session that is another user's"}

	fill := func(e endpoint) string {
		id := map[string]string{"/api/auth/sessions/{id}": alice.ID, "/api/conversations/{id}": dm}[e.path]
		if id == "" {
			id = g.ID
		}
		if e.role != "" {
			id = alice.User.ID
		}
		path := strings.NewReplacer("{id}", url.PathEscape(id), "{user}", bob.User.ID).Replace(e.path)
		switch e.path {
		case "/api/messages":
			path += "?conversation=" + url.QueryEscape(dm)
		case "/api/messages/search":
			path += "?q=secret"
		case "/api/auth/users", "/api/presence":
			path += "?ids=" + alice.User.ID
		}
		return w.url + path
	}
	stranger, err := mallory.AccessToken(ctx)
	require.NoError(t, err)

	var own, asked int // endpoints of one's own things, and requests
	for _, e := range endpoints(t) {
		if !e.bearer {
			continue
		}
		path, in := fill(e), e.body(mallory.User.ID)
		isAuth := strings.HasPrefix(e.path, "/api/auth/")
		for name, raw := range bad {
			if !isAuth && slices.Contains(onlyAuth, name) {
				continue
			}
			status, body := call(t, e.method, path, raw, in)
			require.Equal(t, 401, status, "%s, %s: %s", e, name, body)
			code := "unauthenticated"
			if slices.Contains(onlyAuth, name) {
				code = "session_ended"
			}
			require.Contains(t, body, `"`+code+`"`, "%s, %s", e, name)
			asked++
		}
		status, body := call(t, e.method, path, revoked, in)
		require.Equal(t, 401, status, "%s, revoked: %s", e, body)
		require.Contains(t, body, `"session_ended"`, "%s, revoked", e)
		asked++
		// What is alice's is not mallory's.
		if e.path == "/api/auth/logout" {
			continue // mallory's own session
		}
		status, body = call(t, e.method, path, stranger, in)
		asked++
		switch {
		case e.role != "":
			require.Equal(t, 403, status, "%s by one without the role: %s", e, body)
		case strings.Contains(e.path, "{id}"), e.path == "/api/messages":
			require.Equal(t, 404, status, "%s by a stranger: %s", e, body)
		case e.path == "/api/auth/password", e.path == "/api/auth/delete":
			require.Equal(t, 403, status, "%s: %s", e, body)
		case e.String() == "PUT /api/auth/profile/picture":
			require.Equal(t, 415, status, "%s without a picture: %s", e, body)
		case e.String() == "POST /api/contacts/requests":
			require.Equal(t, 400, status, "%s to oneself: %s", e, body)
		case strings.HasPrefix(e.path, "/api/contacts/") && e.method != "DELETE":
			require.Equal(t, 404, status, "%s by who has no contact and was asked by nobody: %s", e, body)
		default:
			require.Less(t, status, 300, "%s: %s", e, body)
			own++
		}
		for _, secret := range []string{"secret", alice.ID, bob.ID, g.ID, alice.RefreshToken()} {
			require.NotContains(t, body, secret, "%s tells a stranger", e)
		}
	}
	require.Positive(t, own)
	t.Logf("%d requests", asked)

	// Nothing of all that has changed anything.
	now, err := alice.Group(ctx, g.ID)
	require.NoError(t, err)
	require.Equal(t, g.Members, now.Members)
	require.Equal(t, g.Title, now.Title)
	require.NoError(t, alice.Refresh(ctx))
	require.Equal(t, signing, w.signingKeys()[0])

	t.Run("frames", func(t *testing.T) {
		ws := w.dial(w.url, mallory)
		for _, conversation := range []string{dm, g.ID} {
			frame, err := json.Marshal(map[string]any{"type": "send", "conversation": conversation, "client_id": "c-1", "body": "let me in"})
			require.NoError(t, err)
			require.NoError(t, ws.Write(ctx, websocket.MessageText, frame))
			_, answer, err := ws.Read(ctx)
			require.NoError(t, err)
			require.Contains(t, string(answer), `"not_member"`)
		}
		have, err := json.Marshal(map[string]any{"type": "resume", "id": "r", "have": map[string]int{dm: 0, g.ID: 0}})
		require.NoError(t, err)
		require.NoError(t, ws.Write(ctx, websocket.MessageText, have))
		_, answer, err := ws.Read(ctx)
		require.NoError(t, err)
		require.JSONEq(t, `{"type":"resumed","id":"r","behind":{}}`, string(answer))
	})
}

// untilRefused waits until every service with an API has heard that a session has ended.
func (w *world) untilRefused(access string) {
	w.t.Helper()
	for _, e := range []struct{ method, path string }{
		{"GET", "/api/conversations"}, {"GET", "/api/groups"}, {"GET", "/api/presence?ids=" + uuid.NewString()},
	} {
		eventually(w.t, "the end of a session to be known to "+e.path, func() bool {
			status, _ := call(w.t, e.method, w.url+e.path, access, "")
			return status == 401
		})
	}
}

// An operator of the database in the place of each value of each body, path and query: none may reach it.
func TestOperatorsStayOutside(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.user("alice")
	mallory := w.user("mallory")
	access, err := mallory.AccessToken(ctx)
	require.NoError(t, err)
	operators := []string{`{"$ne":null}`, `{"$gt":""}`, `{"$regex":".*"}`, `{"$where":"true"}`, `["alice"]`, `[{"$ne":""}]`, `{"$in":["alice"]}`, `1`}
	bodies := 0
	for _, e := range endpoints(t) {
		path := w.url + strings.NewReplacer("{id}", "x", "{user}", "x").Replace(e.path)
		var fields map[string]json.RawMessage
		if body := e.body(alice.User.ID); body != "" {
			require.NoError(t, json.Unmarshal([]byte(body), &fields))
		}
		for field := range fields {
			for _, operator := range operators {
				changed := maps.Clone(fields)
				changed[field] = json.RawMessage(operator)
				b, err := json.Marshal(changed)
				require.NoError(t, err)
				status, answer := call(t, e.method, path, access, string(b))
				switch {
				case e.role != "":
					require.Equal(t, 403, status, "%s %s: %s", e, b, answer)
				case field == "members" && operator == `["alice"]`:
					require.Contains(t, answer, "unknown_user") // a list is right there
				default:
					require.Equal(t, 400, status, "%s %s: %s", e, b, answer)
				}
				bodies++
			}
		}
		inPath := strings.Contains(e.path, "{id}")
		if !inPath && (e.method != "GET" || !e.bearer) {
			continue
		}
		for _, operator := range []string{`{"$ne":null}`, `$where`, `a.$.b`, "a\x00b", "__proto__", `..`} {
			p := w.url + strings.NewReplacer("{id}", url.PathEscape(operator), "{user}", url.PathEscape(operator)).Replace(e.path)
			for _, q := range []string{"ids", "name", "q", "conversation", "ids[$ne]", "before"} {
				status, answer := call(t, e.method, p+"?"+url.Values{q: {operator}}.Encode(), access, e.body(alice.User.ID))
				require.Less(t, status, 500, "%s with %s=%q: %s", e, q, operator, answer)
				require.NotContains(t, answer, alice.User.ID, "%s with %s=%q", e, q, operator)
				if inPath {
					break // the query is not looked at
				}
			}
		}
	}
	require.Positive(t, bodies)
	for _, name := range []string{"$ne", "alice\x00", `{"$gt":""}`, ".*", "a$lice"} {
		_, err := client.New(w.url).Login(ctx, name, "correct horse", "")
		require.True(t, client.IsCode(err, "wrong_credentials") || client.IsCode(err, "bad_request"), "%q: %v", name, err)
	}
	require.NoError(t, alice.Refresh(ctx), fmt.Sprint(bodies, " bodies have done her no harm"))
}
