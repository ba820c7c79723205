package devlab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/client"
)

// authConfig is the configuration of the world's auth, for its commands.
func (w *world) authConfig() auth.Config {
	w.t.Helper()
	c, err := auth.ConfigFromEnv(w.env("auth"))
	require.NoError(w.t, err)
	c.Log = w.lab.log
	return c
}

// startAuth starts auth with another configuration, of a world made without it.
func (w *world) startAuth(change func(*auth.Config)) {
	w.t.Helper()
	w.parts["auth"].unit.run = func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
		c, err := auth.ConfigFromEnv(getenv)
		if err != nil {
			return err
		}
		c.Listener, c.HealthListener, c.Log = on.service, on.health, log
		change(&c)
		return auth.Run(ctx, c)
	}
	w.start("auth")
	w.ready()
}

// clock is a clock that a test moves.
type clock struct {
	mu   sync.Mutex
	skip time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.skip)
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.skip += d
}

// eventually waits until what holds, for as long as a test may last.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit := time.After(time.Minute)
	for !holds() {
		select {
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// count gives the value of one of a service's metrics.
func (w *world) count(name, metric string) int {
	w.t.Helper()
	_, body := get(w.t, w.urls[health(name)]+"/metrics")
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(metric) + ` (\S+)$`).FindStringSubmatch(body)
	require.NotNil(w.t, m, metric)
	f, err := strconv.ParseFloat(m[1], 64)
	require.NoError(w.t, err)
	return int(f)
}

func ended(t *testing.T, s *client.Session) {
	t.Helper()
	_, err := s.Me(t.Context())
	require.True(t, client.IsCode(err, "session_ended"), "%v", err)
	require.True(t, client.IsCode(s.Refresh(t.Context()), "session_ended"))
}

func TestLogins(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	phone := w.user("alice")
	laptop, tablet := w.again(phone), w.again(phone)
	mallory := w.user("mallory")

	list, err := phone.Logins(ctx)
	require.NoError(t, err)
	require.Len(t, list, 3)
	current := 0
	for _, l := range list {
		require.False(t, l.Created.IsZero() || l.Used.Before(l.Created) || !l.Expires.After(l.Used), "%+v", l)
		if l.Current {
			current++
			require.Equal(t, phone.ID, l.ID)
			require.Equal(t, "test", l.Device)
		} else {
			require.Equal(t, "another", l.Device)
		}
	}
	require.Equal(t, 1, current)

	t.Run("another user's session is not there", func(t *testing.T) {
		err := mallory.EndLogin(ctx, phone.ID)
		require.True(t, client.IsCode(err, "not_found"), "%v", err)
		_, err = phone.Me(ctx)
		require.NoError(t, err)
	})
	t.Run("one of one's own ends, with its sockets", func(t *testing.T) {
		d, other := w.device(tablet), w.device(laptop)
		require.NoError(t, phone.EndLogin(ctx, tablet.ID))
		<-d.Done()
		ended(t, tablet)
		require.True(t, client.IsCode(phone.EndLogin(ctx, tablet.ID), "not_found"))
		other.send(client.DirectID(phone.User.ID, mallory.User.ID), "the other goes on")
	})
	t.Run("all others end", func(t *testing.T) {
		third := w.again(phone)
		d := w.device(third)
		n, err := phone.EndOtherLogins(ctx)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		<-d.Done()
		ended(t, third)
		ended(t, laptop)
		list, err := phone.Logins(ctx)
		require.NoError(t, err)
		require.Len(t, list, 1)
	})
	t.Run("a changed password ends the others", func(t *testing.T) {
		other := w.again(phone)
		d, mine := w.device(other), w.device(phone)
		_, err := phone.ChangePassword(ctx, "wrong horse", "battery staple")
		require.True(t, client.IsCode(err, "wrong_password"), "%v", err)
		for bad, why := range map[string]string{"short": "new_password must have 8 to 128", "Baseball": "new_password is one of the most common"} {
			_, err = phone.ChangePassword(ctx, "correct horse", bad)
			require.True(t, client.IsCode(err, "bad_request"), "%v", err)
			require.ErrorContains(t, err, why)
			_, err = client.New(w.url).Register(ctx, "careless", bad, "")
			require.True(t, client.IsCode(err, "bad_request"), "%v", err)
			require.ErrorContains(t, err, strings.TrimPrefix(why, "new_"))
		}
		_, err = other.Me(ctx)
		require.NoError(t, err)

		n, err := phone.ChangePassword(ctx, "correct horse", "battery staple")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		<-d.Done()
		ended(t, other)
		require.NoError(t, phone.Refresh(ctx), "the one that has changed it goes on")
		mine.send(client.DirectID(phone.User.ID, mallory.User.ID), "here")
		c := client.New(w.url)
		_, err = c.Login(ctx, "alice", "correct horse", "")
		require.True(t, client.IsCode(err, "wrong_credentials"), "%v", err)
		_, err = c.Login(ctx, "alice", "battery staple", "")
		require.NoError(t, err)
	})
	t.Run("a session that begins while the password changes is over at its next refresh", func(t *testing.T) {
		s := w.again(mallory)
		// As the login that read the name before the change, and wrote its session after the others were ended.
		_, err := w.database("auth").Collection("usernames").UpdateOne(ctx, bson.M{"_id": "mallory"}, bson.M{"$inc": bson.M{"epoch": 1}})
		require.NoError(t, err)
		require.True(t, client.IsCode(s.Refresh(ctx), "session_ended"))
		ended(t, s)
	})
	t.Run("the 101st ends the one that was not used for longest", func(t *testing.T) {
		first := w.user("many")
		_, err := w.database("auth").Collection("sessions").UpdateOne(ctx, bson.M{"_id": first.ID}, bson.M{"$set": bson.M{"rotated": time.Now().Add(-time.Hour)}})
		require.NoError(t, err)
		for range 99 {
			w.again(first)
		}
		_, err = first.Me(ctx)
		require.NoError(t, err)
		last := w.again(first)
		ended(t, first)
		list, err := last.Logins(ctx)
		require.NoError(t, err)
		require.Len(t, list, 100)
	})
}

func TestRoles(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin, mod, user := w.user("Ada"), w.user("mo"), w.user("uma")
	require.NoError(t, auth.SetRole(ctx, w.authConfig(), "ada", "admin"))
	require.ErrorIs(t, auth.SetRole(ctx, w.authConfig(), "nobody", "admin"), auth.ErrNoUser)
	require.ErrorContains(t, auth.SetRole(ctx, w.authConfig(), "uma", "root"), "none of user, moderator, admin")
	ended(t, admin) // the old token says "user"
	admin = w.again(admin)

	require.True(t, client.IsCode(mod.SetRole(ctx, user.User.ID, "moderator"), "forbidden"))
	require.True(t, client.IsCode(admin.SetRole(ctx, admin.User.ID, "user"), "forbidden"), "there is always an admin left")
	require.True(t, client.IsCode(admin.SetRole(ctx, user.User.ID, "root"), "bad_request"))
	require.True(t, client.IsCode(admin.SetRole(ctx, "0193", "user"), "not_found"))
	d := w.device(mod)
	require.NoError(t, admin.SetRole(ctx, mod.User.ID, "moderator"))
	<-d.Done()
	ended(t, mod)
	mod = w.again(mod)

	_, err := user.EndLoginsOf(ctx, mod.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	for _, above := range []*client.Session{admin, mod} {
		_, err = mod.EndLoginsOf(ctx, above.User.ID)
		require.True(t, client.IsCode(err, "forbidden"), "%v", err)
	}
	w.again(user)
	d = w.device(user)
	n, err := mod.EndLoginsOf(ctx, user.User.ID)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	<-d.Done()
	ended(t, user)
	require.NoError(t, w.again(user).Refresh(ctx), "who was sent away may log in again")
	require.NoError(t, admin.SetRole(ctx, mod.User.ID, "user"))
	_, err = w.again(mod).EndLoginsOf(ctx, user.User.ID)
	require.True(t, client.IsCode(err, "forbidden"), "%v", err)
}

// What an earlier version has written: users without an epoch and a role, and sessions without an epoch.
func TestUsersOfAnEarlierVersion(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	old := w.user("alice")
	db := w.database("auth")
	_, err := db.Collection("usernames").UpdateOne(ctx, bson.M{"_id": "alice"}, bson.M{"$unset": bson.M{"epoch": "", "role": ""}})
	require.NoError(t, err)
	_, err = db.Collection("sessions").UpdateOne(ctx, bson.M{"_id": old.ID}, bson.M{"$unset": bson.M{"epoch": ""}})
	require.NoError(t, err)
	require.True(t, client.IsCode(old.Refresh(ctx), "session_ended"))
	s := w.again(old)
	require.NoError(t, s.Refresh(ctx))
	_, err = s.Conversations(ctx)
	require.NoError(t, err, "the token names a role")
	_, err = s.ChangePassword(ctx, "correct horse", "battery staple")
	require.NoError(t, err)
}

func TestExpiredSessionsArePruned(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var c clock
	w.startAuth(func(o *auth.Config) { o.Now, o.Prune = c.now, 20*time.Millisecond })
	alice := w.user("alice")
	used := w.again(alice)
	d := w.device(alice)
	db := w.database("auth")
	there := func(s *client.Session) bool {
		n, err := db.Collection("sessions").CountDocuments(ctx, bson.M{"_id": s.ID})
		require.NoError(t, err)
		return n == 1
	}
	eventually(t, "the first pruning", func() bool { return db.Collection("settings").FindOne(ctx, bson.M{"_id": "pruned"}).Err() == nil })
	c.forward(5 * 24 * time.Hour)
	require.NoError(t, used.Refresh(ctx))
	// Most of the days between are noted as done, so that it does not take the reading of 256 documents of each.
	_, err := db.Collection("settings").UpdateOne(ctx, bson.M{"_id": "pruned"}, bson.M{"$max": bson.M{"day": c.now().UTC().Truncate(24*time.Hour).AddDate(0, 0, 23)}})
	require.NoError(t, err)
	c.forward(27 * 24 * time.Hour)
	eventually(t, "the expired session to go", func() bool { return !there(alice) })
	<-d.Done() // its socket stood all the time
	require.True(t, there(used), "it was used since")
	require.NoError(t, used.Refresh(ctx))
	list, err := used.Logins(ctx)
	require.NoError(t, err)
	require.Len(t, list, 1)
	eventually(t, "the past days to go", func() bool {
		n, err := db.Collection("expiries").CountDocuments(ctx, bson.M{})
		require.NoError(t, err)
		return n <= 2 // of the one that is left, and of what it was until its last refresh
	})
}

// Names can't be found out by the work that a login makes: it is the same for those that exist.
func TestLoginsCostTheSame(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	w.startAuth(func(o *auth.Config) { o.WrongPasswords = auth.WrongPasswords{Burst: 3, Every: time.Hour} })
	w.user("alice")
	c := client.New(w.url)
	t.Cleanup(c.Close)
	for _, name := range []string{"alice", "nobody"} {
		for range 3 {
			before := w.count("auth", "auth_hashes_total")
			_, err := c.Login(ctx, name, "wrong horse", "")
			require.True(t, client.IsCode(err, "wrong_credentials"), "%v", err)
			require.Equal(t, before+1, w.count("auth", "auth_hashes_total"), name)
		}
		before := w.count("auth", "auth_hashes_total")
		for _, password := range []string{"wrong horse", "correct horse"} {
			_, err := c.Login(ctx, name, password, "")
			require.True(t, client.IsCode(err, "busy"), "%s: %v", name, err)
		}
		require.Equal(t, before, w.count("auth", "auth_hashes_total"), "who is refused costs nothing")
	}
	// What was wrong for one name says nothing of another, and right ones do not count.
	bob := w.user("bob")
	for range 5 {
		w.again(bob)
	}
	for i := range 4 {
		_, err := bob.ChangePassword(ctx, fmt.Sprint("wrong horse ", i), "battery staple")
		if i < 3 {
			require.True(t, client.IsCode(err, "wrong_password"), "%v", err)
		} else {
			require.True(t, client.IsCode(err, "busy"), "%v", err)
		}
	}
}

// enterFrom is a login or a registration from another address, as the ingress tells it. It gives the status of the answer.
func (w *world) enterFrom(ctx context.Context, what, address, name, password string) (int, error) {
	body := strings.NewReader(fmt.Sprintf(`{"name":%q,"password":%q}`, name, password))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.urls["auth"]+"/api/auth/"+what, body)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Forwarded-For", address)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// Many logins from one address, with names of which none has had a wrong password yet, keep nobody from logging in, there or elsewhere.
func TestAFloodOfLogins(t *testing.T) {
	w := newWorld(t, "auth")
	w.startAuth(func(o *auth.Config) { o.HashQueue = 4 })
	w.user("alice")
	ctx, stop := context.WithCancel(t.Context())
	var refused atomic.Int64
	var flood sync.WaitGroup
	for i := range 2 * (4 + 1) * runtime.GOMAXPROCS(0) {
		flood.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				status, err := w.enterFrom(ctx, "login", "203.0.113.1", fmt.Sprintf("nobody-%d-%d", i, n), "correct horse")
				if err == nil && status == http.StatusServiceUnavailable {
					refused.Add(1)
				}
			}
		})
	}
	eventually(t, "the flood to fill the queue", func() bool { return refused.Load() > 0 })
	for i := range 4 {
		status, err := w.enterFrom(t.Context(), "login", fmt.Sprintf("198.51.100.%d", i), "alice", "correct horse")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	// Who shares the address of the flood may be refused, and not when they try again after those who waited then.
	w.user("bob")
	for range 2 {
		status, err := w.enterFrom(t.Context(), "login", "203.0.113.1", "bob", "correct horse")
		if err == nil && status == http.StatusServiceUnavailable {
			before := w.count("auth", "auth_hashes_total")
			eventually(t, "the queue to be another", func() bool {
				return w.count("auth", "auth_hashes_total") > before+2*(4+1)*runtime.GOMAXPROCS(0)
			})
			status, err = w.enterFrom(t.Context(), "login", "203.0.113.1", "bob", "correct horse")
		}
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	stop()
	flood.Wait()
}

func TestRegistrationsFromOneAddress(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var c clock
	w.startAuth(func(o *auth.Config) {
		o.RegistrationRate.PerSecond, o.RegistrationRate.Burst, o.Now = 0.001, 3, c.now
	})
	register := func(address, name string) int {
		status, err := w.enterFrom(ctx, "register", address, name, "correct horse")
		require.NoError(t, err)
		return status
	}
	for i := range 3 {
		require.Equal(t, http.StatusCreated, register("203.0.113.1", fmt.Sprint("user-", i)))
	}
	before := w.count("auth", "auth_hashes_total")
	require.Equal(t, http.StatusTooManyRequests, register("203.0.113.1", "user-3"))
	require.Equal(t, before, w.count("auth", "auth_hashes_total"), "who is refused costs nothing")
	require.Equal(t, http.StatusCreated, register("203.0.113.2", "user-3"))
	c.forward(1000 * time.Second)
	require.Equal(t, http.StatusCreated, register("203.0.113.1", "user-4"))
}

// A device that sleeps after it has sent a refresh gets the answer to its next try, however much later that is.
func TestTheAnswerOfARefreshIsLost(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var c clock
	w.startAuth(func(o *auth.Config) { o.Now = c.now })
	api := client.New(w.url)
	t.Cleanup(api.Close)
	old := w.user("alice").RefreshToken()
	lost, err := api.Resume(ctx, old)
	require.NoError(t, err)
	c.forward(24 * time.Hour)
	again, err := api.Resume(ctx, old)
	require.NoError(t, err)
	require.Equal(t, lost.RefreshToken(), again.RefreshToken())
	next, err := api.Resume(ctx, again.RefreshToken())
	require.NoError(t, err)
	_, err = api.Resume(ctx, old)
	require.True(t, client.IsCode(err, "session_ended"), "the use of the new one retires the old: %v", err)
	_, err = api.Resume(ctx, next.RefreshToken())
	require.True(t, client.IsCode(err, "session_ended"), "and its use after that ends the session: %v", err)
}

// However often a session is refreshed, whoever has it has to log in again some time.
func TestASessionLastsSoLong(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var c clock
	const oneDay = 24 * time.Hour
	w.startAuth(func(o *auth.Config) { o.Now, o.SessionLife = c.now, 50*oneDay })
	s := w.user("alice")
	for range 2 {
		c.forward(20 * oneDay)
		require.NoError(t, s.Refresh(ctx))
	}
	list, err := s.Logins(ctx)
	require.NoError(t, err)
	require.Equal(t, list[0].Created.Add(50*oneDay), list[0].Expires, "not 30 days from now")
	c.forward(11 * oneDay)
	require.True(t, client.IsCode(s.Refresh(ctx), "session_ended"))
	w.again(s)
}

// logged is a log that a test reads.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestTheAuditLog(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	var log logged
	w.startAuth(func(o *auth.Config) {
		o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		o.WrongPasswords = auth.WrongPasswords{Burst: 1, Every: time.Hour}
		o.RegistrationRate.PerSecond, o.RegistrationRate.Burst = 1e-6, 2
	})
	api := client.New(w.url)
	t.Cleanup(api.Close)
	alice, admin := w.user("alice"), w.user("ada")
	_, err := api.Register(ctx, "another", "correct horse", "")
	require.True(t, client.IsCode(err, "busy"), "%v", err)
	require.NoError(t, auth.SetRole(ctx, w.authConfig(), "ada", "admin"))
	admin = w.again(admin)
	second := w.again(alice)
	for _, name := range []string{"alice", "hunter2-typed-as-a-name"} {
		for _, code := range []string{"wrong_credentials", "busy"} {
			_, err := api.Login(ctx, name, "wrong horse", "")
			require.True(t, client.IsCode(err, code), "%v", err)
		}
	}
	_, err = alice.ChangePassword(ctx, "correct horse", "battery staple")
	require.NoError(t, err)
	for _, code := range []string{"wrong_password", "busy"} {
		_, err = alice.ChangePassword(ctx, "wrong horse", "battery staple")
		require.True(t, client.IsCode(err, code), "%v", err)
	}
	old := alice.RefreshToken()
	require.NoError(t, alice.Refresh(ctx))
	require.NoError(t, alice.Refresh(ctx))
	_, err = api.Resume(ctx, old)
	require.True(t, client.IsCode(err, "session_ended"), "%v", err)
	require.NoError(t, admin.SetRole(ctx, alice.User.ID, "moderator"))
	_, err = admin.Suspend(ctx, alice.User.ID)
	require.NoError(t, err)
	require.NoError(t, admin.LiftSuspension(ctx, alice.User.ID))

	type line struct {
		Event   string `json:"msg"`
		Audit   bool   `json:"audit"`
		User    string `json:"user"`
		Session string `json:"session"`
		By      string `json:"by"`
		Role    string `json:"role"`
		Address string `json:"address"`
		Request string `json:"request"`
	}
	var got []line
	for l := range strings.Lines(log.String()) {
		var e line
		require.NoError(t, json.Unmarshal([]byte(l), &e))
		if !e.Audit {
			continue
		}
		require.NotEmpty(t, e.Request, l)
		e.Audit, e.Request = false, ""
		got = append(got, e)
	}
	const here = "127.0.0.1"
	a, b := alice.User.ID, admin.User.ID
	require.Equal(t, []line{
		{Event: "registration", User: a, Session: alice.ID, Address: here},
		{Event: "registration", User: b, Session: got[1].Session, Address: here},
		{Event: "registration.throttled", Address: here},
		{Event: "login", User: b, Session: admin.ID, Address: here},
		{Event: "login", User: a, Session: second.ID, Address: here},
		{Event: "login.failed", User: a, Address: here},
		{Event: "login.throttled", User: a, Address: here},
		{Event: "login.failed", Address: here},
		{Event: "login.throttled", Address: here},
		{Event: "session.ended", User: a, Session: second.ID, By: a, Address: here},
		{Event: "password.changed", User: a, By: a, Address: here},
		{Event: "password.failed", User: a, By: a, Address: here},
		{Event: "password.throttled", User: a, By: a, Address: here},
		{Event: "token.reused", User: a, Session: alice.ID, Address: here},
		{Event: "session.ended", User: a, Session: alice.ID, Address: here},
		{Event: "role.changed", User: a, By: b, Role: "moderator", Address: here},
		{Event: "account.suspended", User: a, By: b, Address: here},
		{Event: "account.lifted", User: a, By: b, Address: here},
	}, got)
	access, err := admin.AccessToken(ctx)
	require.NoError(t, err)
	for _, secret := range []string{"horse", "staple", "hunter2", "alice", old, alice.RefreshToken(), access} {
		require.NotContains(t, log.String(), secret)
	}
}

// The broker is away when a session ends: auth refuses it at once, and its sockets close when the broker is back.
func TestASessionEndsWhileTheBrokerIsAway(t *testing.T) {
	w := newWorld(t, "auth")
	ctx := t.Context()
	w.startAuth(func(o *auth.Config) { o.Sweep = 20 * time.Millisecond })
	alice := w.user("alice")
	d := w.device(alice)
	w.lab.broker.Close()
	w.lab.broker = nil
	require.NoError(t, alice.Logout(ctx))
	_, err := alice.Me(ctx)
	require.True(t, client.IsCode(err, "session_ended"), "%v", err)
	select {
	case <-d.Done():
		t.Fatal("who has told the gateway?")
	default:
	}
	require.NoError(t, w.lab.db.Close())
	w.lab.db = nil
	require.NoError(t, w.lab.startData())
	<-d.Done()
	eventually(t, "nothing to be pending", func() bool {
		n, err := w.database("auth").Collection("ends").CountDocuments(ctx, bson.M{})
		require.NoError(t, err)
		return n == 0
	})
}
