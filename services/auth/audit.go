package auth

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/labctl/labctl/services/internal/service"
)

// Events of the audit log. Their names are stable. A line has no password, no token and no name that nobody has, which may be a password
// that was typed into the wrong field.
const (
	eventRegistration          = "registration"
	eventRegistrationThrottled = "registration.throttled"
	eventLogin                 = "login"
	eventLoginFailed           = "login.failed"
	eventLoginThrottled        = "login.throttled"
	eventLoginSuspended        = "login.suspended"
	eventPasswordChanged       = "password.changed"
	eventPasswordFailed        = "password.failed"
	eventPasswordThrottled     = "password.throttled"
	eventRoleChanged           = "role.changed"
	eventSessionEnded          = "session.ended"
	eventSuspended             = "account.suspended"
	eventLifted                = "account.lifted"
	eventDeleted               = "account.deleted"
	eventErased                = "account.erased"
	eventTokenReused           = "token.reused"
)

type auditKey struct{}

// audited gives a request its audit log, whose lines have the request's id and address.
func (a *auth) audited(r *http.Request) *http.Request {
	log := service.Log(r.Context(), a.Log).With("audit", true, "address", a.Address(r))
	return r.WithContext(context.WithValue(r.Context(), auditKey{}, log))
}

// auditedBy gives the lines of the request's audit log the user who makes it.
func (a *auth) auditedBy(r *http.Request, user string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), auditKey{}, a.audit(r.Context()).With("by", user)))
}

// audit gives the audit log of a request, or of what auth does by itself.
func (a *auth) audit(ctx context.Context) *slog.Logger {
	if log, ok := ctx.Value(auditKey{}).(*slog.Logger); ok {
		return log
	}
	return a.Log.With("audit", true)
}

// who gives a line's user, if the name has one.
func (n username) who() slog.Attr {
	if n.User == "" {
		return slog.Attr{} // handlers leave it out
	}
	return slog.String("user", n.User)
}

// handle is service.Handle with an audit log.
func (a *auth) handle(f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return service.Handle(func(w http.ResponseWriter, r *http.Request) error { return f(w, a.audited(r)) })
}
