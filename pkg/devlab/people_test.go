package devlab

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/groups"
)

// rightsTable reads the table of docs/protocol.md that says who may do what in a group: for each action the status by part.
func rightsTable(t *testing.T) (parts []string, rights map[string]map[string]int) {
	t.Helper()
	b, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	rights = map[string]map[string]int{}
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[0] == "Action":
			parts = cells[1:]
		case parts != nil && len(cells) != len(parts)+1:
			return parts, rights // behind the table
		case parts != nil && !strings.HasPrefix(cells[0], "---"):
			rights[cells[0]] = map[string]int{}
			for i, c := range cells[1:] {
				rights[cells[0]][parts[i]], err = strconv.Atoi(c)
				require.NoError(t, err, line)
			}
		}
	}
	t.Fatal("the table is not there, or not followed by anything")
	return nil, nil
}

// startGroups starts groups with another configuration, of a world made without it.
func (w *world) startGroups(change func(*groups.Config)) {
	w.t.Helper()
	w.parts["groups"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := groups.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		c.Listener, c.HealthListener, c.Log = on.service, on.health, log
		change(&c)
		return groups.Run(ctx, c)
	}
	w.start("groups")
	w.ready()
}

// Each part in a group tries each action of the table.
func TestRightsInGroups(t *testing.T) {
	w := newWorld(t, "groups")
	w.startGroups(func(c *groups.Config) { c.People.Burst, c.Changes.Burst = 10_000, 10_000 })
	ctx := t.Context()
	users := map[string]*client.Session{}
	for _, name := range []string{"owner", "admin", "member", "invited", "removed", "stranger", "admin2", "member2", "invited2", "outsider"} {
		users[name] = w.user(name)
	}
	id := func(name string) string { return users[name].User.ID }
	type action struct{ method, path, body string }
	user := func(name string) string { return `{"user":"` + id(name) + `"}` }
	actions := map[string]action{
		"see the group":             {"GET", "/api/groups/{g}", ""},
		"change its title":          {"PATCH", "/api/groups/{g}", `{"title":"New"}`},
		"make it public or private": {"PATCH", "/api/groups/{g}", `{"public":true}`},
		"add a user":                {"POST", "/api/groups/{g}/members", user("outsider")},
		"invite a user":             {"POST", "/api/groups/{g}/invitations", user("outsider")},
		"take an invitation back":   {"DELETE", "/api/groups/{g}/invitations/" + id("invited2"), ""},
		"remove a member":           {"DELETE", "/api/groups/{g}/members/" + id("member2"), ""},
		"remove an admin":           {"DELETE", "/api/groups/{g}/members/" + id("admin2"), ""},
		"remove the owner":          {"DELETE", "/api/groups/{g}/members/" + id("owner"), ""},
		"make an admin":             {"PUT", "/api/groups/{g}/members/" + id("member2"), `{"role":"admin"}`},
		"make a member of an admin": {"PUT", "/api/groups/{g}/members/" + id("admin2"), `{"role":"member"}`},
		"hand the group over":       {"PUT", "/api/groups/{g}/members/" + id("member2"), `{"role":"owner"}`},
		"leave":                     {"POST", "/api/groups/{g}/leave", ""},
		"accept an invitation":      {"POST", "/api/invitations/{g}/accept", ""},
		"decline an invitation":     {"POST", "/api/invitations/{g}/decline", ""},
		"join while it is private":  {"POST", "/api/groups/{g}/join", ""},
		"join while it is public":   {"POST", "/api/groups/{g}/join", ""},
		"read its messages":         {"GET", "/api/messages?conversation={g}", ""},
	}
	parts, rights := rightsTable(t)
	require.Equal(t, []string{"owner", "admin", "member", "invited", "removed", "stranger"}, parts)
	// A group in which everyone has the part of their name.
	group := func(t *testing.T, public bool) client.Group {
		g, err := users["owner"].CreateGroup(ctx, "Lab", id("admin"), id("member"), id("admin2"), id("member2"), id("removed"))
		require.NoError(t, err)
		for _, name := range []string{"admin", "admin2"} {
			_, err = users["owner"].SetGroupRole(ctx, g.ID, id(name), "admin")
			require.NoError(t, err)
		}
		_, err = users["owner"].RemoveMember(ctx, g.ID, id("removed"))
		require.NoError(t, err)
		for _, name := range []string{"invited", "invited2"} {
			_, err = users["owner"].Invite(ctx, g.ID, id(name))
			require.NoError(t, err)
		}
		if public {
			_, err = users["owner"].SetPublic(ctx, g.ID, true)
			require.NoError(t, err)
		}
		g, err = users["admin2"].Group(ctx, g.ID)
		require.NoError(t, err)
		return g
	}
	require.ElementsMatch(t, slices.Collect(maps.Keys(actions)), slices.Collect(maps.Keys(rights)))
	// What is refused changes nothing, as is looked at each time, so it may be tried in a group that others share.
	shared := map[bool]client.Group{false: group(t, false), true: group(t, true)}
	try := func(t *testing.T, name, part string) {
		public := name == "join while it is public"
		g := shared[public]
		if rights[name][part] < 400 {
			g = group(t, public)
		}
		if name == "read its messages" {
			eventually(t, "messaging to know the group as it is", func() bool {
				c, err := users["admin2"].Conversation(ctx, g.ID)
				return err == nil && slices.Equal(c.Members, g.Members)
			})
		}
		bearer, err := users[part].AccessToken(ctx)
		require.NoError(t, err)
		a := actions[name]
		status, body := call(t, a.method, w.url+strings.ReplaceAll(a.path, "{g}", url.PathEscape(g.ID)), bearer, a.body)
		require.Equal(t, rights[name][part], status, body)
		if status >= 400 {
			now, err := users["admin2"].Group(ctx, g.ID)
			require.NoError(t, err)
			require.Equal(t, g, now, "it was refused and has done something")
		}
	}
	t.Run("walk", func(t *testing.T) {
		for name := range rights {
			for _, part := range parts {
				t.Run(name+" by the "+part, func(t *testing.T) { t.Parallel(); try(t, name, part) })
			}
		}
	})
}

