// The mongodb image: the embedded MongoDB (FerretDB on SQLite) as a server of its own.
//
//	LISTEN     address to bind (:27017)
//	DATA_DIR   where the databases are kept (/data)
//	USERS_DIR  a directory with a file for each user, named like the user, with the password in it: those whom services/topics gives databases to,
//	           and admin, who may do everything. Empty: no log-in, all may do everything
//	TLS_DIR    a directory with the certificate that the server shows, tls.crt, and its key, tls.key. Empty: no TLS
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/images/internal/part"
	"github.com/labctl/labctl/pkg/certificate"
	"github.com/labctl/labctl/pkg/mongodb"
	"github.com/labctl/labctl/services/topics"
)

func main() { os.Exit(part.Main("mongodb", os.Args[1:], start)) }

func start(getenv func(string) string, log *slog.Logger) (part.Server, error) {
	mongodb.Tune()
	known, err := users(getenv("USERS_DIR"))
	if err != nil {
		return part.Server{}, err
	}
	shown, err := part.Certificate(getenv("TLS_DIR"))
	if err != nil {
		return part.Server{}, err
	}
	server, err := mongodb.Start(mongodb.Options{
		Users:       known,
		Certificate: shown,
		Listen:      cmp.Or(getenv("LISTEN"), ":27017"),
		DataDir:     cmp.Or(getenv("DATA_DIR"), "/data"),
		Log:         log,
	})
	if err != nil {
		return part.Server{}, err
	}
	asked := options.Client().ApplyURI(server.URI()).SetMaxPoolSize(2)
	if shown != nil {
		asked.SetTLSConfig(certificate.Self(*shown))
	}
	client, err := mongo.Connect(asked)
	if err != nil {
		return part.Server{}, errors.Join(err, server.Close())
	}
	return part.Server{
		Addr:  server.Addr(),
		Ready: func(ctx context.Context) error { return client.Ping(ctx, nil) },
		Close: func() error {
			// Before the server closes, so that it has no connection to wait for.
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			return errors.Join(client.Disconnect(ctx), server.Close())
		},
	}, nil
}

// users reads the users of a directory, such as a mounted Secret.
func users(dir string) (known []mongodb.User, err error) {
	passwords, err := part.Users(dir)
	if err != nil {
		return nil, err
	}
	for name, password := range passwords {
		u, _ := topics.UserOf(name)
		if u.MongoDB.Empty() && name != part.Admin {
			var names []string
			for _, u := range topics.AllUsers() {
				if !u.MongoDB.Empty() {
					names = append(names, u.Name)
				}
			}
			return nil, fmt.Errorf("USERS_DIR has a user %q, who has no database; there are %s and %s", name, strings.Join(names, ", "), part.Admin)
		}
		known = append(known, mongodb.User{Name: name, Password: password, Admin: name == part.Admin, Rights: mongodb.Rights(u.MongoDB)})
	}
	return known, nil
}
