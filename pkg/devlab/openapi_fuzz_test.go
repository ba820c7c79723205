package devlab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/requestid"
	"github.com/labctl/labctl/test/scope"
)

// TestOpenAPIFuzz makes requests from docs/openapi, right and wrong ones, and sends them to the whole chat. Every answer must be as the
// document has it, and what the document does not allow must not succeed. A seed makes the same requests each time, but for ids and
// tokens; its subtest can be run alone.
func TestOpenAPIFuzz(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "auth", "groups", "gateway")
	for _, name := range []string{"groups", "gateway"} {
		run := w.parts[name].unit.run
		w.parts[name].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
			return run(ctx, func(k string) string {
				if slices.Contains([]string{"PEOPLE_RATE", "CHANGE_RATE", "GROUP_RATE", "USER_RATE"}, k) {
					return "off" // a fuzzer makes more requests than people
				}
				return getenv(k)
			}, on, log)
		}
		w.start(name)
	}
	w.startAuth(func(c *auth.Config) { c.WrongPasswords = auth.WrongPasswords{Burst: 1_000_000, Every: time.Second} })
	var contracts []*contract
	for _, service := range []string{"auth", "gateway", "groups", "messaging", "presence"} {
		contracts = append(contracts, w.contract(service))
	}
	succeeded, seeds, ran := map[string]int{}, scope.Of[uint64](2, 6), uint64(0)
	for seed := range seeds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			z := newFuzzer(t, w, seed)
			for range scope.Of(12, 30) {
				for _, c := range contracts {
					for _, o := range c.ops {
						z.try(c, o)
					}
				}
			}
			for what, n := range z.succeeded {
				succeeded[what] += n
			}
			ran++
		})
	}
	if !scope.Full() || ran < seeds {
		return
	}
	for what, n := range succeeded {
		if !slices.Contains([]string{"POST /api/auth/oidc/session", "GET /api/auth/users/{id}/picture"}, what) { // each needs a secret
			require.Positive(t, n, "no %s has succeeded, so that wrong ones do not says nothing", what)
		}
	}
}

const fuzzPassword = "correct horse"

// fuzzer makes the requests of one seed. Its users and all that they have are of this seed alone.
type fuzzer struct {
	*rand.Rand
	t       *testing.T
	w       *world
	seed    uint64
	made    int
	right   bool // the request that is made now has nothing wrong
	callers []*fuzzCaller
	// befriend makes the first caller somebody's contact, unless one of them has blocked the other: what else is asked
	// soon ends that again. Until the end that it gives, that somebody is the only user who is known.
	befriend func() (end func())
	// known are values that mean something to the chat, by the name of the field or parameter.
	known     map[string][]string
	succeeded map[string]int // by route
}

// fuzzCaller is somebody who asks. One without a name has no session.
type fuzzCaller struct {
	name, role, password, token, session string
}

func newFuzzer(t *testing.T, w *world, seed uint64) *fuzzer {
	t.Helper()
	ctx := t.Context()
	name := func(who string) string { return fmt.Sprint(who, "-", seed) }
	z := &fuzzer{Rand: rand.New(rand.NewPCG(seed, 0)), t: t, w: w, seed: seed, succeeded: map[string]int{}} //nolint:gosec // the same requests each time
	plain, admin, other := w.user(name("plain")), w.user(name("admin")), w.user(name("other"))
	dm := client.DirectID(plain.User.ID, other.User.ID)
	phone := w.device(plain)
	phone.send(dm, "words to be found")
	phone.change(dm, phone.send(dm, "more words").Seq, client.React("+", true))
	own, err := plain.CreateGroup(ctx, "Own", other.User.ID, admin.User.ID)
	require.NoError(t, err)
	open, err := other.CreatePublicGroup(ctx, "Open")
	require.NoError(t, err)
	_, err = other.Invite(ctx, open.ID, plain.User.ID)
	require.NoError(t, err)
	_, err = other.RequestContact(ctx, plain.User.ID)
	require.NoError(t, err)
	z.befriend = func() func() {
		_, _ = other.RequestContact(ctx, plain.User.ID)
		_, _ = call(t, http.MethodPost, w.url+"/api/contacts/requests/"+other.User.ID+"/accept", z.callers[0].token, "")
		all := z.known["user"]
		z.known["user"] = []string{other.User.ID}
		return func() { z.known["user"] = all }
	}
	phone.Close()
	w.stored()
	require.NoError(t, auth.SetRole(ctx, w.authConfig(), admin.User.Name, "admin"))
	z.callers = []*fuzzCaller{
		{name: plain.User.Name, role: "user", password: fuzzPassword},
		{name: admin.User.Name, role: "admin", password: fuzzPassword},
		{}, // nobody
	}
	users := []string{plain.User.ID, other.User.ID, admin.User.ID, nobody}
	z.known = map[string][]string{
		"user": users, "members": users, "ids": {strings.Join(users, ","), other.User.ID},
		"name": {other.User.Name}, "q": {"words", "o"}, "password": {fuzzPassword}, "new_password": {fuzzPassword},
		"refresh_token": {w.again(other).RefreshToken()}, "colour": {"teal", "#00ff00"},
		"conversation": {dm, own.ID, open.ID, "g:" + nobody},
		"cursor":       {dm, own.ID}, "position": {w.position()}, "at_least": {"0"}, "v": {"x"}, "drop_old": {"false"},
		"Connection": {"Upgrade"}, "Sec-WebSocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}, "Origin": {w.urls["gateway"]},
	}
	for _, c := range z.callers[:2] {
		z.login(c)
	}
	return z
}