// A title can't look like another that it is not. What was kept before is still to be read.
func TestTitlesThatMislead(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben := w.user("ann"), w.user("ben")
	g, err := ann.CreatePublicGroup(ctx, " Cafe\u0301  7\u3000")
	require.NoError(t, err)
	require.Equal(t, "Café 7", g.Title)
	for _, q := range []string{"Café", "Cafe\u0301"} {
		found, err := ben.PublicGroups(ctx, q)
		require.NoError(t, err)
		require.Len(t, found, 1, "%+q", q)
	}
	for _, bad := range []string{"admin\u202enimda", "\u3164", "ad\u200bmin", "Z" + strings.Repeat("\u0300", 20)} {
		_, err = ann.CreateGroup(ctx, bad)
		require.True(t, client.IsCode(err, "bad_request"), "%+q: %v", bad, err)
		_, err = ann.RenameGroup(ctx, g.ID, bad)
		require.True(t, client.IsCode(err, "bad_request"), "%+q: %v", bad, err)
	}
	old := "old\u202etitle"
	_, err = w.database("groups").Collection("groups").UpdateOne(ctx, bson.M{"_id": g.ID}, bson.M{"$set": bson.M{"title": old}})
	require.NoError(t, err)
	g, err = ann.SetPublic(ctx, g.ID, false)
	require.NoError(t, err)
	require.Equal(t, old, g.Title)
	g, err = ann.RenameGroup(ctx, g.ID, "Better")
	require.NoError(t, err)
	require.Equal(t, "Better", g.Title)
}

// hearer is a device that keeps its notices.
type hearer struct {
	*device
	mu      sync.Mutex
	notices []client.Notice
}

