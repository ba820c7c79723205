// Package service is what every service of the chat has in common: configuration by environment, logs, metrics, health,
// the HTTP server's life, and the shape of requests, answers and errors.
package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/env"
	"github.com/labctl/labctl/services/internal/identity"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/trace"
)

// Settings are the configuration that services share. Each service embeds them in its Config. What one has no use for is empty.
type Settings struct {
	// Listen is the address of the HTTP server (LISTEN, ":8080"). Listener, if given, is used instead.
	Listen   string
	Listener net.Listener
	// Health is the address of /livez, /readyz and /metrics (HEALTH, ":8081"), to which no ingress leads; empty: nobody asks for
	// them. HealthListener, if given, is used instead.
	Health         string
	HealthListener net.Listener
	// Kafka says where the brokers are and how they are reached (KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL and more: bus.FromEnv).
	Kafka bus.Config
	// MongoDBURI and Database say where the service's own data is (MONGODB_URI or a file, MONGODB_URI_FILE; MONGODB_DATABASE,
	// the service's name).
	MongoDBURI string
	Database   string
	// Shadow says that the service does nothing outside of its own topics and its own database (SIDE_EFFECTS=off).
	Shadow bool
	// Base addresses of the other services within the cluster (AUTH_URL, GROUPS_URL, MESSAGING_URL).
	AuthURL      string
	GroupsURL    string
	MessagingURL string
	// Identity says how the service proves who it is, and how others do (IDENTITY_DIR and, for a service that is asked, IDENTITY_ISSUER).
	Identity identity.Config
	// AllowedOrigins are further origins, such as https://chat.example, whose pages may connect (ALLOWED_ORIGINS, a comma list).
	AllowedOrigins []string
	// TrustedProxies are the networks whose word in X-Forwarded-For counts (TRUSTED_PROXIES, a comma list such as 10.0.0.0/8;
	// none).
	TrustedProxies []netip.Prefix
	// DrainDelay is how long the service goes on after it has said that it is not ready any more, so that
	// load balancers notice (DRAIN_DELAY, 0).
	DrainDelay time.Duration
	// Tracing says where spans go (OTEL_EXPORTER_OTLP_ENDPOINT and more: trace.FromEnv; nowhere).
	Tracing trace.Config
	// LogLevel is debug, info, warn or error (LOG_LEVEL, info). Log, if given, is used instead.
	LogLevel string
	Log      *slog.Logger
}

// FromEnv reads the settings of the service called name: those that Variables lists for it.
func FromEnv(name string, getenv func(string) string) (Settings, error) {
	s, bad := BasicFromEnv(name, getenv)
	errs := []error{bad}
	var err error
	if s.Kafka, err = bus.FromEnv(name, getenv); err != nil {
		errs = append(errs, err)
	}
	if hasDatabase(name) {
		if s.MongoDBURI, err = store.URIFromEnv(getenv); err != nil {
			errs = append(errs, err)
		}
		s.Database = cmp.Or(getenv("MONGODB_DATABASE"), name)
	}
	if s.Tracing, err = trace.FromEnv(name, getenv); err != nil {
		errs = append(errs, err)
	}
	if s.Shadow, err = shadowFromEnv(name, getenv, s); err != nil {
		errs = append(errs, err)
	}
	// What a service has no use for stays empty, so that a use that is not listed is noticed.
	own := func(variable, standard string) string {
		if !slices.Contains(further(name), variable) {
			return ""
		}
		return cmp.Or(getenv(variable), standard)
	}
	s.AuthURL = own("AUTH_URL", "http://auth:8080")
	s.GroupsURL = own("GROUPS_URL", "http://groups:8080")
	s.MessagingURL = own("MESSAGING_URL", "http://messaging:8080")
	s.Identity.Dir = identity.DirFromEnv(getenv)
	if slices.Contains(further(name), "IDENTITY_ISSUER") {
		if s.Identity.Issuer, err = identity.IssuerFromEnv(getenv); err != nil {
			errs = append(errs, err)
		}
	}
	s.AllowedOrigins = list(own("ALLOWED_ORIGINS", ""))
	for _, v := range list(own("TRUSTED_PROXIES", "")) {
		p, err := netip.ParsePrefix(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("TRUSTED_PROXIES names %q, which is no network such as 10.0.0.0/8", v))
		}
		s.TrustedProxies = append(s.TrustedProxies, p)
	}
	if err := errors.Join(errs...); err != nil {
		return s, fmt.Errorf("configure %s: %w", name, err)
	}
	return s, nil
}

// hasDatabase says whether a service keeps data of its own. The gateway keeps none.
func hasDatabase(service string) bool { return service != "gateway" }