// newcomer gives somebody whose account can be deleted, since nobody needs it any more.
func (z *fuzzer) newcomer() (c *fuzzCaller, id string) {
	z.t.Helper()
	s := z.w.user(fmt.Sprint("newcomer-", z.seed, "-", z.made))
	return &fuzzCaller{name: s.User.Name, role: "user", password: fuzzPassword, token: z.w.access(s)}, s.User.ID
}

// login gives a caller a new session, with the caller's own role.
func (z *fuzzer) login(c *fuzzCaller) {
	z.t.Helper()
	require.NoError(z.t, auth.SetRole(z.t.Context(), z.w.authConfig(), c.name, c.role))
	chat := client.New(z.w.url)
	z.t.Cleanup(chat.Close)
	s, err := chat.Login(z.t.Context(), c.name, c.password, "fuzzer")
	require.NoError(z.t, err)
	c.token, err = s.AccessToken(z.t.Context())
	require.NoError(z.t, err)
	c.session = s.ID
	z.known["session"] = []string{z.callers[0].session, z.callers[1].session, nobody}
}

// fuzzed is a request, and why it must not succeed, if it must not.
type fuzzed struct {
	caller *fuzzCaller
	method string
	path   string
	header http.Header
	body   []byte
	wrong  []string
}

// String is the request as somebody can make it again, without secrets.
func (r *fuzzed) String() string {
	body := string(r.body)
	if len(body) > 1000 {
		body = fmt.Sprintf("%s… (%d bytes)", body[:1000], len(body))
	}
	header := r.header.Clone()
	header.Del("Authorization")
	who := "nobody"
	if r.caller.name != "" {
		who = r.caller.name
	}
	return fmt.Sprintf("%s: %s %s %v %q (wrong: %s)", who, r.method, r.path, header, body, strings.Join(r.wrong, ", "))
}

// ends are the operations that may end a caller's session.
var ends = []string{"logout", "endSession", "endSessionsOf", "changeRole", "login", "changePassword", "suspend"}

