// Package frontend serves the chat's web page: the React application under web/, embedded in this binary.
//
// The page talks to the other services through the same origin (the ingress, or `labctl dev`), so this server needs to
// know none of them.
package frontend

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/labctl/labctl/services/internal/service"
)

// A fresh clone holds only web/dist/.gitkeep; `npm run build` in web/ puts the page beside it.
//
//go:embed all:web/dist
var dist embed.FS

// Config is the configuration of frontend. Of the settings it uses Listen, Listener, DrainDelay, LogLevel and Log.
type Config struct {
	service.Settings
}

// ConfigFromEnv reads the configuration: LISTEN (":8080"), LOG_LEVEL (info) and DRAIN_DELAY (0).
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s := service.Settings{
		Listen:   cmp.Or(getenv("LISTEN"), ":8080"),
		LogLevel: cmp.Or(getenv("LOG_LEVEL"), "info"),
	}
	var errs []error
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		errs = append(errs, fmt.Errorf("LOG_LEVEL is %q, which is none of debug, info, warn, error", s.LogLevel))
	}
	if v := getenv("DRAIN_DELAY"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("DRAIN_DELAY is %q, which is no duration such as 3s", v))
		}
		s.DrainDelay = d
	}
	if len(errs) > 0 {
		return Config{}, fmt.Errorf("configure frontend: %w", errors.Join(errs...))
	}
	s.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("service", "frontend")
	return Config{Settings: s}, nil
}

// Run serves the page, its health and its metrics until ctx ends, then lets open requests finish.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", Handler())
	s := service.Server{
		Settings: c.Settings, Name: "frontend", Handler: mux, Metrics: service.NewMetrics(),
		Ready: func(context.Context) error { return Built() },
	}
	return s.Run(ctx)
}

// Handler serves the page alone, for those who have health and metrics of their own. It has no state.
func Handler() http.Handler { return newHandler(page()) }

// Built says whether the page was built into this binary, and if not, what to do about it.
func Built() error {
	if _, err := fs.Stat(page(), "index.html"); err != nil {
		return errNotBuilt
	}
	return nil
}

var errNotBuilt = errors.New("the chat page is not built into this binary: run `npm ci && npm run build` in services/frontend/web, then build the binary again")

func page() fs.FS {
	sub, err := fs.Sub(dist, "web/dist")
	if err != nil {
		return dist // fs.Sub fails for an invalid path only, and this one is a constant
	}
	return sub
}
