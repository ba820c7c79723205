// Package auth keeps users and their sessions, and signs the access tokens that every other service checks.
package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/semaphore"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/ended"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
)

// Config is the configuration of auth.
type Config struct {
	service.Settings
	// AccessTTL is how long an access token is good. The topic sessions must keep its records longer.
	AccessTTL time.Duration
	// RefreshTTL is how long a session lasts without a refresh.
	RefreshTTL time.Duration
	// SessionLife is how long a session lasts in all, however often it is refreshed (SESSION_LIFE, 2160h).
	SessionLife time.Duration
	// KeyLife is how long a signing key is used before the next one takes over (KEY_LIFE, 24h).
	KeyLife time.Duration
	// KeyEncryptionSecret is what the signing keys in the database are encrypted with (KEY_ENCRYPTION_SECRET).
	KeyEncryptionSecret string
	// KeyReload is the time between two looks at what other instances and `auth rotate-keys` have made of the keys.
	KeyReload time.Duration
	// Sweep is the time between two looks for ends of sessions that were not told, and how old they must be.
	Sweep time.Duration
	// Prune is the time between two looks for sessions that have expired.
	Prune time.Duration
	// HashQueue is how many may wait for a password to be hashed, for each processor.
	HashQueue int
	// RegistrationRate is how often users may be registered from an address (REGISTRATION_RATE, 0.1/100).
	RegistrationRate limit.Rate
	// WrongPasswords is how many are taken from one address for one name, or from one session that changes its password.
	WrongPasswords WrongPasswords
	// MaxSessions is how many a user may have.
	MaxSessions int
	// OIDC is a provider with which users may log in, too (OIDC_ISSUER and more).
	OIDC OIDC
	// Now is the clock.
	Now func() time.Time
}

// WrongPasswords is a limit: Burst at once, and one more each Every.
type WrongPasswords struct {
	Burst int
	Every time.Duration
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable {
	return slices.Concat(service.Variables("auth"), []env.Variable{
		{Name: "KEY_LIFE", Default: "24h", Form: "a duration of a minute or more", Meaning: "How long a signing key is used before the next one takes over."},
		{Name: "KEY_ENCRYPTION_SECRET", Form: "a secret of 32 characters or more",
			Meaning: "What the signing keys in the database are encrypted with; needed. Another one makes them useless, and auth does not start then; if it is lost, delete the document `signing-keys` in the collection `settings`: clients refresh their access tokens."},
		{Name: "SESSION_LIFE", Default: "2160h", Form: "a duration of a minute or more",
			Meaning: "How long a session lasts in all, from its login. It ends 30 days after its last refresh in any case."},
		{Name: "REGISTRATION_RATE", Default: registrationRate, Form: limit.Form,
			Meaning: "How often users may be registered from an address (an IPv6 network of 64 bits is one), at each instance."},
	}, oidcVariables())
}

// registrationRate lets a class behind one address register in one lesson.
const registrationRate = "0.1/100"

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.FromEnv("auth", getenv)
	c := Config{
		Settings: s, AccessTTL: 10 * time.Minute, RefreshTTL: 30 * 24 * time.Hour,
		KeyReload: 10 * time.Second, Sweep: 5 * time.Second, Prune: time.Hour, HashQueue: 128,
		WrongPasswords: WrongPasswords{Burst: 10, Every: 30 * time.Second}, MaxSessions: 100, Now: time.Now,
	}
	for _, life := range []struct {
		name, standard string
		to             *time.Duration
	}{{"KEY_LIFE", "24h", &c.KeyLife}, {"SESSION_LIFE", "2160h", &c.SessionLife}} {
		v := cmp.Or(getenv(life.name), life.standard)
		d, bad := time.ParseDuration(v)
		if bad != nil || d < time.Minute {
			err = errors.Join(err, fmt.Errorf("%s is %q, which is no duration of a minute or more, such as %s", life.name, v, life.standard))
		}
		*life.to = d
	}
	if c.KeyEncryptionSecret = getenv("KEY_ENCRYPTION_SECRET"); len(c.KeyEncryptionSecret) < minSecret {
		err = errors.Join(err, fmt.Errorf("KEY_ENCRYPTION_SECRET has %d characters; it must be a secret of %d or more, such as a random UUID", len(c.KeyEncryptionSecret), minSecret))
	}
	var bad error
	if c.RegistrationRate, bad = limit.ParseRate(cmp.Or(getenv("REGISTRATION_RATE"), registrationRate)); bad != nil {
		err = errors.Join(err, fmt.Errorf("REGISTRATION_RATE: %w", bad))
	}
	if c.OIDC, bad = oidcFromEnv(getenv); c.Shadow {
		c.OIDC = OIDC{}
	}
	return c, errors.Join(err, bad)
}

