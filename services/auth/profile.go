package auth

import (
	"context"
	"net/http"
	"net/url"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// profile is a part of the user's document, so that whoever looks a user up reads once.
type profile struct {
	DisplayName string `bson:"display_name"`
	Colour      string `bson:"colour"`
	Bio         string `bson:"bio"`
	Status      string `bson:"status"`
	Picture     string `bson:"picture"` // the key in the picture's address; none if empty
	Version     int64  `bson:"version"`
}

// public is what others see of a user in lists.
func (u user) public() wire.User {
	if u.Deleted {
		return wire.User{ID: u.ID, DisplayName: "Deleted user", Colour: "slate", Deleted: true}
	}
	p := u.shown()
	return wire.User{ID: u.ID, Name: u.Name, DisplayName: p.DisplayName, Colour: p.Colour, Picture: p.Picture}
}

// shown is the whole profile. What was never chosen follows from name and id.
func (u user) shown() wire.Profile {
	p := wire.Profile{
		User: wire.User{ID: u.ID, Name: u.Name}, DisplayName: u.Name, Colour: wire.ColourOf(u.ID),
		Bio: u.Profile.Bio, Status: u.Profile.Status, Version: u.Profile.Version,
	}
	if u.Profile.DisplayName != "" {
		p.DisplayName, p.Colour = u.Profile.DisplayName, u.Profile.Colour
	}
	if u.Profile.Picture != "" {
		p.Picture = "/api/auth/users/" + url.PathEscape(u.ID) + "/picture?v=" + u.Profile.Picture
	}
	return p
}

// byID reads the user of a path, who may be unknown.
func (a *auth) byID(ctx context.Context, id string) (user, error) {
	if !wire.ValidID(id) {
		return user{}, service.NotFound("user")
	}
	u, ok, err := store.Get[user](ctx, a.users(), id)
	if err != nil {
		return u, service.Unavailable("the database", err)
	}
	if !ok || u.Deleted {
		return u, service.NotFound("user")
	}
	return u, nil
}

func (a *auth) showProfile(w http.ResponseWriter, r *http.Request, _ token.Claims) error {
	u, err := a.byID(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, u.shown())
}

func (a *auth) changeProfile(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req wire.ProfileChange
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	req, err := req.Clean()
	if err != nil {
		return service.BadRequest("%s", err)
	}
	return a.setProfile(w, r, caller, bson.D{
		{Key: "profile.display_name", Value: req.DisplayName}, {Key: "profile.colour", Value: req.Colour},
		{Key: "profile.bio", Value: req.Bio}, {Key: "profile.status", Value: req.Status},
	})
}

// setProfile changes the caller's profile and answers with it.
func (a *auth) setProfile(w http.ResponseWriter, r *http.Request, caller token.Claims, set bson.D) error {
	_, err := store.Update(r.Context(), a.users(), caller.User, bson.D{
		{Key: "$set", Value: set}, {Key: "$inc", Value: bson.D{{Key: "profile.version", Value: int64(1)}}},
	})
	if err != nil {
		return service.Unavailable("the database", err)
	}
	u, err := a.byID(r.Context(), caller.User)
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, u.shown())
}

// preferences is a user's preferences as stored, by the user's id.
type preferences struct {
	ID               string `bson:"_id"`
	wire.Preferences `bson:",inline"`
}

func (a *auth) showPreferences(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	p, ok, err := store.Get[preferences](r.Context(), a.preferences(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if !ok {
		p.Preferences = wire.DefaultPreferences()
	}
	return service.Write(w, http.StatusOK, p.Preferences)
}

func (a *auth) changePreferences(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct { // pointers, because each has to be said
		Theme      *string `json:"theme"`
		EnterSends *bool   `json:"enter_sends"`
		Receipts   *bool   `json:"receipts"`
		Typing     *bool   `json:"typing"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if req.Theme == nil || req.EnterSends == nil || req.Receipts == nil || req.Typing == nil {
		return service.BadRequest("theme, enter_sends, receipts and typing are all needed")
	}
	if !wire.ValidTheme(*req.Theme) {
		return service.BadRequest("theme must be system, dark or light")
	}
	p := wire.Preferences{Theme: *req.Theme, EnterSends: *req.EnterSends, Receipts: *req.Receipts, Typing: *req.Typing}
	err := store.Upsert(r.Context(), a.preferences(), caller.User, bson.D{{Key: "$set", Value: p}})
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, p)
}
