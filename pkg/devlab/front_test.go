package devlab

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
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