func (z *fuzzer) try(c *contract, o operation) {
	z.t.Helper()
	z.made++
	_, op := c.operation(o.route)
	id := op.v["operationId"].(string)
	if id == "rotateKeys" && z.IntN(4) > 0 {
		return // a second rotation within seconds makes tokens that others can't verify yet
	}
	z.right = z.IntN(2) == 0
	end := func() {}
	if id == "setNickname" && z.right {
		end = z.befriend()
	}
	z.succeeded[o.route] += 0 // it is tried
	r := z.request(c, o, op)
	end()
	what := fmt.Sprintf("seed %d, request %d: %s", z.seed, z.made, r)
	for _, secret := range slices.Concat(z.known["password"], z.known["refresh_token"]) {
		what = strings.ReplaceAll(what, secret, "<secret>")
	}
	address := z.w.url
	if z.IntN(2) == 0 || c.service == "gateway" { // a proxy keeps the header Upgrade to itself
		address = z.w.urls[c.service]
	}
	req, err := http.NewRequestWithContext(z.t.Context(), r.method, address+r.path, bytes.NewReader(r.body))
	require.NoError(z.t, err, what)
	req.Header = r.header
	res, err := http.DefaultTransport.RoundTrip(req)
	require.NoError(z.t, err, what)
	var body []byte
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, err = io.ReadAll(res.Body)
		require.NoError(z.t, err, what)
	}
	require.NoError(z.t, res.Body.Close())
	status := fmt.Sprint(res.StatusCode)

	require.NoError(z.t, c.check(o.route, status, res.Header, string(body)), what)
	require.Less(z.t, res.StatusCode, 500, "%s: %s", what, body) // nothing is down
	succeeds := res.StatusCode < 400
	if succeeds {
		require.Empty(z.t, r.wrong, "%s: %s", what, status)
		z.succeeded[o.route]++
	}
	if !o.anonymous && r.caller.name == "" {
		require.Equal(z.t, "401", status, what)
	}
	if wanted := r.header.Get(requestid.Header); requestid.Of(req) == wanted {
		require.Equal(z.t, wanted, res.Header.Get(requestid.Header), what)
	} else {
		require.Regexp(z.t, "^[a-zA-Z0-9+-]{8,64}$", res.Header.Get(requestid.Header), what)
	}
	if succeeds && id == "changePassword" {
		var b struct {
			New string `json:"new_password"`
		}
		require.NoError(z.t, json.Unmarshal(r.body, &b), what)
		r.caller.password = b.New
	}
	if succeeds && id == "suspend" { // nobody else could log in again
		status, body := call(z.t, http.MethodDelete, z.w.url+r.path, r.caller.token, "")
		require.Equal(z.t, http.StatusNoContent, status, "%s: %s", what, body)
	}
	if succeeds && slices.Contains(ends, id) {
		for _, k := range z.callers[:2] {
			if status, _ := call(z.t, http.MethodGet, z.w.url+"/api/auth/me", k.token, ""); status == http.StatusUnauthorized || id == "changeRole" {
				z.login(k)
			}
		}
	}
	if succeeds && slices.Contains([]string{"register", "login", "refresh"}, id) {
		var s struct {
			Refresh string `json:"refresh_token"`
		}
		require.NoError(z.t, json.Unmarshal(body, &s), what)
		z.known["refresh_token"] = []string{s.Refresh}
	}
}

// request makes a request that is right, or has one thing or several that are wrong.
func (z *fuzzer) request(c *contract, o operation, op node) *fuzzed {
	method, path, _ := strings.Cut(o.route, " ")
	r := &fuzzed{caller: pick(z, z.callers[:2]...), method: method, header: http.Header{}}
	switch op.v["operationId"] {
	case "deleteAccount":
		r.caller, _ = z.newcomer()
	case "deleteAccountOf":
		_, id := z.newcomer()
		path = strings.ReplaceAll(path, "{id}", id)
	}
	if z.wrong(3) {
		r.caller = z.callers[2]
	}
	z.authorize(r, o, op)
	for _, name := range []string{"id", "user"} {
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(z.pathValue(path, name)))
	}
	query := url.Values{}
	for _, p := range o.parameters {
		v, ok := z.parameter(p)
		typedValue := typed(p.is, v)
		switch {
		case !ok && p.required:
			r.wrong = append(r.wrong, "no "+p.name)
		case ok && p.schema.Validate(typedValue) != nil:
			r.wrong = append(r.wrong, p.name)
		}
		if ok && p.in == "query" {
			query.Set(p.name, v)
		} else if ok {
			r.header[http.CanonicalHeaderKey(p.name)] = []string{v}
		}
	}
	r.path = path
	if len(query) > 0 {
		r.path += "?" + query.Encode()
	}
	if z.IntN(4) == 0 {
		r.header.Set(requestid.Header, pick(z, "short", "fuzzer-0123456789", "fuzzer 0123456789", strings.Repeat("x", 64), strings.Repeat("x", 65)))
	}
	if o.body {
		z.body(c, op, r)
	}
	return r
}

