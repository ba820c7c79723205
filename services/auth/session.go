package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
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

// session is one device's log-in. All its refresh tokens are one family. When it ends it is deleted.
type session struct {
	ID      string    `bson:"_id"`
	User    string    `bson:"user"`
	Name    string    `bson:"name"`
	Device  string    `bson:"device"`
	Secret  []byte    `bson:"secret"`
	Epoch   int64     `bson:"epoch"` // of the user's name when it began
	Gen     int64     `bson:"gen"`   // of the current refresh token
	Rotated time.Time `bson:"rotated"`
	Expires time.Time `bson:"expires"`
	Created time.Time `bson:"created"`
}

// sessionAnswer is what register, login and refresh answer.
type sessionAnswer struct {
	User           wire.User `json:"user"`
	Role           string    `json:"role"`
	Session        string    `json:"session"`
	AccessToken    string    `json:"access_token"`
	AccessExpires  int64     `json:"access_expires_in"`
	RefreshToken   string    `json:"refresh_token"`
	RefreshExpires int64     `json:"refresh_expires_in"`
}

const maxDevice = 64

// begin makes a session. It is in the user's list when begin returns. The one that was not used for longest makes room if need be.
func (a *auth) begin(ctx context.Context, n username, device string) (session, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return session{}, fmt.Errorf("make a session's secret: %w", err)
	}
	now := a.Now().UTC()
	s := session{
		ID: wire.NewID(), User: n.User, Name: n.Name, Device: device, Secret: secret, Epoch: n.Epoch, Gen: 1,
		Rotated: now, Created: now,
	}
	s.Expires = a.expiry(s)
	// What comes first leads to nothing if the rest fails, and the pruning passes it over.
	if err := a.expect(ctx, s); err != nil {
		return s, err
	}
	if _, err := store.Insert(ctx, a.sessions(), s); err != nil {
		return s, err
	}
	if err := store.Upsert(ctx, a.devices(), s.User, bson.D{{Key: "$set", Value: bson.D{{Key: "sessions." + s.ID, Value: true}}}}); err != nil {
		return s, err
	}
	ids, err := a.listed(ctx, s.User)
	if err != nil || len(ids) <= a.MaxSessions {
		return s, err
	}
	all, err := a.of(ctx, s.User)
	if err != nil {
		return s, err
	}
	for _, old := range all[min(a.MaxSessions, len(all)):] {
		if err := a.end(ctx, old); err != nil {
			return s, err
		}
	}
	return s, nil
}

// expiry is when a session ends that is not refreshed again.
func (a *auth) expiry(s session) time.Time {
	idle, end := s.Rotated.Add(a.RefreshTTL), s.Created.Add(a.SessionLife)
	if end.Before(idle) {
		return end
	}
	return idle
}

// listed gives the ids of a user's sessions, and maybe of some that are gone.
func (a *auth) listed(ctx context.Context, user string) (ids []string, err error) {
	type devices struct {
		Sessions map[string]bool `bson:"sessions"`
	}
	d, _, err := store.Get[devices](ctx, a.devices(), user)
	for id := range d.Sessions {
		ids = append(ids, id)
	}
	return ids, err
}

// of gives a user's sessions, last used first.
func (a *auth) of(ctx context.Context, user string) ([]session, error) {
	ids, err := a.listed(ctx, user)
	if err != nil {
		return nil, err
	}
	var all []session
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, id := range ids {
		g.Go(func() error {
			s, ok, err := store.Get[session](ctx, a.sessions(), id)
			if err != nil || !ok || !a.Now().Before(s.Expires) {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, s)
			return nil
		})
	}
	err = g.Wait()
	slices.SortFunc(all, func(a, b session) int {
		if c := b.Rotated.Compare(a.Rotated); c != 0 {
			return c
		}
		return strings.Compare(b.ID, a.ID)
	})
	return all, err
}

func (a *auth) answer(w http.ResponseWriter, status int, s session, role string) error {
	now := a.Now()
	access, err := a.keys.sign(token.Claims{User: s.User, Session: s.ID, Name: s.Name, Role: role, Expires: now.Add(a.AccessTTL)})
	if err != nil {
		return err
	}
	return service.Write(w, status, sessionAnswer{
		User: wire.User{ID: s.User, Name: s.Name}, Role: role, Session: s.ID,
		AccessToken: access, AccessExpires: int64(a.AccessTTL.Seconds()),
		RefreshToken: s.refreshToken(), RefreshExpires: int64(s.Expires.Sub(now).Seconds()),
	})
}

