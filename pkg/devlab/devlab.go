// Package devlab runs the whole chat in one process: the broker, the database, the services, and before them a proxy with
// the ingress's paths. The services are configured by the same environment as in Kubernetes and know no difference.
package devlab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/pkg/mongodb"
	"github.com/labctl/labctl/services/auth"
	"github.com/labctl/labctl/services/gateway"
	"github.com/labctl/labctl/services/groups"
	"github.com/labctl/labctl/services/messaging"
	"github.com/labctl/labctl/services/presence"
	"github.com/labctl/labctl/services/topics"
)

// Options are the options of Run.
type Options struct {
	// Dir keeps the data between runs, a log file (dev.log) and a lock.
	Dir string
	// Listen is the address of the page, such as "127.0.0.1:8090"; port 0 takes a free one.
	Listen string
	// Fresh forgets the data of earlier runs first.
	Fresh bool
	// Frontend serves what is not under /api or /ws.
	Frontend http.Handler
	// AllowedOrigins are further origins whose pages may connect, such as a Vite server's http://localhost:5173.
	AllowedOrigins []string
	// Getenv, if any, is the environment in which OpenTelemetry's variables may say where the services' traces go.
	Getenv func(string) string
	// Shadow, if any, is tried on the chat's traffic.
	Shadow *Shadow
	// Ready, if any, is called once when the chat works, with its address (http://127.0.0.1:8090).
	Ready func(url string)
	// Report hears what is going on.
	Report event.Report
}

// ErrRunning is another run that has the directory.
var ErrRunning = errors.New("it is running already")

// holder is who holds the directory, for the message to whom comes second.
type holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
	URL   string    `json:"url"`
}

// Run runs the chat until ctx ends.
func Run(ctx context.Context, o Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("create the chat's directory: %w", err)
	}
	lock, err := filelock.Try(filepath.Join(o.Dir, "lock"))
	held := filepath.Join(o.Dir, "holder.json")
	if errors.Is(err, filelock.ErrHeld) {
		return describe(o.Dir, held)
	}
	if err != nil {
		return fmt.Errorf("lock the chat's directory: %w", err)
	}
	defer lock.Unlock()

	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s for the chat's page: %w; choose another address or port", o.Listen, err)
	}
	url := "http://" + ln.Addr().String()
	b, err := json.Marshal(holder{PID: os.Getpid(), Since: time.Now().UTC(), URL: url})
	if err == nil {
		err = os.WriteFile(held, b, 0o600)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("say who runs the chat: %w", err), ln.Close())
	}
	defer func() { _ = os.Remove(held) }()

	if o.Fresh {
		o.Report.Doing("forgetting the data in %s", o.Dir)
		for _, sub := range []string{"kafka", "mongodb"} {
			if err := os.RemoveAll(filepath.Join(o.Dir, sub)); err != nil {
				return errors.Join(fmt.Errorf("forget the data: %w", err), ln.Close())
			}
		}
	}
	file, err := os.OpenFile(filepath.Join(o.Dir, "dev.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return errors.Join(fmt.Errorf("open the log: %w", err), ln.Close())
	}
	defer func() { _ = file.Close() }()
	l := &lab{dir: o.Dir, users: NewUsers(), origins: o.AllowedOrigins, getenv: o.Getenv, log: slog.New(slog.NewJSONHandler(file, nil))}
	return l.run(ctx, ln, url, o)
}

func describe(dir, held string) error {
	var h holder
	b, err := os.ReadFile(held) //nolint:gosec // a path of our own
	if err != nil || json.Unmarshal(b, &h) != nil {
		return fmt.Errorf("the chat in %s: %w", dir, ErrRunning)
	}
	return fmt.Errorf("the chat in %s: %w at %s (process %d, since %s); use that one, or stop it with: kill %d",
		dir, ErrRunning, h.URL, h.PID, h.Since.Local().Format("15:04:05"), h.PID)
}

// lab is one run.
type lab struct {
	dir     string
	origins []string
	getenv  func(string) string // see Options
	log     *slog.Logger
	broker  *kafka.Broker
	db      *mongodb.Server
	units   []*unit
	mirror  requestMirror

	brokerAddr, dbAddr string // where they listen; anywhere if empty

	users  Users  // for this run
	secret string // see KeyEncryptionSecret
	issuer *Issuer
}

// unit is one service.
type unit struct {
	name   string
	routes []string // prefixes of paths that the ingress gives it
	run    func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error
	on     listeners
}

// listeners are where a service listens. Without one for its health, it opens that itself, where HEALTH says.
type listeners struct{ service, health net.Listener }

