// Package groups owns groups: their title, members and roles, and who may change them.
//
// A change and the news of it are one write: the group's document holds the events that are not in Kafka yet. They go
// out in order of version to the topic messages, under the conversation's key, so that a change takes its place among the
// messages; what a crash keeps from it, the sweep brings. An event may so come twice, and messaging takes it once.
package groups

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// Config is the configuration of groups.
type Config struct {
	service.Settings
	// Sweep is the time between two looks for events that did not reach Kafka, and how old they must be.
	Sweep time.Duration
	// Now is the clock.
	Now func() time.Time
}

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("groups", getenv)
	return Config{Settings: s, Sweep: 5 * time.Second, Now: time.Now}, err
}

type groups struct {
	Config
	db    *store.DB
	kafka *kgo.Client
	auth  peer.Auth
}

// groups: by id. members: "<user>", the groups the user is or was in. outbox: "<group>/<version>", written before a change and
// deleted when its event is in Kafka.
func (s *groups) groups() *mongo.Collection  { return s.db.Collection("groups") }
func (s *groups) members() *mongo.Collection { return s.db.Collection("members") }
func (s *groups) outbox() *mongo.Collection  { return s.db.Collection("outbox") }

// Run runs groups until ctx ends.
func Run(ctx context.Context, c Config) error {
	db, err := store.Open(c.MongoDBURI, c.Database, "groups")
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer db.Close()
	kafka, err := bus.Open(c.KafkaBrokers, "groups", c.Log)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer kafka.Close()
	client := peer.NewHTTPClient()
	s := &groups{Config: c, db: db, kafka: kafka, auth: peer.Auth{Client: client, URL: c.AuthURL}}
	over, err := ended.Open(c.KafkaBrokers, "groups", c.Log, c.Now)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer over.Close()
	v := token.NewVerifier(token.Remote(client, c.AuthURL), c.Now)
	v.Refuse(over.Has)

	mux := http.NewServeMux()
	mux.Handle("POST /api/groups", service.Authenticated(v, s.create))
	mux.Handle("GET /api/groups", service.Authenticated(v, s.list))
	mux.Handle("GET /api/groups/{id}", service.Authenticated(v, s.show))
	mux.Handle("PATCH /api/groups/{id}", service.Authenticated(v, s.rename))
	mux.Handle("POST /api/groups/{id}/members", service.Authenticated(v, s.add))
	mux.Handle("DELETE /api/groups/{id}/members/{user}", service.Authenticated(v, s.remove))
	mux.Handle("POST /api/groups/{id}/leave", service.Authenticated(v, s.leave))
	srv := service.Server{
		Settings: c.Settings, Name: "groups", Handler: mux, Metrics: service.NewMetrics(), Work: over.Beside(s.work),
		Start: func(ctx context.Context) error {
			if err := db.Create(ctx, "groups", "members", "outbox"); err != nil {
				return err
			}
			if err := bus.Create(ctx, kafka); err != nil {
				return err
			}
			return over.Start(ctx)
		},
		Ready: func(ctx context.Context) error {
			if err := db.Ready(ctx); err != nil {
				return err
			}
			return bus.Ready(ctx, kafka)
		},
	}
	return srv.Run(ctx)
}

// group is a group as stored.
type group struct {
	ID      string           `bson:"_id"`
	Title   string           `bson:"title"`
	Version int64            `bson:"version"`
	Members []wire.Member    `bson:"members"` // in the order of coming
	Pending map[string]event `bson:"pending"` // by version; not in Kafka yet
}

// event is a change that the members are to see.
type event struct {
	wire.GroupEvent `bson:",inline"`
	By              string    `bson:"by"`
	At              time.Time `bson:"at"`
}

type answer struct {
	ID      string        `json:"id"`
	Title   string        `json:"title"`
	Version int64         `json:"version"`
	Members []wire.Member `json:"members"`
}

func (g group) answer() answer { return answer{g.ID, g.Title, g.Version, g.Members} }

func (g group) role(user string) string {
	for _, m := range g.Members {
		if m.User == user {
			return m.Role
		}
	}
	return ""
}

