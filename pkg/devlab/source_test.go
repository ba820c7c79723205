package devlab

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
)

// A frame has the id of the request that opened its socket, and a number. What follows from a record is of the same request.
func TestRequestsOfFramesReachTheRecords(t *testing.T) {
	w := newWorld(t)
	to, err := url.Parse(w.url)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	before := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ws" {
			r.Header.Set("X-Request-Id", "this-socket")
		}
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(before.Close)
	w.url = before.URL
	w.talk("")

	frame := regexp.MustCompile("^this-socket-[0-9]+$")
	of := map[string]string{} // the requests of records
	for _, r := range w.records(topics.Messages) {
		request := header(r, "request")
		of[fmt.Sprintf("%s/%d/%d", r.Topic, r.Partition, r.Offset)] = request
		if !strings.Contains(string(r.Value), `"type":"send"`) {
			continue
		}
		require.Regexp(t, frame, request)
	}
	typed := 0
	for _, r := range w.records(topics.Users) {
		if strings.Contains(string(r.Value), `"type":"typing"`) {
			require.Regexp(t, frame, header(r, "request"))
			typed++
		}
		if source := header(r, "source"); strings.HasPrefix(source, topics.Messages) {
			require.Equal(t, of[source], header(r, "request"), source)
		}
	}
	require.Equal(t, 1, typed)
}

// records gives all records of a topic, in the order of their partitions.
func (w *world) records(topic string) (all []*kgo.Record) {
	w.t.Helper()
	k := w.kafka()
	ends, err := kadm.NewClient(k).ListEndOffsets(w.t.Context(), topic)
	require.NoError(w.t, err)
	missing, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			missing[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().AtStart()
		}
	})
	k.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})
	for len(missing) > 0 {
		fetches := k.PollFetches(w.t.Context())
		require.NoError(w.t, fetches.Err())
		for _, r := range fetches.Records() {
			if end, ok := missing[r.Partition]; ok && r.Offset < end {
				all = append(all, r)
			}
			if r.Offset+1 >= missing[r.Partition] {
				delete(missing, r.Partition)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *kgo.Record) int { return int(a.Partition) - int(b.Partition) })
	return all
}

// header gives a header of a record, empty if it has none.
func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// talk is what people do in a chat: all kinds of records, with refusals, repetitions and more messages than a bucket has.
func (w *world) talk(prefix string) {
	w.t.Helper()
	ctx := w.t.Context()
	alice, bob, carol := w.user(prefix+"alice"), w.user(prefix+"bob"), w.user(prefix+"carol")
	a, b, c := w.device(alice), w.device(bob), w.device(carol)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	g, err := alice.CreateGroup(ctx, "the lab", bob.User.ID)
	require.NoError(w.t, err)
	for i := range 55 {
		a.send(dm, fmt.Sprint("text ", i))
		b.send(g.ID, fmt.Sprint("text ", i))
	}
	b.has(dm, 55)
	_, err = a.SendAs(ctx, dm, "twice", "once")
	require.NoError(w.t, err)
	_, err = a.SendAs(ctx, dm, "twice", "once")
	require.NoError(w.t, err)
	_, err = c.Send(ctx, g.ID, "may I?")
	require.True(w.t, client.IsCode(err, "not_member"), err)
	_, err = a.Change(ctx, dm, 1, client.Edit("text one"))
	require.NoError(w.t, err)
	_, err = b.Change(ctx, dm, 2, client.React("👍", true))
	require.NoError(w.t, err)
	_, err = a.Change(ctx, dm, 1, client.Delete())
	require.NoError(w.t, err)
	require.NoError(w.t, b.MarkRead(ctx, dm, 30))
	require.NoError(w.t, b.Type(ctx, dm, true))
	_, err = alice.AddMember(ctx, g.ID, carol.User.ID)
	require.NoError(w.t, err)
	c.has(g.ID, 1)
	c.send(g.ID, "thank you")
	_, err = alice.RemoveMember(ctx, g.ID, carol.User.ID)
	require.NoError(w.t, err)
	_, err = carol.Block(ctx, alice.User.ID)
	require.NoError(w.t, err)
	require.NoError(w.t, w.kafka(kgo.RecordDeliveryTimeout(time.Minute)).ProduceSync(ctx, &kgo.Record{
		Topic: topics.Messages, Key: []byte(dm), Value: []byte("no JSON"), Headers: []kgo.RecordHeader{{Key: "request", Value: []byte("by-a-fault")}},
	}).FirstErr())
	w.stored()
	require.NoError(w.t, w.again(bob).Logout(ctx))
	for _, d := range []*device{a, b, c} {
		d.Close()
	}
}