func (w *world) hearer(s *client.Session) *hearer {
	w.t.Helper()
	h := &hearer{}
	h.device = w.deviceOf(s, client.DeviceOptions{Events: client.Events{Frame: func(raw []byte) {
		if n, ok := client.ParseNotice(raw); ok {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.notices = append(h.notices, n)
		}
	}}})
	return h
}

// hears waits until the device has had that notice, and forgets it and those before it.
func (h *hearer) hears(kind, user, group string) {
	h.t.Helper()
	want := client.Notice{Type: "notice", Kind: kind, User: user, Group: group}
	eventually(h.t, fmt.Sprintf("%s to hear %v", h.s.User.Name, want), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		i := slices.Index(h.notices, want)
		if i >= 0 {
			h.notices = h.notices[i+1:]
		}
		return i >= 0
	})
}

func TestRolesInGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben, cal, dan := w.user("ann"), w.user("ben"), w.user("cal"), w.user("dan")
	a := w.device(ann)
	roles := func(g client.Group) (l []string) {
		names := map[string]string{ann.User.ID: "ann", ben.User.ID: "ben", cal.User.ID: "cal", dan.User.ID: "dan"}
		for _, m := range g.Members {
			l = append(l, names[m.User]+" "+m.Role)
		}
		return l
	}
	create := func() client.Group {
		g, err := ann.CreateGroup(ctx, "Lab", ben.User.ID, cal.User.ID, dan.User.ID)
		require.NoError(t, err)
		return g
	}

	t.Run("messaging follows in order", func(t *testing.T) {
		g := create()
		_, err := ann.SetGroupRole(ctx, g.ID, cal.User.ID, "admin")
		require.NoError(t, err)
		g, err = ann.SetGroupRole(ctx, g.ID, dan.User.ID, "owner")
		require.NoError(t, err)
		require.Equal(t, []string{"ann admin", "ben member", "cal admin", "dan owner"}, roles(g))
		_, err = ann.SetGroupRole(ctx, g.ID, dan.User.ID, "member")
		require.True(t, client.IsCode(err, "forbidden"), err)
		_, err = dan.SetGroupRole(ctx, g.ID, dan.User.ID, "member")
		require.True(t, client.IsCode(err, "bad_request"), err)
		_, err = dan.SetGroupRole(ctx, g.ID, "00000000-0000-4000-8000-000000000000", "member")
		require.True(t, client.IsCode(err, "not_found"), err)
		_, err = dan.SetGroupRole(ctx, g.ID, ben.User.ID, "king")
		require.True(t, client.IsCode(err, "bad_request"), err)
		_, err = dan.SetPublic(ctx, g.ID, true)
		require.NoError(t, err)
		events := a.has(g.ID, 4)
		require.Equal(t, []string{"1 (created)", "2 (role_changed)", "3 (role_changed)", "4 (made_public)"}, texts(events))
		require.Equal(t, client.GroupEvent{Type: "role_changed", Users: []string{cal.User.ID}, Role: "admin"}, *events[1].Event)
		require.Equal(t, client.GroupEvent{Type: "role_changed", Users: []string{dan.User.ID}, Role: "owner", Owner: dan.User.ID}, *events[2].Event)
		c, err := ann.Conversation(ctx, g.ID)
		require.NoError(t, err)
		require.Equal(t, g.Members, c.Members)
	})

	t.Run("an owner who leaves is followed by an admin, then by the longest member", func(t *testing.T) {
		g := create()
		_, err := ann.SetGroupRole(ctx, g.ID, cal.User.ID, "admin")
		require.NoError(t, err)
		require.NoError(t, ann.LeaveGroup(ctx, g.ID))
		g, err = cal.Group(ctx, g.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"ben member", "cal owner", "dan member"}, roles(g))
		require.NoError(t, cal.LeaveGroup(ctx, g.ID))
		g, err = dan.Group(ctx, g.ID)
		require.NoError(t, err)
		require.Equal(t, []string{"ben owner", "dan member"}, roles(g))
	})

	t.Run("an owner on two devices hands the group over to two users at once", func(t *testing.T) {
		for range 5 {
			g := create()
			var wg sync.WaitGroup
			errs := make([]error, 3)
			wg.Go(func() { _, errs[0] = ann.SetGroupRole(ctx, g.ID, ben.User.ID, "owner") })
			wg.Go(func() { _, errs[1] = ann.SetGroupRole(ctx, g.ID, cal.User.ID, "owner") })
			wg.Go(func() { _, errs[2] = ann.SetGroupRole(ctx, g.ID, dan.User.ID, "owner") })
			wg.Wait()
			won := 0
			for _, err := range errs {
				if err == nil {
					won++
				} else {
					require.True(t, client.IsCode(err, "forbidden"), err)
				}
			}
			require.Equal(t, 1, won)
			g, err := ann.Group(ctx, g.ID)
			require.NoError(t, err)
			owners := slices.DeleteFunc(roles(g), func(s string) bool { return !strings.HasSuffix(s, " owner") })
			require.Len(t, owners, 1)
			m := w.device(dan).s // messaging comes to the same
			eventually(t, "messaging to have the same roles", func() bool {
				c, err := m.Conversation(ctx, g.ID)
				return err == nil && slices.Equal(c.Members, g.Members)
			})
		}
	})

	t.Run("two changes in one request are two events", func(t *testing.T) {
		g := create()
		bearer, err := ann.AccessToken(ctx)
		require.NoError(t, err)
		status, body := call(t, "PATCH", w.url+"/api/groups/"+g.ID, bearer, `{"title":"Both","public":true}`)
		require.Equal(t, 200, status, body)
		require.Equal(t, []string{"1 (created)", "2 (renamed)", "3 (made_public)"}, texts(a.has(g.ID, 3)))
		for _, nothing := range []string{`{}`, `{"title":null}`} {
			status, body = call(t, "PATCH", w.url+"/api/groups/"+g.ID, bearer, nothing)
			require.Equal(t, 400, status, body)
		}
	})
}

