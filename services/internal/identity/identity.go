// Package identity says which service sends a request under /internal/. A service shows a token of its Kubernetes service account, which
// the kubelet keeps fresh in a file. Whoever is asked verifies it with the keys of the cluster. Where there is no cluster, labctl dev
// makes the same files and publishes the same keys.
package identity

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/keyset"
)

// ErrInvalid is a token that is expired, badly signed, for another service, or of no service of this chat.
var ErrInvalid = errors.New("invalid token of a service")

// What DirFromEnv and IssuerFromEnv give where nothing is set.
const (
	standardDir    = "/var/run/secrets/chat"
	standardIssuer = "https://kubernetes.default.svc"
)

// Config says where a service's identity is, and who vouches for the others'.
type Config struct {
	// Dir has a token for each service that this one asks, in a file of that service's name. For whoever is asked it has what Kubernetes
	// calls them in a pod: the namespace, a token for the API (token), and the certificates of its authority (ca.crt).
	Dir string
	// Issuer is the base address of the Kubernetes API.
	Issuer string
}

// Variables gives what DirFromEnv and IssuerFromEnv read.
func Variables() []env.Variable {
	return []env.Variable{
		{Name: "IDENTITY_DIR", Default: standardDir, Form: "a path",
			Meaning: "A directory with the service's identity, read anew for each use: a token for each service that it asks under `/internal/`, in a file of that service's name and for the audience `chat/` and that name; and, for a service that is asked, `namespace`, `token` (for the Kubernetes API) and `ca.crt`."},
		{Name: "IDENTITY_ISSUER", Default: standardIssuer, Form: "a base address, https unless it is of the machine itself",
			Meaning: "The Kubernetes API, which says who issues the tokens of service accounts, and with which keys."},
	}
}

// DirFromEnv reads where the identity is.
func DirFromEnv(getenv func(string) string) string {
	return cmp.Or(getenv("IDENTITY_DIR"), standardDir)
}

// IssuerFromEnv reads where the Kubernetes API is. Keys may not come over a network without TLS.
func IssuerFromEnv(getenv func(string) string) (string, error) {
	issuer := cmp.Or(getenv("IDENTITY_ISSUER"), standardIssuer)
	u, err := url.Parse(issuer)
	if err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && net.ParseIP(u.Hostname()).IsLoopback()) {
		return strings.TrimSuffix(issuer, "/"), nil
	}
	return "", fmt.Errorf("IDENTITY_ISSUER is %q, which is no base address such as %s; http is for an address of the machine itself, such as http://127.0.0.1:8080", issuer, standardIssuer)
}

// Token gives what a service shows to another. The file is read each time, since the token in it is renewed.
func (c Config) Token(peer string) (string, error) {
	token, err := c.read(peer)
	if err != nil {
		return "", fmt.Errorf("read the token for %s: %w", peer, err)
	}
	return token, nil
}

func (c Config) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(b))
	if text == "" {
		return "", fmt.Errorf("%s is empty", filepath.Join(c.Dir, name))
	}
	return text, nil
}

// Verifier says whose tokens are shown to a service. It is safe for concurrent use.
type Verifier struct {
	config   Config
	audience string
	keys     *keyset.Set
	now      func() time.Time
	accepted atomic.Pointer[accepted] // of the last fetch of keys
}

// accepted is whose tokens are good.
type accepted struct{ issuer, namespace string }

// NewVerifier verifies what is shown to the service of that name. now is the clock.
func NewVerifier(c Config, service string, now func() time.Time) *Verifier {
	v := &Verifier{config: c, audience: Audience(service), now: now}
	v.keys = keyset.New(v.fetch, now)
	return v
}

// Audience is that of the tokens that are shown to a service. Each has one of its own, so that it cannot pass for those who ask it.
func Audience(service string) string { return "chat/" + service }

const leeway = 5 * time.Second

// Verify gives the name of the service that shows a token. The error is ErrInvalid for a token that is no good, another one if the keys
// can't be had.
func (v *Verifier) Verify(ctx context.Context, raw string) (service string, err error) {
	// With these Kubernetes signs.
	t, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512})
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(t.Headers) != 1 {
		return "", fmt.Errorf("%w: %d signatures", ErrInvalid, len(t.Headers))
	}
	key, err := v.keys.Key(ctx, t.Headers[0].KeyID)
	if errors.Is(err, keyset.ErrUnknown) {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return "", err
	}
	accepted := v.accepted.Load()
	var claims jwt.Claims
	if err := t.Claims(key, &claims); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if claims.Expiry == nil {
		return "", fmt.Errorf("%w: it never expires", ErrInvalid)
	}
	if err := claims.ValidateWithLeeway(jwt.Expected{Issuer: accepted.issuer, AnyAudience: jwt.Audience{v.audience}, Time: v.now()}, leeway); err != nil {
		return "", fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	service, ok := strings.CutPrefix(claims.Subject, "system:serviceaccount:"+accepted.namespace+":")
	if !ok || service == "" {
		return "", fmt.Errorf("%w: %s is no service account of the namespace %s", ErrInvalid, claims.Subject, accepted.namespace)
	}
	return service, nil
}

// fetchTime is how long the API may take.
const fetchTime = 3 * time.Second

// fetch asks the API who issues tokens, and for the keys. The answer to the first names a place of the keys as well, which is meant for
// those outside the cluster; the API has them always at a path of its own
// (https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#service-account-issuer-discovery).
func (v *Verifier) fetch(ctx context.Context) (set jose.JSONWebKeySet, err error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	var issuer struct {
		Name string `json:"issuer"`
	}
	namespace, err := v.config.read("namespace")
	if err == nil {
		err = v.config.ask(ctx, "/.well-known/openid-configuration", &issuer)
	}
	if err == nil {
		err = v.config.ask(ctx, "/openid/v1/jwks", &set)
	}
	if err == nil && issuer.Name == "" {
		err = fmt.Errorf("%s names no issuer", v.config.Issuer)
	}
	if err != nil {
		return set, fmt.Errorf("get the keys of service accounts: %w", err)
	}
	v.accepted.Store(&accepted{issuer: issuer.Name, namespace: namespace})
	return set, nil
}

// ask asks the API. Both the token that it wants and the certificates of its authority may have been renewed since the last time.
func (c Config) ask(ctx context.Context, path string, answer any) error {
	token, err := c.read("token")
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if strings.HasPrefix(c.Issuer, "https:") {
		authority, err := c.read("ca.crt")
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(authority)) {
			return fmt.Errorf("%s has no certificate", filepath.Join(c.Dir, "ca.crt"))
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Issuer+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	// A redirect would carry the token elsewhere.
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s answers %s", c.Issuer, path, res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(answer); err != nil {
		return fmt.Errorf("read the answer of %s%s: %w", c.Issuer, path, err)
	}
	return nil
}
