package groups

import (
	"context"
	"net/http"
	"slices"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// invite asks a user to come into a group. What the group's document says of invitations is so; the invited user's own list is a copy.
func (s *groups) invite(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		User string `json:"user"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := s.notTooOften(caller.User); err != nil {
		return err
	}
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		if err := g.need(caller.User, invite); err != nil {
			return nil, err
		}
		if _, invited := g.Invited[req.User]; invited || g.role(req.User) != "" {
			return nil, nil
		}
		if err := s.addable(r.Context(), caller.User, req.User); err != nil {
			return nil, err
		}
		p, _, err := store.Get[person](r.Context(), s.people(), req.User)
		switch {
		case err != nil:
			return nil, service.Unavailable("the database", err)
		case len(p.Invitations) >= wire.MaxPending:
			return nil, errFull("that user has %d invitations without an answer, and takes no more", wire.MaxPending)
		case len(g.Invited) >= wire.MaxPending:
			return nil, errFull("the group has %d invitations without an answer; take some back first", wire.MaxPending)
		}
		if g.Invited == nil {
			g.Invited = map[string]invitation{}
		}
		g.Invited[req.User] = invitation{By: caller.User, At: s.Now().UTC()}
		return []event{{Notices: map[string]notice{req.User: {Kind: wire.NoticeInvitation, By: caller.User}}}}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}

// withdraw takes an invitation back.
func (s *groups) withdraw(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		if err := g.need(caller.User, invite); err != nil {
			return nil, err
		}
		return g.uninvite(r.PathValue("user")), nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}

// uninvite ends an invitation without its user having become a member. There may be none.
func (g *group) uninvite(user string) []event {
	i, ok := g.Invited[user]
	if !ok {
		return nil
	}
	delete(g.Invited, user)
	return []event{{Notices: map[string]notice{user: {Kind: wire.NoticeInvitationGone, By: i.By}}}}
}

func (s *groups) invitations(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	p, _, err := store.Get[person](r.Context(), s.people(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	found, err := s.invitationsOf(r.Context(), p)
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, map[string][]wire.Invitation{"invitations": found})
}

// invitationsOf gives a user's invitations, newest first, but for those by whom the user has blocked.
func (s *groups) invitationsOf(ctx context.Context, p person) ([]wire.Invitation, error) {
	ids := []string{}
	for id, i := range p.Invitations {
		if !p.Peers[i.By].Blocks {
			ids = append(ids, id)
		}
	}
	all, err := s.read(ctx, ids)
	if err != nil {
		return nil, err
	}
	found := []wire.Invitation{}
	for _, g := range all {
		if i, ok := g.Invited[p.ID]; ok {
			found = append(found, wire.Invitation{ID: g.ID, Title: g.Title, Size: len(g.Members), By: i.By, At: wire.At(i.At)})
		}
	}
	slices.SortFunc(found, func(a, b wire.Invitation) int { return cmpTimes(b.At.Time, a.At.Time, a.ID, b.ID) })
	return found, nil
}

// accept makes the invited user a member. Who is one already, perhaps because the answer was lost, gets it again.
func (s *groups) accept(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		if g.role(caller.User) != "" {
			return nil, nil
		}
		if _, invited := g.Invited[caller.User]; !invited {
			return nil, service.NotFound("invitation")
		}
		e, err := g.enter(caller.User)
		return []event{e}, err
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}

func (s *groups) decline(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	_, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		events := g.uninvite(caller.User)
		if events == nil {
			return nil, service.NotFound("invitation")
		}
		return events, nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
