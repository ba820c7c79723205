package devlab

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/presence"
)

// frozen is a clock that stands still until a test moves it.
type frozen struct {
	mu sync.Mutex
	t  time.Time
}

func (f *frozen) now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.t
}

func (f *frozen) forward(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t = f.t.Add(d)
}

// startPresence starts presence by another clock, of a world made without it.
func (w *world) startPresence(now func() time.Time) {
	w.t.Helper()
	w.parts["presence"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := presence.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		c.Listener, c.HealthListener, c.Log, c.Now, c.Tick = on.service, on.health, log, now, 5*time.Millisecond
		return presence.Run(ctx, c)
	}
	w.start("presence")
	w.ready()
}

// leases says what gateways would, by a clock of the test's.
type leases struct {
	w     *world
	clock frozen
	kafka *kgo.Client
}

func newLeases(w *world) *leases {
	l := &leases{w: w, kafka: w.kafka(), clock: frozen{t: time.Now()}}
	w.startPresence(l.clock.now)
	return l
}

// say writes a lease as a gateway does, and waits until presence has taken it in.
func (l *leases) say(user, gateway string, devices, away int) {
	l.w.t.Helper()
	b, err := json.Marshal(map[string]any{"user": user, "gateway": gateway, "devices": devices, "away": away, "at": l.clock.now().UTC().Truncate(time.Millisecond)})
	require.NoError(l.w.t, err)
	require.NoError(l.w.t, l.kafka.ProduceSync(l.w.t.Context(), &kgo.Record{Topic: "presence", Key: []byte(user), Value: b}).FirstErr())
	l.settled()
}

// pass lets time pass, and presence notice.
func (l *leases) pass(d time.Duration) {
	l.w.t.Helper()
	l.clock.forward(d)
	l.settled()
}

// settled waits until presence has read all leases, and after that has looked through them once from beginning to end.
func (l *leases) settled() {
	l.w.t.Helper()
	ends, err := kadm.NewClient(l.kafka).ListEndOffsets(l.w.t.Context(), "presence")
	require.NoError(l.w.t, err)
	var all int64
	ends.Each(func(o kadm.ListedOffset) { all += o.Offset })
	eventually(l.w.t, "presence to read the leases", func() bool { return int64(l.w.count("presence", "presence_leases_total")) >= all })
	l.reviewed()
}

func (l *leases) reviewed() {
	l.w.t.Helper()
	before := l.w.count("presence", "presence_reviews_total")
	eventually(l.w.t, "presence to look twice", func() bool { return l.w.count("presence", "presence_reviews_total") >= before+2 })
}

// watcher is a device, and the states of others in the order in which it was told them.
type watcher struct {
	*device
	mu     sync.Mutex
	states map[string][]string
}

func (w *world) watcher(s *client.Session) *watcher {
	w.t.Helper()
	v := &watcher{states: map[string][]string{}}
	v.device = w.deviceOf(s, client.DeviceOptions{Events: client.Events{PresenceState: func(user, state string) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.states[user] = append(v.states[user], state)
	}}})
	return v
}

func (v *watcher) told(user string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.states[user])
}

// hears waits for the last of these states, and wants no others before it.
func (v *watcher) hears(user string, states ...string) {
	v.t.Helper()
	eventually(v.t, states[len(states)-1], func() bool { return len(v.told(user)) >= len(states) })
	require.Equal(v.t, states, v.told(user))
}

func (w *world) state(by *client.Session, user string) client.Presence {
	w.t.Helper()
	p, err := by.Presence(w.t.Context(), user)
	require.NoError(w.t, err)
	require.Len(w.t, p, 1)
	require.Equal(w.t, p[0].State != "offline", p[0].Online)
	return p[0]
}

// acquainted lets two users share a conversation.
func (w *world) acquainted(by *device, other *client.Session) {
	w.t.Helper()
	by.send(client.DirectID(by.s.User.ID, other.User.ID), "hello")
}

// Who has just begun to talk to somebody asks at once whether they are there, as the page does. (A Device waits for the conversation first.) Others talk
// meanwhile, so what was said waits to be stored.
func TestPresenceOfWhomOneHasJustWrittenTo(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, carol, dave := w.user("alice"), w.user("carol"), w.user("dave")
	ws, c := w.dial(w.url, alice), w.device(carol)
	for n := range 3 {
		bob := w.user(fmt.Sprint("bob", n))
		w.device(bob)
		eventually(t, "presence to know bob", func() bool {
			of, err := bob.Presence(ctx, bob.User.ID)
			return err == nil && of[0].Online
		})
		w.acquainted(c, dave)
		frame, err := json.Marshal(map[string]any{"type": "send", "conversation": client.DirectID(alice.User.ID, bob.User.ID), "client_id": fmt.Sprint(n), "body": "are you there?"})
		require.NoError(t, err)
		require.NoError(t, ws.Write(ctx, websocket.MessageText, frame))
		for told := ""; !strings.Contains(told, "are you there?"); {
			_, frame, err := ws.Read(ctx)
			require.NoError(t, err)
			told = string(frame)
		}
		of, err := alice.Presence(ctx, bob.User.ID)
		require.NoError(t, err)
		require.True(t, of[0].Online)
	}
}

