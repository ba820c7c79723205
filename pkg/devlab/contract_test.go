package devlab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// contract is a document in docs/openapi, which is held against a running service.
type contract struct {
	t       *testing.T
	service string
	address string // of the service; the proxy's, if nothing else is said
	metrics string // of the service
	doc     map[string]any
	ops     []operation
	schemas *jsonschema.Compiler

	mu    sync.Mutex
	tried map[string]bool // "POST /api/auth/login 200"
	shown map[string]bool // the fields that answers have had, by where the document has them
}

type operation struct {
	route      string // "POST /api/auth/login"
	at         string // where the document has it
	statuses   []string
	body       bool
	anonymous  bool
	parameters []parameter
}

type parameter struct {
	name, in string
	required bool
	schema   *jsonschema.Schema
	is       map[string]any // the schema as it is written
}

// try is a request that gets one of the documented statuses: what is "POST /api/auth/login 200". The path is that of what, if no other
// is given.
type try struct {
	what, bearer, path, body string
	header                   http.Header
}

const nobody = "00000000-0000-4000-8000-000000000000"

// contract reads a service's document, and finds that its routes are those of the service.
func (w *world) contract(service string) *contract {
	w.t.Helper()
	c := &contract{
		t: w.t, service: service, address: w.url, metrics: w.urls[health(service)] + "/metrics", schemas: jsonschema.NewCompiler(),
		tried: map[string]bool{}, shown: map[string]bool{},
	}
	b, err := os.ReadFile("../../docs/openapi/" + service + ".yaml")
	require.NoError(w.t, err)
	j, err := yaml.YAMLToJSONStrict(b)
	require.NoError(w.t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	require.NoError(w.t, err)
	strict(doc)
	c.doc = doc.(map[string]any)
	c.schemas.AssertFormat()
	c.schemas.UseLoader(jsonschema.SchemeURLLoader{}) // nothing but the document
	require.NoError(w.t, c.schemas.AddResource(documentURL, doc))
	c.referred(string(b))

	var has []string
	for path, item := range c.doc["paths"].(map[string]any) {
		for method, v := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			op := v.(map[string]any)
			security, ok := op["security"].([]any)
			if !ok {
				security, _ = c.doc["security"].([]any)
			}
			o := operation{
				route: strings.ToUpper(method) + " " + path, at: pointer("#", "paths", path, method),
				body: op["requestBody"] != nil, anonymous: len(security) == 0,
				statuses: slices.Sorted(maps.Keys(op["responses"].(map[string]any))),
			}
			list, _ := op["parameters"].([]any)
			for i, p := range list {
				o.parameters = append(o.parameters, c.parameter(p.(map[string]any), pointer(o.at, "parameters", strconv.Itoa(i), "schema")))
			}
			c.ops, has = append(c.ops, o), append(has, o.route)
		}
	}
	slices.SortFunc(c.ops, func(a, b operation) int { return strings.Compare(a.route, b.route) })
	slices.Sort(has)
	require.Equal(w.t, routes(w.t, service), has)
	return c
}

const documentURL = "docs:///openapi.json"

// pointer goes on with a JSON pointer.
func pointer(at string, to ...string) string {
	for _, s := range to {
		at += "/" + url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(s))
	}
	return at
}

// strict lets objects have no fields but those that are named. Clients must ignore others, but there is none that the document does not have.
func strict(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["additionalProperties"] == nil {
			v["additionalProperties"] = false
		}
		for _, sub := range v {
			strict(sub)
		}
	case []any:
		for _, sub := range v {
			strict(sub)
		}
	}
}

// referred finds that every reference leads somewhere, and everything is referred to.
func (c *contract) referred(text string) {
	used, there := map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`#/components/(\w+)/(\w+)`).FindAllStringSubmatch(text, -1) {
		used[m[1]+"/"+m[2]] = true
	}
	for kind, parts := range c.doc["components"].(map[string]any) {
		if kind != "securitySchemes" {
			for name := range parts.(map[string]any) {
				there[kind+"/"+name] = true
			}
		}
	}
	require.Equal(c.t, there, used)
}

