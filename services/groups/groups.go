// Package groups owns groups and who people are to each other: groups' titles, members, roles and invitations; contacts, requests and
// blocks of users.
//
// Each change is one write to one document: a group's, or that of a pair of users. The same write puts the news of it into the document.
// From there they go out: copies into what others look up (a user's people and invitations, the list of public groups), and
// records to Kafka, those of a group in order of version under the conversation's key, so that a change takes its place
// among the messages. What a crash keeps from it, the sweep brings. News may so come twice, and whoever hears them takes them once.
package groups

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/deletion"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
)

// Config is the configuration of groups.
type Config struct {
	service.Settings
	// Sweep is the time between two looks for news that did not go out, and how old they must be.
	Sweep time.Duration
	// Erase is the time between two looks for deleted accounts.
	Erase time.Duration
	// People is how often a user may ask, invite, join or block (PEOPLE_RATE, 1/100).
	People limit.Rate
	// Changes is how often a user may change groups (CHANGE_RATE, 2/200), GroupChanges how often a group may be changed (GROUP_RATE, 2/1000).
	Changes, GroupChanges limit.Rate
	// Now is the clock.
	Now func() time.Time
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable {
	return append(service.Variables("groups"),
		env.Variable{
			Name: "PEOPLE_RATE", Default: "1/100", Form: limit.Form,
			Meaning: "How often a user may ask, invite, join or block, at each instance.",
		},
		env.Variable{
			Name: "CHANGE_RATE", Default: "2/200", Form: limit.Form,
			Meaning: "How often a user may change groups, at each instance. Each ten members of a new group count as one change.",
		},
		env.Variable{
			Name: "GROUP_RATE", Default: "2/1000", Form: limit.Form,
			Meaning: "How often a group may be changed, at each instance: by its owner and admins, and as often by all others together.",
		},
	)
}

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	c := Config{
		Sweep: 5 * time.Second, Erase: deletion.Every, People: limit.Rate{PerSecond: 1, Burst: 100},
		Changes: limit.Rate{PerSecond: 2, Burst: 200}, GroupChanges: limit.Rate{PerSecond: 2, Burst: 1000}, Now: time.Now,
	}
	var err error
	if c.Settings, err = service.FromEnv("groups", getenv); err != nil {
		return c, err
	}
	for _, r := range []struct {
		name string
		rate *limit.Rate
	}{{"PEOPLE_RATE", &c.People}, {"CHANGE_RATE", &c.Changes}, {"GROUP_RATE", &c.GroupChanges}} {
		if v := getenv(r.name); v != "" {
			if *r.rate, err = limit.ParseRate(v); err != nil {
				return c, fmt.Errorf("configure groups: %s: %w", r.name, err)
			}
		}
	}
	return c, nil
}

type groups struct {
	Config
	db    *store.DB
	kafka *kgo.Client
	auth  peer.Auth
	often *limit.Buckets // by user

	exports      *limit.Buckets
	changes      *limit.Buckets // by user
	groupChanges *limit.Buckets // by group, and for those who moderate it apart
}

// groups: by id. members: "<user>", the groups the user is or was in. outbox: "<group or pair>/<version>", written before a change and
// deleted when its news are out. pairs: "dm:<user>:<user>", what two users are to each other. people: "<user>", copies of
// what pairs and invitations say of a user. public: the beginnings of words in the titles of public groups.
func (s *groups) groups() *mongo.Collection  { return s.db.Collection("groups") }
func (s *groups) members() *mongo.Collection { return s.db.Collection("members") }
func (s *groups) outbox() *mongo.Collection  { return s.db.Collection("outbox") }
func (s *groups) pairs() *mongo.Collection   { return s.db.Collection("pairs") }
func (s *groups) people() *mongo.Collection  { return s.db.Collection("people") }
func (s *groups) public() *mongo.Collection  { return s.db.Collection("public") }

// migrations have made the database what it is. One that has run anywhere stays as it is; a change is a new one at the end.
func migrations() []store.Migration {
	return []store.Migration{store.Collections("groups", "members", "outbox", "pairs", "people", "public")}
}