// Up at once, down after 30 s, and nothing in between: neither a reload, nor another gateway, nor a tab left for a moment is seen.
func TestPresenceDoesNotFlicker(t *testing.T) {
	w := newWorld(t, "presence")
	alice, bob := w.user("alice"), w.user("bob").User.ID
	a := w.watcher(alice)
	w.acquainted(a.device, &client.Session{User: client.User{ID: bob}})
	l := newLeases(w)
	is := func(want string) {
		t.Helper()
		require.Equal(t, want, w.state(alice, bob).State)
	}
	is("offline")
	require.True(t, w.state(alice, bob).Seen.IsZero())
	l.say(bob, "g1", 1, 0)
	is("online")

	l.say(bob, "g1", 0, 0) // a reload
	l.pass(29 * time.Second)
	is("online")
	l.say(bob, "g2", 1, 0)
	l.pass(2 * time.Second)
	is("online")

	l.say(bob, "g2", 1, 1) // a look into another tab
	l.pass(29 * time.Second)
	is("online")
	l.say(bob, "g2", 1, 0)
	l.pass(2 * time.Second)
	is("online")

	l.say(bob, "g2", 2, 1) // another device, which is left, and then the first one
	l.say(bob, "g2", 2, 2)
	l.pass(31 * time.Second)
	is("away")
	l.say(bob, "g2", 2, 1)
	is("online")

	l.pass(50 * time.Second) // the gateway dies, and the devices come back elsewhere
	l.say(bob, "g3", 1, 0)
	l.pass(11 * time.Second)
	is("online")
	seen := l.clock.now()
	l.say(bob, "g3", 0, 0)
	l.pass(31 * time.Second)
	is("offline")
	require.WithinDuration(t, seen, w.state(alice, bob).Seen, time.Millisecond, "when the last word of them came")

	l.say(bob, "g4", 1, 0)
	l.pass(61 * time.Second) // and that one dies for good
	is("offline")
	a.hears(bob, "online", "away", "online", "offline", "online", "offline")
}

// What presence knows follows from its topic, whatever becomes of its database; and a change that an instance did not come to tell, the
// next one tells.
func TestPresenceIsRebuilt(t *testing.T) {
	w := newWorld(t, "presence")
	ctx := t.Context()
	alice, bob, carol := w.user("alice"), w.user("bob"), w.user("carol")
	a := w.watcher(alice)
	w.acquainted(a.device, bob)
	w.acquainted(a.device, carol)
	l := newLeases(w)
	l.say(bob.User.ID, "g1", 1, 0)
	l.say(carol.User.ID, "g1", 1, 0)
	l.say(bob.User.ID, "g1", 1, 1)
	l.pass(31 * time.Second)
	l.say(carol.User.ID, "g2", 1, 0)
	a.hears(bob.User.ID, "online", "away")
	a.hears(carol.User.ID, "online")

	w.parts["presence"].stop()
	require.NoError(t, w.database("presence").Collection("users").Drop(ctx))
	require.Equal(t, []string{"online", "away"}, a.told(bob.User.ID))
	w.start("presence")
	w.ready()
	l.settled()
	require.Equal(t, "away", w.state(alice, bob.User.ID).State)
	require.Equal(t, "online", w.state(alice, carol.User.ID).State)

	w.parts["messaging"].stop() // which knows whom to tell
	l.pass(61 * time.Second)
	l.reviewed()
	w.parts["presence"].stop()
	w.start("messaging")
	w.start("presence")
	w.ready()
	a.hears(bob.User.ID, "online", "away", "away", "offline")
	a.hears(carol.User.ID, "online", "online", "offline")
}

// What is committed counts on: a lease from which nothing follows any more says how long somebody has until they are away.
func TestPresenceReadsWhatIsCommitted(t *testing.T) {
	w := newWorld(t, "presence")
	alice, bob := w.user("alice"), w.user("bob")
	a := w.watcher(alice)
	w.acquainted(a.device, bob)
	l := newLeases(w)
	l.say(bob.User.ID, "g1", 1, 0)
	l.say(bob.User.ID, "g1", 1, 1)
	a.hears(bob.User.ID, "online")
	w.parts["presence"].stop()
	root := kadm.NewClient(l.kafka)
	ends, err := root.ListEndOffsets(t.Context(), "presence")
	require.NoError(t, err)
	require.NoError(t, root.CommitAllOffsets(t.Context(), "presence", ends.Offsets()))
	w.start("presence")
	w.ready()
	l.pass(29 * time.Second)
	require.Equal(t, "online", w.state(alice, bob.User.ID).State)
	l.pass(2 * time.Second)
	a.hears(bob.User.ID, "online", "away")
}