func (s *groups) create(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Title   string   `json:"title"`
		Members []string `json:"members"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := wire.CheckTitle(req.Title); err != nil {
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
	if err := s.exist(r.Context(), users[1:]); err != nil {
		return err
	}
	g := group{ID: wire.NewGroupID(), Title: strings.TrimSpace(req.Title), Version: 1}
	for _, u := range users {
		g.Members = append(g.Members, wire.Member{User: u, Role: wire.RoleMember})
	}
	g.Members[0].Role = wire.Owner
	g.Pending = map[string]event{"1": {By: caller.User, At: s.Now().UTC(),
		GroupEvent: wire.GroupEvent{Type: wire.Created, Title: g.Title, Users: users}}}
	if err := s.mark(r.Context(), g.ID, g.Version); err != nil {
		return err
	}
	if _, err := store.Insert(r.Context(), s.groups(), g); err != nil {
		return service.Unavailable("the database", err)
	}
	s.publishSoon(r.Context(), g.ID)
	return service.Write(w, http.StatusCreated, g.answer())
}

func (s *groups) exist(ctx context.Context, users []string) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, u := range users {
		g.Go(func() error {
			err := peer.ErrNotFound
			if wire.ValidID(u) {
				_, err = s.auth.User(ctx, u)
			}
			if errors.Is(err, peer.ErrNotFound) {
				return &service.Error{Status: http.StatusBadRequest, Code: "unknown_user", Message: fmt.Sprintf("there is no user %q", u)}
			}
			if err != nil {
				return service.Unavailable("auth", err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (s *groups) list(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	type membership struct {
		Groups map[string]bool `bson:"groups"`
	}
	m, _, err := store.Get[membership](r.Context(), s.members(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	found := make([]*answer, len(m.Groups))
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(8)
	for i, id := range slices.Sorted(maps.Keys(m.Groups)) {
		g.Go(func() error {
			gr, ok, err := store.Get[group](ctx, s.groups(), id)
			if ok && gr.role(caller.User) != "" {
				a := gr.answer()
				found[i] = &a
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return service.Unavailable("the database", err)
	}
	found = slices.DeleteFunc(found, func(a *answer) bool { return a == nil })
	return service.Write(w, http.StatusOK, map[string][]*answer{"groups": found})
}

func (s *groups) show(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	g, ok, err := store.Get[group](r.Context(), s.groups(), r.PathValue("id"))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok || g.role(caller.User) == "" {
		return service.NotFound("group")
	}
	return service.Write(w, http.StatusOK, g.answer())
}

var errNotOwner = service.Forbidden("only the owner of the group may do this")

func (s *groups) rename(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Title string `json:"title"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := wire.CheckTitle(req.Title); err != nil {
		return service.BadRequest("%s", err)
	}
	title := strings.TrimSpace(req.Title)
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) (*wire.GroupEvent, error) {
		switch {
		case g.role(caller.User) != wire.Owner:
			return nil, errNotOwner
		case g.Title == title:
			return nil, nil
		}
		g.Title = title
		return &wire.GroupEvent{Type: wire.Renamed, Title: title}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer())
}