// units gives the services with the paths of the ingress.
func units() []*unit {
	return []*unit{
		{name: "auth", routes: []string{"/api/auth"}, run: func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
			c, err := auth.ConfigFromEnv(getenv)
			if err != nil {
				return err
			}
			c.Listener, c.HealthListener, c.Log = on.service, on.health, log
			return auth.Run(ctx, c)
		}},
		{name: "messaging", routes: []string{"/api/conversations", "/api/messages"}, run: func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
			c, err := messaging.ConfigFromEnv(getenv)
			if err != nil {
				return err
			}
			c.Listener, c.HealthListener, c.Log = on.service, on.health, log
			return messaging.Run(ctx, c)
		}},
		{name: "groups", routes: []string{"/api/groups", "/api/invitations", "/api/contacts", "/api/blocks"}, run: func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
			c, err := groups.ConfigFromEnv(getenv)
			if err != nil {
				return err
			}
			c.Listener, c.HealthListener, c.Log = on.service, on.health, log
			return groups.Run(ctx, c)
		}},
		{name: "presence", routes: []string{"/api/presence"}, run: func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
			c, err := presence.ConfigFromEnv(getenv)
			if err != nil {
				return err
			}
			c.Listener, c.HealthListener, c.Log = on.service, on.health, log
			return presence.Run(ctx, c)
		}},
		{name: "gateway", routes: []string{"/ws"}, run: func(ctx context.Context, getenv func(string) string, on listeners, log *slog.Logger) error {
			c, err := gateway.ConfigFromEnv(getenv)
			if err != nil {
				return err
			}
			c.Listener, c.HealthListener, c.Log = on.service, on.health, log
			return gateway.Run(ctx, c)
		}},
	}
}

// Partitions is what topics are made with on one machine: the embedded broker syncs two files for each partition that a request writes
// to, so few are faster, and no more instances of a service share the work here.
const Partitions = 3

// health is where the address of a service's health is, among the base addresses of services.
func health(name string) string { return name + " health" }

// environment is what Kubernetes gives a service, in all but one.
func (l *lab) environment(service, brokers, database string, urls map[string]string) func(string) string {
	env := l.variables(service, brokers, database, urls)
	return func(k string) string { return env[k] }
}

func (l *lab) variables(service, brokers, database string, urls map[string]string) map[string]string {
	env := map[string]string{
		"HEALTH":        strings.TrimPrefix(urls[health(service)], "http://"),
		"KAFKA_BROKERS": brokers, "KAFKA_PARTITIONS": strconv.Itoa(Partitions), "KAFKA_SASL": kafka.Mechanism, "KAFKA_PASSWORD": l.users.Password(service),
		"MONGODB_URI": l.users.DatabaseURI(database, service), "KEY_ENCRYPTION_SECRET": l.secret, "ALLOWED_ORIGINS": join(l.origins),
		"AUTH_URL": urls["auth"], "GROUPS_URL": urls["groups"], "MESSAGING_URL": urls["messaging"], "SHADOW_URL": urls[comparerURL],
		"TRUSTED_PROXIES": "127.0.0.1/32",                    // newFront's
		"ADDRESS_RATE":    "off", "REGISTRATION_RATE": "off", // here all come from one address
	}
	maps.Copy(env, l.issuer.Environment(service))
	if l.getenv != nil {
		for _, k := range tracing() {
			env[k] = l.getenv(k)
		}
	}
	return env
}

// tracing gives the variables of OpenTelemetry that all services share. The service's name is not among them.
func tracing() []string {
	return []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SDK_DISABLED",
	}
}

