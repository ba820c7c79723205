// Package mongodb runs an embedded MongoDB: FerretDB on SQLite, behind a small proxy that gives it three things that MongoDB has
// and that FerretDB v1.24 lacks, so that the services need not know which one they speak to:
//
//   - Updates are atomic. FerretDB reads a document, changes it in memory and writes it back without a transaction, so two
//     concurrent $sets of one document lose one. The proxy lets one write at a time into a database, of which SQLite writes one at a
//     time, too: who comes while it is busy would sleep and try again there, for longer each time, and here is next in turn.
//   - _id is indexed. FerretDB looks documents up by the expression _ferretdb_sjson->'$._id' and indexes another spelling of it, so
//     each look-up scans the collection. The proxy adds the right index when a collection appears, before the first answer.
//     And since FerretDB looks up by _id only where the filter has nothing else in it, the proxy tests the rest of the
//     filter of a single conditional update ({_id: x, version: 7}) itself.
//   - Users have rights. FerretDB's own log-in is an experiment that cannot be had where it is embedded, and it knows no rights. The proxy asks for
//     a log-in and lets a user do what is allowed in one database.
package mongodb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/FerretDB/FerretDB/ferretdb"

	"github.com/labctl/labctl/pkg/certificate"
)

// Options say where a server listens and keeps its data.
type Options struct {
	// DataDir holds one SQLite database for each MongoDB database. One server at a time; created where it is missing.
	DataDir string
	// Listen is the address to bind, such as ":27017" or "127.0.0.1:0".
	Listen string
	// Users are those who may log in; none: no log-in, and all may do everything.
	Users []User
	// Certificate is what the server shows to its clients, who then speak TLS and nothing else. Nil: no TLS.
	Certificate *tls.Certificate
	// Log may be nil. FerretDB's own lines below warnings are dropped.
	Log *slog.Logger
}

// Server is a running server.
type Server struct {
	ln      net.Listener
	indexes *indexes
	locks   locks
	users   *users
	log     *slog.Logger
	backend string // FerretDB's Unix socket
	cleanup func()

	stop    context.CancelFunc
	stopped chan struct{} // FerretDB has ended
	conns   sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

// making is held while a server is made: FerretDB then writes to a variable that all of its servers share.
var making sync.Mutex

// Start opens the data directory and serves it until Close.
func Start(o Options) (_ *Server, err error) {
	if o.DataDir == "" {
		return nil, errors.New("start mongodb: no data directory given")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, fmt.Errorf("start mongodb: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start mongodb: create data directory: %w", err)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{log: log, open: map[net.Conn]struct{}{}, stopped: make(chan struct{}), indexes: newIndexes(dir)}

	if s.users, err = newUsers(o.Users); err != nil {
		return nil, fmt.Errorf("start mongodb: %w", err)
	}
	// Bound first, so that a second server on the same address fails before it touches the data.
	if s.ln, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, fmt.Errorf("start mongodb: listen on %s: %w", o.Listen, err)
	}
	if o.Certificate != nil {
		s.ln = tls.NewListener(s.ln, certificate.Server(*o.Certificate))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.ln.Close(), s.indexes.close())
			if s.cleanup != nil {
				s.cleanup()
			}
		}
	}()
	if err := s.indexes.ensureAll(); err != nil {
		return nil, fmt.Errorf("start mongodb: %w", err)
	}
	if s.backend, s.cleanup, err = socket(dir); err != nil {
		return nil, fmt.Errorf("start mongodb: %w", err)
	}

	// A commit is synced before it is acknowledged. The page cache is small because FerretDB keeps up to a hundred
	// connections, each with its own.
	u := url.URL{Scheme: "file", Path: dir + "/", RawQuery: url.Values{"_pragma": {
		"busy_timeout(10000)", "journal_mode(wal)", "synchronous(full)", "auto_vacuum(none)", "cache_size(-512)", "temp_store(memory)",
	}}.Encode()}
	making.Lock()
	db, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: s.backend},
		Logger:    slog.New(quiet{log.Handler()}),
		Handler:   "sqlite",
		SQLiteURL: u.String(),
	})
	making.Unlock()
	if err != nil {
		return nil, fmt.Errorf("start mongodb in %s: %w", dir, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		defer close(s.stopped)
		_ = db.Run(ctx) // it returns nil always
	}()
	go s.accept()
	return s, nil
}

// Addr is the bound host:port.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// URI is the connection string for a client on this host.
func (s *Server) URI() string {
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		return "mongodb://" + s.Addr()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "mongodb://" + net.JoinHostPort(host, port)
}

// Close ends the connections after their command in progress and closes the databases. What was acknowledged is safe without it, too.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	err := s.ln.Close()
	for c := range s.open {
		_ = c.Close() // the handler sees it after the answer of its command
	}
	s.mu.Unlock()
	s.conns.Wait()
	s.stop()
	<-s.stopped
	s.cleanup()
	return errors.Join(err, s.indexes.close())
}

// socket gives a path for FerretDB's Unix socket, which only this user can reach. Such a path can't be longer than some
// hundred bytes, so a deep data directory gets a socket elsewhere.
func socket(dir string) (path string, cleanup func(), err error) {
	if path = filepath.Join(dir, "ferretdb.sock"); len(path) <= 90 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) { // left by a kill
			return "", nil, fmt.Errorf("remove the old socket: %w", err)
		}
		return path, func() { _ = os.Remove(path) }, nil
	}
	tmp, err := os.MkdirTemp("", "labctl-db-")
	if err != nil {
		return "", nil, fmt.Errorf("create a directory for the socket: %w", err)
	}
	return filepath.Join(tmp, "s"), func() { _ = os.RemoveAll(tmp) }, nil
}

// quiet drops what FerretDB says below warnings, its warning about each client that hangs up, and the text of each answer that is an
// error: those are for the client, and hold its data.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && q.Handler.Enabled(ctx, l)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "Connection stopped") || strings.HasPrefix(r.Message, "Response ") {
		return nil
	}
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(n string) slog.Handler      { return quiet{q.Handler.WithGroup(n)} }
