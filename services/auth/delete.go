package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// deletion is a deleted account of which something may be left. It is written down before anything is deleted, so whatever stops auth in
// between, the sweep finishes it. See docs/adr/0024-deleting-accounts.md.
type deletion struct {
	ID    string    `bson:"_id"`  // the user
	Name  string    `bson:"name"` // the name's key
	Since time.Time `bson:"since"`
	// Left is since when the user is out of here: what auth has is deleted, and the ends of all sessions are told.
	Left      time.Time       `bson:"left,omitempty"`
	Confirmed map[string]bool `bson:"confirmed,omitempty"` // by service
}

// erasers are the services that do a part of each deletion.
func erasers() []string { return []string{"groups", "messaging", "presence"} }

// finalTime is how long a deletion is not final, beside the life of an access token, so that requests under way are over.
const finalTime = time.Minute

// isFinal says whether nothing more can come from the user.
func (a *auth) isFinal(d deletion) bool {
	return !d.Left.IsZero() && a.Now().Sub(d.Left) >= a.AccessTTL+finalTime
}

// deleteOwn deletes the caller's account.
func (a *auth) deleteOwn(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Password *string `json:"password"` // a pointer, because it has to be said
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if req.Password == nil {
		return service.BadRequest("password is needed; it is empty where there is none")
	}
	n, err := a.prove(r, caller, *req.Password)
	if err != nil {
		return err
	}
	if n.Role == token.RoleAdmin {
		return service.Forbidden("an admin's account is deleted by another admin") // so that there is always one left
	}
	return a.deleteAccount(w, r, n)
}

