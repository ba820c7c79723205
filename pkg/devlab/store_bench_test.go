package devlab

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/labctl/labctl/services/client"
)

// BenchmarkStored is the time from a plain send in Kafka to its being stored and told, with many waiting at once: 100 direct
// conversations on the embedded broker and database. Run it with -benchtime=10000x.
func BenchmarkStored(b *testing.B) {
	l := &lab{dir: b.TempDir(), users: NewUsers(), log: slog.New(slog.DiscardHandler)}
	require.NoError(b, l.startData())
	b.Cleanup(func() { require.NoError(b, l.stopData()) })
	var err error
	l.issuer, err = NewIssuer(b.Context(), l.dir, l.log)
	require.NoError(b, err)
	b.Cleanup(l.issuer.Close)
	all := units()
	u := all[slices.IndexFunc(all, func(u *unit) bool { return u.name == "messaging" })]
	urls, err := listen(b.Context(), []*unit{u})
	require.NoError(b, err)
	urls["auth"], urls["groups"] = "http://"+anywhere, "http://"+anywhere
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- u.run(ctx, l.environment("messaging", l.broker.Addr(), l.db.Addr(), urls), u.on, l.log)
	}()
	b.Cleanup(func() { cancel(); require.NoError(b, <-ended) })
	require.NoError(b, ready(b.Context(), []*unit{u}, urls))
	k, err := kgo.NewClient(kgo.SeedBrokers(l.broker.Addr()),
		kgo.SASL(scram.Auth{User: admin, Pass: l.users.Password(admin)}.AsSha512Mechanism()))
	require.NoError(b, err)
	b.Cleanup(k.Close)

	const conversations = 100
	var senders, ids [conversations]string
	for i := range ids {
		senders[i] = uuid.NewString()
		ids[i] = client.DirectID(senders[i], uuid.NewString())
	}
	said := 0
	say := func(n int) {
		records := make([]*kgo.Record, 0, n)
		for range n {
			i := said % conversations
			said++
			records = append(records, &kgo.Record{Topic: "messages", Key: []byte(ids[i]), Value: fmt.Appendf(nil,
				`{"type":"send","conversation":%q,"sender":%q,"client_id":"c-%d","body":%q,"at":"2026-11-21T08:15:30.123Z"}`,
				ids[i], senders[i], said, strings.Repeat("some words ", 10))})
		}
		require.NoError(b, k.ProduceSync(b.Context(), records...).FirstErr())
		for {
			res, err := http.Get(urls[health("messaging")] + "/metrics")
			require.NoError(b, err)
			body, err := io.ReadAll(res.Body)
			require.NoError(b, err)
			require.NoError(b, res.Body.Close())
			if strings.Contains(string(body), fmt.Sprintf("messaging_stored_total %v\n", float64(said))) {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	say(conversations) // which opens them all
	b.ResetTimer()
	say(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "stored/s")
}
