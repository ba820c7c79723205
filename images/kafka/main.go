// The kafka image: the embedded broker as a server of its own.
//
//	LISTEN      address to bind (:9092)
//	ADVERTISED  host:port that clients are told to use (the bound address)
//	DATA_DIR    where the log is kept (/data)
//	USERS_DIR   a directory with a file for each user, named like the user, with the password in it: the services that
//	            services/topics gives rights to, and admin, who may do everything. Empty: no log-in, all may do everything
package main

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/labctl/labctl/images/internal/part"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/services/topics"
)

func main() { os.Exit(part.Main("kafka", os.Args[1:], start)) }

func start(getenv func(string) string, log *slog.Logger) (part.Server, error) {
	known, err := users(getenv("USERS_DIR"))
	if err != nil {
		return part.Server{}, err
	}
	broker, err := kafka.Start(kafka.Options{
		Listen:     cmp.Or(getenv("LISTEN"), ":9092"),
		Advertised: getenv("ADVERTISED"),
		DataDir:    cmp.Or(getenv("DATA_DIR"), "/data"),
		Users:      known,
		Passing:    topics.Passing(),
		Log:        log,
	})
	if err != nil {
		return part.Server{}, err
	}
	return part.Server{Addr: broker.Addr(), Ready: broker.Ready, Close: func() error { broker.Close(); return nil }}, nil
}

// admin is the user who may do everything.
const admin = "admin"

// users reads the users of a directory, such as a mounted Secret.
func users(dir string) (known []kafka.User, err error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read USERS_DIR: %w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, "..") {
			continue // how Kubernetes swaps the files of a Secret
		}
		password, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read the password of user %s: %w", name, err)
		}
		u := kafka.User{Name: name, Password: strings.TrimSpace(string(password)), Admin: name == admin}
		if !u.Admin {
			if !slices.Contains(topics.Services(), name) {
				return nil, fmt.Errorf("USERS_DIR has a user %q, to whom nothing gives rights; there are %s and %s", name, strings.Join(topics.Services(), ", "), admin)
			}
			r := topics.RightsOf(name, topics.Names{})
			u.Write, u.Read, u.Describe, u.Make, u.Configure, u.Groups = r.Write, r.Read, r.Describe, r.Make, r.Configure, r.Groups
		}
		known = append(known, u)
	}
	if len(known) == 0 {
		return nil, errors.New("USERS_DIR has no user; nobody could log in")
	}
	return known, nil
}
