// Package kafka runs an embedded Kafka broker (franz-go's kfake) that keeps what it acknowledged: every batch is written to
// its data directory and synced before anybody hears of it, but for topics that are said to pass.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/certificate"
)

// Options say where a broker listens and keeps its data.
type Options struct {
	// DataDir holds the log. One broker at a time; it is created where it is missing.
	DataDir string
	// Listen is the address to bind, such as ":9092" or "127.0.0.1:0".
	Listen string
	// Advertised is the host:port that clients are told to use. Empty: the bound address.
	Advertised string
	// Users may log in, and nobody else, each with its rights and no more. Empty: the broker knows no log-in, and all may do everything.
	Users []User
	// Certificate is what the broker shows to its clients, who then speak TLS and nothing else. Nil: no TLS.
	Certificate *tls.Certificate
	// Passing are topics whose records are of no use any more once the machine has lost its power. They are written like the others, but
	// nobody waits for them to be synced.
	Passing []string
	// Log may be nil.
	Log *slog.Logger
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	sync    *syncer
	addr    string // what clients are told
	bound   string
	client  []kgo.Opt // how the broker connects to itself
}

// grantTime is how long giving the users their rights may take, within this process.
const grantTime = 30 * time.Second

// Start opens the data directory and serves it until Close.
func Start(o Options) (*Broker, error) {
	if o.DataDir == "" {
		return nil, errors.New("start kafka: no data directory given")
	}
	if err := checkUsers(o.Users); err != nil {
		return nil, fmt.Errorf("start kafka: %w", err)
	}
	if err := os.MkdirAll(o.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("start kafka: create data directory: %w", err)
	}
	// Bound before the log is opened, so that a second broker on the same address fails before it touches the data.
	ln, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("start kafka: listen on %s: %w", o.Listen, err)
	}
	adv, err := newAdvertised(ln, o.Advertised)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start kafka: %w", err), ln.Close())
	}
	password := randomPassword()
	users, err := login(o, password)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start kafka: %w", err), ln.Close())
	}
	syncer := newSyncer(o.DataDir, o.Passing...)
	door := newDoor(adv, syncer)
	if o.Certificate != nil {
		door.tls = certificate.Server(*o.Certificate)
	}
	cluster, err := kfake.NewCluster(append(users,
		kfake.NumBrokers(1),
		withNames(),
		kfake.ClusterID("labctl"),
		kfake.DataDir(o.DataDir),
		kfake.WithLogger(kfakeLogger{log: o.Log}),
		kfake.ListenFn(func(string, string) (net.Listener, error) { return door, nil }),
		kfake.BrokerConfigs(map[string]string{
			// A topic that says nothing keeps a day, and no partition more than 256 MiB: an hour of 500 messages a
			// second, and what a laptop's disk and memory, which has some 70 bytes for each message, can spare.
			"log.retention.ms":    strconv.FormatInt((24 * time.Hour).Milliseconds(), 10),
			"log.retention.bytes": strconv.Itoa(256 << 20),
			"log.segment.bytes":   strconv.Itoa(8 << 20),
			"log.roll.ms":         strconv.FormatInt(time.Hour.Milliseconds(), 10),
		}),
	)...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start kafka from %s: %w", o.DataDir, err), ln.Close())
	}
	b := &Broker{cluster: cluster, sync: syncer, addr: adv.Addr().String(), bound: ln.Addr().String()}
	if o.Certificate != nil {
		b.client = append(b.client, kgo.DialTLSConfig(certificate.Self(*o.Certificate)))
	}
	if len(o.Users) > 0 {
		b.client = append(b.client, operatorLogin(password))
		ctx, cancel := context.WithTimeout(context.Background(), grantTime)
		defer cancel()
		if err := grant(ctx, o.Users, operatorLogin(password), kgo.SeedBrokers(b.addr), kgo.Dialer(door.Dial)); err != nil {
			cluster.Close()
			return nil, fmt.Errorf("start kafka: %w", err)
		}
	}
	door.Open()
	return b, nil
}

// Addr is the host:port that clients are told to use.
func (b *Broker) Addr() string { return b.addr }

// Close writes the rest of the state down and stops the broker. What was acknowledged is safe without it, too.
func (b *Broker) Close() {
	b.cluster.Close()
	b.sync.begin([]string{whole})
	_ = b.sync.flush() // nobody was promised this
}

// Ready asks the broker for its metadata over the wire.
func (b *Broker) Ready(ctx context.Context) error {
	cl, err := kgo.NewClient(append(slices.Clone(b.client), kgo.SeedBrokers(b.bound))...)
	if err != nil {
		return fmt.Errorf("check kafka: %w", err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).BrokerMetadata(ctx); err != nil {
		return fmt.Errorf("check kafka at %s: %w", b.bound, err)
	}
	return nil
}

// advertised is a listener whose Addr is the name that clients must use: kfake puts Addr into its metadata and group
// coordinator answers, and an address like [::]:9092 would be of no use to a client on another host.
type advertised struct {
	net.Listener
	addr hostport
}

type hostport string

func (h hostport) Network() string { return "tcp" }
func (h hostport) String() string  { return string(h) }

func newAdvertised(ln net.Listener, name string) (*advertised, error) {
	bound, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("listener %s is not TCP", ln.Addr())
	}
	if name == "" {
		name = bound.String()
		if bound.IP.IsUnspecified() {
			name = net.JoinHostPort("127.0.0.1", strconv.Itoa(bound.Port))
		}
	}
	host, port, err := net.SplitHostPort(name)
	if err != nil || host == "" {
		return nil, fmt.Errorf("advertised address %q is not host:port", name)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("advertised address %q: %q is not a port", name, port)
	}
	return &advertised{Listener: ln, addr: hostport(name)}, nil
}

func (a *advertised) Addr() net.Addr { return a.addr }

type kfakeLogger struct{ log *slog.Logger }

func (l kfakeLogger) Logf(level kfake.LogLevel, msg string, args ...any) {
	if l.log == nil {
		return
	}
	at := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		at = slog.LevelError
	case kfake.LogLevelWarn:
		at = slog.LevelWarn
	}
	if l.log.Enabled(context.Background(), at) {
		l.log.Log(context.Background(), at, fmt.Sprintf(msg, args...))
	}
}
