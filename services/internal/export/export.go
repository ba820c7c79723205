// Package export gives users what a service keeps of them, as lines of JSON. So an answer of any length takes no more memory than a line.
package export

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

// Rate is how often somebody may export a user's data, at each instance.
func Rate() limit.Rate { return limit.Rate{PerSecond: 1.0 / 600, Burst: 3} }

// Exporter answers exports. A user's own are for anyone, those of others for admins.
type Exporter struct {
	Often *limit.Buckets
	Log   *slog.Logger
	// Write writes what the service keeps of a user. An error before the first line is the answer.
	Write func(ctx context.Context, user string, lines *Lines) error
}

// Handle answers a request.
func (e Exporter) Handle(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	user := caller.User
	if q := r.URL.Query(); q.Has("user") {
		if token.Rank(caller.Role) < token.Rank(token.RoleAdmin) {
			return service.Forbidden("this needs the role " + token.RoleAdmin)
		}
		if user = q.Get("user"); !wire.ValidID(user) {
			return service.BadRequest("user must be a user's id")
		}
	}
	if wait, ok := e.Often.Take(caller.User + " " + user); !ok {
		return service.Busy("this was exported a moment ago; try again later", wait)
	}
	service.Log(r.Context(), e.Log).Info("account.exported", "audit", true, "user", user, "by", caller.User)
	lines := &Lines{w: w, c: http.NewResponseController(w)}
	err := e.Write(r.Context(), user, lines)
	if err == nil {
		err = lines.Put("end", nil)
	}
	if err != nil && lines.begun {
		service.Log(r.Context(), e.Log).Warn("an export breaks off", "user", user, "error", err)
		panic(http.ErrAbortHandler) // so that the client sees that it is not whole
	}
	return err
}

// Lines is an answer that grows.
type Lines struct {
	w     http.ResponseWriter
	c     *http.ResponseController
	begun bool
}

// lineTime is how long a client may take to read what is there.
const lineTime = 30 * time.Second

// Put writes a line: what it is, and v, if any, in a field of that name.
func (l *Lines) Put(what string, v any) error {
	line := map[string]any{"type": what}
	if v != nil {
		line[what] = v
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("export a %s: %w", what, err)
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.Header().Set("Cache-Control", "no-store")
	}
	if err := l.c.SetWriteDeadline(time.Now().Add(lineTime)); err != nil {
		return fmt.Errorf("export a %s: %w", what, err)
	}
	if _, err := l.w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("export a %s: %w", what, err)
	}
	return nil
}