func (s *groups) add(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		User string `json:"user"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) (*wire.GroupEvent, error) {
		switch {
		case g.role(caller.User) != wire.Owner:
			return nil, errNotOwner
		case g.role(req.User) != "":
			return nil, nil
		case len(g.Members) >= wire.MaxMembers:
			return nil, service.BadRequest("the group has %d members already", wire.MaxMembers)
		}
		if err := s.exist(r.Context(), []string{req.User}); err != nil {
			return nil, err
		}
		g.Members = append(g.Members, wire.Member{User: req.User, Role: wire.RoleMember})
		return &wire.GroupEvent{Type: wire.MemberAdded, Users: []string{req.User}}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer())
}

func (s *groups) remove(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	user := r.PathValue("user")
	g, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) (*wire.GroupEvent, error) {
		switch {
		case user == caller.User:
			return g.leave(user), nil
		case g.role(caller.User) != wire.Owner:
			return nil, errNotOwner
		case g.role(user) == "":
			return nil, nil
		}
		g.drop(user)
		return &wire.GroupEvent{Type: wire.MemberRemoved, Users: []string{user}}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, g.answer())
}

func (s *groups) leave(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	_, err := s.change(r.Context(), r.PathValue("id"), caller.User, func(g *group) (*wire.GroupEvent, error) {
		return g.leave(caller.User), nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (g *group) drop(user string) {
	g.Members = slices.DeleteFunc(g.Members, func(m wire.Member) bool { return m.User == user })
}

// leave takes a member out; the owner is followed by who has been in it longest.
func (g *group) leave(user string) *wire.GroupEvent {
	e := &wire.GroupEvent{Type: wire.MemberLeft, Users: []string{user}}
	owner := g.role(user) == wire.Owner
	g.drop(user)
	if owner && len(g.Members) > 0 {
		g.Members[0].Role = wire.Owner
		e.Owner = g.Members[0].User
	}
	return e
}

// change lets f change a group of which user is a member, and publishes the event that f gives. With no event nothing is changed.
func (s *groups) change(ctx context.Context, id, user string, f func(*group) (*wire.GroupEvent, error)) (group, error) {
	for range 20 {
		g, ok, err := store.Get[group](ctx, s.groups(), id)
		if err != nil {
			return g, service.Unavailable("the database", err)
		}
		if !ok || g.role(user) == "" {
			return g, service.NotFound("group")
		}
		before := g.Version
		e, err := f(&g)
		if err != nil || e == nil {
			return g, err
		}
		g.Version++
		if err := s.mark(ctx, id, g.Version); err != nil {
			return g, err
		}
		matched, err := store.Update(ctx, s.groups(), id, bson.D{{Key: "$set", Value: bson.D{
			{Key: "title", Value: g.Title}, {Key: "members", Value: g.Members}, {Key: "version", Value: g.Version},
			{Key: "pending." + strconv.FormatInt(g.Version, 10), Value: event{GroupEvent: *e, By: user, At: s.Now().UTC()}},
		}}}, bson.E{Key: "version", Value: before})
		if err != nil {
			return g, service.Unavailable("the database", err)
		}
		if matched {
			s.publishSoon(ctx, id)
			return g, nil
		}
	}
	return group{}, service.Unavailable("the group", errors.New("too many change it at once"))
}

// marker says that a version of a group may have an event that is not in Kafka.
type marker struct {
	ID    string    `bson:"_id"`
	Group string    `bson:"group"`
	Since time.Time `bson:"since"`
}

func markerID(group string, version int64) string {
	return group + "/" + strconv.FormatInt(version, 10)
}

func (s *groups) mark(ctx context.Context, id string, version int64) error {
	// Another may have marked the same version: one of the two will make the change and remove the mark.
	_, err := store.Insert(ctx, s.outbox(), marker{ID: markerID(id, version), Group: id, Since: s.Now().UTC()})
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return nil
}

// publishSoon publishes before the caller gets an answer if Kafka is there. If not, the change stands, and the sweep does it.
func (s *groups) publishSoon(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.publish(ctx, id); err != nil {
		s.Log.Warn("a change of a group is not published yet", "group", id, "error", err)
	}
}

// publish brings a group's pending events into Kafka, in order.
func (s *groups) publish(ctx context.Context, id string) error {
	g, ok, err := store.Get[group](ctx, s.groups(), id)
	if err != nil || !ok {
		return err
	}
	var versions []int64
	for v := range g.Pending {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return fmt.Errorf("publish group %s: pending version %q", id, v)
		}
		versions = append(versions, n)
	}
	slices.Sort(versions)
	for _, n := range versions {
		v := strconv.FormatInt(n, 10)
		e := g.Pending[v]
		if e.Type == wire.Created || e.Type == wire.MemberAdded {
			for _, u := range e.Users {
				if err := store.Upsert(ctx, s.members(), u, bson.D{{Key: "$set", Value: bson.D{{Key: "groups." + id, Value: true}}}}); err != nil {
					return err
				}
			}
		}
		value := wire.Encode(wire.Record{
			Type: wire.RecordGroup, Conversation: id, Sender: e.By, ClientID: v, Event: &e.GroupEvent, At: wire.At(e.At),
		})
		if err := s.kafka.ProduceSync(ctx, &kgo.Record{Topic: bus.Messages, Key: []byte(id), Value: value}).FirstErr(); err != nil {
			return fmt.Errorf("publish group %s version %d: %w", id, n, err)
		}
		if _, err := store.Update(ctx, s.groups(), id, bson.D{{Key: "$unset", Value: bson.D{{Key: "pending." + v, Value: ""}}}}); err != nil {
			return err
		}
		if _, err := s.outbox().DeleteOne(ctx, bson.D{{Key: "_id", Value: markerID(id, n)}}); err != nil {
			return fmt.Errorf("unmark group %s version %d: %w", id, n, err)
		}
	}
	return nil
}

// staleMarker is when a mark without a change is given up: no request lasts so long.
const staleMarker = 2 * time.Minute

// work sweeps until ctx ends.
func (s *groups) work(ctx context.Context) error {
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("changes of groups are not published yet", "error", err)
		}
		if err := service.Sleep(ctx, s.Sweep); err != nil {
			return nil //nolint:nilerr // told to stop
		}
	}
}

func (s *groups) sweep(ctx context.Context) error {
	cursor, err := s.outbox().Find(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var markers []marker
	if err := cursor.All(ctx, &markers); err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var errs []error
	for _, m := range markers {
		age := s.Now().Sub(m.Since)
		if age < s.Sweep {
			continue // its request is at it
		}
		if err := s.publish(ctx, m.Group); err != nil {
			errs = append(errs, err)
			continue
		}
		if age > staleMarker { // published by now, or never changed
			if _, err := s.outbox().DeleteOne(ctx, bson.D{{Key: "_id", Value: m.ID}}); err != nil {
				errs = append(errs, fmt.Errorf("unmark %s: %w", m.ID, err))
			}
		}
	}
	return errors.Join(errs...)
}
