// Package peer calls the other services' endpoints under /internal/, which the ingress does not route.
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

	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// ErrNotFound is an answer 404.
var ErrNotFound = errors.New("not found")

// NewHTTPClient makes the client that a service uses for all its calls.
func NewHTTPClient() *http.Client {
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: 32, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: 10 * time.Second,
		},
	}
}

// Auth asks auth.
type Auth struct {
	Client *http.Client
	URL    string
}

// User gives the user with that id, or ErrNotFound.
func (a Auth) User(ctx context.Context, id string) (u wire.User, err error) {
	err = call(ctx, a.Client, http.MethodGet, a.URL, "/internal/users/{id}", id, nil, &u)
	return u, err
}

// Messaging asks messaging.
type Messaging struct {
	Client *http.Client
	URL    string
}

// Resume gives what a user has missed.
func (m Messaging) Resume(ctx context.Context, req wire.ResumeRequest) (a wire.ResumeAnswer, err error) {
	err = call(ctx, m.Client, http.MethodPost, m.URL, "/internal/resume", "", req, &a)
	return a, err
}

// Typing tells the members of a conversation that one of them writes.
func (m Messaging) Typing(ctx context.Context, t wire.Typing) error {
	var none struct{}
	return call(ctx, m.Client, http.MethodPost, m.URL, "/internal/typing", "", t, &none)
}

// Peers gives the users who share a conversation with user.
func (m Messaging) Peers(ctx context.Context, user string) ([]string, error) {
	var a wire.Users
	err := call(ctx, m.Client, http.MethodGet, m.URL, "/internal/peers/{user}", user, nil, &a)
	return a.Users, err
}

// Groups asks groups.
type Groups struct {
	Client *http.Client
	URL    string
}

// Relations gives a user's contacts, and those from whom the user is hidden.
func (g Groups) Relations(ctx context.Context, user string) (r wire.Relations, err error) {
	err = call(ctx, g.Client, http.MethodGet, g.URL, "/internal/contacts/{user}", user, nil, &r)
	return r, err
}

// call asks for a route, in whose braces id goes.
func call(ctx context.Context, c *http.Client, method, base, route, id string, in, out any) error {
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
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req, span := trace.Call(req, route)
	defer span.End()
	res, err := c.Do(req)
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