type auth struct {
	Config
	db       *store.DB
	kafka    *kgo.Client
	keys     *keys
	verifier *token.Verifier
	ended    *ended.Sessions
	hasher   *hasher
	common   commonPasswords
	oidc     *provider
	drawing  *semaphore.Weighted // pictures decoded at once: each may take 10 MiB

	wrong         *limit.Buckets // by address and name, and by session
	registrations *limit.Buckets // by address
	exports       *limit.Buckets

	reused, told, pruned prometheus.Counter
	pending, oldest      prometheus.Gauge // of deletions
}

// users: by id. usernames: by name in lower case. prefixes: by the beginning of a name. sessions: by id. devices: by user, their
// sessions. expiries: "<day>/<shard>", the sessions to look at when that day is over. ends: what is not told to Kafka yet. pictures and
// preferences: by user. identities: by issuer and subject. codes: of logins with the provider that the page has not exchanged yet. deletions:
// by user, the deleted accounts of which something may be left.
func (a *auth) users() *mongo.Collection       { return a.db.Collection("users") }
func (a *auth) names() *mongo.Collection       { return a.db.Collection("usernames") }
func (a *auth) prefixes() *mongo.Collection    { return a.db.Collection("prefixes") }
func (a *auth) sessions() *mongo.Collection    { return a.db.Collection("sessions") }
func (a *auth) devices() *mongo.Collection     { return a.db.Collection("devices") }
func (a *auth) expiries() *mongo.Collection    { return a.db.Collection("expiries") }
func (a *auth) ends() *mongo.Collection        { return a.db.Collection("ends") }
func (a *auth) pictures() *mongo.Collection    { return a.db.Collection("pictures") }
func (a *auth) settings() *mongo.Collection    { return a.db.Collection("settings") }
func (a *auth) identities() *mongo.Collection  { return a.db.Collection("identities") }
func (a *auth) codes() *mongo.Collection       { return a.db.Collection("codes") }
func (a *auth) preferences() *mongo.Collection { return a.db.Collection("preferences") }
func (a *auth) deletions() *mongo.Collection   { return a.db.Collection("deletions") }

// open prepares auth; neither broker nor database need be up yet. Who opens it closes it.
func open(c Config, m *service.Metrics) (a *auth, err error) {
	a = &auth{
		Config: c,

		wrong:         limit.New(limit.Rate{PerSecond: 1 / c.WrongPasswords.Every.Seconds(), Burst: c.WrongPasswords.Burst}, c.Now),
		registrations: limit.New(c.RegistrationRate, c.Now),
		exports:       limit.New(export.Rate(), c.Now),

		oidc:    newProvider(c.OIDC, c.Now),
		drawing: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
		reused:  m.Counter("auth_refresh_tokens_reused_total", "Sessions that ended because an old refresh token was shown."),
		told:    m.Counter("auth_sessions_ended_total", "Ends of sessions told to Kafka."),
		pruned:  m.Counter("auth_sessions_pruned_total", "Expired sessions deleted."),
		pending: m.Gauge("auth_deletions_pending", "Deleted accounts of which something may be left, as each instance last saw them."),
		oldest:  m.Gauge("auth_deletions_oldest_seconds", "The age of the oldest of those deletions; 0 if there is none."),
	}
	defer func() {
		if err != nil {
			a.close()
			err = fmt.Errorf("auth: %w", err)
		}
	}()
	if a.db, err = store.Open(c.MongoDBURI, c.Database, "auth"); err != nil {
		return nil, err
	}
	if a.kafka, err = bus.Open(c.Kafka, "auth", c.Log, kgo.RecordDeliveryTimeout(30*time.Second)); err != nil {
		return nil, err
	}
	if a.ended, err = ended.Open(c.Kafka, "auth", c.Log, c.Now, bus.Resets(m)); err != nil {
		return nil, err
	}
	if a.hasher, err = newHasher(c.HashQueue, m.Counter("auth_hashes_total", "Passwords hashed, to keep or to compare.")); err != nil {
		return nil, err
	}
	if a.common, err = newCommonPasswords(); err != nil {
		return nil, err
	}
	sealer, err := newSealer(c.KeyEncryptionSecret)
	if err != nil {
		return nil, err
	}
	a.keys = &keys{settings: a.settings(), sealer: sealer, life: c.KeyLife, keep: c.AccessTTL + c.KeyReload + time.Minute, readOnly: c.Shadow, now: c.Now}
	a.verifier = token.NewVerifier(func(context.Context) (jose.JSONWebKeySet, error) { return a.keys.public(), nil }, c.Now)
	a.keys.changed = a.verifier.Forget
	a.verifier.Refuse(a.ended.Has)
	return a, nil
}

