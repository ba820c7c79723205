// Package frontend serves the chat's web page: the React application under web/, embedded in this binary.
//
// The page talks to the other services through the same origin (the ingress, or `labctl dev`), so this server needs to
// know none of them.
package frontend

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/service"
)

// A fresh clone holds only web/dist/.gitkeep; `npm run build` in web/ puts the page beside it.
//
//go:embed all:web/dist
var dist embed.FS

// Config is the configuration of frontend. Of the settings it uses those of BasicFromEnv.
type Config struct {
	service.Settings
}

// Variables gives what ConfigFromEnv reads.
func Variables() []env.Variable { return service.BasicVariables() }

// ConfigFromEnv reads the configuration.
func ConfigFromEnv(getenv func(string) string) (Config, error) {
	s, err := service.BasicFromEnv("frontend", getenv)
	if err != nil {
		return Config{}, fmt.Errorf("configure frontend: %w", err)
	}
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
