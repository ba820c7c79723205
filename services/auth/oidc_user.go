package auth

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/oauth2"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// refusal is an answer of the provider's that is not good, whatever one tries.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// somebody is whom the provider has vouched for.
type somebody struct {
	subject string
	name    func(ctx context.Context) string // what they would like to be called, if anything
}

// maxSubject is the limit of OpenID Connect Core, section 2.
const maxSubject = 255

// redeem exchanges the provider's code and checks its ID token: signature, issuer, audience, times, and that it was made for this login.
func (p *provider) redeem(ctx context.Context, at *oidc.Provider, code, cookie string) (somebody, error) {
	ctx = p.reach(ctx)
	tokens, err := p.oauth(at).Exchange(ctx, code, oauth2.VerifierOption(p.secret("verifier", cookie)))
	if refused, ok := errors.AsType[*oauth2.RetrieveError](err); ok && refused.Response.StatusCode < 500 {
		return somebody{}, &refusal{fmt.Errorf("the provider refuses the code: %s %.100q", refused.Response.Status, refused.ErrorCode)}
	}
	if err != nil {
		return somebody{}, fmt.Errorf("exchange the provider's code: %w", err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	t, err := at.Verifier(&oidc.Config{ClientID: p.ClientID, Now: p.now}).Verify(ctx, raw)
	if err != nil {
		return somebody{}, &refusal{fmt.Errorf("the ID token: %w", err)}
	}
	var claims struct {
		Party string `json:"azp"`
		named
	}
	if err := t.Claims(&claims); err != nil {
		return somebody{}, &refusal{fmt.Errorf("the ID token: %w", err)}
	}
	switch {
	case !hmac.Equal([]byte(t.Nonce), []byte(p.secret("nonce", cookie))):
		return somebody{}, &refusal{errors.New("the ID token was made for another login")}
	case claims.Party != "" && claims.Party != p.ClientID, len(t.Audience) > 1 && claims.Party == "":
		return somebody{}, &refusal{errors.New("the ID token was made for another client")}
	case t.Subject == "" || len(t.Subject) > maxSubject:
		return somebody{}, &refusal{errors.New("the ID token names nobody")}
	}
	return somebody{subject: t.Subject, name: func(ctx context.Context) string {
		if name := claims.pick(); name != "" || at.UserInfoEndpoint() == "" {
			return name
		}
		var more named
		info, err := at.UserInfo(p.reach(ctx), oauth2.StaticTokenSource(tokens))
		if err != nil || info.Subject != t.Subject || info.Claims(&more) != nil {
			return "" // a name is a wish
		}
		return more.pick()
	}}, nil
}

// named are the claims of a name.
type named struct {
	Preferred string `json:"preferred_username"`
	Nickname  string `json:"nickname"`
	Given     string `json:"given_name"`
	Name      string `json:"name"`
}

func (n named) pick() string {
	for _, s := range []string{n.Preferred, n.Nickname, n.Given, n.Name} {
		if s != "" {
			return s
		}
	}
	return ""
}

// identity is somebody at a provider, and the user that they are here. Nothing else makes the two one: neither a name nor an address.
type identity struct {
	ID      string    `bson:"_id"` // the digest of issuer and subject
	Issuer  string    `bson:"issuer"`
	Subject string    `bson:"subject"`
	User    string    `bson:"user"`
	Created time.Time `bson:"created"`
}

// identified gives the user of somebody, and makes one the first time. The identity comes first and names the user, so that whoever
// goes on after a crash, or beside another, comes to the same one.
func (a *auth) identified(ctx context.Context, who somebody) (username, error) {
	id := digest(a.oidc.Issuer + "\x00" + who.subject)
	i, ok, err := store.Get[identity](ctx, a.identities(), id)
	if err != nil {
		return username{}, err
	}
	if !ok {
		i = identity{ID: id, Issuer: a.oidc.Issuer, Subject: who.subject, User: wire.NewID(), Created: a.Now().UTC()}
		if _, err := store.Insert(ctx, a.identities(), i); err != nil {
			return username{}, err
		}
		if i, _, err = store.Get[identity](ctx, a.identities(), id); err != nil {
			return username{}, err
		}
	}
	u, ok, err := store.Get[user](ctx, a.users(), i.User)
	if err != nil {
		return username{}, err
	}
	if u.Deleted {
		return username{}, fmt.Errorf("user %s is being deleted; after that, whoever it was is a new user", i.User)
	}
	if ok {
		if n, _, err := a.named(ctx, strings.ToLower(u.Name)); err != nil || n.User == i.User {
			return n, err
		}
	}
	for _, name := range freeNames(who.name(ctx), id) {
		n := username{ID: strings.ToLower(name), User: i.User, Name: name, Epoch: 1, Role: token.RoleUser} // and no password
		added, err := store.Insert(ctx, a.names(), n)
		if err != nil {
			return n, err
		}
		if !added {
			if n, _, err = a.named(ctx, n.ID); err != nil {
				return n, err
			}
			if n.User != i.User {
				continue // taken
			}
		}
		if err := store.Upsert(ctx, a.users(), i.User, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: n.Name}, {Key: "created", Value: i.Created}}}}); err != nil {
			return n, err
		}
		a.audit(ctx).Info(eventRegistration, n.who())
		a.index(ctx, n)
		return n, nil
	}
	return username{}, errors.New("make a user: all names are taken")
}

// freeNames gives the names to try, in an order that is always the same: what the user is called, with a number, with some of the
// identity's digest.
func freeNames(wish, id string) (names []string) {
	wish, _, _ = strings.Cut(wish, "@")
	base := strings.TrimLeft(strings.Map(func(r rune) rune {
		if checkName("xx"+string(r)) == nil {
			return r
		}
		return '-'
	}, wish), "._-")
	const room = 9 // for what is put behind
	if base = base[:min(len(base), maxName-room)]; checkName(base) != nil {
		base = "user"
	}
	names = []string{base}
	for i := 2; i < 10; i++ {
		names = append(names, fmt.Sprintf("%s-%d", base, i))
	}
	return append(names, base+"-"+id[:4], base+"-"+id[:room-1])
}
