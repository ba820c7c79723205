package devlab

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
)

// admin logs a new user in as an admin.
func (w *world) admin(name string) *client.Session {
	w.t.Helper()
	s := w.user(name)
	require.NoError(w.t, auth.SetRole(w.t.Context(), w.authConfig(), name, "admin"))
	return w.again(s)
}

// Whoever is suspended is out at once, with all devices, and does not come in again until an admin lifts it.
func TestSuspension(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	campus := w.campus()
	w.startAuth(func(o *auth.Config) { o.OIDC = campus })
	admin, uma, bob := w.admin("ada"), w.user("uma"), w.user("bob")
	login := func() error {
		c := client.New(w.url)
		t.Cleanup(c.Close)
		_, err := c.Login(ctx, "uma", "correct horse", "")
		return err
	}

	_, err := bob.Suspend(ctx, uma.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	_, err = admin.Suspend(ctx, admin.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), "there is always an admin left: %v", err)
	_, err = admin.Suspend(ctx, nobody)
	require.True(t, client.IsCode(err, "not_found"), "%v", err)

	other := w.again(uma)
	d := w.device(uma)
	n, err := admin.Suspend(ctx, uma.User.ID)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	<-d.Done()
	ended(t, uma)
	ended(t, other)
	require.True(t, client.IsCode(login(), "suspended"), "%v", login())
	_, err = client.New(w.url).Login(ctx, "uma", "wrong horse", "")
	require.True(t, client.IsCode(err, "wrong_credentials"), "who has not the password hears nothing of it: %v", err)
	n, err = admin.Suspend(ctx, uma.User.ID)
	require.NoError(t, err)
	require.Zero(t, n, "it is so already")
	_, found, err := bob.FindUser(ctx, "uma")
	require.NoError(t, err)
	require.True(t, found, "others see no difference")

	require.True(t, client.IsCode(bob.LiftSuspension(ctx, uma.User.ID), "forbidden"))
	require.NoError(t, admin.LiftSuspension(ctx, uma.User.ID))
	require.NoError(t, admin.LiftSuspension(ctx, uma.User.ID), "it is so already")
	require.NoError(t, login())
	ended(t, uma)

	t.Run("the provider is no way around", func(t *testing.T) {
		s, err := w.browser().enter("test-user2")
		require.NoError(t, err)
		_, err = admin.Suspend(ctx, s.User.ID)
		require.NoError(t, err)
		_, err = w.browser().enter("test-user2")
		require.True(t, client.IsCode(err, "suspended"), "%v", err)
	})
}