// deleteOther deletes the account of another user. It may be deleted already.
func (a *auth) deleteOther(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	id := r.PathValue("id")
	if id == caller.User {
		return service.Forbidden("an admin's account is deleted by another admin")
	}
	u, ok, err := store.Get[user](r.Context(), a.users(), id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if ok && u.Deleted {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	n, err := a.subject(r)
	if err != nil {
		return err
	}
	return a.deleteAccount(w, r, n)
}

func (a *auth) deleteAccount(w http.ResponseWriter, r *http.Request, n username) error {
	ctx := context.WithoutCancel(r.Context()) // what has begun is not left half done because a client went away
	d := deletion{ID: n.User, Name: n.ID, Since: a.Now().UTC()}
	isFirst, err := store.Insert(ctx, a.deletions(), d)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if isFirst {
		a.audit(ctx).Info(eventDeleted, n.who())
	}
	if err := a.leave(ctx, d); err != nil {
		return service.Unavailable("the database", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// leave makes the user one who is deleted, here. It may be done again.
func (a *auth) leave(ctx context.Context, d deletion) error {
	for range 5 {
		n, ok, err := a.named(ctx, d.Name)
		if err != nil {
			return err
		}
		if !ok || n.Deleted {
			return a.erase(ctx, d)
		}
		// From here on nobody logs in or refreshes, and all sessions end.
		if _, _, err := a.renew(ctx, n, bson.D{{Key: "hash", Value: ""}, {Key: "deleted", Value: true}}, ""); err != nil {
			return err
		}
	}
	return errors.New("the user keeps being changed by others")
}

// erase removes what auth has of a user, but for what the end of sessions needs.
func (a *auth) erase(ctx context.Context, d deletion) error {
	for i := 1; i <= min(len(d.Name), maxPrefix); i++ {
		if _, err := store.Update(ctx, a.prefixes(), d.Name[:i], bson.D{{Key: "$unset", Value: bson.D{{Key: "users." + d.ID, Value: ""}}}}); err != nil {
			return err
		}
	}
	// All identities are read for this. Deletions are rare, and an index would cost each login more.
	if _, err := a.identities().DeleteMany(ctx, bson.D{{Key: "user", Value: d.ID}}); err != nil {
		return fmt.Errorf("delete the identities of user %s: %w", d.ID, err)
	}
	if err := store.Delete(ctx, a.pictures(), d.ID); err != nil {
		return err
	}
	if err := store.Delete(ctx, a.preferences(), d.ID); err != nil {
		return err
	}
	_, err := store.Update(ctx, a.users(), d.ID, bson.D{
		{Key: "$set", Value: bson.D{{Key: "deleted", Value: true}, {Key: "name", Value: ""}}},
		{Key: "$unset", Value: bson.D{{Key: "profile", Value: ""}, {Key: "created", Value: ""}}},
	})
	return err
}

// sweepDeletions goes on with deletions, and measures how many there are. There are few at any time, so all are read.
func (a *auth) sweepDeletions(ctx context.Context) error {
	all, err := a.pendingDeletions(ctx)
	if err != nil {
		return err
	}
	age := time.Duration(0)
	for _, d := range all {
		age = max(age, a.Now().Sub(d.Since))
	}
	a.pending.Set(float64(len(all)))
	a.oldest.Set(age.Seconds())
	var errs []error
	for _, d := range all {
		if err := a.proceed(ctx, d); err != nil {
			errs = append(errs, fmt.Errorf("delete user %s: %w", d.ID, err))
		}
	}
	return errors.Join(errs...)
}

func (a *auth) pendingDeletions(ctx context.Context) (all []deletion, err error) {
	cursor, err := a.deletions().Find(ctx, bson.D{})
	if err == nil {
		err = cursor.All(ctx, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read the deletions: %w", err)
	}
	return all, nil
}

// proceed takes a deletion one step further.
func (a *auth) proceed(ctx context.Context, d deletion) error {
	if d.Left.IsZero() {
		if a.Now().Sub(d.Since) < a.Sweep {
			return nil // its request is at it
		}
		if err := a.leave(ctx, d); err != nil {
			return err
		}
		told, err := a.allTold(ctx, d.ID)
		if err != nil || !told {
			return err
		}
		_, err = store.Update(ctx, a.deletions(), d.ID, bson.D{{Key: "$set", Value: bson.D{{Key: "left", Value: a.Now().UTC()}}}})
		return err
	}
	if !a.isFinal(d) || slices.ContainsFunc(erasers(), func(s string) bool { return !d.Confirmed[s] }) {
		return nil
	}
	// A request that was under way at the beginning may have written something since.
	if err := a.erase(ctx, d); err != nil {
		return err
	}
	if err := store.Delete(ctx, a.devices(), d.ID); err != nil {
		return err
	}
	if _, err := store.Update(ctx, a.names(), d.Name, bson.D{
		{Key: "$unset", Value: bson.D{{Key: "user", Value: ""}, {Key: "name", Value: ""}}},
	}); err != nil {
		return err
	}
	res, err := a.deletions().DeleteOne(ctx, bson.D{{Key: "_id", Value: d.ID}})
	if err != nil {
		return fmt.Errorf("delete deletion %s: %w", d.ID, err)
	}
	if res.DeletedCount == 1 {
		a.audit(ctx).Info(eventErased, "user", d.ID)
	}
	return nil
}

// allTold says whether Kafka has heard of the ends of all sessions of a user whose name has no more.
func (a *auth) allTold(ctx context.Context, user string) (bool, error) {
	n, err := a.ends().CountDocuments(ctx, bson.D{{Key: "user", Value: user}})
	if err != nil {
		return false, fmt.Errorf("count the pending ends of user %s: %w", user, err)
	}
	return n == 0, nil
}

// listDeletions answers a service with the deletions that it has not confirmed.
func (a *auth) listDeletions(w http.ResponseWriter, r *http.Request) error {
	all, err := a.pendingDeletions(r.Context())
	if err != nil {
		return service.Unavailable("the database", err)
	}
	list := wire.Deletions{Deletions: []wire.Deletion{}}
	for _, d := range all {
		if !d.Confirmed[service.Caller(r)] {
			list.Deletions = append(list.Deletions, wire.Deletion{User: d.ID, Final: a.isFinal(d)})
		}
	}
	slices.SortFunc(list.Deletions, func(x, y wire.Deletion) int { return strings.Compare(x.User, y.User) })
	return service.Write(w, http.StatusOK, list)
}

// confirmDeletion takes the word of a service that its part of a final deletion is done.
func (a *auth) confirmDeletion(w http.ResponseWriter, r *http.Request) error {
	if _, err := store.Update(r.Context(), a.deletions(), r.PathValue("user"), bson.D{{Key: "$set", Value: bson.D{{Key: "confirmed." + service.Caller(r), Value: true}}}}); err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, struct{}{})
}
