package ended

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/wire"
)

func TestSessions(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	ctx := t.Context()
	brokers := bus.Config{Brokers: cluster.ListenAddrs()}
	kafka, err := bus.Open(brokers, "auth", nil)
	require.NoError(t, err)
	t.Cleanup(kafka.Close)
	require.NoError(t, bus.Create(ctx, kafka, bus.Config{}))

	begin := time.Now()
	now := begin
	open := func() *Sessions {
		s, err := Open(brokers, "test", slog.New(slog.DiscardHandler), func() time.Time { return now }, bus.Resets(prometheus.NewRegistry()))
		require.NoError(t, err)
		t.Cleanup(s.Close)
		return s
	}
	end := func(session, value string) {
		require.NoError(t, kafka.ProduceSync(ctx, &kgo.Record{Topic: bus.Sessions, Key: []byte(session), Value: []byte(value)}).FirstErr())
	}
	ended := func(session string, at time.Time) {
		end(session, string(wire.Encode(wire.SessionEnd{Session: session, User: "u", At: wire.At(at)})))
	}

	empty := open()
	require.NoError(t, empty.Start(ctx), "an empty topic is read at once")
	heard := make(chan string, 9)
	empty.OnEnd(func(session, user string) { heard <- session + " of " + user })

	ended("a", begin)
	ended("old", begin.Add(-keep))
	end("b", "nonsense")
	end("b", `{"session":"another","user":"u","at":"2026-11-21T08:15:30.123Z"}`)
	ended("c", begin)
	full := open()
	require.NoError(t, full.Start(ctx))
	for session, want := range map[string]bool{"a": true, "c": true, "b": false, "old": false, "another": false, "": false} {
		require.Equal(t, want, full.Has(session), session)
	}

	follow, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); empty.Follow(follow) }()
	for _, want := range []string{"a of u", "old of u", "c of u"} {
		require.Equal(t, want, <-heard)
	}
	stop()
	<-done
	require.True(t, empty.Has("a"))

	now = begin.Add(keep + time.Minute)
	full.end(wire.SessionEnd{Session: "d", User: "u", At: wire.At(now)})
	require.False(t, full.Has("a"), "it is forgotten when no token of it can live")
	require.True(t, full.Has("d"))

	var offsets kadm.Offsets
	offsets.AddOffset(bus.Sessions, 0, 5, -1)
	_, err = kadm.NewClient(kafka).DeleteRecords(ctx, offsets)
	require.NoError(t, err)
	require.NoError(t, open().Start(ctx), "what retention has taken is not waited for")

	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, open().Start(over), context.Canceled)
}
