// Package part is what the images of embedded servers share: a program with health endpoints, that ends on a signal,
// and that can ask another one how it is.
package part

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
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
		err = Check(ctx, args[1])
	} else {
		err = run(ctx, log, name, start)
	}
	if err != nil {
		log.Error("ends", "error", err)
		return 1
	}
	return 0
}

// Check asks a URL, which must answer 200 within 10 s.
func Check(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil) //nolint:gosec // G704: the URL is the caller's own argument
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request) //nolint:gosec // G704: the URL is the caller's own argument
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(response.Body, 1024)) // a help; the status is the answer
		return fmt.Errorf("%s answers %s: %s", url, response.Status, why)
	}
	return nil
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