// One of two instances is killed: the other one takes its users over, and says nothing that is not new.
func TestAnInstanceOfPresenceIsKilled(t *testing.T) {
	w := newWorld(t, "presence")
	kill := w.spawn("presence")
	w.ready()
	var second *unit
	for _, u := range units() {
		if u.name == "presence" {
			second = &unit{name: "presence-2", run: u.run}
		}
	}
	w.place(second)
	w.start("presence-2")
	w.ready()

	a := w.watcher(w.user("alice"))
	var others []*client.Session
	for _, name := range []string{"bob", "carol", "dave", "erin", "frank", "grace"} { // on several partitions
		s := w.user(name)
		w.acquainted(a.device, s)
		others = append(others, s)
	}
	for _, s := range others[:3] {
		w.device(s)
	}
	for _, s := range others[:3] {
		a.hears(s.User.ID, "online")
	}
	kill()
	for _, s := range others[3:] {
		w.device(s)
	}
	for _, s := range others {
		a.hears(s.User.ID, "online")
	}
}

// Devices say themselves whether somebody is at them; their user sees each of them, and others what follows.
func TestAway(t *testing.T) {
	w := newWorld(t, "presence", "gateway")
	ctx := t.Context()
	var c clock
	w.parts["gateway"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		o, err := gateway.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		o.Listener, o.HealthListener, o.Log, o.Now = on.service, on.health, log, c.now
		return gateway.Run(ctx, o)
	}
	w.start("gateway")
	w.startPresence(c.now)
	alice, bob := w.user("alice"), w.user("bob")
	a := w.watcher(alice)
	w.acquainted(a.device, bob)
	laptop := w.again(bob)
	d1, d2 := w.device(bob), w.device(laptop)
	a.hears(bob.User.ID, "online")
	devices := func(want map[string]string) {
		t.Helper()
		var got map[string]string
		eventually(t, "the devices' states", func() bool {
			got = map[string]string{}
			for _, d := range w.state(bob, bob.User.ID).Devices {
				got[d.Session] = d.State
			}
			return len(got) == len(want) && (len(want) == 0 || got[bob.ID] == want[bob.ID] && got[laptop.ID] == want[laptop.ID])
		})
		require.Equal(t, want, got)
	}
	devices(map[string]string{bob.ID: "online", laptop.ID: "online"})
	require.Empty(t, w.state(alice, bob.User.ID).Devices, "nobody else's business")

	d1.SetAway(ctx, true)
	devices(map[string]string{bob.ID: "away", laptop.ID: "online"})
	d2.SetAway(ctx, true)
	devices(map[string]string{bob.ID: "away", laptop.ID: "away"})
	c.forward(31 * time.Second)
	a.hears(bob.User.ID, "online", "away")
	d1.Disconnect() // it comes back, and is away still
	d2.Disconnect()
	devices(map[string]string{bob.ID: "away", laptop.ID: "away"})
	d2.SetAway(ctx, false)
	a.hears(bob.User.ID, "online", "away", "online")
	devices(map[string]string{bob.ID: "away", laptop.ID: "online"})
}

// Presence is seen by those who share a conversation or are contacts, but not across a block; others find no trace of it.
func TestWhoSeesPresence(t *testing.T) {
	w := newWorld(t)
	alice, bob, eve := w.user("alice"), w.user("bob"), w.user("eve")
	a, e := w.watcher(alice), w.watcher(eve)
	w.acquainted(a.device, bob)
	w.device(bob)
	a.hears(bob.User.ID, "online")
	require.Equal(t, "online", w.state(alice, bob.User.ID).State)
	p := w.state(eve, bob.User.ID)
	require.Equal(t, "offline", p.State)
	require.True(t, p.Seen.IsZero())

	as := func(s *client.Session, method, path, body string) {
		t.Helper()
		access, err := s.AccessToken(t.Context())
		require.NoError(t, err)
		status, answer := call(t, method, w.url+path, access, body)
		require.Less(t, status, 300, "%s %s: %s", method, path, answer)
	}
	as(eve, "POST", "/api/contacts/requests", `{"user":"`+bob.User.ID+`"}`)
	require.Equal(t, "offline", w.state(eve, bob.User.ID).State, "a request is no contact")
	as(bob, "POST", "/api/contacts/requests/"+eve.User.ID+"/accept", "")
	require.Equal(t, "online", w.state(eve, bob.User.ID).State)
	require.Equal(t, "online", w.state(bob, eve.User.ID).State)

	as(bob, "PUT", "/api/blocks/"+eve.User.ID, "")
	as(bob, "PUT", "/api/blocks/"+alice.User.ID, "")
	for _, blocked := range []*client.Session{eve, alice} {
		for _, p := range []client.Presence{w.state(blocked, bob.User.ID), w.state(bob, blocked.User.ID)} {
			require.Equal(t, "offline", p.State)
			require.True(t, p.Seen.IsZero())
		}
	}
	require.Empty(t, e.told(bob.User.ID), "who shares nothing hears nothing")
}
