package devlab

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

// shadowOf starts the candidate of a shadow of a service. more are variables of its own.
func (w *world) shadowOf(service string, more map[string]string) {
	w.t.Helper()
	w.sideOf(service, side.Candidate, more)
}

// sideOf starts a side of a shadow of a service, as the user whom every lab has for it.
func (w *world) sideOf(service string, s side.Side, more map[string]string) {
	w.t.Helper()
	name := side.NamesOf(service)[s].Group
	own := w.lab.users.SideVariables(service, s, w.lab.dbAddr)
	maps.Copy(own, more)
	live := units()[slices.IndexFunc(units(), func(u *unit) bool { return u.name == service })]
	w.place(&unit{name: name, run: func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		return live.run(ctx, func(k string) string {
			if v, ok := own[k]; ok {
				return v
			}
			return getenv(k)
		}, on, log)
	}})
	w.start(name)
}

// calls is what is asked of a service.
type calls struct {
	mu   sync.Mutex
	made map[string]int // by method and first parts of the path
}

// counted gives addresses of services that count what is asked of them.
func (w *world) counted() (urls map[string]string, c *calls) {
	w.t.Helper()
	urls, c = map[string]string{}, &calls{made: map[string]int{}}
	for _, service := range []string{"auth", "groups", "messaging"} {
		to, err := url.Parse(w.urls[service])
		require.NoError(w.t, err)
		proxy := httputil.NewSingleHostReverseProxy(to)
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			parts := strings.Split(r.URL.Path, "/")
			c.mu.Lock()
			c.made[r.Method+" "+service+strings.Join(parts[:min(3, len(parts))], "/")]++
			c.mu.Unlock()
			proxy.ServeHTTP(rw, r)
		}))
		w.t.Cleanup(srv.Close)
		urls[strings.ToUpper(service)+"_URL"] = srv.URL
	}
	return urls, c
}

// noticeable is all that others than a shadow could notice: of topics, how far they go, of consumer groups, what they have committed (but for presence's,
// which go on by themselves), and which databases there are.
func (w *world) noticeable() map[string]string {
	w.t.Helper()
	ctx := w.t.Context()
	root := kadm.NewClient(w.kafka())
	found := map[string]string{}
	all, err := root.ListTopics(ctx)
	require.NoError(w.t, err)
	for _, name := range all.Names() {
		switch name {
		case topics.Presence:
			found["topic "+name] = "is there"
		case topics.Users:
			n := 0
			for _, r := range w.records(name) {
				if !strings.Contains(string(r.Value), `"type":"presence"`) {
					n++
				}
			}
			found["topic "+name] = fmt.Sprint(n)
		default:
			ends, err := root.ListEndOffsets(ctx, name)
			require.NoError(w.t, err)
			ends.Each(func(o kadm.ListedOffset) { found[fmt.Sprint("topic ", name, "/", o.Partition)] = fmt.Sprint(o.Offset) })
		}
		configs, err := root.DescribeTopicConfigs(ctx, name)
		require.NoError(w.t, err)
		for _, c := range configs[0].Configs {
			found["config "+name+" "+c.Key] = c.MaybeValue()
		}
	}
	groups, err := root.DescribeGroups(ctx)
	require.NoError(w.t, err)
	for name, g := range groups {
		found["group "+name] = fmt.Sprintf("%s, %d members", g.State, len(g.Members))
		if name == topics.Presence {
			continue
		}
		committed, err := root.FetchOffsets(ctx, name)
		require.NoError(w.t, err)
		committed.Each(func(o kadm.OffsetResponse) {
			found[fmt.Sprint("group ", name, " ", o.Topic, "/", o.Partition)] = fmt.Sprint(o.At)
		})
	}
	databases, err := w.database("admin").Client().ListDatabaseNames(ctx, bson.D{})
	require.NoError(w.t, err)
	for _, name := range databases {
		found["database "+name] = "is there"
	}
	for _, name := range []string{"auth", "messaging", "groups"} {
		for id, doc := range w.documents(name) {
			found["document "+name+" "+id] = doc
		}
	}
	return found
}

// Shadows of all services read the live topics, and nothing that is not theirs becomes another: no topic, group, database or document, and no other service is
// asked to do anything. What messaging's shadow makes of the records is what the live one has made of them, byte for byte.
func TestShadow(t *testing.T) {
	w := newWorld(t)
	w.talk("before-")
	w.handled("messaging")
	before := w.noticeable()
	urls, asked := w.counted()
	for _, service := range []string{"messaging", "presence", "groups", "auth", "gateway"} {
		w.shadowOf(service, urls)
	}
	w.ready()
	w.handled("messaging-shadow")
	after := w.noticeable()
	for what, is := range after {
		if !strings.Contains(what, "shadow") {
			require.Equal(t, before[what], is, what)
		}
	}
	for what := range before {
		require.Contains(t, after, what)
	}
	for _, service := range []string{"messaging", "presence"} { // the gateway has none, the others read the live one
		require.Contains(t, after, "database "+service+"-shadow")
	}

	w.talk("meanwhile-")
	w.handled("messaging")
	w.handled("messaging-shadow")
	require.Equal(t, w.outputs(""), w.outputs("shadow.messaging."))
	live, own := w.documents("messaging", differing...), w.documents("messaging-shadow", differing...)
	require.Equal(t, slices.Sorted(maps.Keys(live)), slices.Sorted(maps.Keys(own)))
	for id := range live {
		require.Equal(t, live[id], own[id])
	}
	for _, service := range []string{"presence", "groups", "auth", "gateway"} { // which have no other way to say that they have come so far
		w.parts[service+"-shadow"].stop()
	}
	asked.mu.Lock()
	defer asked.mu.Unlock()
	for call := range asked.made {
		require.Contains(t, []string{"GET messaging/internal/peers", "GET groups/internal/contacts", "GET auth/api/auth"}, call)
	}
}

