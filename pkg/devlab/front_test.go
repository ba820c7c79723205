package devlab

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/topics"
)

// Every answer has one request id, be it a service's or the proxy's own, and it is the one that the service knows.
func TestFrontNamesRequests(t *testing.T) {
	t.Parallel()
	var heard string
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		heard = r.Header.Get("X-Request-Id")
		w.Header().Set("X-Request-Id", heard)
		w.WriteHeader(http.StatusMethodNotAllowed)
	}))
	t.Cleanup(service.Close)
	away := httptest.NewServer(nil)
	away.Close()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	front, err := newFront([]*unit{{name: "here", routes: []string{"/api/here"}}, {name: "away", routes: []string{"/api/away"}}},
		map[string]string{"here": service.URL, "away": away.URL}, page)
	require.NoError(t, err)
	for path, status := range map[string]int{"/": 200, "/api/none": 404, "/api/here": 405, "/api/away/x": 503} {
		for sent, kept := range map[string]bool{"": false, "request-1": true, "not well-formed": false} {
			t.Run(path+" "+sent, func(t *testing.T) {
				r := httptest.NewRequest("PATCH", path, nil)
				if sent != "" {
					r.Header.Set("X-Request-Id", sent)
				}
				w := httptest.NewRecorder()
				heard = ""
				front.ServeHTTP(w, r)
				require.Equal(t, status, w.Code)
				ids := w.Header().Values("X-Request-Id")
				require.Len(t, ids, 1)
				require.NotEmpty(t, ids[0])
				require.Equal(t, kept, ids[0] == sent)
				if path == "/api/here" {
					require.Equal(t, ids[0], heard)
				}
			})
		}
	}
}

// The id of a request is in what it leads to in Kafka.
func TestRequestIDsReachTheRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	access, err := w.user("alice").AccessToken(ctx)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/api/groups", strings.NewReader(`{"title":"Lab","members":[]}`))
	require.NoError(t, err)
	req.Header = http.Header{"Authorization": {"Bearer " + access}, "Content-Type": {"application/json"}, "X-Request-Id": {"request-1"}}
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusCreated, res.StatusCode)
	require.Equal(t, []string{"request-1"}, res.Header.Values("X-Request-Id"))

	c, err := kgo.NewClient(kgo.SeedBrokers(w.lab.brokerAddr), login(admin, w.lab.users.Password(admin)), kgo.ConsumeTopics(topics.Messages))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	records := c.PollFetches(ctx).Records()
	require.NotEmpty(t, records)
	require.Contains(t, records[0].Headers, kgo.RecordHeader{Key: "request", Value: []byte("request-1")})
}