func TestInvitations(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben, cal := w.user("ann"), w.user("ben"), w.user("cal")
	a, b := w.hearer(ann), w.hearer(ben)
	g, err := ann.CreateGroup(ctx, "Lab")
	require.NoError(t, err)
	listed := func(s *client.Session) (ids []string) {
		l, err := s.Invitations(ctx)
		require.NoError(t, err)
		for _, i := range l {
			ids = append(ids, i.ID)
		}
		return ids
	}

	t.Run("invite and accept", func(t *testing.T) {
		for range 2 { // the second changes nothing
			now, err := ann.Invite(ctx, g.ID, ben.User.ID)
			require.NoError(t, err)
			require.Len(t, now.Invited, 1)
			require.Equal(t, ben.User.ID, now.Invited[0].User)
		}
		b.hears("invitation", ann.User.ID, g.ID)
		l, err := ben.Invitations(ctx)
		require.NoError(t, err)
		require.Len(t, l, 1)
		require.Equal(t, client.Invitation{ID: g.ID, Title: "Lab", Size: 1, By: ann.User.ID, At: l[0].At}, l[0])
		_, err = ben.Group(ctx, g.ID)
		require.True(t, client.IsCode(err, "not_found"), err)
		a.has(g.ID, 1)
		a.send(g.ID, "before ben")
		for range 2 { // accepted twice: the answer was lost, say
			now, err := ben.AcceptInvitation(ctx, g.ID)
			require.NoError(t, err)
			require.Len(t, now.Members, 2)
			require.Empty(t, now.Invited, "not for members to see")
		}
		b.hears("invitation_gone", ann.User.ID, g.ID)
		require.Empty(t, listed(ben))
		got := b.has(g.ID, 1)
		require.Equal(t, []string{"3 (member_added)"}, texts(got))
		require.Equal(t, ben.User.ID, got[0].Sender)
		require.Equal(t, []string{"1 (created)", "2 before ben", "3 (member_added)"}, texts(a.has(g.ID, 3)), "invitations are no events")
	})

	t.Run("decline, then accept", func(t *testing.T) {
		_, err := ann.Invite(ctx, g.ID, cal.User.ID)
		require.NoError(t, err)
		require.NoError(t, cal.DeclineInvitation(ctx, g.ID))
		_, err = cal.AcceptInvitation(ctx, g.ID)
		require.True(t, client.IsCode(err, "not_found"), err)
		require.True(t, client.IsCode(cal.DeclineInvitation(ctx, g.ID), "not_found"))
		require.Empty(t, listed(cal))
		now, err := ann.Group(ctx, g.ID)
		require.NoError(t, err)
		require.Empty(t, now.Invited)
	})

	t.Run("taken back", func(t *testing.T) {
		_, err := ann.Invite(ctx, g.ID, cal.User.ID)
		require.NoError(t, err)
		require.Equal(t, []string{g.ID}, listed(cal))
		_, err = ann.TakeBackInvitation(ctx, g.ID, cal.User.ID)
		require.NoError(t, err)
		require.Empty(t, listed(cal))
		_, err = cal.AcceptInvitation(ctx, g.ID)
		require.True(t, client.IsCode(err, "not_found"), err)
	})

	t.Run("added while invited", func(t *testing.T) {
		h, err := ann.CreateGroup(ctx, "Another")
		require.NoError(t, err)
		_, err = ann.Invite(ctx, h.ID, ben.User.ID)
		require.NoError(t, err)
		now, err := ann.AddMember(ctx, h.ID, ben.User.ID)
		require.NoError(t, err)
		require.Empty(t, now.Invited)
		require.Empty(t, listed(ben))
	})

	t.Run("to a group that is gone", func(t *testing.T) {
		h, err := ann.CreateGroup(ctx, "Short")
		require.NoError(t, err)
		_, err = ann.Invite(ctx, h.ID, ben.User.ID)
		require.NoError(t, err)
		require.NoError(t, ann.LeaveGroup(ctx, h.ID))
		b.hears("invitation_gone", ann.User.ID, h.ID)
		require.Empty(t, listed(ben))
		_, err = ben.AcceptInvitation(ctx, h.ID)
		require.True(t, client.IsCode(err, "not_found"), err)
	})

	t.Run("refused", func(t *testing.T) {
		_, err := ann.Invite(ctx, g.ID, "00000000-0000-4000-8000-000000000000")
		require.True(t, client.IsCode(err, "unknown_user"), err)
		_, err = ann.Invite(ctx, g.ID, "x")
		require.True(t, client.IsCode(err, "unknown_user"), err)
		_, err = ann.Invite(ctx, g.ID, ben.User.ID)
		require.NoError(t, err, "a member already: nothing happens")
		require.Empty(t, listed(ben))
	})
}

