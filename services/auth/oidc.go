package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/oauth2"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
)

// Why a login with the provider did not work, as the page is told in its address. None says more than who asks may know.
const (
	oidcOff         = "off"         // there is no provider
	oidcUnavailable = "unavailable" // the provider or the database is away
	oidcDenied      = "denied"      // the user, or the provider, did not want to
	oidcExpired     = "expired"     // it was begun too long ago, or in another browser
	oidcFailed      = "failed"      // the provider's answer is not good
)

const (
	oidcCookie = "oidc"
	oidcPath   = "/api/auth/oidc"
	oidcTime   = 10 * time.Minute // how long the user may take at the provider
	codeTime   = time.Minute      // how long the page may take to exchange its code
)

// provider is the OpenID Connect provider. It is looked up when it is needed for the first time.
type provider struct {
	OIDC
	client *http.Client
	now    func() time.Time
	key    []byte // all that a login needs follows from it and the browser's cookie; set by start

	mu    sync.Mutex
	found *oidc.Provider
	err   error
	tried time.Time
}

// oidcWait is the time between two tries to reach a provider that is away, for all callers.
const oidcWait = 2 * time.Second

func newProvider(o OIDC, now func() time.Time) *provider {
	return &provider{OIDC: o, now: now, client: &http.Client{
		Timeout: 10 * time.Second, Transport: limited{&http.Transport{Proxy: http.ProxyFromEnvironment, IdleConnTimeout: 30 * time.Second}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // an issuer is where it says it is
	}}
}

// limited cuts answers that no provider gives.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = http.MaxBytesReader(nil, res.Body, 1<<20)
	}
	return res, err
}

// reach gives a context for calls to the provider.
func (p *provider) reach(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, p.client)
}

// discover gives what the provider says of itself, whose issuer is exactly the configured one.
func (p *provider) discover(ctx context.Context) (*oidc.Provider, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if p.err != nil && p.now().Sub(p.tried) < oidcWait {
		return nil, p.err
	}
	found, err := oidc.NewProvider(p.reach(context.WithoutCancel(ctx)), p.Issuer) // for all who wait, not only for this caller
	if err == nil && found.Endpoint().AuthURL == "" {
		err = errors.New("it names no authorization endpoint")
	}
	p.tried, p.err = p.now(), err
	if err != nil {
		return nil, fmt.Errorf("ask the provider %s: %w", p.Issuer, err)
	}
	p.found = found
	return found, nil
}

func (p *provider) oauth(at *oidc.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.ClientID, ClientSecret: p.ClientSecret, RedirectURL: p.RedirectURL, Endpoint: at.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile"},
	}
}

