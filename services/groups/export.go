package groups

import (
	"context"
	"maps"
	"slices"

	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
)

// exported is a user's part in a group. Who else is in it is theirs to tell.
type exported struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Role  string `json:"role"`
}

// exportOf writes what groups keeps of a user: groups, invitations, and what others are to the user.
func (s *groups) exportOf(ctx context.Context, user string, lines *export.Lines) error {
	p, _, err := store.Get[person](ctx, s.people(), user)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	m, _, err := store.Get[membership](ctx, s.members(), user)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if err := lines.Put("people", p.answer()); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(m.Groups)) {
		g, _, err := store.Get[group](ctx, s.groups(), id)
		if err != nil {
			return service.Unavailable("the database", err)
		}
		if role := g.role(user); role != "" {
			if err := lines.Put("group", exported{g.ID, g.Title, role}); err != nil {
				return err
			}
		}
	}
	found, err := s.invitationsOf(ctx, p)
	if err != nil {
		return err
	}
	for _, i := range found {
		if err := lines.Put("invitation", i); err != nil {
			return err
		}
	}
	return nil
}
