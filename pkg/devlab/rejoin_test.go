package devlab

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

// Who is removed and comes back while their device fetches what it missed hears all the same of what they said before, though that is of
// a stay whose history is closed.
func TestWhoComesBackIsAnswered(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice, bob := w.user("alice"), w.user("bob")
	g, err := alice.CreateGroup(ctx, "Swing door", bob.User.ID)
	require.NoError(t, err)
	a, other := w.device(alice), w.device(bob)

	// Bob's phone has a network of its own, which may be away, or hold what is asked of the history.
	to, err := url.Parse(w.url)
	require.NoError(t, err)
	var away atomic.Bool
	asked, answer := make(chan struct{}), make(chan struct{})
	network := httputil.NewSingleHostReverseProxy(to)
	network.ErrorLog = slog.NewLogLogger(w.lab.log.Handler(), slog.LevelDebug)
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case away.Load():
			http.Error(rw, "away", http.StatusBadGateway)
			return
		case strings.HasSuffix(r.URL.Path, "/messages"):
			asked <- struct{}{}
			<-answer
		}
		network.ServeHTTP(rw, r)
	}))
	t.Cleanup(srv.Close)
	c := client.New(srv.URL)
	t.Cleanup(c.Close)
	session, err := c.Login(ctx, bob.User.Name, "correct horse", "phone")
	require.NoError(t, err)
	phone := w.device(session)
	before := a.send(g.ID, "mind the door")
	phone.until("what was said before", func() bool {
		m := phone.messages(g.ID)
		return len(m) > 0 && m[len(m)-1].Seq == before.Seq
	})

	// It loses its network, and bob says the same on both devices. Reactions are told when they are stored, and so not once more to who opens a
	// socket soon after.
	away.Store(true)
	phone.Disconnect()
	_, err = a.Change(ctx, g.ID, before.Seq, client.React("👋", true))
	require.NoError(t, err)
	said, err := other.ChangeAs(ctx, g.ID, "the-same", before.Seq, client.React("🚪", true))
	require.NoError(t, err)
	type result struct {
		message client.Message
		err     error
	}
	answered := make(chan result, 1)
	go func() {
		m, err := phone.ChangeAs(ctx, g.ID, "the-same", before.Seq, client.React("🚪", true))
		answered <- result{m, err}
	}()
	_, err = alice.RemoveMember(ctx, g.ID, bob.User.ID)
	require.NoError(t, err)
	a.has(g.ID, 4)
	away.Store(false)
	<-asked // it has heard of what bob said, and that something is before it

	_, err = alice.AddMember(ctx, g.ID, bob.User.ID)
	require.NoError(t, err)
	a.send(g.ID, "welcome back")
	go func() {
		for range asked { // whatever else it asks
			answer <- struct{}{}
		}
	}()
	answer <- struct{}{}
	select {
	case r := <-answered:
		require.NoError(t, r.err)
		require.Equal(t, said.Seq, r.message.Seq)
	case <-time.After(time.Minute):
		t.Fatal("bob's phone waits in vain for the answer")
	}
	got := phone.messages(g.ID)
	phone.until("what was said since", func() bool {
		got = phone.messages(g.ID)
		return got[len(got)-1].Body == "welcome back"
	})
	for i, m := range got[1:] {
		require.Greater(t, m.Seq, got[i].Seq, texts(got))
	}
}