// differing are collections in which the times of what an instance does are, or work that it puts off.
var differing = []string{"schema", "settings", "words"}

// outputs gives what follows from the records of the topic messages, by the topic and key of what is written, in order.
func (w *world) outputs(prefix string) map[string][]string {
	w.t.Helper()
	found := map[string][]string{}
	for _, topic := range []string{topics.Users, topics.Dead} {
		for _, r := range w.records(prefix + topic) {
			if !strings.HasPrefix(header(r, "source"), topics.Messages+"/") {
				continue
			}
			var headers []string
			for _, h := range r.Headers {
				headers = append(headers, h.Key+": "+string(h.Value))
			}
			key := topic + " " + string(r.Key)
			found[key] = append(found[key], fmt.Sprintf("%s %q", r.Value, headers))
		}
	}
	require.NotEmpty(w.t, found)
	return found
}

// A shadow that begins in the middle of the topic comes to the same for the conversations that begin after that, and knows nothing of those before.
func TestShadowThatBeginsLater(t *testing.T) {
	w := newWorld(t)
	w.talk("before-")
	before := w.outputs("")
	ends, err := kadm.NewClient(w.kafka()).ListEndOffsets(t.Context(), topics.Messages)
	require.NoError(t, err)
	var start []string
	ends.Each(func(o kadm.ListedOffset) {
		start = append(start, fmt.Sprintf("%s/%d/%d", o.Topic, o.Partition, o.Offset))
	})
	w.shadowOf("messaging", map[string]string{"KAFKA_START": strings.Join(start, ",")})
	w.ready()
	w.talk("after-")
	w.handled("messaging")
	w.handled("messaging-shadow", ends)
	live := w.outputs("")
	maps.DeleteFunc(live, func(key string, _ []string) bool { return before[key] != nil })
	require.Equal(t, live, w.outputs("shadow.messaging."))
}

// Copies of the services whose state follows from requests answer from the live database, and can write nothing, whatever
// they are asked.
func TestShadowsThatReadTheLiveDatabase(t *testing.T) {
	w := newWorld(t)
	ann, ben := w.user("ann"), w.user("ben")
	group, err := ann.CreateGroup(t.Context(), "readers", ben.User.ID)
	require.NoError(t, err)
	w.handled("messaging")
	token, err := ann.AccessToken(t.Context())
	require.NoError(t, err)
	for _, service := range []string{"auth", "groups"} {
		w.shadowOf(service, nil)
	}
	w.ready()
	before := w.noticeable()

	ask := func(service, method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, w.urls[service]+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(b)
	}
	for path, service := range map[string]string{
		"/api/auth/me": "auth", "/api/auth/sessions": "auth", "/api/auth/users?name=" + ben.User.Name: "auth", "/api/auth/jwks": "auth",
		"/api/groups": "groups", "/api/groups/" + group.ID: "groups", "/api/contacts": "groups", "/api/invitations": "groups",
	} {
		status, live := ask(service, http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, status, live)
		status, said := ask(service+"-shadow", http.MethodGet, path, "")
		require.Equal(t, http.StatusOK, status, said)
		require.JSONEq(t, live, said, path)
	}
	for _, change := range []struct{ service, method, path, body string }{
		{"auth", http.MethodPost, "/api/auth/register", `{"name": "eve", "password": "a password of the test", "device": "phone"}`},
		{"auth", http.MethodPut, "/api/auth/profile", `{"display_name": "Eve", "colour": "red"}`},
		{"auth", http.MethodPut, "/api/auth/preferences", `{"theme": "dark", "enter_sends": true, "receipts": true, "typing": true}`},
		{"groups", http.MethodPost, "/api/groups", `{"title": "another", "members": []}`},
		{"groups", http.MethodPatch, "/api/groups/" + group.ID, `{"title": "another"}`},
		{"groups", http.MethodPut, "/api/blocks/" + ben.User.ID, ""},
	} {
		status, said := ask(change.service+"-shadow", change.method, change.path, change.body)
		require.GreaterOrEqual(t, status, 500, "%s %s: %s", change.method, change.path, said)
	}
	require.Equal(t, before, w.noticeable())
}
