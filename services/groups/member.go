package groups

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// addable says why one of users can't be brought into a group by another user: there is no such user, or one of the two has blocked the other.
func (s *groups) addable(ctx context.Context, by string, users ...string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, u := range users {
		g.Go(func() error {
			if err := s.exists(ctx, u); err != nil {
				if errors.Is(err, peer.ErrNotFound) {
					return &service.Error{Status: http.StatusBadRequest, Code: wire.CodeUnknownUser, Message: fmt.Sprintf("there is no user %q", u)}
				}
				return service.Unavailable("auth", err)
			}
			return s.notBlocked(ctx, by, u)
		})
	}
	return g.Wait()
}

// exists asks auth. The error is peer.ErrNotFound where there is no such user.
func (s *groups) exists(ctx context.Context, user string) error {
	if !wire.ValidID(user) {
		return peer.ErrNotFound
	}
	_, err := s.auth.User(ctx, user)
	return err
}

// errFull says that there are as many as may be.
func errFull(format string, a ...any) error {
	return &service.Error{Status: http.StatusConflict, Code: wire.CodeLimit, Message: fmt.Sprintf(format, a...)}
}

// enter makes a user a member.
func (g *group) enter(user string) (event, error) {
	if len(g.Members) >= wire.MaxMembers {
		return event{}, errFull("the group has %d members, and no room for more", wire.MaxMembers)
	}
	e := event{GroupEvent: wire.GroupEvent{Type: wire.MemberAdded, Users: []string{user}}}
	if i, ok := g.Invited[user]; ok {
		delete(g.Invited, user)
		e.Notices = map[string]notice{user: {Kind: wire.NoticeInvitationGone, By: i.By}}
	}
	g.Members = append(g.Members, wire.Member{User: user, Role: wire.RoleMember})
	g.Barred = slices.DeleteFunc(g.Barred, func(u string) bool { return u == user })
	return e, nil
}

func (g *group) drop(user string) {
	g.Members = slices.DeleteFunc(g.Members, func(m wire.Member) bool { return m.User == user })
}

func (g *group) give(user, role string) {
	for i := range g.Members {
		if g.Members[i].User == user {
			g.Members[i].Role = role
		}
	}
}

// leaves takes a member out. The owner is followed by the admin who has been in it longest, or where there is none by the member
// who has. With the last one the group is gone, and so are its invitations.
func (g *group) leaves(user string) event {
	e := event{GroupEvent: wire.GroupEvent{Type: wire.MemberLeft, Users: []string{user}}}
	owner := g.role(user) == wire.Owner
	g.drop(user)
	switch {
	case g.gone():
		e.Was = new(g.Title)
		e.Notices = map[string]notice{}
		for u, i := range g.Invited {
			e.Notices[u] = notice{Kind: wire.NoticeInvitationGone, By: i.By}
		}
		g.Invited = map[string]invitation{}
	case owner:
		next := max(0, slices.IndexFunc(g.Members, func(m wire.Member) bool { return m.Role == wire.Admin }))
		g.Members[next].Role = wire.Owner
		e.Owner = g.Members[next].User
	}
	return e
}

func (s *groups) add(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		User string `json:"user"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		if err := g.need(caller.User, addMember); err != nil || g.role(req.User) != "" {
			return nil, err
		}
		if err := s.addable(r.Context(), caller.User, req.User); err != nil {
			return nil, err
		}
		e, err := g.enter(req.User)
		return []event{e}, err
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}

func (s *groups) remove(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	user := r.PathValue("user")
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		role := g.role(user)
		if user == caller.User && role != "" {
			return []event{g.leaves(user)}, nil
		}
		a := removeMember
		if role == wire.Admin {
			a = removeAdmin
		}
		if err := g.need(caller.User, a); err != nil || role == "" {
			return nil, err
		}
		if role == wire.Owner {
			return nil, service.Forbidden("nobody may remove the owner of the group")
		}
		g.drop(user)
		g.Barred = append(g.Barred, user)
		g.Barred = g.Barred[max(0, len(g.Barred)-maxBarred):]
		return []event{{GroupEvent: wire.GroupEvent{Type: wire.MemberRemoved, Users: []string{user}}}}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}

func (s *groups) leave(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	_, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		if g.role(caller.User) == "" {
			return nil, service.NotFound("group")
		}
		return []event{g.leaves(caller.User)}, nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setRole gives a member a role. With "owner" the group is handed over; there is one owner at any time.
func (s *groups) setRole(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Role string `json:"role"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if !slices.Contains([]string{wire.Owner, wire.Admin, wire.RoleMember}, req.Role) {
		return service.BadRequest("role is %q; it must be owner, admin or member", req.Role)
	}
	user := r.PathValue("user")
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) ([]event, error) {
		if err := g.need(caller.User, setRole); err != nil {
			return nil, err
		}
		switch g.role(user) {
		case "":
			return nil, service.NotFound("member")
		case req.Role:
			return nil, nil
		case wire.Owner:
			return nil, service.BadRequest("the owner stays the owner until another is given the role owner")
		}
		e := event{GroupEvent: wire.GroupEvent{Type: wire.RoleChanged, Users: []string{user}, Role: req.Role}}
		if req.Role == wire.Owner {
			g.give(caller.User, wire.Admin)
			e.Owner = user
		}
		g.give(user, req.Role)
		return []event{e}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}