func TestPublicGroups(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben, cal := w.user("ann"), w.user("ben"), w.user("cal")
	found := func(q string) (titles []string) {
		l, err := ben.PublicGroups(ctx, q)
		require.NoError(t, err)
		for _, g := range l {
			titles = append(titles, fmt.Sprint(g.Title, " ", g.Size))
		}
		return titles
	}
	open, err := ann.CreatePublicGroup(ctx, "Kubernetes für Anfänger", cal.User.ID)
	require.NoError(t, err)
	require.True(t, open.Public)
	_, err = ann.CreateGroup(ctx, "Kubernetes in secret")
	require.NoError(t, err)

	for q, want := range map[string][]string{
		"": {open.Title + " 2"}, "k": {open.Title + " 2"}, "KUBERNETES": {open.Title + " 2"}, "anf kub": {open.Title + " 2"}, "für": {open.Title + " 2"},
		"netes": nil, "kubernetes secret": nil, "kubernetesx": nil, "anfänge": {open.Title + " 2"}, "anfangs": nil, "--": {open.Title + " 2"},
	} {
		require.Equal(t, want, found(q), q)
	}
	bearer, err := ben.AccessToken(ctx)
	require.NoError(t, err)
	status, body := call(t, "GET", w.url+"/api/groups/public?q="+strings.Repeat("x", 81), bearer, "")
	require.Equal(t, 400, status, body)

	// What ben sees after he has joined, and nothing of before.
	a, b := w.device(ann), w.device(ben)
	a.send(open.ID, "before ben")
	for range 2 {
		g, err := ben.JoinGroup(ctx, open.ID)
		require.NoError(t, err)
		require.Len(t, g.Members, 3)
	}
	b.has(open.ID, 1)
	b.send(open.ID, "hello")
	require.Equal(t, []string{"3 (member_added)", "4 hello"}, texts(b.has(open.ID, 2)))
	require.Equal(t, []string{open.Title + " 3"}, found("k"))

	_, err = ann.RenameGroup(ctx, open.ID, "Containers")
	require.NoError(t, err)
	require.Empty(t, found("kuber"))
	require.Equal(t, []string{"Containers 3"}, found("cont"))

	_, err = ann.RemoveMember(ctx, open.ID, ben.User.ID)
	require.NoError(t, err)
	_, err = ben.JoinGroup(ctx, open.ID)
	require.True(t, client.IsCode(err, "forbidden"), err)
	_, err = ann.AddMember(ctx, open.ID, ben.User.ID)
	require.NoError(t, err, "but others may bring him back")
	require.NoError(t, ben.LeaveGroup(ctx, open.ID))
	_, err = ben.JoinGroup(ctx, open.ID)
	require.NoError(t, err, "who has left oneself may join again")

	_, err = ann.SetPublic(ctx, open.ID, false)
	require.NoError(t, err)
	require.Empty(t, found(""))
	require.NoError(t, ben.LeaveGroup(ctx, open.ID))
	_, err = ben.JoinGroup(ctx, open.ID)
	require.True(t, client.IsCode(err, "not_found"), err)

	_, err = ann.SetPublic(ctx, open.ID, true)
	require.NoError(t, err)
	require.Equal(t, []string{"Containers 2"}, found(""))
	require.NoError(t, cal.LeaveGroup(ctx, open.ID))
	require.NoError(t, ann.LeaveGroup(ctx, open.ID))
	require.Empty(t, found(""), "an empty group is gone")
}

