package devlab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/labctl/labctl/pkg/atomicfile"
)

// Issuer gives the services their identities, as Kubernetes does: files with tokens that are renewed, and the keys to verify them with.
// Its own key is made anew for each run.
type Issuer struct {
	dir    string // has a directory for each service
	url    string
	signer jose.Signer
	server *http.Server
	stop   context.CancelFunc
	work   sync.WaitGroup
}

// The namespace is as good as any: there is one chat.
const namespace = "dev"

// Tokens are renewed when half of their life is over. It is looked at often, since no clock runs while the machine sleeps.
const (
	identityLife  = time.Hour
	identityCheck = 5 * time.Second
)

// NewIssuer begins to serve, and makes the files below a directory.
func NewIssuer(ctx context.Context, dir string, log *slog.Logger) (*Issuer, error) {
	fail := func(err error) (*Issuer, error) { return nil, fmt.Errorf("give the services identities: %w", err) }
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	private := jose.JSONWebKey{Key: key, KeyID: rand.Text()}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, nil)
	if err != nil {
		return fail(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", anywhere)
	if err != nil {
		return fail(err)
	}
	i := &Issuer{dir: filepath.Join(dir, "identity"), url: "http://" + ln.Addr().String(), signer: signer}
	if err := i.renew(time.Now()); err != nil {
		return fail(errors.Join(err, ln.Close()))
	}
	mux := http.NewServeMux()
	for path, answer := range map[string]any{
		"/.well-known/openid-configuration": map[string]string{"issuer": i.url},
		"/openid/v1/jwks":                   jose.JSONWebKeySet{Keys: []jose.JSONWebKey{private.Public()}},
	} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(answer) // whoever has gone asks again
		})
	}
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	i.work.Go(func() { _ = i.server.Serve(ln) })                 // ends by Close only
	ctx, i.stop = context.WithCancel(context.WithoutCancel(ctx)) // services ask each other until they have stopped
	i.work.Go(func() { i.keepFresh(ctx, log) })
	return i, nil
}

// Close stops serving and renewing.
func (i *Issuer) Close() {
	i.stop()
	_ = i.server.Close()
	i.work.Wait()
}

// Environment is how a service finds its identity and those of others.
func (i *Issuer) Environment(service string) map[string]string {
	return map[string]string{"IDENTITY_DIR": filepath.Join(i.dir, service), "IDENTITY_ISSUER": i.url}
}

func (i *Issuer) keepFresh(ctx context.Context, log *slog.Logger) {
	renewed := time.Now().Round(0) // by the clock on the wall, which goes on while the machine sleeps
	t := time.NewTicker(identityCheck)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		now := time.Now().Round(0)
		if now.Sub(renewed) < identityLife/2 {
			continue
		}
		if err := i.renew(now); err != nil {
			log.Error("the tokens of services are not renewed", "error", err)
			continue
		}
		renewed = now
	}
}

// renew writes all files. Each service gets a token for each of them.
func (i *Issuer) renew(now time.Time) error {
	for _, u := range units() {
		dir := filepath.Join(i.dir, u.name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(dir, "namespace"), []byte(namespace)); err != nil {
			return err
		}
		audiences := map[string]string{"token": i.url} // which Kubernetes wants to see of whoever asks for its keys
		for _, other := range units() {
			audiences[other.name] = "chat/" + other.name
		}
		for file, audience := range audiences {
			token, err := i.token(u.name, audience, now)
			if err == nil {
				err = atomicfile.Write(filepath.Join(dir, file), []byte(token))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (i *Issuer) token(service, audience string, now time.Time) (string, error) {
	return jwt.Signed(i.signer).Claims(jwt.Claims{
		Issuer: i.url, Subject: "system:serviceaccount:" + namespace + ":" + service, Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(identityLife)),
	}).Serialize()
}
