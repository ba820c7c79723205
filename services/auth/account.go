package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

func (a *auth) logout(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	if err := a.end(r.Context(), session{ID: caller.Session, User: caller.User}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *auth) changePassword(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Password string `json:"password"`
		New      string `json:"new_password"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if err := a.common.check(req.New); err != nil {
		return service.BadRequest("new_%s", err)
	}
	ctx := r.Context()
	name, err := a.prove(r, caller, req.Password)
	if err != nil {
		return err
	}
	hash, err := a.hasher.hash(ctx, a.Address(r), caller.Session, req.New)
	if err != nil {
		return err
	}
	ended, matched, err := a.renew(ctx, name, bson.D{{Key: "hash", Value: hash}}, caller.Session)
	if err != nil {
		return err
	}
	if !matched {
		return wrongPassword() // another device has changed it in between
	}
	a.audit(ctx).Info(eventPasswordChanged, name.who())
	return service.Write(w, http.StatusOK, count{ended})
}

// Not 401, which would tell a client to refresh its token.
func wrongPassword() error {
	return &service.Error{Status: http.StatusForbidden, Code: "wrong_password", Message: "the password is wrong"}
}

// prove has the caller show by the password that it is them, or by a login just now where there is none. It gives the caller's name.
func (a *auth) prove(r *http.Request, caller token.Claims, password string) (username, error) {
	ctx := r.Context()
	name, _, err := a.named(ctx, strings.ToLower(caller.Name))
	if err != nil {
		return name, service.Unavailable("the database", err)
	}
	right := name.Hash == "" && password == ""
	if right {
		err = a.fresh(ctx, caller)
	} else {
		right, err = a.tryPassword(ctx, caller.Session, a.Address(r), password, name.Hash)
	}
	if isThrottled(err) {
		a.audit(ctx).Info(eventPasswordThrottled, name.who())
	}
	if err == nil && !right {
		a.audit(ctx).Info(eventPasswordFailed, name.who())
		err = wrongPassword()
	}
	return name, err
}

// freshTime is how long after its login a session needs no password where there is none.
const freshTime = 10 * time.Minute

// fresh says whether the caller has logged in just now. It stands for the password where there is none.
func (a *auth) fresh(ctx context.Context, caller token.Claims) error {
	s, ok, err := store.Get[session](ctx, a.sessions(), caller.Session)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok || a.Now().Sub(s.Created) > freshTime {
		return &service.Error{Status: http.StatusForbidden, Code: "login_again", Message: "log in again, and do this within 10 minutes"}
	}
	return nil
}

// count is the answer of what ends several sessions.
type count struct {
	Ended int `json:"ended"`
}

func (a *auth) listSessions(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	all, err := a.of(r.Context(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	list := []entry{}
	for _, s := range all {
		list = append(list, s.entry(caller.Session))
	}
	return service.Write(w, http.StatusOK, map[string][]entry{"sessions": list})
}

// entry is a session as its user sees it.
type entry struct {
	ID      string    `json:"id"`
	Device  string    `json:"device"`
	Created wire.Time `json:"created"`
	Used    wire.Time `json:"used"`
	Expires wire.Time `json:"expires"`
	Current bool      `json:"current"`
}

func (s session) entry(current string) entry {
	return entry{s.ID, s.Device, wire.At(s.Created), wire.At(s.Rotated), wire.At(s.Expires), s.ID == current}
}

func (a *auth) endOne(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	s, ok, err := store.Get[session](r.Context(), a.sessions(), r.PathValue("id"))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok || s.User != caller.User {
		return service.NotFound("session")
	}
	if err := a.end(r.Context(), s); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *auth) endOthers(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	all, err := a.of(r.Context(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	n := 0
	for _, s := range all {
		if s.ID != caller.Session {
			if err := a.end(r.Context(), s); err != nil {
				return err
			}
			n++
		}
	}
	return service.Write(w, http.StatusOK, count{n})
}

// subject reads the user whom a moderator or admin acts upon.
func (a *auth) subject(r *http.Request) (username, error) {
	u, ok, err := store.Get[user](r.Context(), a.users(), r.PathValue("id"))
	if err != nil {
		return username{}, service.Unavailable("the database", err)
	}
	if !ok || u.Deleted {
		return username{}, service.NotFound("user")
	}
	n, ok, err := a.named(r.Context(), strings.ToLower(u.Name))
	if err != nil {
		return n, service.Unavailable("the database", err)
	}
	if !ok || n.User != u.ID {
		return n, service.NotFound("user")
	}
	return n, nil
}

// endOf ends all sessions of another user.
func (a *auth) endOf(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	n, err := a.subject(r)
	if err != nil {
		return err
	}
	if token.Rank(n.Role) >= token.Rank(caller.Role) {
		return service.Forbidden("this user has as high a role")
	}
	ended, matched, err := a.renew(r.Context(), n, nil, "")
	if err != nil {
		return err
	}
	if !matched {
		return service.Unavailable("the user", errors.New("changed by another in between"))
	}
	return service.Write(w, http.StatusOK, count{ended})
}

func (a *auth) changeRole(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Role string `json:"role"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if token.Rank(req.Role) == 0 {
		return service.BadRequest("role must be user, moderator or admin")
	}
	n, err := a.subject(r)
	if err != nil {
		return err
	}
	if n.User == caller.User {
		return service.Forbidden("nobody changes their own role") // so that there is always an admin left
	}
	if n.Role != req.Role {
		_, matched, err := a.renew(r.Context(), n, bson.D{{Key: "role", Value: req.Role}}, "")
		if err != nil {
			return err
		}
		if !matched {
			return service.Unavailable("the user", errors.New("changed by another in between"))
		}
		a.audit(r.Context()).Info(eventRoleChanged, n.who(), "role", req.Role)
	}
	return service.Write(w, http.StatusOK, struct {
		User wire.User `json:"user"`
		Role string    `json:"role"`
	}{n.user(), req.Role})
}

type keyIDs struct {
	Current string `json:"current"`
	Next    string `json:"next"`
}

func (a *auth) rotateKeys(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		DropOld bool `json:"drop_old"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	n, err := a.keys.rotate(r.Context(), req.DropOld)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	a.Log.Info("the signing keys were rotated", "by", caller.User, "current", n.current().Kid, "old dropped", req.DropOld)
	return service.Write(w, http.StatusOK, keyIDs{n.current().Kid, n.next().Kid})
}
