// The kafka image: the embedded broker as a server of its own.
//
//	LISTEN      address to bind (:9092)
//	ADVERTISED  host:port that clients are told to use (the bound address)
//	DATA_DIR    where the log is kept (/data)
package main

import (
	"cmp"
	"log/slog"
	"os"

	"github.com/labctl/labctl/images/internal/part"
	"github.com/labctl/labctl/pkg/kafka"
)

func main() { os.Exit(part.Main("kafka", os.Args[1:], start)) }

func start(getenv func(string) string, log *slog.Logger) (part.Server, error) {
	broker, err := kafka.Start(kafka.Options{
		Listen:     cmp.Or(getenv("LISTEN"), ":9092"),
		Advertised: getenv("ADVERTISED"),
		DataDir:    cmp.Or(getenv("DATA_DIR"), "/data"),
		Log:        log,
	})
	if err != nil {
		return part.Server{}, err
	}
	return part.Server{Addr: broker.Addr(), Ready: broker.Ready, Close: func() error { broker.Close(); return nil }}, nil
}
