// The kafka image: the embedded broker as a server of its own.
//
//	LISTEN      address to bind (:9092)
//	ADVERTISED  host:port that clients are told to use (the bound address)
//	DATA_DIR    where the log is kept (/data)
//	USERS_DIR   a directory with a file for each user, named like the user, with the password in it: those whom
//	            services/topics gives rights to, and admin, who may do everything. Empty: no log-in, all may do everything
//	TLS_DIR     a directory with the certificate that the broker shows, tls.crt, and its key, tls.key. Empty: no TLS
package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
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
	certificate, err := part.Certificate(getenv("TLS_DIR"))
	if err != nil {
		return part.Server{}, err
	}
	broker, err := kafka.Start(kafka.Options{
		Listen:      cmp.Or(getenv("LISTEN"), ":9092"),
		Advertised:  getenv("ADVERTISED"),
		DataDir:     cmp.Or(getenv("DATA_DIR"), "/data"),
		Users:       known,
		Certificate: certificate,
		Passing:     topics.Passing(),
		Log:         log,
	})
	if err != nil {
		return part.Server{}, err
	}
	return part.Server{Addr: broker.Addr(), Ready: broker.Ready, Close: func() error { broker.Close(); return nil }}, nil
}

// users reads the users of a directory, such as a mounted Secret.
func users(dir string) (known []kafka.User, err error) {
	passwords, err := part.Users(dir)
	if err != nil {
		return nil, err
	}
	for name, password := range passwords {
		u, ok := topics.UserOf(name)
		if !ok && name != part.Admin {
			var names []string
			for _, u := range topics.AllUsers() {
				names = append(names, u.Name)
			}
			return nil, fmt.Errorf("USERS_DIR has a user %q, to whom nothing gives rights; there are %s and %s", name, strings.Join(names, ", "), part.Admin)
		}
		known = append(known, kafka.User{Name: name, Password: password, Admin: name == part.Admin, Rights: kafka.Rights(u.Kafka)})
	}
	return known, nil
}