func (a *auth) close() {
	if a.ended != nil {
		a.ended.Close()
	}
	if a.kafka != nil {
		a.kafka.Close()
	}
	if a.db != nil {
		a.db.Close()
	}
}

// Run runs auth until ctx ends.
func Run(ctx context.Context, c Config) error {
	m := service.NewMetrics()
	tracer, err := trace.Open(c.Tracing, c.Log, m)
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	defer tracer.Close()
	a, err := open(c, m)
	if err != nil {
		return err
	}
	defer a.close()
	s := service.Server{
		Settings: c.Settings, Name: "auth", Handler: a.routes(), Metrics: m, Tracer: tracer, Start: a.start, Work: a.work,
		Ready: func(ctx context.Context) error {
			if err := a.db.Ready(ctx); err != nil {
				return err
			}
			return bus.Ready(ctx, a.kafka)
		},
		Drain: func(ctx context.Context) { _ = a.kafka.Flush(ctx) },
	}
	return s.Run(ctx)
}

func (a *auth) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("POST /api/auth/register", a.handle(a.register))
	mux.Handle("POST /api/auth/login", a.handle(a.login))
	mux.Handle("POST /api/auth/refresh", a.handle(a.refresh))
	mux.Handle("POST /api/auth/logout", a.allow(token.RoleUser, a.logout))
	mux.Handle("POST /api/auth/password", a.allow(token.RoleUser, a.changePassword))
	mux.Handle("GET /api/auth/sessions", a.allow(token.RoleUser, a.listSessions))
	mux.Handle("DELETE /api/auth/sessions", a.allow(token.RoleUser, a.endOthers))
	mux.Handle("DELETE /api/auth/sessions/{id}", a.allow(token.RoleUser, a.endOne))
	mux.Handle("GET /api/auth/me", a.allow(token.RoleUser, a.me))
	mux.Handle("GET /api/auth/users", a.allow(token.RoleUser, a.find))
	mux.Handle("GET /api/auth/users/{id}/profile", a.allow(token.RoleUser, a.showProfile))
	mux.Handle("GET /api/auth/users/{id}/picture", service.Handle(a.showPicture))
	mux.Handle("PUT /api/auth/profile", a.allow(token.RoleUser, a.changeProfile))
	mux.Handle("PUT /api/auth/profile/picture", a.allow(token.RoleUser, a.changePicture))
	mux.Handle("DELETE /api/auth/profile/picture", a.allow(token.RoleUser, a.deletePicture))
	mux.Handle("GET /api/auth/preferences", a.allow(token.RoleUser, a.showPreferences))
	mux.Handle("PUT /api/auth/preferences", a.allow(token.RoleUser, a.changePreferences))
	mux.Handle("DELETE /api/auth/users/{id}/sessions", a.allow(token.RoleModerator, a.endOf))
	mux.Handle("PUT /api/auth/users/{id}/role", a.allow(token.RoleAdmin, a.changeRole))
	mux.Handle("GET /api/auth/export", a.allow(token.RoleUser, export.Exporter{Often: a.exports, Log: a.Log, Write: a.exportOf}.Handle))
	mux.Handle("POST /api/auth/delete", a.allow(token.RoleUser, a.deleteOwn))
	mux.Handle("DELETE /api/auth/users/{id}", a.allow(token.RoleAdmin, a.deleteOther))
	mux.Handle("PUT /api/auth/users/{id}/suspension", a.allow(token.RoleAdmin, a.suspend))
	mux.Handle("DELETE /api/auth/users/{id}/suspension", a.allow(token.RoleAdmin, a.lift))
	mux.Handle("POST /api/auth/keys/rotate", a.allow(token.RoleAdmin, a.rotateKeys))
	mux.Handle("GET /api/auth/jwks", service.Handle(a.jwks))
	mux.Handle("GET /api/auth/oidc", service.Handle(a.showOIDC))
	mux.Handle("GET /api/auth/oidc/login", service.Handle(a.oidcLogin))
	mux.Handle("GET /api/auth/oidc/callback", a.handle(a.oidcCallback))
	mux.Handle("POST /api/auth/oidc/session", a.handle(a.oidcSession))
	callers := a.Callers("auth", a.Now)
	mux.Handle("GET /internal/users/{id}", service.Internal(callers, a.user, "gateway", "groups"))
	mux.Handle("GET /internal/deletions", service.Internal(callers, a.listDeletions, erasers()...))
	mux.Handle("POST /internal/deletions/{user}", service.Internal(callers, a.confirmDeletion, erasers()...))
	return mux
}