func (c *contract) parameter(p map[string]any, at string) parameter {
	required, _ := p["required"].(bool)
	schema, err := c.schemas.Compile(documentURL + at)
	require.NoError(c.t, err)
	return parameter{name: p["name"].(string), in: p["in"].(string), required: required, schema: schema, is: p["schema"].(map[string]any)}
}

// routes gives what a service's source registers for clients, which no mux tells.
func routes(t *testing.T, service string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("../../services/" + service + "/*.go")
	require.NoError(t, err)
	pattern := regexp.MustCompile(`^([A-Z]+) /(api|ws)\b`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(gotoken.NewFileSet(), name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == gotoken.STRING {
				if s, err := strconv.Unquote(l.Value); err == nil && pattern.MatchString(s) {
					found = append(found, s)
				}
			}
			return true
		})
	}
	slices.Sort(found)
	return found
}

// node is a part of the document, and where it stands.
type node struct {
	at string
	v  map[string]any
}

// child gives a part of a part, behind its reference if it is one.
func (c *contract) child(n node, names ...string) (_ node, ok bool) {
	for _, name := range names {
		v, ok := n.v[name].(map[string]any)
		if !ok {
			return n, false
		}
		n = node{pointer(n.at, name), v}
		for n.v["$ref"] != nil {
			to := node{"#", c.doc}
			for part := range strings.SplitSeq(strings.TrimPrefix(n.v["$ref"].(string), "#/"), "/") {
				to = node{pointer(to.at, part), to.v[part].(map[string]any)}
			}
			n = to
		}
	}
	return n, true
}

func (c *contract) operation(route string) (o operation, n node) {
	c.t.Helper()
	i := slices.IndexFunc(c.ops, func(o operation) bool { return o.route == route })
	require.GreaterOrEqual(c.t, i, 0, "%s is not in the document", route)
	method, path, _ := strings.Cut(route, " ")
	n, _ = c.child(node{"#", c.doc}, "paths", path, strings.ToLower(method))
	return c.ops[i], n
}

// ask makes a request and gives the status of its answer, which must be as the document has it.
func (c *contract) ask(k try) (status string, err error) {
	f := strings.Fields(k.what)
	path, kind := f[1], "application/json"
	if k.path != "" {
		path = k.path
	}
	if f[2] == "415" {
		kind = "text/plain"
	}
	id := "g:" + nobody
	if c.service == "auth" {
		id = nobody // its ids are users'
	}
	path = strings.NewReplacer("{id}", id, "{user}", nobody).Replace(path)
	req, err := http.NewRequestWithContext(c.t.Context(), f[0], c.address+path, strings.NewReader(k.body))
	if err != nil {
		return "", err
	}
	for name, v := range k.header {
		req.Header[name] = v
	}
	if k.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+k.bearer)
	}
	if k.body != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var body []byte
	if res.StatusCode != http.StatusSwitchingProtocols {
		if body, err = io.ReadAll(res.Body); err != nil {
			return "", err
		}
	}
	status = strconv.Itoa(res.StatusCode)
	return status, c.check(f[0]+" "+f[1], status, res.Header, string(body))
}

