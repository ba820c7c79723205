package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

const (
	minName, maxName         = 2, 32
	minPassword, maxPassword = 8, 128
)

// user is a user by id.
type user struct {
	ID      string    `bson:"_id"`
	Name    string    `bson:"name"`
	Created time.Time `bson:"created"`
	Profile profile   `bson:"profile"`
	Deleted bool      `bson:"deleted"` // and nothing else is left
}

// username is a user by name in lower case: the name's owner, the password and what follows from it.
type username struct {
	ID   string `bson:"_id"`
	User string `bson:"user"`
	Name string `bson:"name"`
	Hash string `bson:"hash"`
	// Epoch counts the changes after which every session must begin anew. Sessions of an older one are over.
	Epoch   int64  `bson:"epoch"`
	Role    string `bson:"role"`
	Indexed bool   `bson:"indexed"` // the prefixes hold it
	// Suspended says that an admin keeps the user out.
	Suspended bool `bson:"suspended"`
	// Deleted says that the name was a deleted user's. Nobody gets it again.
	Deleted bool `bson:"deleted"`
}

// named reads a name by its key. One that was written before there were epochs and roles gets its first ones; the sessions of that
// time have none, and so are over.
func (a *auth) named(ctx context.Context, key string) (n username, ok bool, err error) {
	n, ok, err = store.Get[username](ctx, a.names(), key)
	if err != nil || !ok || n.Epoch > 0 {
		return n, ok, err
	}
	if _, err := store.Update(ctx, a.names(), key, bson.D{{Key: "$set", Value: bson.D{{Key: "epoch", Value: int64(1)}, {Key: "role", Value: token.RoleUser}}}},
		bson.E{Key: "hash", Value: n.Hash}); err != nil {
		return n, ok, err
	}
	return store.Get[username](ctx, a.names(), key)
}

func (n username) user() wire.User { return wire.User{ID: n.User, Name: n.Name} }

// prefix holds the users whose name begins so, as long as they are few: the look-up while someone types is then one
// point read. Of a crowded prefix the first are kept; the others are found by typing on.
type prefix struct {
	ID    string            `bson:"_id"`
	Users map[string]string `bson:"users"` // id to name
}

const (
	maxPrefix  = 12 // characters
	maxCrowd   = 50 // users a prefix
	maxMatches = 20
)

// index makes a user findable by the beginning of the name. Where it fails, the next log-in tries again.
func (a *auth) index(ctx context.Context, n username) {
	err := func() error {
		for i := 1; i <= min(len(n.ID), maxPrefix); i++ {
			p, _, err := store.Get[prefix](ctx, a.prefixes(), n.ID[:i])
			if err != nil {
				return err
			}
			if len(p.Users) >= maxCrowd {
				continue
			}
			if err := store.Upsert(ctx, a.prefixes(), n.ID[:i], bson.D{{Key: "$set", Value: bson.D{{Key: "users." + n.User, Value: n.Name}}}}); err != nil {
				return err
			}
		}
		_, err := store.Update(ctx, a.names(), n.ID, bson.D{{Key: "$set", Value: bson.D{{Key: "indexed", Value: true}}}})
		return err
	}()
	if err != nil {
		a.Log.Warn("a user can't be found by the beginning of the name yet", "user", n.User, "error", err)
	}
}

// find looks users up by ids, exact name, or the beginning of the name.
func (a *auth) find(w http.ResponseWriter, r *http.Request, _ token.Claims) error {
	q := r.URL.Query()
	ctx := r.Context()
	var users []wire.User
	var err error
	switch {
	case q.Has("ids"):
		ids := strings.Split(q.Get("ids"), ",")
		if len(ids) > wire.MaxIDs {
			return service.BadRequest("%d ids; at most %d at once", len(ids), wire.MaxIDs)
		}
		users, err = a.byIDs(ctx, ids)
	case q.Has("name"):
		if users, err = a.byName(ctx, q.Get("name")); err == nil {
			users, err = a.dressed(ctx, users)
		}
	case q.Has("q"):
		if users, err = a.byPrefix(ctx, q.Get("q")); err == nil {
			users, err = a.dressed(ctx, users)
		}
	default:
		return service.BadRequest("one of the parameters ids, name and q is needed")
	}
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, map[string][]wire.User{"users": users})
}

func (a *auth) byIDs(ctx context.Context, ids []string) ([]wire.User, error) {
	users := []wire.User{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if !wire.ValidID(id) {
			continue
		}
		g.Go(func() error {
			u, ok, err := store.Get[user](ctx, a.users(), id)
			if err != nil || !ok {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			users = append(users, u.public())
			return nil
		})
	}
	return users, g.Wait()
}

// dressed gives users in the same order with their profiles.
func (a *auth) dressed(ctx context.Context, found []wire.User) ([]wire.User, error) {
	ids := make([]string, len(found))
	for i, u := range found {
		ids[i] = u.ID
	}
	full, err := a.byIDs(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i, u := range found {
		if at := slices.IndexFunc(full, func(f wire.User) bool { return f.ID == u.ID }); at >= 0 {
			found[i] = full[at]
		}
	}
	return found, nil
}

func (a *auth) byName(ctx context.Context, name string) ([]wire.User, error) {
	users := []wire.User{}
	if checkName(name) != nil {
		return users, nil
	}
	n, ok, err := a.named(ctx, strings.ToLower(name))
	if ok && !n.Deleted {
		users = append(users, wire.User{ID: n.User, Name: n.Name})
	}
	return users, err
}

func (a *auth) byPrefix(ctx context.Context, q string) ([]wire.User, error) {
	q = strings.ToLower(strings.TrimSpace(q))
	// A single letter is no name yet, and may begin one.
	if len(q) > maxName || (checkName(q) != nil && checkName(q+"x") != nil) {
		return []wire.User{}, nil
	}
	users, err := a.byName(ctx, q)
	if err != nil {
		return nil, err
	}
	p, _, err := store.Get[prefix](ctx, a.prefixes(), q[:min(len(q), maxPrefix)])
	if err != nil {
		return nil, err
	}
	for id, name := range p.Users {
		if strings.HasPrefix(strings.ToLower(name), q) && (len(users) == 0 || users[0].ID != id) {
			users = append(users, wire.User{ID: id, Name: name})
		}
	}
	slices.SortFunc(users, func(a, b wire.User) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return users[:min(len(users), maxMatches)], nil
}

// user answers other services.
func (a *auth) user(w http.ResponseWriter, r *http.Request) error {
	u, ok, err := store.Get[user](r.Context(), a.users(), r.PathValue("id"))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok || u.Deleted {
		return service.NotFound("user")
	}
	return service.Write(w, http.StatusOK, wire.User{ID: u.ID, Name: u.Name})
}

func checkName(s string) error {
	if len(s) < minName || len(s) > maxName {
		return fmt.Errorf("name must have %d to %d characters", minName, maxName)
	}
	for i, c := range []byte(s) {
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
		if !letter && (i == 0 || (c != '.' && c != '_' && c != '-')) {
			return errors.New("name must begin with a letter or digit and hold only a-z A-Z 0-9 . _ -")
		}
	}
	return nil
}

func checkPassword(s string) error {
	if n := utf8.RuneCountInString(s); !utf8.ValidString(s) || n < minPassword || n > maxPassword {
		return fmt.Errorf("password must have %d to %d characters", minPassword, maxPassword)
	}
	return nil
}