// allow lets those of at least that role in whose session stands. Here, unlike in other services, the database is asked: what is
// done with sessions and passwords should not hang on how fast Kafka is.
func (a *auth) allow(role string, f func(w http.ResponseWriter, r *http.Request, caller token.Claims) error) http.Handler {
	return service.Authenticated(a.verifier, func(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
		r = a.auditedBy(a.audited(r), caller.User)
		s, ok, err := store.Get[session](r.Context(), a.sessions(), caller.Session)
		switch {
		case err != nil:
			return service.Unavailable("the database", err)
		case !ok || s.User != caller.User || !a.Now().Before(s.Expires):
			return service.SessionEnded()
		case token.Rank(caller.Role) < token.Rank(role):
			return service.Forbidden("this needs the role " + role)
		}
		return f(w, r, caller)
	})
}

// start makes the collections, the topics and, the first time, the signing keys. A shadow finds what the live one has made.
func (a *auth) start(ctx context.Context) error {
	if a.Shadow {
		if err := a.ended.Start(ctx); err != nil {
			return err
		}
		return a.keys.load(ctx)
	}
	if err := a.db.Migrate(ctx, migrations()); err != nil {
		return err
	}
	if err := bus.Create(ctx, a.kafka, a.Kafka); err != nil {
		return err
	}
	if err := a.ended.Start(ctx); err != nil {
		return err
	}
	if err := a.oidc.start(ctx, a); err != nil {
		return err
	}
	return a.keys.load(ctx)
}

// migrations have made the database what it is. One that has run anywhere stays as it is; a change is a new one at the end.
func migrations() []store.Migration {
	return []store.Migration{store.Collections(
		"users", "usernames", "prefixes", "sessions", "devices", "expiries", "ends", "settings", "pictures", "preferences", "identities", "codes",
	), {Version: 2, Name: "deletions", Up: func(ctx context.Context, db *store.DB) error { return db.Create(ctx, "deletions") }}}
}

// work follows ends and keys, and cleans up, until ctx ends. A shadow cleans nothing up.
func (a *auth) work(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { a.ended.Follow(ctx) })
	every := func(d time.Duration, what string, f func(context.Context) error) {
		wg.Go(func() {
			for service.Sleep(ctx, d) == nil {
				if err := f(ctx); err != nil && ctx.Err() == nil {
					a.Log.Warn(what+" waits for the next time", "error", err)
				}
			}
		})
	}
	every(a.KeyReload, "the look at the signing keys", a.keys.load)
	if a.Shadow {
		wg.Wait()
		return nil
	}
	every(a.Sweep, "the end of a session", a.sweep)
	every(a.Sweep, "the deletion of an account", a.sweepDeletions)
	every(a.Prune, "the deletion of expired sessions", a.prune)
	every(a.Prune, "the deletion of expired codes", a.pruneCodes)
	wg.Wait()
	return nil
}

func (a *auth) jwks(w http.ResponseWriter, _ *http.Request) error {
	return service.Write(w, http.StatusOK, a.keys.public())
}
