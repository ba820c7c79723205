package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

type credentials struct {
	Name     string `json:"name"`
	Password string `json:"password"`
	Device   string `json:"device"`
}

func (a *auth) register(w http.ResponseWriter, r *http.Request) error {
	var req credentials
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := errors.Join(checkName(req.Name), a.common.check(req.Password)); err != nil {
		return service.BadRequest("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if err := checkDevice(req.Device); err != nil {
		return err
	}
	ctx := r.Context()
	address := a.Address(r)
	if wait, ok := a.registrations.Take(address); !ok {
		a.audit(ctx).Info(eventRegistrationThrottled)
		return service.Busy("too many registrations from your address; try again later", wait)
	}
	taken := &service.Error{Status: http.StatusConflict, Code: "name_taken", Message: fmt.Sprintf("the name %q is taken; choose another", req.Name)}
	key := strings.ToLower(req.Name)
	if _, exists, err := a.named(ctx, key); err != nil {
		return service.Unavailable("the database", err)
	} else if exists {
		return taken
	}
	hash, err := a.hasher.hash(ctx, address, key, req.Password)
	if err != nil {
		a.registrations.Return(address)
		return err
	}
	// The user comes first: a crash in between leaves one without a name, whom nobody knows, and the name stays free.
	u := user{ID: wire.NewID(), Name: req.Name, Created: a.Now().UTC()}
	if _, err := store.Insert(ctx, a.users(), u); err != nil {
		return service.Unavailable("the database", err)
	}
	name := username{ID: key, User: u.ID, Name: u.Name, Hash: hash, Epoch: 1, Role: token.RoleUser}
	added, err := store.Insert(ctx, a.names(), name)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !added {
		if err := store.Delete(ctx, a.users(), u.ID); err != nil {
			a.Log.Warn("a user without a name stays", "user", u.ID, "error", err)
		}
		return taken
	}
	a.index(ctx, name)
	s, err := a.begin(ctx, name, req.Device)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	a.audit(ctx).Info(eventRegistration, name.who(), "session", s.ID)
	return a.answer(w, http.StatusCreated, s, name.Role)
}

func (a *auth) login(w http.ResponseWriter, r *http.Request) error {
	var req credentials
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkDevice(req.Device); err != nil {
		return err
	}
	wrong := &service.Error{Status: http.StatusUnauthorized, Code: "wrong_credentials", Message: "the name or the password is wrong"}
	ctx := r.Context()
	if checkPassword(req.Password) != nil || checkName(req.Name) != nil {
		a.audit(ctx).Info(eventLoginFailed)
		return wrong // no one has such
	}
	key := strings.ToLower(req.Name)
	name, _, err := a.named(ctx, key)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	address := a.Address(r)
	right, err := a.tryPassword(ctx, address+" "+key, address, req.Password, name.Hash)
	if isThrottled(err) {
		a.audit(ctx).Info(eventLoginThrottled, name.who())
	}
	if err != nil {
		return err
	}
	if !right {
		a.audit(ctx).Info(eventLoginFailed, name.who())
		return wrong
	}
	if !name.Indexed {
		a.index(ctx, name)
	}
	return a.enter(ctx, w, name, req.Device, wrong)
}

// enter begins a session of one who has shown that the name is theirs. over is the answer if that has changed in between.
func (a *auth) enter(ctx context.Context, w http.ResponseWriter, name username, device string, over error) error {
	if name.Suspended {
		a.audit(ctx).Info(eventLoginSuspended, name.who())
		return &service.Error{Status: http.StatusForbidden, Code: "suspended", Message: "this account is suspended; ask whoever runs this chat"}
	}
	s, err := a.begin(ctx, name, device)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	// Who changes the password ends the sessions that stand in the list then. This one is in it since before this look.
	now, _, err := a.named(ctx, name.ID)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if now.Epoch != name.Epoch {
		if err := a.end(ctx, s); err != nil {
			return err
		}
		return over
	}
	a.audit(ctx).Info(eventLogin, name.who(), "session", s.ID)
	return a.answer(w, http.StatusOK, s, name.Role)
}

// tryPassword compares a password, unless too many wrong ones came from whoever key stands for. Each try counts before it
// is made, so that many at once are no way around, and the right one is given back.
func (a *auth) tryPassword(ctx context.Context, key, address, password, stored string) (right bool, err error) {
	if wait, ok := a.wrong.Take(key); !ok {
		return false, service.Busy("too many wrong passwords; try again later", wait)
	}
	right, err = a.hasher.check(ctx, address, key, password, stored)
	if err != nil || right {
		a.wrong.Return(key)
	}
	return right, err
}

// isThrottled says whether tryPassword has not compared the password: too many wrong ones came, or too many wait.
func isThrottled(err error) bool {
	e, ok := errors.AsType[*service.Error](err)
	return ok && e.RetryAfter > 0
}