// check finds that an answer is as the document has it.
func (c *contract) check(route, status string, header http.Header, body string) error {
	_, op := c.operation(route)
	answer, ok := c.child(op, "responses", status)
	if !ok {
		return fmt.Errorf("%s answers %s, which it does not say: %s", route, status, body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried[route+" "+status] = true
	headers, _ := c.child(answer, "headers")
	for name := range headers.v {
		h, _ := c.child(headers, name)
		at, _ := c.child(h, "schema")
		if v := header.Get(name); v != "" {
			if err := c.valid(at, typed(at.v, v)); err != nil {
				return fmt.Errorf("%s %s: header %s: %w", route, status, name, err)
			}
		} else if h.v["required"] == true {
			return fmt.Errorf("%s %s: no header %s", route, status, name)
		}
	}
	content, ok := c.child(answer, "content")
	switch {
	case !ok && body != "":
		return fmt.Errorf("%s %s: a body: %s", route, status, body)
	case !ok:
		return nil
	}
	kind := header.Get("Content-Type")
	media, ok := c.child(content, kind)
	if !ok {
		return fmt.Errorf("%s %s is %q: %s", route, status, kind, body)
	}
	schema, ok := c.child(media, "schema")
	if !ok || kind != "application/json" {
		return nil
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
	if err == nil {
		err = c.valid(schema, v)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %s: %w", route, status, body, err)
	}
	if status[0] >= '4' && !regexp.MustCompile(`^{"error":{"code":"[a-z_]+","message":".+"}}\n$`).MatchString(body) {
		return fmt.Errorf("%s %s is no error: %s", route, status, body)
	}
	c.show(schema, v)
	return nil
}

func (c *contract) valid(schema node, v any) error {
	s, err := c.schemas.Compile(documentURL + schema.at)
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// show notes which fields an answer has.
func (c *contract) show(schema node, v any) {
	switch v := v.(type) {
	case []any:
		if items, ok := c.child(schema, "items"); ok {
			for _, sub := range v {
				c.show(items, sub)
			}
		}
	case map[string]any:
		for name, sub := range v {
			if field, ok := c.child(schema, "properties", name); ok {
				c.shown[schema.at+" "+name] = true
				c.show(field, sub)
			} else if more, ok := c.child(schema, "additionalProperties"); ok {
				c.show(more, sub)
			}
		}
		for _, one := range c.alternatives(schema) {
			c.show(one, v)
		}
	}
}

func (c *contract) alternatives(schema node) (l []node) {
	list, _ := schema.v["anyOf"].([]any)
	for i, v := range list {
		one, _ := c.child(node{schema.at, map[string]any{"anyOf": v}}, "anyOf")
		if one.at == pointer(schema.at, "anyOf") {
			one.at = pointer(one.at, strconv.Itoa(i))
		}
		l = append(l, one)
	}
	return l
}

// fields gives those that the answers of the document have.
func (c *contract) fields(schema node, into, seen map[string]bool) {
	if seen[schema.at] {
		return
	}
	seen[schema.at] = true
	properties, _ := c.child(schema, "properties")
	if len(properties.at) > len(schema.at) {
		for name := range properties.v {
			field, _ := c.child(properties, name)
			into[schema.at+" "+name] = true
			c.fields(field, into, seen)
		}
	}
	for _, name := range []string{"items", "additionalProperties"} {
		if sub, ok := c.child(schema, name); ok {
			c.fields(sub, into, seen)
		}
	}
	for _, one := range c.alternatives(schema) {
		c.fields(one, into, seen)
	}
}

// get makes requests in that order, which get what they say.
func (c *contract) get(tries ...try) {
	c.t.Helper()
	for _, k := range tries {
		status, err := c.ask(k)
		require.NoError(c.t, err, k.what)
		require.Equal(c.t, k.what[len(k.what)-3:], status, k.what)
	}
}

// rest gets the statuses that all operations have in the same way: of bad bodies, of no token, and of what is not there. Others than 503
// are then all there were.
func (c *contract) rest(bearer string) {
	c.t.Helper()
	for _, o := range c.ops {
		for _, status := range o.statuses {
			what := o.route + " " + status
			if c.tried[what] || status == "503" {
				continue
			}
			k := try{what: what, bearer: bearer}
			if status == "401" || o.anonymous {
				k.bearer = ""
			}
			switch {
			case o.body && status == "413":
				k.body = `"` + strings.Repeat("x", 65<<10) + `"`
			case o.body:
				k.body = "{"
			}
			c.get(k)
		}
	}
}

// unavailable makes requests at once, since each may wait for what is away, which is why they get 503.
func (c *contract) unavailable(tries ...try) {
	c.t.Helper()
	var g sync.WaitGroup
	errs := make([]error, len(tries))
	for i, k := range tries {
		g.Go(func() {
			status, err := c.ask(k)
			if err == nil && status != "503" {
				err = errors.New("it answers " + status)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", k.what, err)
			}
		})
	}
	g.Wait()
	require.NoError(c.t, errors.Join(errs...))
}

// refuses makes requests whose parameters are not as the document has them, one in each, and others that are at its limits. good is a
// request that gets its status, with all of its parameters in path and header.
func (c *contract) refuses(good try) {
	c.t.Helper()
	method, path, _ := strings.Cut(good.what[:len(good.what)-4], " ")
	o, _ := c.operation(method + " " + path)
	set := func(p parameter, value *string) try {
		k := good
		if p.in == "header" {
			k.header = good.header.Clone()
			k.header.Del(p.name)
			if value != nil {
				k.header.Set(p.name, *value)
			}
			return k
		}
		require.Equal(c.t, "query", p.in)
		to, err := url.Parse(good.path)
		require.NoError(c.t, err)
		q := to.Query()
		q.Del(p.name)
		if value != nil {
			q.Set(p.name, *value)
		}
		to.RawQuery = q.Encode()
		k.path = to.String()
		return k
	}
	for _, p := range o.parameters {
		bad, fine := extremes(p.is)
		for _, v := range bad {
			require.Error(c.t, p.schema.Validate(typed(p.is, v)), "%s %s=%s", o.route, p.name, v)
			status, err := c.ask(set(p, &v))
			require.NoError(c.t, err, "%s %s=%s", o.route, p.name, v)
			require.Contains(c.t, []string{"400", "401", "426"}, status, "%s %s=%s", o.route, p.name, v)
		}
		for _, v := range fine {
			if p.name == "at_least" && v != "0" {
				continue // nobody was told of that seq, so the answer waits for it
			}
			require.NoError(c.t, p.schema.Validate(typed(p.is, v)), "%s %s=%s", o.route, p.name, v)
			k := set(p, &v)
			c.get(k)
		}
		if p.required {
			status, err := c.ask(set(p, nil))
			require.NoError(c.t, err, "%s without %s", o.route, p.name)
			require.Contains(c.t, []string{"400", "401", "426"}, status, "%s without %s", o.route, p.name)
		}
	}
}

// refusesBodies makes those of the requests again that have a body, with one field in each that is not as the document has it. They
// change nothing, so they may come first.
func (c *contract) refusesBodies(good ...try) {
	c.t.Helper()
	for _, k := range good {
		route, status := k.what[:len(k.what)-4], k.what[len(k.what)-3:]
		o, op := c.operation(route)
		fine := []string{"400"}
		if o.anonymous {
			fine = append(fine, "401") // what is no password can be no right one
		}
		schema, ok := c.child(op, "requestBody", "content", "application/json", "schema")
		if !ok || status[0] != '2' {
			continue
		}
		for what, body := range c.variants(schema, k.body) {
			k := k
			k.body = body
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(body))
			require.NoError(c.t, err)
			require.Error(c.t, c.valid(schema, v), "%s %s", route, what)
			status, err := c.ask(k)
			require.NoError(c.t, err, "%s %s", route, what)
			require.Contains(c.t, fine, status, "%s %s: %s", route, what, body)
		}
	}
}

// variants gives bodies that a schema refuses.
func (c *contract) variants(schema node, good string) map[string]string {
	c.t.Helper()
	found := map[string]string{}
	add := func(what, name string, v any) {
		body := map[string]any{}
		require.NoError(c.t, json.Unmarshal([]byte(good), &body))
		body[name] = v
		if v == nil {
			delete(body, name)
		}
		b, err := json.Marshal(body)
		require.NoError(c.t, err)
		found[what+" "+name] = string(b)
	}
	add("with", "another", "x")
	required, _ := schema.v["required"].([]any)
	for _, name := range required {
		add("without", name.(string), nil)
	}
	properties, _ := c.child(schema, "properties")
	for name := range properties.v {
		field, _ := c.child(properties, name)
		add("an operator as", name, map[string]any{"$ne": "x"})
		add("null as", name, json.RawMessage("null"))
		if n, ok := whole(field.v, "maxLength"); ok {
			add("too long a", name, strings.Repeat("é", int(n)+1))
		}
		if n, ok := whole(field.v, "minLength"); ok {
			add("too short a", name, strings.Repeat("x", int(n)-1))
		}
		if n, ok := whole(field.v, "maxItems"); ok {
			add("too many", name, slices.Repeat([]string{nobody}, int(n)+1))
		}
		if field.v["enum"] != nil || field.v["pattern"] != nil {
			add("a strange", name, "?")
		}
	}
	return found
}

// whole gives a number of a schema.
func whole(schema map[string]any, name string) (int64, bool) {
	n, ok := schema[name].(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

// typed gives what a parameter's text is by its schema.
func typed(schema map[string]any, text string) any {
	switch schema["type"] {
	case "integer":
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return json.Number(text)
		}
	case "array":
		l := []any{}
		for s := range strings.SplitSeq(text, ",") {
			l = append(l, s)
		}
		return l
	}
	return text
}

// extremes gives texts that a parameter's schema refuses, and some that it just does not.
func extremes(schema map[string]any) (bad, fine []string) {
	switch schema["type"] {
	case "integer":
		bad = append(bad, "", "x", "1.5", "1e3", "99999999999999999999")
		if n, ok := whole(schema, "minimum"); ok {
			bad, fine = append(bad, strconv.FormatInt(n-1, 10)), append(fine, strconv.FormatInt(n, 10))
		}
		if n, ok := whole(schema, "maximum"); ok {
			fine = append(fine, strconv.FormatInt(n, 10))
			if n+1 > n {
				bad = append(bad, strconv.FormatInt(n+1, 10))
			}
		}
	case "array":
		one := nobody
		bad = append(bad, "", "x", one+",", strings.ToUpper("g:"+one))
		if n, ok := whole(schema, "maxItems"); ok {
			bad = append(bad, strings.Repeat(one+",", int(n))+one)
			fine = append(fine, strings.TrimSuffix(strings.Repeat(one+",", int(n)), ","))
		}
	default:
		if n, ok := whole(schema, "maxLength"); ok {
			bad = append(bad, strings.Repeat("é", int(n)+1))
		}
		if schema["enum"] != nil || schema["pattern"] != nil {
			bad = append(bad, "", "x")
		}
	}
	return bad, fine
}

// complete finds that all of the document was seen, and by the service's own count of what it answered that there is nothing beside.
func (c *contract) complete() {
	c.t.Helper()
	want, fields, seen := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, o := range c.ops {
		for _, status := range o.statuses {
			want[o.route+" "+status] = true
			_, op := c.operation(o.route)
			if schema, ok := c.child(op, "responses", status, "content", "application/json", "schema"); ok {
				c.fields(schema, fields, seen)
			}
		}
	}
	require.Equal(c.t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(c.tried)))
	require.Equal(c.t, slices.Sorted(maps.Keys(fields)), slices.Sorted(maps.Keys(c.shown)))
	_, body := call(c.t, "GET", c.metrics, "", "")
	counted := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^http_requests_total{method="\w+",route="(\w+ /(?:api|ws)[^"]*)",status="(\d+)"}`).FindAllStringSubmatch(body, -1) {
		counted[m[1]+" "+m[2]] = true
	}
	require.Equal(c.t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(counted)))
}
