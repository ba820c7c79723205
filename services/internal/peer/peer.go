// Package peer calls the other services' endpoints under /internal/, which the ingress does not route. With each call goes a token that
// proves which service calls.
package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labctl/labctl/services/internal/identity"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// ErrNotFound is an answer 404.
var ErrNotFound = errors.New("not found")

// NewHTTPClient makes the client that a service uses for all its calls. It follows no redirects: none of the services gives any, and one
// would carry a token and a body elsewhere.
func NewHTTPClient() *http.Client {
	return &http.Client{
		Timeout:       10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
		},
	}
}

// Peer is a service that is asked: where it is, and how the one who asks proves who that is.
type Peer struct {
	Client   *http.Client
	URL      string
	Identity identity.Config
}

// Auth asks auth.
type Auth Peer

// User gives the user with that id, or ErrNotFound.
func (a Auth) User(ctx context.Context, id string) (u wire.User, err error) {
	err = Peer(a).call(ctx, "auth", http.MethodGet, "/internal/users/{id}", id, nil, &u)
	return u, err
}

// Deletions gives the deleted accounts that the calling service has not confirmed.
func (a Auth) Deletions(ctx context.Context) ([]wire.Deletion, error) {
	var d wire.Deletions
	err := Peer(a).call(ctx, "auth", http.MethodGet, "/internal/deletions", "", nil, &d)
	return d.Deletions, err
}

// ConfirmDeletion says that the calling service has done its part of a final deletion.
func (a Auth) ConfirmDeletion(ctx context.Context, user string) error {
	var none struct{}
	return Peer(a).call(ctx, "auth", http.MethodPost, "/internal/deletions/{user}", user, nil, &none)
}

// Messaging asks messaging.
type Messaging Peer

// Resume gives what a user has missed.
func (m Messaging) Resume(ctx context.Context, req wire.ResumeRequest) (a wire.ResumeAnswer, err error) {
	err = Peer(m).call(ctx, "messaging", http.MethodPost, "/internal/resume", "", req, &a)
	return a, err
}

// Typing tells the members of a conversation that one of them writes.
func (m Messaging) Typing(ctx context.Context, t wire.Typing) error {
	var none struct{}
	return Peer(m).call(ctx, "messaging", http.MethodPost, "/internal/typing", "", t, &none)
}

// Peers gives the users who share a conversation with user.
func (m Messaging) Peers(ctx context.Context, user string) ([]string, error) {
	var a wire.Users
	err := Peer(m).call(ctx, "messaging", http.MethodGet, "/internal/peers/{user}", user, nil, &a)
	return a.Users, err
}

// Groups asks groups.
type Groups Peer

// Relations gives a user's contacts, and those from whom the user is hidden.
func (g Groups) Relations(ctx context.Context, user string) (r wire.Relations, err error) {
	err = Peer(g).call(ctx, "groups", http.MethodGet, "/internal/contacts/{user}", user, nil, &r)
	return r, err
}

// call asks the service of that name for a route, in whose braces id goes.
func (p Peer) call(ctx context.Context, name, method, route, id string, in, out any) error {
	path := route
	if before, _, ok := strings.Cut(route, "{"); ok {
		path = before + url.PathEscape(id)
	}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(p.URL, "/")+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	token, err := p.Identity.Token(name)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req, span := trace.Call(req, route)
	defer span.End()
	res, err := p.Client.Do(req)
	if err != nil {
		trace.Fail(span, "no answer")
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	trace.Called(span, res.StatusCode)
	switch {
	case res.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%s %s: %w", method, path, ErrNotFound)
	case res.StatusCode != http.StatusOK:
		b, _ := io.ReadAll(io.LimitReader(res.Body, 512))
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(b))
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: decode the answer: %w", method, path, err)
	}
	return nil
}
