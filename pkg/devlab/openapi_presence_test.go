package devlab

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

// TestOpenAPIOfPresence gets every status of docs/openapi/presence.yaml from a running presence, and finds that it has no other route,
// status, parameter or field.
func TestOpenAPIOfPresence(t *testing.T) {
	t.Parallel() // it waits for a database that is away
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	phone := w.device(alice)
	phone.send(client.DirectID(alice.User.ID, bob.User.ID), "hello")
	eventually(t, "alice to be online", func() bool {
		l, err := alice.Presence(ctx, alice.User.ID)
		require.NoError(t, err)
		return l[0].Online
	})
	hers, err := alice.AccessToken(ctx)
	require.NoError(t, err)

	c := w.contract("presence")
	good := try{what: "GET /api/presence 200", bearer: hers, path: "/api/presence?ids=" + strings.Join([]string{alice.User.ID, bob.User.ID, nobody}, ",")}
	c.get(good)
	c.refuses(good)
	c.rest(hers)

	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	good.what = "GET /api/presence 503"
	c.get(good)
	c.complete()
}
