package devlab

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/groups"
)

// TestOpenAPIOfGroups gets every status of docs/openapi/groups.yaml from a running groups, and by its own count of what it answered finds
// that there is no route and no status beside them.
func TestOpenAPIOfGroups(t *testing.T) {
	w := newWorld(t, "groups")
	ctx := t.Context()
	const many = 40
	w.startGroups(func(c *groups.Config) { c.People.PerSecond, c.People.Burst = 1e-6, many })
	users, tokens := map[string]*client.Session{}, map[string]string{"": ""}
	for _, name := range []string{"owner", "member", "invited", "barred", "other", "enemy", "busy", "full"} {
		users[name] = w.user(name)
		var err error
		tokens[name], err = users[name].AccessToken(ctx)
		require.NoError(t, err)
	}
	id := func(name string) string { return users[name].User.ID }
	db := w.database("groups")
	change := func(collection, id string, set bson.M) {
		res, err := db.Collection(collection).UpdateOne(ctx, bson.M{"_id": id}, bson.M{"$set": set})
		require.NoError(t, err)
		require.EqualValues(t, 1, res.MatchedCount)
	}
	owner := users["owner"]
	open, err := owner.CreatePublicGroup(ctx, "Open", id("member"), id("barred"))
	require.NoError(t, err)
	_, err = owner.RemoveMember(ctx, open.ID, id("barred"))
	require.NoError(t, err)
	_, err = owner.Invite(ctx, open.ID, id("invited"))
	require.NoError(t, err)
	_, err = owner.Block(ctx, id("enemy"))
	require.NoError(t, err)
	// What would take long to reach: a group without room, and a user who can have no more.
	crowded, err := owner.CreatePublicGroup(ctx, "Crowded")
	require.NoError(t, err)
	_, err = owner.Invite(ctx, crowded.ID, id("other"))
	require.NoError(t, err)
	crowd, invited := bson.A{bson.M{"user": id("owner"), "role": "owner"}}, bson.M{id("other"): bson.M{"by": id("owner"), "at": time.Now()}}
	for range 499 {
		crowd = append(crowd, bson.M{"user": uuid.NewString(), "role": "member"})
	}
	for range 199 {
		invited[uuid.NewString()] = bson.M{"by": id("owner"), "at": time.Now()}
	}
	change("groups", crowded.ID, bson.M{"members": crowd, "invited": invited})
	_, err = users["other"].RequestContact(ctx, id("full"))
	require.NoError(t, err)
	peers := bson.M{}
	for range 1000 {
		peers[uuid.NewString()] = bson.M{"state": "contact", "blocks": true}
	}
	for range 200 {
		peers[uuid.NewString()] = bson.M{"state": "outgoing"}
	}
	change("people", id("full"), bson.M{"peers": peers})
	for range many + 1 {
		_, err = users["busy"].Unblock(ctx, id("enemy"))
	}
	require.True(t, client.IsCode(err, "busy"), err)

	const nobody = "00000000-0000-4000-8000-000000000000"
	in := func(g client.Group, more string) string { return "/api/groups/" + url.PathEscape(g.ID) + more }
	user := func(name string) string { return `{"user":"` + id(name) + `"}` }
	type try struct{ what, as, path, body string }
	// How to get the statuses, in this order; those of bad bodies and of no token are the same for all.
	tries := []try{
		{"POST /api/groups 201", "owner", "", `{"title":"New"}`},
		{"POST /api/groups 403", "enemy", "", `{"title":"New","members":["` + id("owner") + `"]}`},
		{"GET /api/groups 200", "owner", "", ""},
		{"GET /api/groups/public 200", "other", "", ""},
		{"GET /api/groups/public 400", "other", "/api/groups/public?q=" + strings.Repeat("x", 81), ""},
		{"GET /api/groups/{id} 200", "member", in(open, ""), ""},
		{"GET /api/groups/{id} 404", "other", in(open, ""), ""},
		{"PATCH /api/groups/{id} 200", "owner", in(open, ""), `{"title":"Opened"}`},
		{"PATCH /api/groups/{id} 403", "member", in(open, ""), `{"title":"Opened"}`},
		{"PATCH /api/groups/{id} 404", "other", in(open, ""), `{"title":"Opened"}`},
		{"POST /api/groups/{id}/members 200", "owner", in(open, "/members"), user("member")},
		{"POST /api/groups/{id}/members 403", "member", in(open, "/members"), user("other")},
		{"POST /api/groups/{id}/members 404", "other", in(open, "/members"), user("other")},
		{"POST /api/groups/{id}/members 409", "owner", in(crowded, "/members"), user("member")},
		{"PUT /api/groups/{id}/members/{user} 200", "owner", in(open, "/members/"+id("member")), `{"role":"member"}`},
		{"PUT /api/groups/{id}/members/{user} 403", "member", in(open, "/members/"+id("member")), `{"role":"owner"}`},
		{"PUT /api/groups/{id}/members/{user} 404", "owner", in(open, "/members/"+nobody), `{"role":"member"}`},
		{"DELETE /api/groups/{id}/members/{user} 200", "owner", in(open, "/members/"+nobody), ""},
		{"DELETE /api/groups/{id}/members/{user} 403", "member", in(open, "/members/"+nobody), ""},
		{"DELETE /api/groups/{id}/members/{user} 404", "other", in(open, "/members/"+nobody), ""},
		{"POST /api/groups/{id}/invitations 200", "owner", in(open, "/invitations"), user("invited")},
		{"POST /api/groups/{id}/invitations 403", "owner", in(open, "/invitations"), user("enemy")},
		{"POST /api/groups/{id}/invitations 404", "other", in(open, "/invitations"), user("other")},
		{"POST /api/groups/{id}/invitations 409", "owner", in(crowded, "/invitations"), user("member")},
		{"POST /api/groups/{id}/invitations 429", "busy", in(open, "/invitations"), user("other")},
		{"DELETE /api/groups/{id}/invitations/{user} 200", "owner", in(open, "/invitations/"+nobody), ""},
		{"DELETE /api/groups/{id}/invitations/{user} 403", "member", in(open, "/invitations/"+nobody), ""},
		{"DELETE /api/groups/{id}/invitations/{user} 404", "other", in(open, "/invitations/"+nobody), ""},
		{"GET /api/invitations 200", "invited", "", ""},
		{"POST /api/invitations/{id}/accept 404", "barred", "/api/invitations/" + open.ID + "/accept", ""},
		{"POST /api/invitations/{id}/accept 409", "other", "/api/invitations/" + crowded.ID + "/accept", ""},
		{"POST /api/invitations/{id}/decline 204", "other", "/api/invitations/" + crowded.ID + "/decline", ""},
		{"POST /api/invitations/{id}/decline 404", "other", "/api/invitations/" + crowded.ID + "/decline", ""},
		{"POST /api/invitations/{id}/accept 200", "invited", "/api/invitations/" + open.ID + "/accept", ""},
		{"POST /api/groups/{id}/join 200", "other", in(open, "/join"), ""},
		{"POST /api/groups/{id}/join 403", "barred", in(open, "/join"), ""},
		{"POST /api/groups/{id}/join 404", "other", in(client.Group{ID: "g:" + nobody}, "/join"), ""},
		{"POST /api/groups/{id}/join 409", "other", in(crowded, "/join"), ""},
		{"POST /api/groups/{id}/join 429", "busy", in(open, "/join"), ""},
		{"POST /api/groups/{id}/leave 204", "invited", in(open, "/leave"), ""},
		{"POST /api/groups/{id}/leave 404", "invited", in(open, "/leave"), ""},
		{"GET /api/contacts 200", "owner", "", ""},
		{"POST /api/contacts/requests 200", "member", "", user("owner")},
		{"POST /api/contacts/requests 403", "enemy", "", user("owner")},
		{"POST /api/contacts/requests 409", "full", "", user("owner")},
		{"POST /api/contacts/requests 429", "busy", "", user("owner")},
		{"PATCH /api/contacts/{user} 404", "owner", "/api/contacts/" + id("member"), `{"nickname":"M"}`},
		{"POST /api/contacts/requests/{user}/accept 200", "owner", "/api/contacts/requests/" + id("member") + "/accept", ""},
		{"POST /api/contacts/requests/{user}/accept 400", "owner", "/api/contacts/requests/" + id("owner") + "/accept", ""},
		{"POST /api/contacts/requests/{user}/accept 404", "owner", "/api/contacts/requests/" + id("other") + "/accept", ""},
		{"POST /api/contacts/requests/{user}/accept 409", "full", "/api/contacts/requests/" + id("other") + "/accept", ""},
		{"POST /api/contacts/requests/{user}/decline 200", "full", "/api/contacts/requests/" + id("other") + "/decline", ""},
		{"POST /api/contacts/requests/{user}/decline 400", "full", "/api/contacts/requests/" + id("full") + "/decline", ""},
		{"POST /api/contacts/requests/{user}/decline 404", "full", "/api/contacts/requests/" + id("other") + "/decline", ""},
		{"PATCH /api/contacts/{user} 200", "owner", "/api/contacts/" + id("member"), `{"nickname":"M"}`},
		{"DELETE /api/contacts/{user} 200", "owner", "/api/contacts/" + id("member"), ""},
		{"DELETE /api/contacts/{user} 400", "owner", "/api/contacts/" + id("owner"), ""},
		{"DELETE /api/contacts/{user} 404", "owner", "/api/contacts/x", ""},
		{"PUT /api/blocks/{user} 200", "owner", "/api/blocks/" + id("enemy"), ""},
		{"PUT /api/blocks/{user} 400", "owner", "/api/blocks/" + id("owner"), ""},
		{"PUT /api/blocks/{user} 404", "owner", "/api/blocks/" + nobody, ""},
		{"PUT /api/blocks/{user} 409", "full", "/api/blocks/" + id("owner"), ""},
		{"PUT /api/blocks/{user} 429", "busy", "/api/blocks/" + id("owner"), ""},
		{"DELETE /api/blocks/{user} 200", "owner", "/api/blocks/" + id("enemy"), ""},
		{"DELETE /api/blocks/{user} 400", "owner", "/api/blocks/" + id("owner"), ""},
		{"DELETE /api/blocks/{user} 404", "owner", "/api/blocks/x", ""},
		{"DELETE /api/blocks/{user} 429", "busy", "/api/blocks/" + id("owner"), ""},
	}
	status := func(k try) int {
		f := strings.Fields(k.what)
		path := f[1]
		if k.path != "" {
			path = k.path
		}
		kind := "application/json"
		if f[2] == "415" {
			kind = "text/plain"
		}
		path = strings.NewReplacer("{id}", "g:"+nobody, "{user}", nobody).Replace(path)
		got, body := callAs(t, f[0], w.url+path, tokens[k.as], kind, k.body)
		if got >= 400 {
			require.Regexp(t, `^{"error":{"code":"[a-z_]+","message":".+"}}\n$`, body, k.what)
		}
		return got
	}
	want, tried := map[string]bool{}, map[string]bool{}
	for _, k := range tries {
		require.Equal(t, k.what[len(k.what)-3:], fmt.Sprint(status(k)), k.what)
		tried[k.what] = true
	}
	ops := operations(t, "groups")
	for _, o := range ops {
		for _, code := range o.statuses {
			what := o.route + " " + code
			want[what] = true
			if tried[what] || code == "503" {
				continue
			}
			k := try{what: what, as: "owner"}
			if code == "401" {
				k.as = ""
			}
			if o.body {
				k.body = "{"
			}
			if code == "413" {
				k.body = `"` + strings.Repeat("x", 65<<10) + `"`
			}
			require.Equal(t, code, fmt.Sprint(status(k)), what)
		}
	}
	// Without its database groups can do nothing. Each of these waits for the database for seconds.
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	var g sync.WaitGroup
	for _, o := range ops {
		require.Contains(t, o.statuses, "503", o.route)
		good := slices.IndexFunc(tries, func(k try) bool { return strings.HasPrefix(k.what, o.route+" 20") })
		require.GreaterOrEqual(t, good, 0, o.route)
		g.Go(func() {
			if got := status(tries[good]); got != 503 {
				t.Errorf("%s answers %d without a database", o.route, got)
			}
		})
	}
	g.Wait()

	_, body := call(t, "GET", w.urls["groups"]+"/metrics", "", "")
	seen := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^http_requests_total{method="\w+",route="(\w+ /api/[^"]+)",status="(\d+)"}`).FindAllStringSubmatch(body, -1) {
		seen[m[1]+" "+m[2]] = true
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(seen)))
}