func (z *fuzzer) authorize(r *fuzzed, o operation, op node) {
	switch {
	case r.caller.name != "":
		r.header.Set("Authorization", "Bearer "+r.caller.token)
		if role, ok := op.v["x-role"]; ok && r.caller.role == "user" {
			r.wrong = append(r.wrong, "for a "+role.(string))
		}
	case z.IntN(2) == 0:
		plain := z.callers[0].token
		r.header.Set("Authorization", pick(z, "Bearer", "Bearer ", "Bearer x", "Basic "+plain, plain, "Bearer "+plain[:len(plain)-8], "Bearer "+strings.Repeat("x", 5000)))
	}
	if !o.anonymous && r.caller.name == "" {
		r.wrong = append(r.wrong, "no token")
	}
}

// pathValue gives a segment of a path. Dots alone would be another path.
func (z *fuzzer) pathValue(path, name string) string {
	if z.wrong(3) {
		return pick(z, strange()...)
	}
	kind := name
	if name == "id" {
		switch {
		case strings.HasPrefix(path, "/api/auth/sessions"):
			kind = "session"
		case strings.HasPrefix(path, "/api/auth"):
			kind = "user"
		default:
			kind = "conversation"
		}
	}
	return pick(z, z.known[kind]...)
}

// strange are texts that a program may stumble over.
func strange() []string {
	return []string{
		"x", " ", "null", "0", "-1", "$ne", "a.b", "a/b", "%00", "\x00", "\xff", "\u202e", "\u200b", "é", "😀", "e" + strings.Repeat("\u0301", 40), "ﷺ",
		"'", `"`, "\\", "{}", "[]", "<script>", "{{.}}", "../..", "dm:a:b", "g:", "g:x", "DM:", strings.ToUpper(nobody), strings.Repeat("x", 2000), strings.Repeat("😀", 300),
	}
}

// parameter gives a text for a parameter; ok is false where it is left out.
func (z *fuzzer) parameter(p parameter) (v string, ok bool) {
	if !p.required && z.IntN(4) == 0 || z.wrong(6) {
		return "", false
	}
	bad, fine := extremes(p.is)
	if p.name == "at_least" {
		fine = nil // the answer waits for what there is not
	}
	if p.in == "query" {
		bad = append(bad, strange()...)
	}
	switch {
	case len(bad) > 0 && z.wrong(3):
		v = pick(z, bad...)
	case z.IntN(4) == 0 && len(fine) > 0:
		return pick(z, fine...), true
	case z.known[p.name] != nil:
		return pick(z, z.known[p.name]...), true
	default:
		return fmt.Sprint(z.value(node{v: p.is}, p.name, nil)), true
	}
	return v, true
}

// body gives a request its body and media type.
func (z *fuzzer) body(c *contract, op node, r *fuzzed) {
	content, _ := c.child(op, "requestBody", "content")
	kind := slices.Sorted(maps.Keys(content.v))[0]
	r.header.Set("Content-Type", kind)
	if kind != "application/json" {
		r.body = []byte(drawing(z.t, 1+z.IntN(20), 1+z.IntN(20)))
		if z.wrong(2) {
			r.wrong, r.body = append(r.wrong, "no picture"), []byte(pick(z, "", "x", "\x89PNG\r\n\x1a\n", "\xff\xd8\xff", string(r.body[:len(r.body)/2]), strings.Repeat("x", 70<<10)))
		}
		return
	}
	schema, _ := c.child(content, kind, "schema")
	v := z.value(schema, "", c)
	if z.wrong(2) {
		v = z.change(v)
	}
	b, err := json.Marshal(v)
	require.NoError(z.t, err)
	r.body = b
	if z.wrong(4) {
		r.body = z.damage(b)
	}
	read, err := jsonschema.UnmarshalJSON(bytes.NewReader(r.body))
	switch {
	case err != nil || !utf8.Valid(r.body):
		r.wrong = append(r.wrong, "no JSON in UTF-8")
	case len(r.body) > 64<<10:
		r.wrong = append(r.wrong, "too large")
	default:
		if err := c.valid(schema, read); err != nil {
			r.wrong = append(r.wrong, err.Error())
		}
	}
	switch {
	case z.wrong(6):
		r.header["Content-Type"] = pick(z, nil, []string{""}, []string{"text/plain"}, []string{"application/xml"}, []string{"application/jsonp"}, []string{"application/json, text/plain"}, []string{"multipart/form-data"})
		r.wrong = append(r.wrong, "another media type")
	case z.IntN(6) == 0:
		r.header.Set("Content-Type", pick(z, "application/json; charset=utf-8", "Application/JSON"))
	}
}

