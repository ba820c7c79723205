package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/store"
)

// OIDC is an OpenID Connect provider with which users may log in. Without an issuer there is none.
type OIDC struct {
	// Issuer is the provider's address, exactly as its tokens have it (OIDC_ISSUER).
	Issuer string
	// ClientID and ClientSecret are what the provider knows the chat by (OIDC_CLIENT_ID; OIDC_CLIENT_SECRET or a file,
	// OIDC_CLIENT_SECRET_FILE).
	ClientID, ClientSecret string
	// RedirectURL is the chat's own address with the path /api/auth/oidc/callback, exactly as the provider has it (OIDC_REDIRECT_URL).
	RedirectURL string
	// Name is what people know the provider by (OIDC_NAME, the issuer's host).
	Name string
}

func (o OIDC) enabled() bool { return o.Issuer != "" }

// oidcVariables gives what oidcFromEnv reads.
func oidcVariables() []env.Variable {
	return []env.Variable{
		{Name: "OIDC_ISSUER", Form: "an `https` address",
			Meaning: "An OpenID Connect provider with which users may log in, exactly as its tokens have it; none where it is not set, nor may the others below be then."},
		{Name: "OIDC_CLIENT_ID", Form: "an id",
			Meaning: "What the provider knows the chat by. Needed with an issuer."},
		{Name: "OIDC_CLIENT_SECRET", Form: "a secret",
			Meaning: "The secret between the two. With an issuer, exactly one of this and `OIDC_CLIENT_SECRET_FILE` must be set."},
		{Name: "OIDC_CLIENT_SECRET_FILE", Form: "a path",
			Meaning: "A file with that secret, read at the start."},
		{Name: "OIDC_REDIRECT_URL", Form: "an `https` address",
			Meaning: "The chat's own address with the path `" + oidcPath + "/callback`, exactly as the provider has it. Needed with an issuer."},
		{Name: "OIDC_NAME", Form: "a name",
			Meaning: "What the page calls the provider; the issuer's host where it is not set."},
	}
}

// oidcFromEnv reads the provider. Errors never hold the secret.
func oidcFromEnv(getenv func(string) string) (o OIDC, err error) {
	o = OIDC{
		Issuer: getenv("OIDC_ISSUER"), ClientID: getenv("OIDC_CLIENT_ID"), ClientSecret: getenv("OIDC_CLIENT_SECRET"),
		RedirectURL: getenv("OIDC_REDIRECT_URL"), Name: getenv("OIDC_NAME"),
	}
	if !o.enabled() {
		for _, k := range []string{"OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_CLIENT_SECRET_FILE", "OIDC_REDIRECT_URL", "OIDC_NAME"} {
			if getenv(k) != "" {
				return OIDC{}, fmt.Errorf("%s is set and OIDC_ISSUER is not; set it, or neither", k)
			}
		}
		return OIDC{}, nil
	}
	var errs []error
	issuer, err := safeURL("OIDC_ISSUER", o.Issuer)
	errs = append(errs, err)
	if err == nil {
		o.Name = cmp.Or(o.Name, issuer.Hostname())
	}
	back, err := safeURL("OIDC_REDIRECT_URL", o.RedirectURL)
	errs = append(errs, err)
	if err == nil && back.Path != oidcPath+"/callback" {
		errs = append(errs, fmt.Errorf("OIDC_REDIRECT_URL is %q, whose path is not %s/callback", o.RedirectURL, oidcPath))
	}
	if o.ClientID == "" {
		errs = append(errs, errors.New("OIDC_CLIENT_ID is not set"))
	}
	file := getenv("OIDC_CLIENT_SECRET_FILE")
	switch {
	case o.ClientSecret != "" && file != "":
		errs = append(errs, errors.New("OIDC_CLIENT_SECRET and OIDC_CLIENT_SECRET_FILE are both set; set one"))
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("OIDC_CLIENT_SECRET_FILE: %w", err))
		} else if o.ClientSecret = strings.TrimSpace(string(b)); o.ClientSecret == "" {
			errs = append(errs, fmt.Errorf("OIDC_CLIENT_SECRET_FILE: %s is empty", file))
		}
	case o.ClientSecret == "":
		errs = append(errs, errors.New("OIDC_CLIENT_SECRET is not set, nor is OIDC_CLIENT_SECRET_FILE"))
	}
	return o, errors.Join(errs...)
}

// safeURL wants https, but on this machine itself.
func safeURL(name, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#") {
		return nil, fmt.Errorf("%s is no plain address such as https://id.example/realm", name)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || (err == nil && addr.IsLoopback())
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("%s is %q, which is not https", name, raw)
	}
	return u, nil
}

const oidcKeyID = "oidc-key"

// start makes the key of logins, the first time, and lets all instances use the same one.
func (p *provider) start(ctx context.Context, a *auth) error {
	type key struct {
		ID  string `bson:"_id"`
		Key []byte `bson:"key"`
	}
	k, ok, err := store.Get[key](ctx, a.settings(), oidcKeyID)
	if err != nil {
		return err
	}
	if !ok {
		k = key{ID: oidcKeyID, Key: make([]byte, 32)}
		if _, err := rand.Read(k.Key); err != nil {
			return fmt.Errorf("make the key of logins: %w", err)
		}
		if _, err := store.Insert(ctx, a.settings(), k); err != nil {
			return err
		}
		if k, _, err = store.Get[key](ctx, a.settings(), oidcKeyID); err != nil {
			return err
		}
	}
	p.key = k.Key
	return nil
}