// secret gives the login's state, nonce or PKCE verifier: nobody can tell them who has the cookie alone, nor make a cookie to them.
func (p *provider) secret(what, cookie string) string {
	mac := hmac.New(sha256.New, p.key)
	_, _ = mac.Write([]byte(what + "\x00" + cookie))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// cookie makes the browser's, value empty to delete it. With TLS its name begins with __Host-: browsers take such a cookie from this host
// alone, so no other host of the domain can give a browser the cookie of a login of its own. The prefix needs the path /, so that the
// cookie goes with all requests until the login is over. Without TLS, on loopback, browsers do not take the prefix.
func (p *provider) cookie(value string) *http.Cookie {
	c := &http.Cookie{ //nolint:gosec // Secure wherever the page is: on loopback there is no TLS
		Name: oidcCookie, Value: value, Path: oidcPath, MaxAge: int(oidcTime.Seconds()), HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // it comes with the provider's redirect
	}
	if strings.HasPrefix(p.RedirectURL, "https:") {
		c.Name, c.Path, c.Secure = "__Host-"+oidcCookie, "/", true
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// begun gives the cookie of a login that this browser has begun.
func (p *provider) begun(r *http.Request) (cookie string, ok bool) {
	c, err := r.Cookie(p.cookie("").Name)
	if err != nil {
		return "", false
	}
	_, until, _ := strings.Cut(c.Value, ".")
	ms, err := strconv.ParseInt(until, 10, 64)
	return c.Value, err == nil && p.now().UnixMilli() < ms && len(c.Value) < 128
}

// showOIDC tells the page whether there is a provider.
func (a *auth) showOIDC(w http.ResponseWriter, _ *http.Request) error {
	return service.Write(w, http.StatusOK, struct {
		Enabled bool   `json:"enabled"`
		Name    string `json:"name"`
	}{a.oidc.enabled(), a.oidc.Name})
}

// oidcLogin sends the browser to the provider.
func (a *auth) oidcLogin(w http.ResponseWriter, r *http.Request) error {
	if !a.oidc.enabled() {
		return toPage(w, "login_error", oidcOff)
	}
	at, err := a.oidc.discover(r.Context())
	if err != nil {
		a.Log.Warn("no login with the provider", "error", err)
		return toPage(w, "login_error", oidcUnavailable)
	}
	cookie := rand.Text() + "." + strconv.FormatInt(a.Now().Add(oidcTime).UnixMilli(), 10)
	http.SetCookie(w, a.oidc.cookie(cookie))
	return redirect(w, a.oidc.oauth(at).AuthCodeURL(a.oidc.secret("state", cookie),
		oidc.Nonce(a.oidc.secret("nonce", cookie)), oauth2.S256ChallengeOption(a.oidc.secret("verifier", cookie))))
}

// oidcCallback is where the provider sends the browser back to. What it learns there goes to the page as a code that
// works once, soon, and in this browser.
func (a *auth) oidcCallback(w http.ResponseWriter, r *http.Request) error {
	fail := func(code string, why error) error {
		a.audit(r.Context()).Info(eventLoginFailed, "provider", code)
		a.Log.Warn("no login with the provider", "code", code, "error", why)
		return toPage(w, "login_error", code)
	}
	if !a.oidc.enabled() {
		return toPage(w, "login_error", oidcOff)
	}
	ctx, q := r.Context(), r.URL.Query()
	cookie, ok := a.oidc.begun(r)
	if !ok || !hmac.Equal([]byte(q.Get("state")), []byte(a.oidc.secret("state", cookie))) {
		return fail(oidcExpired, errors.New("the state is not this browser's"))
	}
	if q.Has("iss") && q.Get("iss") != a.oidc.Issuer { // RFC 9207
		return fail(oidcFailed, errors.New("the answer is another issuer's"))
	}
	switch e := q.Get("error"); {
	case e == "access_denied":
		return fail(oidcDenied, errors.New(e))
	case e != "":
		return fail(oidcFailed, fmt.Errorf("the provider says %.100q", e))
	case q.Get("code") == "":
		return fail(oidcFailed, errors.New("the answer has no code"))
	}
	at, err := a.oidc.discover(ctx)
	if err != nil {
		return fail(oidcUnavailable, err)
	}
	who, err := a.oidc.redeem(ctx, at, q.Get("code"), cookie)
	if _, refused := errors.AsType[*refusal](err); refused {
		return fail(oidcFailed, err)
	}
	if err != nil {
		return fail(oidcUnavailable, err)
	}
	n, err := a.identified(ctx, who)
	if err != nil {
		return fail(oidcUnavailable, err)
	}
	code := rand.Text()
	if _, err := store.Insert(ctx, a.codes(), loginCode{
		ID: digest(code), Name: n.ID, Epoch: n.Epoch, Cookie: digest(cookie), Expires: a.Now().Add(codeTime).UTC(),
	}); err != nil {
		return fail(oidcUnavailable, err)
	}
	return toPage(w, "login", code)
}

// loginCode is what the page exchanges for a session. Who reads the database can't use it.
type loginCode struct {
	ID      string    `bson:"_id"` // the code's digest
	Name    string    `bson:"name"`
	Epoch   int64     `bson:"epoch"`
	Cookie  string    `bson:"cookie"` // the digest of the browser's
	Expires time.Time `bson:"expires"`
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// oidcSession is the page's exchange. The cookie keeps anyone from giving another's browser a code of their own.
func (a *auth) oidcSession(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Code   string `json:"code"`
		Device string `json:"device"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkDevice(req.Device); err != nil {
		return err
	}
	over := &service.Error{Status: http.StatusUnauthorized, Code: "login_expired", Message: "this login is over; begin again"}
	ctx := r.Context()
	c, ok, err := store.Get[loginCode](ctx, a.codes(), digest(req.Code))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	cookie, begun := a.oidc.begun(r)
	if !ok || !begun || !a.Now().Before(c.Expires) || !hmac.Equal([]byte(c.Cookie), []byte(digest(cookie))) {
		return over
	}
	res, err := a.codes().DeleteOne(ctx, bson.D{{Key: "_id", Value: c.ID}})
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if res.DeletedCount != 1 {
		return over // another was faster
	}
	n, ok, err := a.named(ctx, c.Name)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok || n.Epoch != c.Epoch {
		return over
	}
	http.SetCookie(w, a.oidc.cookie(""))
	return a.enter(ctx, w, n, req.Device, over)
}

// pruneCodes deletes codes that nobody came for.
func (a *auth) pruneCodes(ctx context.Context) error {
	if _, err := a.codes().DeleteMany(ctx, bson.D{{Key: "expires", Value: bson.D{{Key: "$lt", Value: a.Now().Add(-time.Minute).UTC()}}}}); err != nil {
		return fmt.Errorf("delete expired codes: %w", err)
	}
	return nil
}

// toPage sends the browser to the page with a word behind the #, which no server and no log sees. There is no other place where a login
// can end.
func toPage(w http.ResponseWriter, key, value string) error {
	return redirect(w, "/#"+key+"="+url.QueryEscape(value))
}

func redirect(w http.ResponseWriter, to string) error {
	h := w.Header()
	h.Set("Location", to)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(http.StatusFound)
	return nil
}