func TestContacts(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann, ben, cal := w.user("ann"), w.user("ben"), w.user("cal")
	a, b := w.hearer(ann), w.hearer(ben)
	people := func(s *client.Session) string {
		p, err := s.People(ctx)
		require.NoError(t, err)
		names := map[string]string{ann.User.ID: "ann", ben.User.ID: "ben", cal.User.ID: "cal"}
		var l []string
		for _, c := range p.Contacts {
			l = append(l, strings.TrimSpace(names[c.User]+" "+c.Nickname))
			require.WithinRange(t, c.Since.Time, time.Now().Add(-time.Hour), time.Now().Add(time.Minute))
		}
		for _, r := range p.Incoming {
			l = append(l, "from "+names[r.User])
		}
		for _, r := range p.Outgoing {
			l = append(l, "to "+names[r.User])
		}
		for _, u := range p.Blocked {
			l = append(l, "not "+names[u])
		}
		return strings.Join(l, ", ")
	}
	// relations is what presence asks.
	relations := func(user string) (contacts, hidden []string) {
		status, body := call(t, "GET", w.urls["groups"]+"/internal/contacts/"+user, w.token("presence", "groups"), "")
		require.Equal(t, 200, status, body)
		var r struct{ Contacts, Hidden []string }
		require.NoError(t, json.Unmarshal([]byte(body), &r))
		return r.Contacts, r.Hidden
	}
	status, _ := call(t, "GET", w.url+"/internal/contacts/"+ann.User.ID, "", "")
	require.Equal(t, 404, status, "no ingress routes it")

	r, err := ann.RequestContact(ctx, ben.User.ID)
	require.NoError(t, err)
	require.Equal(t, "outgoing", r.State)
	a.hears("request_sent", ben.User.ID, "")
	b.hears("contact_request", ann.User.ID, "")
	require.Equal(t, "to ben", people(ann))
	require.Equal(t, "from ann", people(ben))
	_, err = ann.RequestContact(ctx, ben.User.ID)
	require.NoError(t, err, "asked already")
	_, err = ann.AcceptContact(ctx, ben.User.ID)
	require.True(t, client.IsCode(err, "not_found"), "one's own request: %v", err)
	_, err = ben.SetNickname(ctx, ann.User.ID, "Annie")
	require.True(t, client.IsCode(err, "not_found"), err)

	// Declined, then accepted in vain; asked again, taken back; asked by both.
	r, err = ben.DeclineContact(ctx, ann.User.ID)
	require.NoError(t, err)
	require.Equal(t, "none", r.State)
	require.Nil(t, r.Since)
	a.hears("request_gone", ben.User.ID, "")
	_, err = ben.AcceptContact(ctx, ann.User.ID)
	require.True(t, client.IsCode(err, "not_found"), err)
	_, err = ben.DeclineContact(ctx, ann.User.ID)
	require.True(t, client.IsCode(err, "not_found"), err)
	_, err = ann.RequestContact(ctx, ben.User.ID)
	require.NoError(t, err)
	_, err = ann.EndContact(ctx, ben.User.ID)
	require.NoError(t, err)
	require.Empty(t, people(ann)+people(ben))
	_, err = ann.RequestContact(ctx, ben.User.ID)
	require.NoError(t, err)
	_, err = ben.EndContact(ctx, ann.User.ID)
	require.NoError(t, err)
	require.Equal(t, "from ann", people(ben), "the request of another is declined, not ended")
	r, err = ben.RequestContact(ctx, ann.User.ID)
	require.NoError(t, err)
	require.Equal(t, "contact", r.State)
	a.hears("contact", ben.User.ID, "")
	b.hears("contact", ann.User.ID, "")
	_, err = ben.AcceptContact(ctx, ann.User.ID)
	require.NoError(t, err, "accepted already")
	require.Equal(t, []string{"ben", "ann"}, []string{people(ann), people(ben)})
	contacts, hidden := relations(ann.User.ID)
	require.Equal(t, []string{ben.User.ID}, contacts)
	require.Empty(t, hidden)

	r, err = ben.SetNickname(ctx, ann.User.ID, " Annie ")
	require.NoError(t, err)
	require.Equal(t, "Annie", r.Nickname)
	require.Equal(t, []string{"ben", "ann Annie"}, []string{people(ann), people(ben)})
	for _, bad := range []string{strings.Repeat("é", 41), "a\nb"} {
		_, err = ben.SetNickname(ctx, ann.User.ID, bad)
		require.True(t, client.IsCode(err, "bad_request"), err)
	}
	_, err = ben.EndContact(ctx, ann.User.ID)
	require.NoError(t, err)
	a.hears("contact_gone", ben.User.ID, "")
	require.Empty(t, people(ann)+people(ben))

	for name, f := range map[string]func(context.Context, string) (client.Relation, error){
		"request": ann.RequestContact, "accept": ann.AcceptContact, "decline": ann.DeclineContact, "end": ann.EndContact, "block": ann.Block, "unblock": ann.Unblock,
	} {
		_, err := f(ctx, ann.User.ID)
		require.True(t, client.IsCode(err, "bad_request"), "%s oneself: %v", name, err)
		_, err = f(ctx, "x")
		require.True(t, client.IsCode(err, "not_found") || client.IsCode(err, "unknown_user"), "%s nobody: %v", name, err)
	}
	_, err = ann.Block(ctx, "00000000-0000-4000-8000-000000000000")
	require.True(t, client.IsCode(err, "not_found"), err)
	contacts, hidden = relations("00000000-0000-4000-8000-000000000000")
	require.Empty(t, append(contacts, hidden...))

	t.Run("block", func(t *testing.T) {
		_, err := ben.RequestContact(ctx, ann.User.ID)
		require.NoError(t, err)
		_, err = ann.AcceptContact(ctx, ben.User.ID)
		require.NoError(t, err)
		bens, err := ben.CreateGroup(ctx, "Ben's")
		require.NoError(t, err)
		_, err = ben.Invite(ctx, bens.ID, ann.User.ID)
		require.NoError(t, err)
		anns, err := ann.CreateGroup(ctx, "Ann's")
		require.NoError(t, err)

		r, err := ann.Block(ctx, ben.User.ID)
		require.NoError(t, err)
		require.Equal(t, client.Relation{User: ben.User.ID, State: "none", Blocked: true}, r)
		a.hears("blocks", ben.User.ID, "")
		b.hears("contact_gone", ann.User.ID, "")
		require.Equal(t, []string{"not ben", ""}, []string{people(ann), people(ben)})
		for _, u := range [][2]string{{ann.User.ID, ben.User.ID}, {ben.User.ID, ann.User.ID}} {
			contacts, hidden := relations(u[0])
			require.Empty(t, contacts)
			require.Equal(t, []string{u[1]}, hidden, "both ways")
		}
		l, err := ann.Invitations(ctx)
		require.NoError(t, err)
		require.Empty(t, l, "by whom she has blocked")

		for name, f := range map[string]func() error{
			"ask":        func() error { _, err := ben.RequestContact(ctx, ann.User.ID); return err },
			"add":        func() error { _, err := ben.AddMember(ctx, bens.ID, ann.User.ID); return err },
			"invite":     func() error { _, err := ben.Invite(ctx, bens.ID, cal.User.ID); return err },
			"found":      func() error { _, err := ben.CreateGroup(ctx, "With ann", cal.User.ID, ann.User.ID); return err },
			"be asked":   func() error { _, err := ann.RequestContact(ctx, ben.User.ID); return err },
			"be added":   func() error { _, err := ann.AddMember(ctx, anns.ID, ben.User.ID); return err },
			"be invited": func() error { _, err := ann.Invite(ctx, anns.ID, ben.User.ID); return err },
		} {
			if name == "invite" { // ann has that invitation already; another one
				g, err := ben.CreateGroup(ctx, "Another of ben's")
				require.NoError(t, err)
				f = func() error { _, err := ben.Invite(ctx, g.ID, ann.User.ID); return err }
			}
			require.True(t, client.IsCode(f(), "blocked"), "who is blocked can't %s", name)
		}
		_, err = ann.Block(ctx, ben.User.ID)
		require.NoError(t, err, "blocked already")

		// Both block; each unblocks for oneself only.
		_, err = ben.Block(ctx, ann.User.ID)
		require.NoError(t, err)
		_, err = ann.Unblock(ctx, ben.User.ID)
		require.NoError(t, err)
		_, err = ann.RequestContact(ctx, ben.User.ID)
		require.True(t, client.IsCode(err, "blocked"), err)
		_, err = ben.Unblock(ctx, ann.User.ID)
		require.NoError(t, err)
		require.Empty(t, people(ann)+people(ben), "nothing comes back by itself")
		_, err = ann.RequestContact(ctx, ben.User.ID)
		require.NoError(t, err)
		_, err = ben.Block(ctx, ann.User.ID)
		require.NoError(t, err, "which ends the request")
		require.Equal(t, []string{"", "not ann"}, []string{people(ann), people(ben)})
	})
}
