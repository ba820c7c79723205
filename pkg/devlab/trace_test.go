package devlab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
)

// receiver is a collector of traces, as any that speaks OTLP over HTTP.
type receiver struct {
	url  string
	news chan struct{}

	mu    sync.Mutex
	raw   []string // the requests as they came
	spans []span
}

type span struct {
	*tracepb.Span
	service string
}

func (s span) parent() string { return string(s.ParentSpanId) }

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{news: make(chan struct{}, 1)}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		var export collector.ExportTraceServiceRequest
		if err != nil || q.URL.Path != "/v1/traces" || proto.Unmarshal(body, &export) != nil {
			t.Errorf("no export of traces: %s %s: %v", q.Method, q.URL, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw = append(r.raw, string(body))
		for _, of := range export.ResourceSpans {
			service := ""
			for _, a := range of.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.GetStringValue()
				}
			}
			for _, scope := range of.ScopeSpans {
				for _, s := range scope.Spans {
					r.spans = append(r.spans, span{s, service})
				}
			}
		}
		select {
		case r.news <- struct{}{}:
		default:
		}
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// find gives the spans of that name, of the service and with the parent named; an empty one is any.
func (r *receiver) find(service, name, parent string) (found []span) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.spans {
		if s.Name == name && s.service == service && (parent == "" || s.parent() == parent) {
			found = append(found, s)
		}
	}
	return found
}

// wait waits for n spans, for as long as a test may last.
func (r *receiver) wait(t *testing.T, n int, service, name, parent string) []span {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		if found := r.find(service, name, parent); len(found) >= n {
			return found
		}
		select {
		case <-r.news:
		case <-limit.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			var have []string
			for _, s := range r.spans {
				have = append(have, s.service+": "+s.Name)
			}
			t.Fatalf("there never were %d spans %q of %s; there are %q", n, name, service, have)
		}
	}
}

// tracedWorld is a world whose services have those variables.
func tracedWorld(t *testing.T, env map[string]string) (w *world, stop func()) {
	t.Helper()
	var names []string
	for _, u := range units() {
		names = append(names, u.name)
	}
	w = newWorld(t, names...)
	w.lab.getenv = func(k string) string { return env[k] }
	for _, name := range names {
		w.start(name)
	}
	w.ready()
	return w, func() {
		var stopping sync.WaitGroup
		for _, p := range w.parts {
			stopping.Go(p.stop)
		}
		stopping.Wait()
	}
}

