package devlab

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each route under /internal/ answers the services that have business there, who prove who they are, and nobody else.
func TestInternalRoutesKnowTheirCallers(t *testing.T) {
	w := newWorld(t)
	alice := w.user("alice")
	access, err := alice.AccessToken(t.Context())
	require.NoError(t, err)
	const auth, gateway, groups, messaging, presence = "auth", "gateway", "groups", "messaging", "presence"
	all := []string{auth, gateway, groups, messaging, presence}
	for _, r := range []struct {
		asked, method, path, body string
		callers                   map[string]bool
	}{
		{auth, "GET", "/internal/users/" + alice.User.ID, "", map[string]bool{gateway: true, groups: true}},
		{messaging, "POST", "/internal/resume", `{"user":"` + alice.User.ID + `","have":{}}`, map[string]bool{gateway: true}},
		{messaging, "POST", "/internal/typing", `{"user":"` + alice.User.ID + `","conversation":"g:none","on":true}`, map[string]bool{gateway: true}},
		{messaging, "GET", "/internal/peers/" + alice.User.ID, "", map[string]bool{presence: true}},
		{groups, "GET", "/internal/contacts/" + alice.User.ID, "", map[string]bool{presence: true}},
	} {
		t.Run(r.asked+" "+r.path, func(t *testing.T) {
			url := w.urls[r.asked] + r.path
			for _, caller := range all {
				status, body := call(t, r.method, url, w.token(caller, r.asked), r.body)
				if r.callers[caller] {
					require.NotContains(t, []int{401, 403, 503}, status, "%s: %s", caller, body)
				} else {
					require.Equal(t, 403, status, "%s: %s", caller, body)
					require.Contains(t, body, "the service account "+caller+" may not")
				}
				for _, other := range all {
					if other != r.asked {
						status, body := call(t, r.method, url, w.token(caller, other), r.body)
						require.Equal(t, 401, status, "what %s shows to %s, %s cannot show: %s", caller, other, other, body)
					}
				}
			}
			for what, bearer := range map[string]string{"nothing": "", "a user": access} {
				status, body := call(t, r.method, url, bearer, r.body)
				require.Equal(t, 401, status, "%s: %s", what, body)
			}
		})
	}
}

// A service shows the token that is in the file now: an old one is refused, and the next one is taken without a restart.
func TestRenewedIdentity(t *testing.T) {
	w := newWorld(t)
	alice, bob := w.user("alice"), w.user("bob")
	show := func() int {
		access, err := alice.AccessToken(t.Context())
		require.NoError(t, err)
		status, _ := call(t, "POST", w.url+"/api/groups", access, `{"title":"Lab","members":["`+bob.User.ID+`"]}`) // groups asks auth for bob
		return status
	}
	require.NoError(t, w.lab.issuer.renew(time.Now().Add(-2*identityLife)))
	require.Equal(t, 503, show())
	require.NoError(t, w.lab.issuer.renew(time.Now()))
	require.Equal(t, 201, show())
}
