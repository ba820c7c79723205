package groups

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/wire"
)

func TestConfigFromEnv(t *testing.T) {
	env := map[string]string{"KAFKA_BROKERS": "b:1", "MONGODB_URI": "mongodb://m"}
	getenv := func(k string) string { return env[k] }
	c, err := ConfigFromEnv(getenv)
	require.NoError(t, err)
	require.Equal(t, limit.Rate{PerSecond: 1, Burst: 100}, c.People)
	require.Equal(t, limit.Rate{PerSecond: 2, Burst: 200}, c.Changes)
	require.Equal(t, limit.Rate{PerSecond: 2, Burst: 1000}, c.GroupChanges)
	for name, rate := range map[string]func(Config) limit.Rate{
		"PEOPLE_RATE": func(c Config) limit.Rate { return c.People },
		"CHANGE_RATE": func(c Config) limit.Rate { return c.Changes },
		"GROUP_RATE":  func(c Config) limit.Rate { return c.GroupChanges },
	} {
		env[name] = "0.5/3"
		c, err = ConfigFromEnv(getenv)
		require.NoError(t, err)
		require.Equal(t, limit.Rate{PerSecond: 0.5, Burst: 3}, rate(c))
		env[name] = "off"
		c, err = ConfigFromEnv(getenv)
		require.NoError(t, err)
		require.True(t, rate(c).Off())
		env[name] = "often"
		_, err = ConfigFromEnv(getenv)
		require.ErrorContains(t, err, name)
		delete(env, name)
	}
}

func TestBeginnings(t *testing.T) {
	for title, want := range map[string]string{
		"":                         "*",
		"Go!":                      "* g go",
		"über-Labs lab":            "* l la lab labs ü üb übe über",
		"Kubernetes":               "* k ku kub kube kuber kubern",
		"1 2 3 4 5 6 7 8 9":        "* 1 2 3 4 5 6 7 8",
		"$where a.b \"x\" {$ne:1}": "* 1 a b n ne w wh whe wher where x",
	} {
		got := beginnings(title)
		slices.Sort(got)
		require.Equal(t, want, strings.Join(got, " "), title)
	}
	require.True(t, hasAll("Kubernetes für alle", words("FÜR k")))
	require.False(t, hasAll("Kubernetes für alle", words("fur")), "accents matter")
	require.True(t, hasAll("Anything", nil))
}

func TestLeaves(t *testing.T) {
	g := &group{Title: "T", Members: []wire.Member{{User: "a", Role: wire.RoleMember}, {User: "b", Role: wire.Owner}, {User: "c", Role: wire.Admin}, {User: "d", Role: wire.Admin}},
		Invited: map[string]invitation{"x": {By: "c"}}}
	require.Equal(t, "c", g.leaves("b").Owner, "the first of the admins")
	require.Empty(t, g.leaves("d").Owner, "no owner")
	require.Equal(t, "a", g.leaves("c").Owner, "no admin is left")
	require.Contains(t, g.Invited, "x")
	e := g.leaves("a")
	require.Empty(t, e.Owner)
	require.True(t, g.gone())
	require.Empty(t, g.Invited)
	require.Equal(t, map[string]notice{"x": {Kind: wire.NoticeInvitationGone, By: "c"}}, e.Notices)
}

func TestPair(t *testing.T) {
	p := pair{State: requested, Asker: "a"}
	p.set("b", func(s *side) { s.Nickname = "Al" })
	require.Equal(t, wire.RelationOutgoing, p.as("a", "b").State)
	require.Equal(t, wire.RelationIncoming, p.as("b", "a").State)
	require.Empty(t, p.as("a", "b").Nickname, "what another calls one is not one's affair")
	require.Equal(t, wire.NoticeRequestGone, p.apart())
	require.Equal(t, peerCopy{State: wire.RelationNone}, p.as("b", "a"))
	require.Empty(t, p.apart())
	p.set("a", func(s *side) { s.Blocks = true })
	require.True(t, p.as("a", "b").Blocks)
	require.True(t, p.as("b", "a").BlockedBy)
	require.False(t, p.relation("b", "a").Blocked, "nobody is told by whom they are blocked")
	require.ErrorContains(t, p.open("a"), "unblock them")
	require.Error(t, p.open("b"))
}