// A message can be followed from the frame that it comes in to each device that gets it, and what it says stays here.
func TestTrace(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50") // milliseconds
	to := newReceiver(t)
	w, stop := tracedWorld(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": to.url})
	ctx := t.Context()
	alice, bob := w.user("ann-of-the-lake"), w.user("ben-of-the-hill")
	a, b1, b2 := w.device(alice), w.device(bob), w.device(w.again(bob))
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	m := a.send(dm, "bring the violet umbrella")
	for _, d := range []*device{a, b1, b2} {
		d.has(dm, 1)
	}

	frame := to.wait(t, 1, "gateway", "frame send", "")[0]
	require.Empty(t, frame.ParentSpanId, "the receipt of the frame is the root")
	id := string(frame.SpanId)
	asks := to.wait(t, 1, "gateway", "GET /internal/users/{id}", id)[0]
	answers := to.wait(t, 1, "auth", "GET /internal/users/{id}", string(asks.SpanId))[0]
	sent := to.wait(t, 1, "gateway", "send messages", id)[0]
	handled := to.wait(t, 1, "messaging", "process messages", string(sent.SpanId))[0]
	told := to.wait(t, 1, "messaging", "send users", string(handled.SpanId))
	require.Len(t, told, 1, "one record for all")
	delivered := to.wait(t, 3, "gateway", "deliver users", string(told[0].SpanId))
	require.Len(t, delivered, 3, "each device of each user")
	for _, s := range append([]span{asks, answers, sent, handled, told[0]}, delivered...) {
		require.Equal(t, frame.TraceId, s.TraceId, s.Name)
	}
	require.Equal(t, map[string]string{"chat.conversation": dm, "chat.kind": "send", "chat.seq": "1"}, ours(handled))

	// Another send is another trace, and so is each change of a group, though all come by one socket or connection.
	_, err := a.Change(ctx, dm, m.Seq, client.Edit("bring the silver umbrella"))
	require.NoError(t, err)
	other := to.wait(t, 1, "gateway", "frame edit", "")[0]
	require.NotEqual(t, frame.TraceId, other.TraceId)
	require.Equal(t, map[string]string{"chat.conversation": dm, "chat.kind": "edit", "chat.target": "1"}, ours(other))
	g, err := alice.CreateGroup(ctx, "the order of umbrellas", bob.User.ID)
	require.NoError(t, err)
	b1.has(g.ID, 1)
	created := to.wait(t, 1, "groups", "POST /api/groups", "")[0]
	require.Empty(t, created.ParentSpanId)
	sent = to.wait(t, 1, "groups", "send messages", string(created.SpanId))[0]
	handled = to.wait(t, 1, "messaging", "process messages", string(sent.SpanId))[0]
	require.Equal(t, created.TraceId, handled.TraceId)
	_, err = bob.Search(ctx, "umbrella", "", 5)
	require.NoError(t, err)
	to.wait(t, 1, "messaging", "GET /api/messages/search", "")
	to.wait(t, 3, "gateway", "GET /ws", "") // which end before the sockets do
	var tokens []string
	for _, s := range []*client.Session{alice, bob} {
		access, err := s.AccessToken(ctx)
		require.NoError(t, err)
		tokens = append(tokens, access, s.RefreshToken())
	}

	stop() // which brings the rest
	to.mu.Lock()
	defer to.mu.Unlock()
	require.NotEmpty(t, to.raw)
	for _, secret := range append(tokens, "umbrella", "violet", "silver", "ann-of", "ben-of", "correct horse", m.ClientID) {
		require.NotEmpty(t, secret)
		for _, raw := range to.raw {
			require.NotContains(t, raw, secret)
		}
	}
	// What people choose can be found above; what else there may be is told by its name.
	known := []string{
		"chat.conversation", "chat.kind", "chat.refused", "chat.seq", "chat.target",
		"http.request.method", "http.response.status_code", "http.route", "url.template",
		"messaging.destination.name", "messaging.destination.partition", "messaging.kafka.offset", "messaging.operation.name", "messaging.system",
	}
	for _, s := range to.spans {
		require.Empty(t, s.Events, s.Name)
		require.NotContains(t, s.Name, alice.User.ID)
		require.NotContains(t, s.Name, bob.User.ID)
		for _, a := range s.Attributes {
			require.Contains(t, known, a.Key, s.Name)
			if a.Key != "chat.conversation" {
				require.NotContains(t, a.Value.String(), alice.User.ID, a.Key)
				require.NotContains(t, a.Value.String(), bob.User.ID, a.Key)
			}
		}
	}
}

// ours gives the attributes of the chat's own.
func ours(s span) map[string]string {
	found := map[string]string{}
	for _, a := range s.Attributes {
		if strings.HasPrefix(a.Key, "chat.") {
			found[a.Key] = a.Value.GetStringValue()
			if a.Key == "chat.seq" || a.Key == "chat.target" {
				found[a.Key] = strconv.FormatInt(a.Value.GetIntValue(), 10)
			}
		}
	}
	return found
}

// A service goes by its own environment, and without an endpoint in it nothing of a trace is anywhere.
func TestNoTrace(t *testing.T) {
	to := newReceiver(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", to.url)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	w, stop := tracedWorld(t, map[string]string{"OTEL_TRACES_SAMPLER": "always_on"})
	alice, bob := w.user("alice"), w.user("bob")
	a, b := w.device(alice), w.device(bob)
	dm := client.DirectID(alice.User.ID, bob.User.ID)
	a.send(dm, "hello")
	b.has(dm, 1)
	_, metrics := get(t, w.urls[health("gateway")]+"/metrics")
	require.NotContains(t, metrics, "trace_spans")
	for _, topic := range []string{topics.Messages, topics.Users} {
		k := w.kafka(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		records := k.PollFetches(t.Context()).Records() // waits for some
		require.NotEmpty(t, records)
		for _, r := range records {
			for _, h := range r.Headers {
				require.Contains(t, []string{"to", "source", "request"}, h.Key, topic)
			}
		}
	}
	stop()
	require.Empty(t, to.raw)
}

// A receiver that is down, or takes all and answers nothing, keeps no message and no stop.
func TestTraceIntoNothing(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4") // so that it is full
	down, err := net.Listen("tcp", anywhere)
	require.NoError(t, err)
	require.NoError(t, down.Close())
	asked := make(chan struct{}, 1)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case asked <- struct{}{}:
		default:
		}
		<-r.Context().Done()
	}))
	t.Cleanup(silent.Close)
	for name, url := range map[string]string{"down": "http://" + down.Addr().String(), "silent": silent.URL} {
		t.Run(name, func(t *testing.T) {
			w, stop := tracedWorld(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": url})
			alice, bob := w.user("alice"), w.user("bob")
			a, b := w.device(alice), w.device(bob)
			dm := client.DirectID(alice.User.ID, bob.User.ID)
			if name == "silent" {
				<-asked
			}
			for i := range 50 {
				a.send(dm, fmt.Sprint(i))
			}
			require.Len(t, b.has(dm, 50), 50)
			_, metrics := get(t, w.urls[health("gateway")]+"/metrics")
			require.Contains(t, metrics, "trace_spans_exported_total 0")
			require.NotContains(t, metrics, "trace_spans_ended_total 0")
			stop()
		})
	}
}
