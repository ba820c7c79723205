package auth

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// exportOf writes what auth keeps of a user, but for what would let others in: password and tokens.
func (a *auth) exportOf(ctx context.Context, id string, lines *export.Lines) error {
	u, err := a.byID(ctx, id)
	if err != nil {
		return err
	}
	p, ok, err := store.Get[preferences](ctx, a.preferences(), id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok {
		p.Preferences = wire.DefaultPreferences()
	}
	drawn, _, err := store.Get[picture](ctx, a.pictures(), id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	all, err := a.of(ctx, id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	links, err := a.identitiesOf(ctx, id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	type line struct {
		what string
		v    any
	}
	list := []line{{"created", wire.At(u.Created)}, {"profile", u.shown()}, {"preferences", p.Preferences}}
	if len(drawn.PNG) > 0 {
		list = append(list, line{"picture", drawn.PNG})
	}
	for _, i := range links {
		list = append(list, line{"identity", exportedIdentity{Issuer: i.Issuer, Subject: i.Subject, Created: wire.At(i.Created)}})
	}
	for _, s := range all {
		list = append(list, line{"session", s.entry("")})
	}
	for _, l := range list {
		if err := lines.Put(l.what, l.v); err != nil {
			return err
		}
	}
	return nil
}

// exportedIdentity is who a user is at an OpenID Connect provider.
type exportedIdentity struct {
	Issuer  string    `json:"issuer"`
	Subject string    `json:"subject"`
	Created wire.Time `json:"created"`
}

// identitiesOf gives who a user is at providers. All identities are read for this, as for a deletion: exports are as rare (export.Rate).
func (a *auth) identitiesOf(ctx context.Context, user string) (all []identity, err error) {
	cursor, err := a.identities().Find(ctx, bson.D{{Key: "user", Value: user}})
	if err == nil {
		err = cursor.All(ctx, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read the identities of user %s: %w", user, err)
	}
	return all, nil
}
