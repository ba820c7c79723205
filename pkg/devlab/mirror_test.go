package devlab

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/exchange"
)

// What passes is copied as it is, or counted by its reason, and the answer stays what it was.
func TestMirror(t *testing.T) {
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "0123456789abcdef")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Set-Cookie", "secret")
		switch r.URL.Path {
		case "/api/auth/large":
			_, _ = w.Write(make([]byte, exchange.MaxBody+1))
		case "/api/auth/broken":
			_, _ = w.Write([]byte("half"))
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(http.StatusTeapot)
			_, _ = w.Write([]byte("short "))
			_, _ = w.Write([]byte("and stout"))
		}
	})
	var m requestMirror
	for _, tt := range []struct {
		method, path string
		want         string // the reason why it is not copied; "copied", or nothing where nobody looks
	}{
		{http.MethodGet, "/api/auth/me?q=a", "copied"},
		{http.MethodHead, "/api/auth", "copied"},
		{http.MethodPost, "/api/auth/login", exchange.Method},
		{http.MethodGet, "/api/auth/oidc/login", exchange.Excepted},
		{http.MethodGet, "/api/auth/../auth/oidc", exchange.Excepted},
		{http.MethodGet, "/api/auth/large", exchange.TooLarge},
		{http.MethodGet, "/api/auth/broken", exchange.Incomplete},
		{http.MethodGet, "/api/authors", ""},
		{http.MethodGet, "/api/groups", ""},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			var lines []exchange.Line
			m.copies.Store(&copies{routes: []string{"/api/auth"}, excepted: []string{"/api/auth/oidc"}, take: func(l exchange.Line) { lines = append(lines, l) }})
			ask := func(h http.Handler) *httptest.ResponseRecorder {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(tt.method, "http://chat.example"+tt.path, strings.NewReader(""))
				r.Header.Set("Authorization", "Bearer token")
				r.Header.Set("Cookie", "secret")
				if strings.HasSuffix(tt.path, "broken") {
					require.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(w, r) })
				} else {
					h.ServeHTTP(w, r)
				}
				return w
			}
			require.Equal(t, ask(front).Result(), ask(m.before(front)).Result(), "who asks sees no difference")
			switch tt.want {
			case "":
				require.Empty(t, lines)
			case "copied":
				require.Len(t, lines, 1)
				e := *lines[0].Exchange
				require.WithinDuration(t, time.Now(), e.Started, time.Minute)
				e.Started, e.LatencyUS = time.Time{}, 0
				require.Equal(t, exchange.Exchange{
					Request: exchange.Request{ID: "0123456789abcdef", Method: tt.method, Target: tt.path, Host: "chat.example", Header: http.Header{"Authorization": {"Bearer token"}}},
					Answer:  exchange.Answer{Status: http.StatusTeapot, Header: http.Header{"Content-Type": {"text/plain"}}, Body: []byte("short and stout")},
				}, e)
			default:
				require.Equal(t, []exchange.Line{{LeftOut: map[string]int64{tt.want: 1}}}, lines)
			}
		})
	}
}

// The answers of a copy of groups are compared while the chat is used, though it follows no topic. Nothing is left of it.
func TestShadowOfGroups(t *testing.T) {
	program := version(t, "groups", "")
	w := newWorld(t)
	ann, ben := w.user("ann"), w.user("ben")
	group, err := ann.CreateGroup(t.Context(), "readers", ben.User.ID)
	require.NoError(t, err)
	w.handled("messaging")
	before := w.left()
	c, stop := w.shadow("groups", program, program)
	require.EventuallyWithT(t, func(again *assert.CollectT) {
		_, err := ben.Group(t.Context(), group.ID)
		require.NoError(again, err)
		_, err = ben.Groups(t.Context())
		require.NoError(again, err)
		require.GreaterOrEqual(again, c.Evidence().Requests, int64(20))
	}, time.Minute, 20*time.Millisecond)
	_, err = ann.RenameGroup(t.Context(), group.ID, "writers")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.Evidence().LeftOut[exchange.Method] == 1 }, time.Minute, 20*time.Millisecond)
	stop()
	e := c.Evidence()
	require.Empty(t, e.Error)
	require.Equal(t, e.Requests, e.Verdict.Samples)
	require.InDelta(t, 1, e.Verdict.Agreement.Candidate, 1e-9, "%+v", e.Differing)
	require.InDelta(t, 1, e.Verdict.Agreement.Baseline, 1e-9)
	require.ElementsMatch(t, before, w.left())
}