// further says which settings each service has a use for, of those that not all have.
func further(service string) []string {
	switch service {
	case "auth":
		return []string{"IDENTITY_DIR", "IDENTITY_ISSUER", "TRUSTED_PROXIES"}
	case "gateway":
		return []string{"AUTH_URL", "MESSAGING_URL", "IDENTITY_DIR", "ALLOWED_ORIGINS", "TRUSTED_PROXIES"}
	case "groups", "messaging":
		return []string{"AUTH_URL", "IDENTITY_DIR", "IDENTITY_ISSUER"}
	case "presence":
		return []string{"AUTH_URL", "GROUPS_URL", "MESSAGING_URL", "IDENTITY_DIR"}
	}
	return nil
}

// Variables gives what FromEnv reads for a service.
func Variables(service string) []env.Variable {
	all := append(BasicVariables(), bus.Variables(service)...)
	if hasDatabase(service) {
		all = append(all, store.Variables(service)...)
	}
	all = append(all, shadowVariable())
	all = append(all, trace.Variables(service)...)
	for _, v := range append(identity.Variables(), []env.Variable{
		{Name: "AUTH_URL", Default: "http://auth:8080", Form: "a base address",
			Meaning: "Where auth is, within the cluster: its keys and its users."},
		{Name: "GROUPS_URL", Default: "http://groups:8080", Form: "a base address",
			Meaning: "Where groups is: who is whose contact, and who has blocked whom."},
		{Name: "MESSAGING_URL", Default: "http://messaging:8080", Form: "a base address",
			Meaning: "Where messaging is: what a device has missed, and who shares a conversation."},
		{Name: "ALLOWED_ORIGINS", Form: "origins such as `https://chat.example`, with commas",
			Meaning: "Further origins whose pages may open a socket; those of the chat's own host always may."},
		{Name: "TRUSTED_PROXIES", Form: "networks such as `10.42.0.0/16`, with commas",
			Meaning: "The networks of the proxies before the service, whose word in `X-Forwarded-For` counts: the ingress's, and no more. The header counts only if it comes from one of them, and a client's address is the last one in it that is in none of them. Without it all who come through a proxy have the proxy's address."},
	}...) {
		if slices.Contains(further(service), v.Name) {
			all = append(all, v)
		}
	}
	return all
}

// BasicFromEnv reads the settings of a service that has its HTTP server and nothing else.
func BasicFromEnv(name string, getenv func(string) string) (Settings, error) {
	s := Settings{Listen: cmp.Or(getenv("LISTEN"), ":8080"), Health: cmp.Or(getenv("HEALTH"), ":8081"), LogLevel: cmp.Or(getenv("LOG_LEVEL"), "info")}
	var errs []error
	if v := getenv("DRAIN_DELAY"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			errs = append(errs, fmt.Errorf("DRAIN_DELAY is %q, which is no duration such as 3s", v))
		}
		s.DrainDelay = d
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		errs = append(errs, fmt.Errorf("LOG_LEVEL is %q, which is none of debug, info, warn, error", s.LogLevel))
	}
	s.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("service", name)
	return s, errors.Join(errs...)
}

// BasicVariables gives what BasicFromEnv reads.
func BasicVariables() []env.Variable {
	return []env.Variable{
		{Name: "LISTEN", Default: ":8080", Form: "`host:port`; without a host, all",
			Meaning: "The address of the HTTP server."},
		{Name: "HEALTH", Default: ":8081", Form: "the same",
			Meaning: "The address of `/livez`, `/readyz` and `/metrics`. They say more of the service than its clients should know, so no ingress may lead here."},
		{Name: "LOG_LEVEL", Default: "info", Form: "`debug`, `info`, `warn` or `error`",
			Meaning: "What is logged, and all that is worse. The log goes to stderr, one JSON object a line."},
		{Name: "DRAIN_DELAY", Default: "0s", Form: "a duration such as `3s`",
			Meaning: "How long the service goes on after it has said that it is not ready any more, so that load balancers notice."},
	}
}

func list(s string) (l []string) {
	for v := range strings.SplitSeq(s, ",") {
		if v = strings.TrimSpace(v); v != "" {
			l = append(l, v)
		}
	}
	return l
}

// Server is one service: its HTTP side and its work.
type Server struct {
	Settings
	Name    string
	Handler *http.ServeMux
	Metrics *Metrics
	// Tracer, if any, gets a span of each request.
	Tracer *trace.Tracer
	// Start, if any, prepares what the service needs (collections, topics, keys). It is tried again until it succeeds; until then the
	// service is alive, not ready, and answers 503.
	Start func(context.Context) error
	// Work, if any, runs from the end of Start until after the HTTP server has closed. Its error ends the service.
	Work func(context.Context) error
	// Ready says why the service can't do its work now. It is asked with a time limit of 3 s.
	Ready func(context.Context) error
	// Drain, if any, is called when the service is told to stop, once it reports not ready and before the server closes.
	// Its context ends when time is up.
	Drain func(context.Context)

	waits atomic.Pointer[error] // the last error of Start

	bodyTime time.Duration // how long a request's body may take to come; bodyTime if 0
}

