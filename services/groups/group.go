package groups

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// group is a group as stored. It is gone when it has no members.
type group struct {
	ID      string                `bson:"_id"`
	Title   string                `bson:"title"`
	Public  bool                  `bson:"public"`
	Version int64                 `bson:"version"`
	Members []wire.Member         `bson:"members"` // in the order of coming
	Invited map[string]invitation `bson:"invited"` // by user
	Barred  []string              `bson:"barred"`  // who was removed and can't join by oneself, the last maxBarred
	Pending map[string]event      `bson:"pending"` // by version; news that are not out yet
}

type invitation struct {
	By string    `bson:"by"`
	At time.Time `bson:"at"`
}

// maxBarred bounds the document. Who was removed before so many others may join again.
const maxBarred = 1000

// event is the news of a change.
type event struct {
	wire.GroupEvent `bson:",inline"`  // for the members; without a type there is nothing for them to see
	By              string            `bson:"by"`
	At              time.Time         `bson:"at"`
	Request         string            `bson:"request,omitempty"` // the id of that which made the change
	Notices         map[string]notice `bson:"notices,omitempty"` // by user: whose invitations are concerned
	// Was is the title before, where the list of public groups may have to change.
	Was *string `bson:"was,omitempty"`
}

type notice struct {
	Kind string `bson:"kind"`
	By   string `bson:"by"`
}

func (g *group) role(user string) string {
	for _, m := range g.Members {
		if m.User == user {
			return m.Role
		}
	}
	return ""
}

func (g *group) gone() bool { return len(g.Members) == 0 }

// answer is what user, a member, sees of a group.
func (g *group) answer(user string) wire.Group {
	a := wire.Group{ID: g.ID, Title: g.Title, Public: g.Public, Version: g.Version, Members: g.Members}
	if may(g.role(user), invite) {
		for u, i := range g.Invited {
			a.Invited = append(a.Invited, wire.Invited{User: u, By: i.By, At: wire.At(i.At)})
		}
		slices.SortFunc(a.Invited, func(x, y wire.Invited) int { return cmpTimes(x.At.Time, y.At.Time, x.User, y.User) })
	}
	return a
}

// cmpTimes orders by time, then by id.
func cmpTimes(a, b time.Time, x, y string) int {
	if c := a.Compare(b); c != 0 {
		return c
	}
	return strings.Compare(x, y)
}

func (s *groups) create(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Title   string   `json:"title"`
		Members []string `json:"members"`
		Public  bool     `json:"public"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	title, err := wire.CleanTitle(req.Title)
	if err != nil {
		return service.BadRequest("%s", err)
	}
	users := []string{caller.User}
	for _, u := range req.Members {
		if !slices.Contains(users, u) {
			users = append(users, u)
		}
	}
	if len(users) > wire.MaxMembers {
		return service.BadRequest("%d members; at most %d", len(users), wire.MaxMembers)
	}
	if err := s.mayCreate(caller.User, len(users)); err != nil {
		return err
	}
	if err := s.addable(r.Context(), caller.User, users[1:]...); err != nil {
		return err
	}
	g := group{ID: wire.NewGroupID(), Title: title, Public: req.Public, Version: 1}
	for _, u := range users {
		g.Members = append(g.Members, wire.Member{User: u, Role: wire.RoleMember})
	}
	g.Members[0].Role = wire.Owner
	e := event{By: caller.User, At: s.Now().UTC(), Request: trace.Request(r.Context()), GroupEvent: wire.GroupEvent{Type: wire.Created, Title: g.Title, Users: users}}
	if g.Public {
		e.Was = new("")
	}
	g.Pending = map[string]event{"1": e}
	if err := s.mark(r.Context(), g.ID, g.Version); err != nil {
		return err
	}
	if _, err := store.Insert(r.Context(), s.groups(), g); err != nil {
		return service.Unavailable("the database", err)
	}
	s.publishSoon(r.Context(), g.ID)
	return service.Write(w, http.StatusCreated, g.answer(caller.User))
}

// membership is the groups that a user is or was in.
type membership struct {
	Groups map[string]bool `bson:"groups"`
}

func (s *groups) list(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	m, _, err := store.Get[membership](r.Context(), s.members(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	all, err := s.read(r.Context(), slices.Sorted(maps.Keys(m.Groups)))
	if err != nil {
		return err
	}
	found := []wire.Group{}
	for _, g := range all {
		if g.role(caller.User) != "" {
			found = append(found, g.answer(caller.User))
		}
	}
	return service.Write(w, http.StatusOK, map[string][]wire.Group{"groups": found})
}

// read gives those groups, empty ones in the place of those that are not there.
func (s *groups) read(ctx context.Context, ids []string) ([]group, error) {
	found := make([]group, len(ids))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(8)
	for i, id := range ids {
		eg.Go(func() (err error) {
			found[i], _, err = store.Get[group](ctx, s.groups(), id)
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, service.Unavailable("the database", err)
	}
	return found, nil
}

func (s *groups) show(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	g, _, err := store.Get[group](r.Context(), s.groups(), r.PathValue("id"))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if g.role(caller.User) == "" {
		return service.NotFound("group")
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}

func (s *groups) edit(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Title  *string `json:"title"`
		Public *bool   `json:"public"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if req.Title == nil && req.Public == nil {
		return service.BadRequest("the body holds neither title nor public; there is nothing to change")
	}
	if req.Title != nil {
		title, err := wire.CleanTitle(*req.Title)
		if err != nil {
			return service.BadRequest("%s", err)
		}
		req.Title = &title
	}
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) (events []event, _ error) {
		if err := g.need(caller.User, edit); err != nil {
			return nil, err
		}
		was := g.Title
		if req.Title != nil && *req.Title != was {
			g.Title = *req.Title
			renamed := event{GroupEvent: wire.GroupEvent{Type: wire.Renamed, Title: g.Title}}
			if g.Public {
				renamed.Was = &was
			}
			events = append(events, renamed)
		}
		if req.Public != nil && *req.Public != g.Public {
			g.Public = *req.Public
			kind := wire.MadePrivate
			if g.Public {
				kind = wire.MadePublic
			}
			events = append(events, event{Was: &was, GroupEvent: wire.GroupEvent{Type: kind}})
		}
		return events, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer(caller.User))
}