// value gives what a schema allows. What no schema can say of it, such as that a user exists, often holds too.
func (z *fuzzer) value(schema node, name string, c *contract) any {
	s := schema.v
	if l, ok := s["enum"].([]any); ok {
		return l[z.IntN(len(l))]
	}
	switch s["type"] {
	case "object":
		o := map[string]any{}
		properties, _ := c.child(schema, "properties")
		required, _ := s["required"].([]any)
		for _, field := range slices.Sorted(maps.Keys(properties.v)) {
			if !slices.Contains(required, any(field)) && z.IntN(3) == 0 {
				continue
			}
			sub, _ := c.child(properties, field)
			o[field] = z.value(sub, field, c)
		}
		return o
	case "array":
		l := []any{}
		items, _ := c.child(schema, "items")
		for range z.IntN(4) {
			l = append(l, z.value(items, name, c))
		}
		return l
	case "boolean":
		return name != "drop_old" && z.IntN(2) == 0 // the tokens of all others would be gone
	case "integer":
		low, _ := whole(s, "minimum")
		return low + z.Int64N(20)
	}
	if name == "name" && z.IntN(2) == 0 {
		return fmt.Sprint("new-", z.seed, "-", z.made)
	}
	if known := z.known[name]; known != nil && (s["pattern"] != nil || z.IntN(4) > 0) {
		return pick(z, known...)
	}
	most, ok := whole(s, "maxLength")
	if !ok {
		most = 100
	}
	least, _ := whole(s, "minLength")
	letters := []rune(pick(z, "abcdefghij klmnop", "äöüßé ñ", "日本語テキスト", "😀👍🏽👩‍👩‍👧", "שלום עולם", "a\u202e\u200b\x00\n\t", "e\u0301\u0302"))
	text := make([]rune, least+z.Int64N(pick(z, min(most, 12), most)-least+1))
	for i := range text {
		text[i] = letters[z.IntN(len(letters))]
	}
	return string(text)
}

// change makes a value another in one place, which is mostly wrong then.
func (z *fuzzer) change(v any) any {
	others := []any{nil, true, 0, -1, 1e300, json.Number("123456789012345678901234567890"), json.Number("1e999"), "", " ", "x", nobody, []any{}, []any{nil}, map[string]any{}, map[string]any{"$ne": ""}, strings.Repeat("é", 5000)}
	for _, s := range strange() {
		if utf8.ValidString(s) {
			others = append(others, s)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		if len(names) == 0 || z.IntN(8) == 0 {
			v[pick(z, "", "another", "$where", "__proto__", "id")] = pick(z, others...)
			return v
		}
		name := names[z.IntN(len(names))]
		switch z.IntN(6) {
		case 0:
			delete(v, name)
		case 1:
			v[strings.ToUpper(name)] = v[name]
			delete(v, name)
		default:
			v[name] = z.change(v[name])
		}
		return v
	case []any:
		if n := len(v); n > 0 && z.IntN(2) == 0 {
			i := z.IntN(n)
			v[i] = z.change(v[i])
			return v
		}
		if z.IntN(4) == 0 {
			return slices.Repeat([]any{nobody}, 1001)
		}
	}
	return pick(z, others...)
}

// damage makes a text that is no JSON, or no good one, of one that is.
func (z *fuzzer) damage(b []byte) []byte {
	switch z.IntN(9) {
	case 0:
		return b[:z.IntN(len(b))]
	case 1:
		return append(b, pick(z, "{}", "x", "null", "]", "\x00")...)
	case 2:
		return append([]byte("\ufeff"), b...)
	case 3:
		return bytes.Replace(b, []byte(`":"`), []byte("\":\"\xff\xfe"), 1)
	case 4:
		return append(bytes.Repeat([]byte(" "), 64<<10), b...)
	case 5:
		return []byte(strings.Repeat("[", 20_000))
	case 6:
		return []byte(strings.Repeat(`{"title":`, 3000) + "1" + strings.Repeat("}", 3000))
	case 7:
		return []byte(pick(z, "null", "true", "0", `""`, "[]", "{}", "NaN", "'x'", "[null]"))
	default:
		z.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
		return b
	}
}

// wrong says whether to make something wrong, once in n times.
func (z *fuzzer) wrong(n int) bool { return !z.right && z.IntN(n) == 0 }

func pick[T any](z *fuzzer, l ...T) T { return l[z.IntN(len(l))] }
