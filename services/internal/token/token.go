// Package token makes and checks access tokens: JWTs signed with Ed25519 by auth and checked by every other service
// with the public keys that auth publishes.
package token

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/labctl/labctl/services/internal/keyset"
)

const (
	issuer   = "labctl-chat"
	audience = "chat"
	leeway   = 5 * time.Second
)

// ErrInvalid is a token that is expired, not yet valid, badly signed, or not one of auth's.
var ErrInvalid = errors.New("invalid access token")

// ErrEnded is a token that is good, but whose session has ended.
var ErrEnded = errors.New("the session has ended")

// Roles of users, each with the rights of those before it.
const (
	RoleUser      = "user"
	RoleModerator = "moderator"
	RoleAdmin     = "admin"
)

// Rank orders roles: higher ones may do more. It is 0 for what is no role.
func Rank(role string) int {
	switch role {
	case RoleUser:
		return 1
	case RoleModerator:
		return 2
	case RoleAdmin:
		return 3
	}
	return 0
}

// Claims are what a token says of its bearer.
type Claims struct {
	User    string
	Session string
	Name    string
	Role    string
	Expires time.Time
}

// Signer makes tokens with one key.
type Signer struct {
	key ed25519.PrivateKey
	id  string
	sig jose.Signer
}

// NewKey makes a private key's seed.
func NewKey() ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return key.Seed(), nil
}

// NewSigner makes a signer of a key's seed and its id.
func NewSigner(id string, seed []byte) (*Signer, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("signing key %s has %d bytes, not %d", id, len(seed), ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, fmt.Errorf("use signing key %s: %w", id, err)
	}
	return &Signer{key: key, id: id, sig: sig}, nil
}

// Sign makes a token that is valid from now on.
func (s *Signer) Sign(c Claims, now time.Time) (string, error) {
	raw, err := jwt.Signed(s.sig).Claims(jwt.Claims{
		Issuer: issuer, Subject: c.User, Audience: jwt.Audience{audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(c.Expires),
	}).Claims(map[string]any{"sid": c.Session, "name": c.Name, "role": c.Role}).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign an access token: %w", err)
	}
	return raw, nil
}

// ID is the key's id.
func (s *Signer) ID() string { return s.id }

// Public is the public side of the key, as published.
func (s *Signer) Public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: s.id, Algorithm: string(jose.EdDSA), Use: "sig"}
}

// Verifier checks tokens. It is safe for concurrent use.
type Verifier struct {
	keys  *keyset.Set
	now   func() time.Time
	ended func(session string) bool
}

// NewVerifier checks with the keys that fetch gives. now is the clock.
func NewVerifier(fetch keyset.Fetch, now func() time.Time) *Verifier {
	return &Verifier{keys: keyset.New(fetch, now), now: now, ended: func(string) bool { return false }}
}

// Refuse makes the verifier refuse, with ErrEnded, the tokens of sessions of which ended says so. It must be called before
// the first Verify.
func (v *Verifier) Refuse(ended func(session string) bool) { v.ended = ended }

// Remote fetches keys from auth.
func Remote(client *http.Client, authURL string) keyset.Fetch {
	url := strings.TrimSuffix(authURL, "/") + "/api/auth/jwks"
	return func(ctx context.Context) (set jose.JSONWebKeySet, err error) {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return set, fmt.Errorf("fetch keys: %w", err)
		}
		res, err := client.Do(req)
		if err != nil {
			return set, fmt.Errorf("fetch keys: %w", err)
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return set, fmt.Errorf("fetch keys: %s answers %s", url, res.Status)
		}
		if err := json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&set); err != nil {
			return set, fmt.Errorf("fetch keys: %w", err)
		}
		return set, nil
	}
}

// Forget makes the verifier fetch the keys before it uses one again.
func (v *Verifier) Forget() { v.keys.Forget() }

// Verify checks a token. The error is ErrInvalid for a token that is no good, ErrEnded for one whose session has ended (see
// Refuse), another one if the keys can't be had.
func (v *Verifier) Verify(ctx context.Context, raw string) (Claims, error) {
	if len(raw) > 4096 {
		return Claims{}, fmt.Errorf("%w: too long", ErrInvalid)
	}
	t, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if len(t.Headers) != 1 {
		return Claims{}, fmt.Errorf("%w: %d signatures", ErrInvalid, len(t.Headers))
	}
	key, err := v.keys.Key(ctx, t.Headers[0].KeyID)
	if errors.Is(err, keyset.ErrUnknown) {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if err != nil {
		return Claims{}, err
	}
	var std jwt.Claims
	var own struct {
		Session string `json:"sid"`
		Name    string `json:"name"`
		Role    string `json:"role"`
	}
	if err := t.Claims(key, &std, &own); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if std.Expiry == nil || std.Subject == "" || own.Session == "" || Rank(own.Role) == 0 {
		return Claims{}, fmt.Errorf("%w: a claim is missing", ErrInvalid)
	}
	if err := std.ValidateWithLeeway(jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: v.now()}, leeway); err != nil {
		return Claims{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if v.ended(own.Session) {
		return Claims{}, ErrEnded
	}
	return Claims{User: std.Subject, Session: own.Session, Name: own.Name, Role: own.Role, Expires: std.Expiry.Time()}, nil
}
