// Package connect lets programs beside the services reach Kafka and the databases as the services do: by the same
// variables (docs/configuration.md).
package connect

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
)

// Kafka gives the options of a client that reaches the brokers as a user, by the variables KAFKA_*.
func Kafka(user string, getenv func(string) string) ([]kgo.Opt, error) {
	c, err := bus.FromEnv(user, getenv)
	if err != nil {
		return nil, fmt.Errorf("reach Kafka: %w", err)
	}
	return append(c.Access(), kgo.ClientID(user)), nil
}

// MongoDB gives a client of the databases, by MONGODB_URI or MONGODB_URI_FILE. The server may be down yet.
func MongoDB(user string, getenv func(string) string) (*mongo.Client, error) {
	uri, err := store.URIFromEnv(getenv)
	if err != nil {
		return nil, fmt.Errorf("reach MongoDB: %w", err)
	}
	db, err := store.Open(uri, "admin", user)
	if err != nil {
		return nil, err
	}
	return db.Client(), nil
}