func (l *lab) run(ctx context.Context, ln net.Listener, url string, o Options) (err error) {
	o.Report.Doing("starting the broker and the database")
	if err := l.startData(); err != nil {
		return errors.Join(err, ln.Close())
	}
	defer func() { err = errors.Join(err, l.stopData()) }()

	if l.issuer, err = NewIssuer(ctx, l.dir, l.log); err != nil {
		return errors.Join(err, ln.Close())
	}
	defer l.issuer.Close()
	l.units = units()
	urls, err := listen(ctx, l.units)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if o.Shadow != nil {
		// Until the end, since the live gateway knows it from the start.
		port, err := freeport.Reserve()
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		defer port.Release()
		urls[comparerURL] = "http://" + port.Addr()
	}
	front, err := newFront(l.units, urls, o.Frontend)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	page := &http.Server{Handler: l.mirror.before(front), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(l.log.Handler(), slog.LevelDebug)}

	o.Report.Doing("starting the services")
	g, run := errgroup.WithContext(ctx)
	for _, u := range l.units {
		g.Go(func() error {
			getenv := l.environment(u.name, l.brokers(), l.db.Addr(), urls)
			if err := u.run(run, getenv, u.on, l.log.With("service", u.name)); err != nil {
				return fmt.Errorf("%w; the log is %s", err, filepath.Join(l.dir, "dev.log"))
			}
			return nil
		})
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = page.Serve(ln) }) // ends by Shutdown only
	g.Go(func() error {
		if err := ready(run, l.units, urls); err != nil {
			if run.Err() != nil {
				return nil // stopped, or a service has ended, which says more
			}
			return err
		}
		if o.Ready != nil {
			o.Ready(url)
		}
		if o.Shadow == nil {
			return nil
		}
		if err := l.runShadow(run, *o.Shadow, urls, o.Report); err != nil {
			l.log.Error("the chat goes on without its shadow", "error", err)
			o.Report.Warn("%v; the chat goes on without it", err)
		}
		return nil
	})
	err = g.Wait() // the gateway sends its clients away, so that nothing keeps the page's server
	o.Report.Doing("stopping")
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if page.Shutdown(stop) != nil {
		_ = page.Close()
	}
	serving.Wait()
	return err
}

// listen opens the listeners of units, and gives their base addresses. They stay open until the services take them over, so that no other program gets
// their ports.
func listen(ctx context.Context, units []*unit) (urls map[string]string, err error) {
	urls = map[string]string{}
	for _, u := range units {
		for name, ln := range map[string]*net.Listener{u.name: &u.on.service, health(u.name): &u.on.health} {
			if *ln, err = (&net.ListenConfig{}).Listen(ctx, "tcp", anywhere); err != nil {
				return nil, fmt.Errorf("listen for %s: %w", name, err)
			}
			urls[name] = "http://" + (*ln).Addr().String()
		}
	}
	return urls, nil
}

// anywhere is loopback, where only this machine's users come, at a free port.
const anywhere = "127.0.0.1:0"

// KeyEncryptionSecret gives what auth encrypts its signing keys with. It is made once and kept in dir, as long as the database there.
func KeyEncryptionSecret(dir string) (string, error) {
	path := filepath.Join(dir, "key-encryption-secret")
	b, err := os.ReadFile(path) //nolint:gosec // a path of our own
	if errors.Is(err, os.ErrNotExist) {
		b = []byte(rand.Text() + rand.Text())
		err = atomicfile.Write(path, b)
	}
	if err != nil {
		return "", fmt.Errorf("keep the secret of auth's signing keys: %w", err)
	}
	return string(b), nil
}

func (l *lab) startData() (err error) {
	if l.secret, err = KeyEncryptionSecret(l.dir); err != nil {
		return err
	}
	var g errgroup.Group
	g.Go(func() (err error) {
		l.broker, err = kafka.Start(kafka.Options{DataDir: filepath.Join(l.dir, "kafka"), Listen: cmp.Or(l.brokerAddr, anywhere), Users: l.users.Kafka, Passing: topics.Passing(), Log: l.log.With("service", "kafka")})
		return err
	})
	g.Go(func() (err error) {
		l.db, err = mongodb.Start(mongodb.Options{DataDir: filepath.Join(l.dir, "mongodb"), Listen: cmp.Or(l.dbAddr, anywhere), Users: l.users.MongoDB, Log: l.log.With("service", "mongodb")})
		return err
	})
	if err := g.Wait(); err != nil {
		return errors.Join(err, l.stopData())
	}
	return nil
}

// brokers is where the broker is reached.
func (l *lab) brokers() string { return cmp.Or(l.brokerAddr, l.broker.Addr()) }

func (l *lab) stopData() (err error) {
	if l.db != nil {
		err = l.db.Close()
	}
	if l.broker != nil {
		l.broker.Close()
	}
	return err
}

// readyTime is how long the services may take to start.
const readyTime = time.Minute

// ready waits until all services say so.
func ready(ctx context.Context, units []*unit, urls map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	g, ctx := errgroup.WithContext(ctx)
	for _, u := range units {
		g.Go(func() error {
			for {
				last := ask(ctx, client, urls[health(u.name)]+"/readyz")
				if last == nil {
					return nil
				}
				t := time.NewTimer(20 * time.Millisecond)
				select {
				case <-ctx.Done():
					t.Stop()
					return fmt.Errorf("wait for %s to be ready: %w (last: %w)", u.name, ctx.Err(), last)
				case <-t.C:
				}
			}
		})
	}
	return g.Wait()
}
