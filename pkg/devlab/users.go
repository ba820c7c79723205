package devlab

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/pkg/mongodb"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/topics"
)

// Users are who may log in at the broker and at the database of a run, with passwords of that run: an administrator, each
// service, and each part of a shadow, with the rights that it needs.
type Users struct {
	Kafka   []kafka.User
	MongoDB []mongodb.User
}

// admin is the broker's administrator, and the database's.
const admin = "admin"

// NewUsers makes passwords. So a lab without a cluster finds out about a service that does what it may not do elsewhere.
func NewUsers() Users {
	u := Users{
		Kafka:   []kafka.User{{Name: admin, Password: rand.Text(), Admin: true}},
		MongoDB: []mongodb.User{{Name: admin, Password: rand.Text(), Admin: true}},
	}
	for _, of := range topics.AllUsers() {
		u.Kafka = append(u.Kafka, kafka.User{Name: of.Name, Password: rand.Text(), Rights: kafka.Rights(of.Kafka)})
		if !of.MongoDB.Empty() {
			u.MongoDB = append(u.MongoDB, mongodb.User{Name: of.Name, Password: rand.Text(), Rights: mongodb.Rights(of.MongoDB)})
		}
	}
	return u
}

// usersFile is where the broker and the database find their users, beside their data.
const usersFile = "users.json"

// Save writes them into a directory, where the broker and the database of RunPart find them.
func (u Users) Save(dir string) error {
	b, err := json.Marshal(u)
	if err == nil {
		err = atomicfile.Write(filepath.Join(dir, usersFile), b)
	}
	if err != nil {
		return fmt.Errorf("save the users of the broker and the database: %w", err)
	}
	return nil
}

// savedUsers gives the users that were saved. Without any, all may do everything.
func savedUsers(dir string) (u Users, err error) {
	b, err := os.ReadFile(filepath.Join(dir, usersFile)) //nolint:gosec // a path of our own
	if errors.Is(err, os.ErrNotExist) {
		return Users{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &u)
	}
	if err != nil {
		return Users{}, fmt.Errorf("read the users of the broker and the database: %w", err)
	}
	return u, nil
}

// Password gives a user's password at the broker.
func (u Users) Password(name string) string {
	i := slices.IndexFunc(u.Kafka, func(k kafka.User) bool { return k.Name == name })
	if i < 0 {
		return ""
	}
	return u.Kafka[i].Password
}

// DatabaseURI is how a user finds the database at that address; empty for who has none.
func (u Users) DatabaseURI(address, name string) string {
	i := slices.IndexFunc(u.MongoDB, func(m mongodb.User) bool { return m.Name == name })
	if i < 0 {
		return ""
	}
	return mongodb.URI(address, name, u.MongoDB[i].Password)
}

// SideVariables are those that set a side of a shadow apart from the live service, whose other variables it has. The
// database is at that address.
func (u Users) SideVariables(service string, s side.Side, database string) map[string]string {
	names := side.NamesOf(service)[s]
	all := map[string]string{
		"KAFKA_USER": names.Group, "KAFKA_PASSWORD": u.Password(names.Group), "KAFKA_WRITE_PREFIX": names.WritePrefix, "KAFKA_GROUP": names.Group,
		"MONGODB_URI": u.DatabaseURI(database, names.Group), "SIDE_EFFECTS": "off",
	}
	if topics.Follows(service) {
		all["MONGODB_DATABASE"] = names.Group
	}
	return all
}

// Trial is the work of the comparer of a service, with a broker and a database at those addresses. The caller
// disconnects DB, if the service has one.
func (u Users) Trial(service, broker, database string) (t shadow.Trial, err error) {
	t.Processes = map[side.Side]string{}
	if topics.ReadsLive(service) {
		return t, nil
	}
	name := topics.Comparer(service)
	t.Kafka = []kgo.Opt{kgo.SeedBrokers(broker), kgo.SASL(scram.Auth{User: name, Pass: u.Password(name)}.AsSha512Mechanism())}
	if topics.Follows(service) {
		t.DB, err = mongo.Connect(options.Client().ApplyURI(u.DatabaseURI(database, name)))
	}
	return t, err
}
