package auth

import (
	"errors"
	"net/http"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
)

// suspend keeps a user out until the suspension is lifted, and ends the user's sessions. All else of the user stays.
func (a *auth) suspend(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	n, err := a.subject(r)
	if err != nil {
		return err
	}
	if n.User == caller.User {
		return service.Forbidden("nobody suspends themselves") // so that there is always an admin left
	}
	if n.Suspended {
		return service.Write(w, http.StatusOK, count{})
	}
	ended, matched, err := a.renew(r.Context(), n, bson.D{{Key: "suspended", Value: true}}, "")
	if err != nil {
		return err
	}
	if !matched {
		return service.Unavailable("the user", errors.New("changed by another in between"))
	}
	a.audit(r.Context()).Info(eventSuspended, n.who())
	return service.Write(w, http.StatusOK, count{ended})
}

// lift lets a suspended user log in again.
func (a *auth) lift(w http.ResponseWriter, r *http.Request, _ token.Claims) error {
	n, err := a.subject(r)
	if err != nil {
		return err
	}
	if n.Suspended {
		if _, err := store.Update(r.Context(), a.names(), n.ID, bson.D{{Key: "$unset", Value: bson.D{{Key: "suspended", Value: ""}}}}); err != nil {
			return service.Unavailable("the database", err)
		}
		a.audit(r.Context()).Info(eventLifted, n.who())
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
