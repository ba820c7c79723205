// Package part is what the images of embedded servers share: a program with health endpoints, that ends on a signal,
// and that can ask another one how it is.
package part

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/labctl/labctl/services/check"
)

// Server is what a part runs.
type Server struct {
	Addr  string                      // where it listens
	Ready func(context.Context) error // why it cannot serve now
	Close func() error
}

// Main runs a part until SIGINT or SIGTERM and gives its exit code. With the arguments `-check URL` it asks that URL
// instead: 0 for an answer of 200, 1 for any other. HEALTH is the address of /livez and /readyz (:8081).
func Main(name string, args []string, start func(getenv func(string) string, log *slog.Logger) (Server, error)) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("service", name)
	var err error
	if len(args) == 2 && args[0] == "-check" {
		err = check.Ask(ctx, args[1])
	} else {
		err = run(ctx, log, name, start)
	}
	if err != nil {
		log.Error("ends", "error", err)
		return 1
	}
	return 0
}

func run(ctx context.Context, log *slog.Logger, name string, start func(func(string) string, *slog.Logger) (Server, error)) (err error) {
	server, err := start(os.Getenv, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		if err := server.Ready(ctx); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	health := &http.Server{Addr: cmp.Or(os.Getenv("HEALTH"), ":8081"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- health.ListenAndServe() }()
	log.Info(name+" listens", "address", server.Addr)
	select {
	case <-ctx.Done():
		log.Info(name + " stops")
		return health.Close()
	case err := <-ended:
		return err
	}
}