// Run runs groups until ctx ends.
func Run(ctx context.Context, c Config) error {
	m := service.NewMetrics()
	tracer, err := trace.Open(c.Tracing, c.Log, m)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer tracer.Close()
	db, err := store.Open(c.MongoDBURI, c.Database, "groups")
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer db.Close()
	kafka, err := bus.Open(c.Kafka, "groups", c.Log)
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer kafka.Close()
	client := peer.NewHTTPClient()
	s := &groups{
		Config: c, db: db, kafka: kafka, auth: peer.Auth{Client: client, URL: c.AuthURL, Identity: c.Identity}, often: limit.New(c.People, c.Now),
		exports: limit.New(export.Rate(), c.Now), changes: limit.New(c.Changes, c.Now), groupChanges: limit.New(c.GroupChanges, c.Now),
	}
	over, err := ended.Open(c.Kafka, "groups", c.Log, c.Now, bus.Resets(m))
	if err != nil {
		return fmt.Errorf("groups: %w", err)
	}
	defer over.Close()
	v := token.NewVerifier(token.Remote(client, c.AuthURL), c.Now)
	v.Refuse(over.Has)

	srv := service.Server{
		Settings: c.Settings, Name: "groups", Handler: s.routes(v), Metrics: m, Tracer: tracer, Work: over.Beside(s.work),
		Start: func(ctx context.Context) error {
			if !c.Shadow { // which reads what the live one has made
				if err := db.Migrate(ctx, migrations()); err != nil {
					return err
				}
				if err := bus.Create(ctx, kafka, c.Kafka); err != nil {
					return err
				}
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

func (s *groups) routes(v *token.Verifier) *http.ServeMux {
	mux := http.NewServeMux()
	for route, f := range map[string]func(http.ResponseWriter, *http.Request, token.Claims) error{
		"POST /api/groups":                           s.create,
		"GET /api/groups":                            s.list,
		"GET /api/groups/public":                     s.search,
		"GET /api/groups/export":                     export.Exporter{Often: s.exports, Log: s.Log, Write: s.exportOf}.Handle,
		"GET /api/groups/{id}":                       s.show,
		"PATCH /api/groups/{id}":                     s.edit,
		"POST /api/groups/{id}/members":              s.add,
		"PUT /api/groups/{id}/members/{user}":        s.setRole,
		"DELETE /api/groups/{id}/members/{user}":     s.remove,
		"POST /api/groups/{id}/leave":                s.leave,
		"POST /api/groups/{id}/join":                 s.join,
		"POST /api/groups/{id}/invitations":          s.invite,
		"DELETE /api/groups/{id}/invitations/{user}": s.withdraw,
		"GET /api/invitations":                       s.invitations,
		"POST /api/invitations/{id}/accept":          s.accept,
		"POST /api/invitations/{id}/decline":         s.decline,
		"GET /api/contacts":                          s.contacts,
		"POST /api/contacts/requests":                s.request,
		"POST /api/contacts/requests/{user}/accept":  s.acceptRequest,
		"POST /api/contacts/requests/{user}/decline": s.declineRequest,
		"PATCH /api/contacts/{user}":                 s.nickname,
		"DELETE /api/contacts/{user}":                s.endContact,
		"PUT /api/blocks/{user}":                     s.block,
		"DELETE /api/blocks/{user}":                  s.unblock,
	} {
		mux.Handle(route, service.Authenticated(v, f))
	}
	mux.Handle("GET /internal/contacts/{user}", service.Internal(s.Callers("groups", s.Now), s.relations, "presence"))
	return mux
}

// notTooOften counts what a user does that others hear of.
func (s *groups) notTooOften(user string) error {
	if wait, ok := s.often.Take(user); !ok {
		return service.Busy("you ask, invite, join or block too often; try again later", wait)
	}
	return nil
}

// membersEach is how many members of a new group count as one change: each costs a look at the user and a place in their inbox.
const membersEach = 10

// mayCreate counts a new group as changes of who makes it.
func (s *groups) mayCreate(by string, members int) error {
	return s.mayChange(by, (members+membersEach-1)/membersEach)
}

// mayChange counts n changes of groups by a user.
func (s *groups) mayChange(by string, n int) error {
	if wait, ok := s.changes.TakeN(by, n); !ok {
		return service.Busy("you have changed groups too often; try again later", wait)
	}
	return nil
}

// mayChangeGroup counts n changes of a group by a user with that role in it. Those who moderate it are counted apart: whoever comes and goes all the
// time must not keep them from ending that.
func (s *groups) mayChangeGroup(id, role, by string, n int) error {
	key := id
	if may(role, edit) {
		key += "/moderated"
	}
	if wait, ok := s.groupChanges.TakeN(key, n); !ok {
		return service.Busy("this group has been changed too often; try again later", wait)
	}
	err := s.mayChange(by, n)
	if err != nil {
		s.groupChanges.ReturnN(key, n)
	}
	return err
}
