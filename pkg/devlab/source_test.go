package devlab

import (
	"fmt"
	"maps"
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
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
)

// What follows from a record says from which, or, where it follows from a request, from which of those.
func TestEverythingHasASource(t *testing.T) {
	w := newWorld(t)
	w.talk("")
	w.handled("messaging")
	ann, ben := w.user("ann"), w.user("ben")
	a := w.device(ann)
	a.send(client.DirectID(ann.User.ID, ben.User.ID), "are you there?")
	w.stored()
	w.device(ben)
	a.until("ben is online", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.seen[ben.User.ID]
	})
	said := w.records(topics.Messages)
	said = slices.DeleteFunc(said, func(r *kgo.Record) bool { return !strings.Contains(string(r.Value), `"type":"send"`) })
	letter := &kgo.Record{Topic: topics.Dead, Key: said[0].Key, Value: said[0].Value, Headers: []kgo.RecordHeader{{Key: "source", Value: []byte("messages/0/0")}}}
	require.NoError(t, w.kafka().ProduceSync(t.Context(), letter).FirstErr(), "as if it could not have been handled then")
	out, err := w.command("replay")
	require.NoError(t, err)
	require.Contains(t, out, "1 put back, 1 can't be handled yet")
	w.handled("messaging")
	require.True(t, slices.ContainsFunc(w.records(topics.Messages), func(r *kgo.Record) bool {
		return header(r, "source") == fmt.Sprint("messages.dead/0/", letter.Offset)
	}), "what is put back says from which dead letter")

	without := map[string]string{} // kinds of records, and whether all of them say of which request they are
	for _, topic := range topics.All() {
		for _, r := range w.records(topic.Name) {
			if header(r, "source") != "" {
				continue
			}
			kind := topic.Name
			if topic.Name == topics.Users {
				_, kind, _ = strings.Cut(string(r.Value), `"type":"`)
				kind, _, _ = strings.Cut(kind, `"`)
				kind = "users " + kind
			}
			if header(r, "request") == "" {
				without[kind] = "of nothing"
			} else if without[kind] == "" {
				without[kind] = "of a request"
			}
		}
	}
	require.Equal(t, map[string]string{
		"messages": "of a request", "sessions": "of a request", "users notice": "of a request", "users typing": "of a request",
		"presence": "of nothing", // what a gateway has connected when it says so
	}, without)
	require.True(t, slices.ContainsFunc(w.records(topics.Users), func(r *kgo.Record) bool {
		return strings.HasPrefix(header(r, "source"), topics.Presence+"/")
	}), "who comes and goes says by which lease")
	seen := map[string]bool{}
	for _, service := range []string{"messaging", "presence"} {
		// The versions of the schema and the day of the last pruning are of no record, the positions are sources themselves, and words are those of a bucket.
		for id, doc := range w.documents(service, "schema", "settings", "positions", "words") {
			kind, _, _ := strings.Cut(id, " ")
			require.Contains(t, doc, `"source`, id)
			seen[service+" "+kind] = true
		}
	}
	for _, kind := range []string{"messages", "sends", "rosters", "heads", "buckets", "inboxes"} {
		require.True(t, seen["messaging "+kind], kind)
	}
	require.True(t, seen["presence users"])
}

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

// handled waits until a group has committed all of the topic messages, or all after its start.
func (w *world) handled(group string, start ...kadm.ListedOffsets) {
	w.t.Helper()
	root := kadm.NewClient(w.kafka())
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		ends, err := root.ListEndOffsets(w.t.Context(), topics.Messages)
		require.NoError(w.t, err)
		committed, err := root.FetchOffsets(w.t.Context(), group)
		missing := 0
		ends.Each(func(o kadm.ListedOffset) {
			var begin int64
			for _, s := range start {
				first, _ := s.Lookup(o.Topic, o.Partition)
				begin = first.Offset
			}
			at, ok := committed.Lookup(o.Topic, o.Partition)
			if o.Offset > begin && (!ok || at.At < o.Offset) {
				missing++
			}
		})
		if err == nil && missing == 0 {
			return
		}
		select {
		case <-limit.C:
			w.t.Fatalf("the group %s never committed all: %v, %v", group, committed, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// documents gives the documents of a database's collections by their ids, as texts.
func (w *world) documents(database string, but ...string) map[string]string {
	w.t.Helper()
	db := w.database(database)
	names, err := db.ListCollectionNames(w.t.Context(), bson.D{})
	require.NoError(w.t, err)
	all := map[string]string{}
	for _, name := range names {
		if slices.Contains(but, name) {
			continue
		}
		cursor, err := db.Collection(name).Find(w.t.Context(), bson.D{})
		require.NoError(w.t, err)
		var docs []map[string]any
		require.NoError(w.t, cursor.All(w.t.Context(), &docs))
		for _, doc := range docs {
			b, err := bson.MarshalExtJSON(sorted(doc), true, false)
			require.NoError(w.t, err)
			all[fmt.Sprint(name, " ", doc["_id"])] = string(b)
		}
	}
	return all
}

// sorted gives a value whose documents have their fields in the order of their names.
func sorted(v any) any {
	switch v := v.(type) {
	case map[string]any:
		var d bson.D
		for _, k := range slices.Sorted(maps.Keys(v)) {
			d = append(d, bson.E{Key: k, Value: sorted(v[k])})
		}
		return d
	case bson.D:
		m := map[string]any{}
		for _, e := range v {
			m[e.Key] = e.Value
		}
		return sorted(m)
	case bson.A:
		l := make(bson.A, len(v))
		for i := range v {
			l[i] = sorted(v[i])
		}
		return l
	}
	return v
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
