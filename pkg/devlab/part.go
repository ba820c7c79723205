package devlab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/pkg/mongodb"
	"github.com/labctl/labctl/services/topics"
)

// The parts that are no services.
const (
	Broker   = "kafka"
	Database = "mongodb"
)

// Routes gives the services and the prefixes of paths that the ingress gives each.
func Routes() map[string][]string {
	routes := map[string][]string{}
	for _, u := range units() {
		routes[u.name] = u.routes
	}
	return routes
}

// RunPart runs one part alone, as in a process that can be killed: a service, configured by its environment, or the broker or
// the database, which keep their data in a directory below DATA_DIR and let the users in that were saved there (Users.Save). All listen on LISTEN, and
// services on HEALTH, too.
func RunPart(ctx context.Context, name string, getenv func(string) string, log *slog.Logger) error {
	address := getenv("LISTEN")
	for _, k := range []string{"LISTEN", "HEALTH"} {
		if host, _, err := net.SplitHostPort(getenv(k)); err != nil || !net.ParseIP(host).IsLoopback() {
			return fmt.Errorf("run %s: %s is %q, which is no address and port of this machine's loopback", name, k, getenv(k))
		}
	}
	dir := getenv("DATA_DIR")
	switch name {
	case Broker:
		users, err := savedUsers(dir)
		if err != nil {
			return err
		}
		b, err := kafka.Start(kafka.Options{DataDir: filepath.Join(dir, Broker), Listen: address, Users: users.Kafka, Passing: topics.Passing(), Log: log})
		if err != nil {
			return err
		}
		defer b.Close()
		<-ctx.Done()
		return nil
	case Database:
		users, err := savedUsers(dir)
		if err != nil {
			return err
		}
		mongodb.Tune()
		db, err := mongodb.Start(mongodb.Options{DataDir: filepath.Join(dir, Database), Listen: address, Users: users.MongoDB, Log: log})
		if err != nil {
			return err
		}
		<-ctx.Done()
		return db.Close()
	}
	for _, u := range units() {
		if u.name == name {
			ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("run %s: %w", name, err)
			}
			return u.run(ctx, getenv, listeners{service: ln}, log)
		}
	}
	return fmt.Errorf("run %s: %w", name, errNoPart)
}

var errNoPart = errors.New("the chat has no such part")