// bodyTime is how long a request's body may take to come: one of MaxBody bytes at 2 KiB/s, which a slow line of a phone has.
const bodyTime = 32 * time.Second

// drainTime is how long a stop may take, beside DrainDelay. Kubernetes kills after 30 s.
const drainTime = 15 * time.Second

// Run serves until ctx ends, then drains.
func (s *Server) Run(ctx context.Context) error {
	ln, health, err := s.listen(ctx)
	if err != nil {
		return err
	}
	started, draining := make(chan struct{}), make(chan struct{})
	srv := s.newHTTPServer(s.routes(started))
	ended := make(chan error, 3)
	go func() { ended <- fmt.Errorf("serve: %w", srv.Serve(ln)) }()
	s.Log.Info("listens", "address", ln.Addr().String())
	if health != nil {
		watched := s.newHTTPServer(s.health(started, draining))
		defer func() { _ = watched.Close() }() // last, so that it can be seen how the service drains
		go func() { ended <- fmt.Errorf("serve health: %w", watched.Serve(health)) }()
	}

	workCtx, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	stopStart := context.AfterFunc(ctx, func() {
		select {
		case <-started:
		default:
			stopWork() // nothing to drain
		}
	})
	defer stopStart()
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		if s.Start != nil {
			err := s.Metrics.Retry(workCtx, s.Log, "start", func(ctx context.Context) error {
				err := s.Start(ctx)
				if err != nil {
					s.waits.Store(&err)
				}
				return err
			})
			if err != nil {
				return // ctx has ended
			}
		}
		close(started)
		s.Log.Info("started")
		if s.Work == nil {
			return
		}
		if err := s.Work(workCtx); err != nil && workCtx.Err() == nil {
			ended <- fmt.Errorf("work: %w", err)
		}
	}()

	var failed error
	select {
	case failed = <-ended:
		s.Log.Error("ends early", "error", failed)
	case <-ctx.Done():
		s.Log.Info("stops")
	}
	close(draining)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.DrainDelay+drainTime)
	defer cancel()
	if failed == nil {
		_ = Sleep(stop, s.DrainDelay)
	}
	if s.Drain != nil {
		s.Drain(stop)
	}
	if err := srv.Shutdown(stop); err != nil {
		failed = errors.Join(failed, fmt.Errorf("requests are still running at the end: %w", err), srv.Close())
	}
	stopWork()
	<-worked
	if failed != nil {
		return fmt.Errorf("%s: %w", s.Name, failed)
	}
	return nil
}

// listen gives the listeners of the service and of its health, nil if nobody asks for that.
func (s *Server) listen(ctx context.Context) (ln, health net.Listener, err error) {
	open := func(address string) (net.Listener, error) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, fmt.Errorf("%s: listen: %w", s.Name, err)
		}
		return l, nil
	}
	if ln, health = s.Listener, s.HealthListener; ln == nil {
		if ln, err = open(s.Listen); err != nil {
			return nil, nil, err
		}
	}
	if health == nil && s.Health != "" {
		if health, err = open(s.Health); err != nil {
			return nil, nil, errors.Join(err, ln.Close())
		}
	}
	return ln, health, nil
}

func (s *Server) newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
}

// isClosed says whether a channel that carries nothing is closed.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// health answers those who run the service.
func (s *Server) health(started, draining <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 3*time.Second)
		defer cancel()
		var err error
		switch {
		case isClosed(draining):
			err = errors.New("stopping")
		case !isClosed(started):
			err = errors.New("starting")
			if why := s.waits.Load(); why != nil {
				err = fmt.Errorf("starting: %w", *why)
			}
		case s.Ready != nil:
			err = s.Ready(ctx)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", s.Metrics.handler())
	return mux
}

// routes answers the service's clients.
func (s *Server) routes(started <-chan struct{}) http.Handler {
	return s.instrument(func(w http.ResponseWriter, r *http.Request) {
		if !isClosed(started) {
			WriteError(w, r, Unavailable(s.Name, nil))
			return
		}
		h, pattern := s.Handler.Handler(r)
		if pattern == "" {
			refuse(w, r, h)
			return
		}
		s.Handler.ServeHTTP(w, r)
	})
}

// Sleep waits for d, or less if ctx ends, which it reports.
func Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Retry calls f until it succeeds or ctx ends, with growing pauses of up to 3 s. It logs each new error that it goes on after,
// and counts it as what in the metric retries_total.
func (m *Metrics) Retry(ctx context.Context, log *slog.Logger, what string, f func(context.Context) error) error {
	pause := 50 * time.Millisecond
	last := ""
	for {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w (last error: %w)", what, ctx.Err(), err)
		}
		m.retries.WithLabelValues(what).Inc()
		if msg := err.Error(); msg != last {
			log.Warn("tries again", "what", what, "error", err)
			last = msg
		}
		if err := Sleep(ctx, pause); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		pause = min(2*pause, 3*time.Second)
	}
}
