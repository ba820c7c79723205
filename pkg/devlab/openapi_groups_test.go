package devlab

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/groups"
)

// TestOpenAPIOfGroups gets every status of docs/openapi/groups.yaml from a running groups, and finds that it has no other route, status or
// field.
func TestOpenAPIOfGroups(t *testing.T) {
	t.Parallel() // it waits for a database that is away
	w := newWorld(t, "groups")
	ctx := t.Context()
	const many = 40
	w.startGroups(func(c *groups.Config) {
		c.People.PerSecond, c.People.Burst = 1e-6, many
		c.Changes.PerSecond, c.Changes.Burst = 1e-6, many
	})
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
	for range 999 {
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
	_, err = owner.Invite(ctx, open.ID, id("busy"))
	require.NoError(t, err)
	hers, err := users["busy"].CreateGroup(ctx, "Hers", id("member"))
	require.NoError(t, err)
	_, err = users["busy"].Invite(ctx, hers.ID, id("other"))
	require.NoError(t, err)
	for i := range many {
		_, err = users["busy"].RenameGroup(ctx, hers.ID, fmt.Sprint("Hers ", i))
	}
	require.True(t, client.IsCode(err, "busy"), err)
	for range many + 1 {
		_, err = users["busy"].Unblock(ctx, id("enemy"))
	}
	require.True(t, client.IsCode(err, "busy"), err)

	in := func(g client.Group, more string) string { return "/api/groups/" + url.PathEscape(g.ID) + more }
	user := func(name string) string { return `{"user":"` + id(name) + `"}` }
	// How to get the statuses, in this order; those of bad bodies and of no token are the same for all.
	tries := []try{
		{what: "POST /api/groups 201", bearer: tokens["owner"], body: `{"title":"New"}`},
		{what: "POST /api/groups 429", bearer: tokens["busy"], body: `{"title":"New"}`},
		{what: "POST /api/groups 403", bearer: tokens["enemy"], body: `{"title":"New","members":["` + id("owner") + `"]}`},
		{what: "GET /api/groups 200", bearer: tokens["owner"]},
		{what: "GET /api/groups/public 200", bearer: tokens["other"]},
		{what: "GET /api/groups/public 400", bearer: tokens["other"], path: "/api/groups/public?q=" + strings.Repeat("x", 81)},
		{what: "GET /api/groups/{id} 200", bearer: tokens["member"], path: in(open, "")},
		{what: "GET /api/groups/{id} 404", bearer: tokens["other"], path: in(open, "")},
		{what: "PATCH /api/groups/{id} 200", bearer: tokens["owner"], path: in(open, ""), body: `{"title":"Opened"}`},
		{what: "PATCH /api/groups/{id} 403", bearer: tokens["member"], path: in(open, ""), body: `{"title":"Opened"}`},
		{what: "PATCH /api/groups/{id} 429", bearer: tokens["busy"], path: in(hers, ""), body: `{"title":"Closed"}`},
		{what: "PATCH /api/groups/{id} 404", bearer: tokens["other"], path: in(open, ""), body: `{"title":"Opened"}`},
		{what: "POST /api/groups/{id}/members 200", bearer: tokens["owner"], path: in(open, "/members"), body: user("member")},
		{what: "POST /api/groups/{id}/members 403", bearer: tokens["member"], path: in(open, "/members"), body: user("other")},
		{what: "POST /api/groups/{id}/members 404", bearer: tokens["other"], path: in(open, "/members"), body: user("other")},
		{what: "POST /api/groups/{id}/members 409", bearer: tokens["owner"], path: in(crowded, "/members"), body: user("member")},
		{what: "POST /api/groups/{id}/members 429", bearer: tokens["busy"], path: in(hers, "/members"), body: user("invited")},
		{what: "PUT /api/groups/{id}/members/{user} 200", bearer: tokens["owner"], path: in(open, "/members/"+id("member")), body: `{"role":"member"}`},
		{what: "PUT /api/groups/{id}/members/{user} 403", bearer: tokens["member"], path: in(open, "/members/"+id("member")), body: `{"role":"owner"}`},
		{what: "PUT /api/groups/{id}/members/{user} 404", bearer: tokens["owner"], path: in(open, "/members/"+nobody), body: `{"role":"member"}`},
		{what: "PUT /api/groups/{id}/members/{user} 429", bearer: tokens["busy"], path: in(hers, "/members/"+id("member")), body: `{"role":"admin"}`},
		{what: "DELETE /api/groups/{id}/members/{user} 200", bearer: tokens["owner"], path: in(open, "/members/"+nobody)},
		{what: "DELETE /api/groups/{id}/members/{user} 403", bearer: tokens["member"], path: in(open, "/members/"+nobody)},
		{what: "DELETE /api/groups/{id}/members/{user} 404", bearer: tokens["other"], path: in(open, "/members/"+nobody)},
		{what: "DELETE /api/groups/{id}/members/{user} 429", bearer: tokens["busy"], path: in(hers, "/members/"+id("member"))},
		{what: "POST /api/groups/{id}/invitations 200", bearer: tokens["owner"], path: in(open, "/invitations"), body: user("invited")},
		{what: "POST /api/groups/{id}/invitations 403", bearer: tokens["owner"], path: in(open, "/invitations"), body: user("enemy")},
		{what: "POST /api/groups/{id}/invitations 404", bearer: tokens["other"], path: in(open, "/invitations"), body: user("other")},
		{what: "POST /api/groups/{id}/invitations 409", bearer: tokens["owner"], path: in(crowded, "/invitations"), body: user("member")},
		{what: "POST /api/groups/{id}/invitations 429", bearer: tokens["busy"], path: in(open, "/invitations"), body: user("other")},
		{what: "DELETE /api/groups/{id}/invitations/{user} 200", bearer: tokens["owner"], path: in(open, "/invitations/"+nobody)},
		{what: "DELETE /api/groups/{id}/invitations/{user} 403", bearer: tokens["member"], path: in(open, "/invitations/"+nobody)},
		{what: "DELETE /api/groups/{id}/invitations/{user} 404", bearer: tokens["other"], path: in(open, "/invitations/"+nobody)},
		{what: "DELETE /api/groups/{id}/invitations/{user} 429", bearer: tokens["busy"], path: in(hers, "/invitations/"+id("other"))},
		{what: "GET /api/invitations 200", bearer: tokens["invited"]},
		{what: "POST /api/invitations/{id}/accept 404", bearer: tokens["barred"], path: "/api/invitations/" + open.ID + "/accept"},
		{what: "POST /api/invitations/{id}/accept 409", bearer: tokens["other"], path: "/api/invitations/" + crowded.ID + "/accept"},
		{what: "POST /api/invitations/{id}/decline 429", bearer: tokens["busy"], path: "/api/invitations/" + open.ID + "/decline"},
		{what: "POST /api/invitations/{id}/accept 429", bearer: tokens["busy"], path: "/api/invitations/" + open.ID + "/accept"},
		{what: "POST /api/invitations/{id}/decline 204", bearer: tokens["other"], path: "/api/invitations/" + crowded.ID + "/decline"},
		{what: "POST /api/invitations/{id}/decline 404", bearer: tokens["other"], path: "/api/invitations/" + crowded.ID + "/decline"},
		{what: "POST /api/invitations/{id}/accept 200", bearer: tokens["invited"], path: "/api/invitations/" + open.ID + "/accept"},
		{what: "POST /api/groups/{id}/join 200", bearer: tokens["other"], path: in(open, "/join")},
		{what: "POST /api/groups/{id}/join 403", bearer: tokens["barred"], path: in(open, "/join")},
		{what: "POST /api/groups/{id}/join 404", bearer: tokens["other"], path: in(client.Group{ID: "g:" + nobody}, "/join")},
		{what: "POST /api/groups/{id}/join 409", bearer: tokens["other"], path: in(crowded, "/join")},
		{what: "POST /api/groups/{id}/join 429", bearer: tokens["busy"], path: in(open, "/join")},
		{what: "POST /api/groups/{id}/leave 204", bearer: tokens["invited"], path: in(open, "/leave")},
		{what: "POST /api/groups/{id}/leave 404", bearer: tokens["invited"], path: in(open, "/leave")},
		{what: "POST /api/groups/{id}/leave 429", bearer: tokens["busy"], path: in(hers, "/leave")},
		{what: "GET /api/contacts 200", bearer: tokens["owner"]},
		{what: "POST /api/contacts/requests 200", bearer: tokens["member"], body: user("owner")},
		{what: "GET /api/contacts 200", bearer: tokens["owner"]},
		{what: "POST /api/contacts/requests 403", bearer: tokens["enemy"], body: user("owner")},
		{what: "POST /api/contacts/requests 409", bearer: tokens["full"], body: user("owner")},
		{what: "POST /api/contacts/requests 429", bearer: tokens["busy"], body: user("owner")},
		{what: "PATCH /api/contacts/{user} 404", bearer: tokens["owner"], path: "/api/contacts/" + id("member"), body: `{"nickname":"M"}`},
		{what: "POST /api/contacts/requests/{user}/accept 200", bearer: tokens["owner"], path: "/api/contacts/requests/" + id("member") + "/accept"},
		{what: "POST /api/contacts/requests/{user}/accept 400", bearer: tokens["owner"], path: "/api/contacts/requests/" + id("owner") + "/accept"},
		{what: "POST /api/contacts/requests/{user}/accept 404", bearer: tokens["owner"], path: "/api/contacts/requests/" + id("other") + "/accept"},
		{what: "POST /api/contacts/requests/{user}/accept 409", bearer: tokens["full"], path: "/api/contacts/requests/" + id("other") + "/accept"},
		{what: "POST /api/contacts/requests/{user}/decline 200", bearer: tokens["full"], path: "/api/contacts/requests/" + id("other") + "/decline"},
		{what: "POST /api/contacts/requests/{user}/decline 400", bearer: tokens["full"], path: "/api/contacts/requests/" + id("full") + "/decline"},
		{what: "POST /api/contacts/requests/{user}/decline 404", bearer: tokens["full"], path: "/api/contacts/requests/" + id("other") + "/decline"},
		{what: "PATCH /api/contacts/{user} 200", bearer: tokens["owner"], path: "/api/contacts/" + id("member"), body: `{"nickname":"M"}`},
		{what: "GET /api/contacts 200", bearer: tokens["owner"]},
		{what: "DELETE /api/contacts/{user} 200", bearer: tokens["owner"], path: "/api/contacts/" + id("member")},
		{what: "DELETE /api/contacts/{user} 400", bearer: tokens["owner"], path: "/api/contacts/" + id("owner")},
		{what: "DELETE /api/contacts/{user} 404", bearer: tokens["owner"], path: "/api/contacts/x"},
		{what: "PUT /api/blocks/{user} 200", bearer: tokens["owner"], path: "/api/blocks/" + id("enemy")},
		{what: "PUT /api/blocks/{user} 400", bearer: tokens["owner"], path: "/api/blocks/" + id("owner")},
		{what: "PUT /api/blocks/{user} 404", bearer: tokens["owner"], path: "/api/blocks/" + nobody},
		{what: "PUT /api/blocks/{user} 409", bearer: tokens["full"], path: "/api/blocks/" + id("owner")},
		{what: "PUT /api/blocks/{user} 429", bearer: tokens["busy"], path: "/api/blocks/" + id("owner")},
		{what: "DELETE /api/blocks/{user} 200", bearer: tokens["owner"], path: "/api/blocks/" + id("enemy")},
		{what: "DELETE /api/blocks/{user} 400", bearer: tokens["owner"], path: "/api/blocks/" + id("owner")},
		{what: "DELETE /api/blocks/{user} 404", bearer: tokens["owner"], path: "/api/blocks/x"},
		{what: "DELETE /api/blocks/{user} 429", bearer: tokens["busy"], path: "/api/blocks/" + id("owner")},
	}
	tries = append(append(tries, try{what: "GET /api/groups/export 200", bearer: tokens["owner"]}), w.exports("/api/groups/export", tokens["other"])...)
	c := w.contract("groups")
	c.refusesBodies(tries...)
	c.get(tries...)
	c.rest(tokens["owner"])
	// Without its database groups can do nothing. Each of these waits for the database for seconds.
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	var without []try
	for _, o := range c.ops {
		good := slices.IndexFunc(tries, func(k try) bool { return strings.HasPrefix(k.what, o.route+" 20") })
		require.GreaterOrEqual(t, good, 0, o.route)
		without = append(without, tries[good])
	}
	c.unavailable(without...)
	c.complete()
}
