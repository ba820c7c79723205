package devlab

import (
	"context"
	"log/slog"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/messaging"
)

// startMessaging runs a messaging that is configured otherwise.
func (w *world) startMessaging(change func(*messaging.Config)) {
	w.t.Helper()
	w.parts["messaging"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := messaging.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		c.Listener, c.HealthListener, c.Log = on.service, on.health, log
		change(&c)
		return messaging.Run(ctx, c)
	}
	w.start("messaging")
	w.ready()
}

// TestOpenAPIOfMessaging gets every status of docs/openapi/messaging.yaml from a running messaging, and finds that it has no other route,
// status, parameter or field.
func TestOpenAPIOfMessaging(t *testing.T) {
	t.Parallel() // it waits for a database that is away
	w := newWorld(t, "messaging")
	const many = 40
	w.startMessaging(func(c *messaging.Config) { c.SearchRate.PerSecond, c.SearchRate.Burst = 1e-6, many })
	ctx := t.Context()
	alice, bob, carol, busy := w.user("alice"), w.user("bob"), w.user("carol"), w.user("busy")
	bearer := func(s *client.Session) string {
		k, err := s.AccessToken(ctx)
		require.NoError(t, err)
		return k
	}
	hers, his, strange := bearer(alice), bearer(bob), bearer(carol)

	// One of each kind of message, and of each event.
	phone, other := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	text := phone.send(dm, "words to be found")
	reply, err := phone.Post(ctx, dm, client.Post{Body: "more words", ReplyTo: text.Seq, Mentions: []string{bob.User.ID}})
	require.NoError(t, err)
	other.change(dm, text.Seq, client.React("+", true))
	other.change(dm, text.Seq, client.React("-", true))
	other.change(dm, text.Seq, client.React("-", false))
	phone.change(dm, text.Seq, client.Edit("words to be found, edited"))
	gone := phone.send(dm, "gone soon")
	last := phone.change(dm, gone.Seq, client.Delete())
	require.Greater(t, last.Seq, reply.Seq)
	group, err := alice.CreatePublicGroup(ctx, "Lab", bob.User.ID)
	require.NoError(t, err)
	_, err = alice.RenameGroup(ctx, group.ID, "Lab 2")
	require.NoError(t, err)
	_, err = alice.SetGroupRole(ctx, group.ID, bob.User.ID, "owner")
	require.NoError(t, err)
	phone.has(group.ID, 3)

	c := w.contract("messaging")
	conversation := "conversation=" + url.QueryEscape(dm)
	page := func(more string) string { return "/api/messages?" + conversation + more }
	find := func(more string) string { return "/api/messages/search?q=words" + more }
	for range many + 1 {
		_, err = busy.Search(ctx, "words", "", 1)
	}
	require.True(t, client.IsCode(err, "busy"), err)
	good := []try{
		{what: "GET /api/conversations 200", bearer: hers, path: "/api/conversations"},
		{what: "GET /api/conversations/{id} 200", bearer: his, path: "/api/conversations/" + url.PathEscape(dm)},
		{what: "GET /api/messages 200", bearer: his, path: page("")},
		{what: "GET /api/messages/search 200", bearer: his, path: find("")},
	}
	w.stored()
	c.get(good...)
	c.get(
		try{what: "GET /api/conversations 200", bearer: bearer(busy)},
		try{what: "GET /api/conversations 200", bearer: hers, path: "/api/conversations?limit=1"},
		try{what: "GET /api/conversations 200", bearer: hers, path: "/api/conversations?limit=1&cursor=" + url.QueryEscape(dm)},
		try{what: "GET /api/conversations 400", bearer: hers, path: "/api/conversations?cursor=x"},
		try{what: "GET /api/messages 200", bearer: hers, path: "/api/messages?conversation=" + group.ID},
		try{what: "GET /api/messages 400", bearer: hers, path: page("&before=1&after=1")},
		try{what: "GET /api/conversations 400", bearer: hers, path: "/api/conversations?position=here"},
		try{what: "GET /api/conversations/{id} 400", bearer: hers, path: "/api/conversations/" + url.PathEscape(dm) + "?at_least=-1"},
		try{what: "GET /api/messages 404", bearer: strange, path: page("")},
		try{what: "GET /api/messages 404", bearer: hers, path: "/api/messages?conversation="},
		try{what: "GET /api/messages/search 200", bearer: hers, path: find("&" + conversation)},
		try{what: "GET /api/messages/search 400", bearer: hers, path: "/api/messages/search?q=a+b+c+d+e+f+g+h+i+j+k"},
		try{what: "GET /api/messages/search 200", bearer: hers, path: find("&limit=1")},
		try{what: "GET /api/messages/search 400", bearer: hers, path: "/api/messages/search?q=,"},
		try{what: "GET /api/messages/search 400", bearer: hers, path: find("&cursor=.")},
		try{what: "GET /api/messages/search 404", bearer: strange, path: find("&" + conversation)},
		try{what: "GET /api/messages/search 429", bearer: bearer(busy), path: find("")},
	)
	c.get(w.exports("/api/messages/export", strange)...)
	for _, k := range good {
		c.refuses(k)
	}
	c.rest(hers)
	// Nothing comes after the last seq that there can be.
	_, body := call(t, "GET", w.url+page("&after=9223372036854775807"), hers, "")
	require.JSONEq(t, `{"messages":[],"more":false}`, body)
	_, body = call(t, "POST", w.urls["messaging"]+"/internal/resume", w.token("gateway", "messaging"), `{"user":"`+alice.User.ID+`","have":{"`+dm+`":9223372036854775807}}`)
	require.JSONEq(t, `{"messages":[],"behind":{}}`, body)

	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	c.unavailable(append(good, try{what: "GET /api/messages/export 503", bearer: hers})...)
	c.complete()
}
