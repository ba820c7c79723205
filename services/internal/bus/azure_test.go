package bus

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto/tls"
	"encoding/binary"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// entra is Entra as far as a token goes.
type entra struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string // the assertions
	status int
}

func newEntra(t *testing.T) *entra {
	t.Helper()
	e := &entra{status: http.StatusOK}
	e.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		switch {
		case r.URL.Path != "/tenant/oauth2/v2.0/token" || r.FormValue("client_id") != "client" || r.FormValue("grant_type") != "client_credentials" ||
			r.FormValue("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
			t.Errorf("asked %s with %v", r.URL, r.Form)
		case r.FormValue("scope") != "https://lab.servicebus.windows.net/.default":
			t.Errorf("asked for %s", r.FormValue("scope"))
		}
		e.asked = append(e.asked, r.FormValue("client_assertion"))
		w.WriteHeader(e.status)
		answer := map[string]any{"token_type": "Bearer", "expires_in": 1000, "access_token": "token for " + r.FormValue("client_assertion")}
		if e.status != http.StatusOK {
			answer = map[string]any{"error": "invalid_client", "error_description": "AADSTS70021: No matching federated identity record found.\r\nTrace ID: 1"}
		}
		_ = json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(e.Close)
	return e
}

func TestTokenOfAWorkloadIdentity(t *testing.T) {
	ctx := t.Context()
	e := newEntra(t)
	now := time.Now()
	path := file(t, "token", "first")
	w := &workload{
		client: "client", tenant: "tenant", assertion: path, authority: e.URL + "/", scope: "https://lab.servicebus.windows.net/.default",
		transport: e.Client().Transport, now: func() time.Time { return now },
	}
	is := func(want string, asked int) {
		t.Helper()
		got, err := w.token(ctx)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Len(t, e.asked, asked)
	}
	is("token for first", 1)
	now = now.Add(799 * time.Second)
	is("token for first", 1)
	require.NoError(t, os.WriteFile(path, []byte("second\n"), 0o600))
	now = now.Add(time.Second)
	is("token for second", 2) // a fifth of its life before it ends, with what the cluster has written meanwhile
	e.status = http.StatusUnauthorized
	now = now.Add(999 * time.Second)
	is("token for second", 3) // it lives yet
	now = now.Add(time.Second)
	_, err := w.token(ctx)
	require.ErrorContains(t, err, "AADSTS70021: No matching federated identity record found.; is the identity client federated")
	require.NotContains(t, err.Error(), "second")
	require.NotContains(t, err.Error(), "Trace")
	e.status = http.StatusOK
	is("token for second", 5)
}

func TestTokenThatEntraDoesNotGive(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"no token": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"expires_in":10}`) }, "no token with a time to live"},
		"no life":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"access_token":"x"}`) }, "no token with a time to live"},
		"a page":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `<html>`) }, "no token with a time to live"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("the assertion goes elsewhere")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "307"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewTLSServer(tt.answer)
			t.Cleanup(s.Close)
			w := &workload{client: "c", tenant: "t", assertion: file(t, "token", "hunter2"), authority: s.URL, transport: s.Client().Transport, now: time.Now}
			_, err := w.token(t.Context())
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// hubs is Event Hubs as far as its log-in goes: it takes OAUTHBEARER over TLS, which kfake does not know, and hands what comes after it
// to a kfake.
type hubs struct {
	ln     net.Listener
	tokens chan string
	good   string
}

func newHubs(t *testing.T, cert tls.Certificate, good string) *hubs {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &hubs{tokens: make(chan string, 100), good: good}
	h.ln = tls.NewListener(plain, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12})
	behind := make(chan net.Conn)
	closed := make(chan struct{})
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(string, string) (net.Listener, error) {
		return &pipes{addr: plain.Addr(), conns: behind, closed: closed}, nil
	}))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	t.Cleanup(func() { _ = h.ln.Close() })
	go func() {
		for {
			c, err := h.ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if h.login(c) != nil {
					return
				}
				near, far := net.Pipe()
				select {
				case behind <- far:
				case <-closed:
					return
				}
				go func() { _, _ = io.Copy(c, near); _ = c.Close() }()
				_, _ = io.Copy(near, c)
				_ = near.Close()
			}()
		}
	}()
	return h
}

// login answers requests until a token is taken.
func (h *hubs) login(c net.Conn) error {
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return err
		}
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			return err
		}
		key, version, id := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:])), b[4:8]
		body := b[10:]
		if n := int16(binary.BigEndian.Uint16(b[8:])); n > 0 {
			body = body[n:]
		}
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		if req.IsFlexible() {
			body = body[1:] // no tags
		}
		if err := req.ReadFrom(body); err != nil {
			return err
		}
		res := req.ResponseKind()
		done := false
		switch r := req.(type) {
		case *kmsg.ApiVersionsRequest:
			res := res.(*kmsg.ApiVersionsResponse)
			if version > 3 {
				res.SetVersion(0)
				res.ErrorCode = 35
			}
			for k, max := range map[int16]int16{0: 9, 1: 12, 2: 7, 3: 9, 10: 4, 17: 1, 18: 3, 19: 6, 22: 4, 36: 2} {
				res.ApiKeys = append(res.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: k, MaxVersion: max})
			}
		case *kmsg.SASLHandshakeRequest:
			if r.Mechanism != OAuthBearer {
				return errors.New("another mechanism")
			}
		case *kmsg.SASLAuthenticateRequest:
			_, after, _ := strings.Cut(string(r.SASLAuthBytes), "auth=Bearer ")
			token, _, _ := strings.Cut(after, "\x01")
			h.tokens <- token
			if done = token == h.good; !done {
				res.(*kmsg.SASLAuthenticateResponse).ErrorCode = 58
			}
		default:
			return errors.New("not logged in")
		}
		out := append([]byte{0, 0, 0, 0}, id...)
		if res.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		out = res.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return err
		}
		if done {
			return nil
		}
	}
}

// pipes is a listener of connections that are given to it.
type pipes struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return p.addr }

func TestTokenOpensTheBrokers(t *testing.T) {
	ctx := t.Context()
	cert, ca := authority(t)
	h := newHubs(t, cert, "good")
	path := file(t, "token", "good\n")
	env := map[string]string{"KAFKA_BROKERS": h.ln.Addr().String(), "KAFKA_TLS": ca, "KAFKA_SASL": OAuthBearer, "KAFKA_TOKEN_FILE": path}
	require.NoError(t, connect(t, env))
	require.Equal(t, "good", <-h.tokens)

	c, err := FromEnv("presence", func(k string) string { return env[k] })
	require.NoError(t, err)
	k, err := Open(c, "presence", nil)
	require.NoError(t, err)
	t.Cleanup(k.Close)
	require.NoError(t, Create(ctx, k, c))
	require.NoError(t, k.ProduceSync(ctx, &kgo.Record{Topic: Users, Value: []byte("x")}).FirstErr(), "an idempotent producer works behind the log-in")

	require.NoError(t, os.WriteFile(path, []byte("hunter2"), 0o600))
	err = connect(t, env)
	require.ErrorContains(t, err, "SASL_AUTHENTICATION_FAILED")
	require.NotContains(t, err.Error(), "hunter2")
}
