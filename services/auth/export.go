package auth

import (
	"context"

	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// exportOf writes what auth keeps of a user, but for what would let others in: password, tokens and the link to the provider.
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
	type line struct {
		what string
		v    any
	}
	list := []line{{"created", wire.At(u.Created)}, {"profile", u.shown()}, {"preferences", p.Preferences}}
	if len(drawn.PNG) > 0 {
		list = append(list, line{"picture", drawn.PNG})
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