// refreshToken is the token of the session's current generation. It is derived, so that an answer that was lost
// can be given again.
func (s session) refreshToken() string {
	mac := hmac.New(sha256.New, s.Secret)
	_, _ = fmt.Fprintf(mac, "%s.%d", s.ID, s.Gen)
	return fmt.Sprintf("%s.%d.%s", s.ID, s.Gen, base64.RawURLEncoding.EncodeToString(mac.Sum(nil)))
}

// parseRefreshToken gives the session and the generation that a refresh token names. Whether they are so is not said by that.
func parseRefreshToken(raw string) (id string, gen int64, ok bool) {
	parts := strings.Split(raw, ".")
	if len(raw) > 256 || len(parts) != 3 || !wire.ValidID(parts[0]) {
		return "", 0, false
	}
	if gen, err := strconv.ParseInt(parts[1], 10, 64); err == nil && gen > 0 {
		return parts[0], gen, true
	}
	return "", 0, false
}

func (a *auth) refresh(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	id, gen, ok := parseRefreshToken(req.RefreshToken)
	if !ok {
		return service.SessionEnded()
	}
	ctx := r.Context()
	for range 5 {
		s, ok, err := store.Get[session](ctx, a.sessions(), id)
		if err != nil {
			return service.Unavailable("the database", err)
		}
		now := a.Now().UTC()
		// The life may have been made shorter since the session began.
		if !ok || !now.Before(s.Expires) || !now.Before(a.expiry(s)) {
			return service.SessionEnded()
		}
		shown := s
		shown.Gen = gen
		if !hmac.Equal([]byte(shown.refreshToken()), []byte(req.RefreshToken)) {
			return service.SessionEnded()
		}
		name, _, err := a.named(ctx, strings.ToLower(s.Name))
		if err != nil {
			return service.Unavailable("the database", err)
		}
		if name.User != s.User || name.Epoch != s.Epoch {
			if err := a.end(ctx, s); err != nil {
				return err
			}
			return service.SessionEnded()
		}
		switch {
		case gen == s.Gen:
			next := s
			next.Gen, next.Rotated = s.Gen+1, now
			next.Expires = a.expiry(next)
			if day(next.Expires) != day(s.Expires) {
				if err := a.expect(ctx, next); err != nil {
					return service.Unavailable("the database", err)
				}
			}
			matched, err := store.Update(ctx, a.sessions(), s.ID, bson.D{{Key: "$set", Value: bson.D{
				{Key: "gen", Value: next.Gen}, {Key: "rotated", Value: next.Rotated}, {Key: "expires", Value: next.Expires},
			}}}, bson.E{Key: "gen", Value: s.Gen})
			if err != nil {
				return service.Unavailable("the database", err)
			}
			if !matched {
				continue // rotated or ended in between
			}
			return a.answer(w, http.StatusOK, next, name.Role)
		case gen == s.Gen-1: // the answer with the current token may have been lost: nobody has shown it yet
			return a.answer(w, http.StatusOK, s, name.Role)
		default:
			// Someone keeps a token that its owner has long replaced: one of the two is a thief, so neither goes on.
			a.audit(ctx).Warn(eventTokenReused, "user", s.User, "session", s.ID)
			if err := a.end(ctx, s); err != nil {
				return err
			}
			a.reused.Inc()
			return service.SessionEnded()
		}
	}
	return service.Unavailable("the session", errors.New("it keeps being refreshed by others"))
}

func (a *auth) me(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	name, _, err := a.named(r.Context(), strings.ToLower(caller.Name))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, struct {
		User     wire.User `json:"user"`
		Role     string    `json:"role"`
		Session  string    `json:"session"`
		Password bool      `json:"password"` // there is one
	}{wire.User{ID: caller.User, Name: caller.Name}, caller.Role, caller.Session, name.Hash != ""})
}

func checkDevice(s string) error {
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxDevice {
		return service.BadRequest("device is longer than %d characters", maxDevice)
	}
	return nil
}
