// Package store is how services reach their database.
//
// Hot paths read and write by a string _id alone, which is a point look-up in MongoDB as in the embedded store.
package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/labctl/labctl/services/internal/env"
)

// DB is one service's database.
type DB struct {
	*mongo.Database
}

// Variables gives what a service's database is configured by: what URIFromEnv reads, and its name, which the service's settings read.
func Variables(service string) []env.Variable {
	return []env.Variable{
		{Name: "MONGODB_URI", Form: "`mongodb://host:port` and more",
			Meaning: "Where the database is. Exactly one of this and `MONGODB_URI_FILE` must be set."},
		{Name: "MONGODB_URI_FILE", Form: "a path",
			Meaning: "A file with that address."},
		{Name: "MONGODB_DATABASE", Default: service, Form: "a name",
			Meaning: "The database of the service, which is its own."},
	}
}

// URIFromEnv reads MONGODB_URI, or the file that MONGODB_URI_FILE names. Errors never hold the URI, which may hold a password.
func URIFromEnv(getenv func(string) string) (string, error) {
	uri, file := getenv("MONGODB_URI"), getenv("MONGODB_URI_FILE")
	switch {
	case uri != "" && file != "":
		return "", errors.New("MONGODB_URI and MONGODB_URI_FILE are both set; set one")
	case file != "":
		b, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("MONGODB_URI_FILE: %w", err)
		}
		if uri = strings.TrimSpace(string(b)); uri == "" {
			return "", fmt.Errorf("MONGODB_URI_FILE: %s is empty", file)
		}
	case uri == "":
		return "", errors.New("MONGODB_URI is not set (mongodb://host:port), nor is MONGODB_URI_FILE")
	}
	return uri, nil
}

// Open prepares a connection; the server may be down yet.
func Open(uri, database, service string) (*DB, error) {
	c, err := mongo.Connect(clientOptions(uri, service))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", database, err)
	}
	return &DB{c.Database(database)}, nil
}

// clientOptions has the service for the application's name, unless the URI has one: Cosmos DB learns from it which account a user is of.
func clientOptions(uri, service string) *options.ClientOptions {
	return options.Client().SetAppName(service).ApplyURI(uri).
		SetWriteConcern(writeconcern.Majority()).
		SetServerSelectionTimeout(5 * time.Second).
		SetTimeout(20 * time.Second).
		SetMaxPoolSize(32)
}

// Close ends the connections.
func (d *DB) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	_ = d.Client().Disconnect(ctx) // the process ends; what was acknowledged is safe
}

// Ready says why the database does not answer.
func (d *DB) Ready(ctx context.Context) error {
	if err := d.Client().Ping(ctx, nil); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

// Create makes collections ahead of their first document, so that reads find their indexes from the beginning. Several
// instances may do it at once.
func (d *DB) Create(ctx context.Context, collections ...string) error {
	for _, name := range collections {
		err := Patiently(ctx, func() error { return d.CreateCollection(ctx, name) })
		var ce mongo.CommandError
		const namespaceExists = 48
		if errors.As(err, &ce) && ce.Code == namespaceExists {
			continue
		}
		if err != nil {
			return fmt.Errorf("create collection %s: %w", name, err)
		}
	}
	return nil
}

// Get reads the document with that _id. ok is false if there is none.
func Get[T any](ctx context.Context, c *mongo.Collection, id string) (doc T, ok bool, err error) {
	err = Patiently(ctx, func() error { return c.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&doc) })
	if errors.Is(err, mongo.ErrNoDocuments) {
		return doc, false, nil
	}
	if err != nil {
		return doc, false, fmt.Errorf("read %s %q: %w", c.Name(), id, err)
	}
	return doc, true, nil
}

// Insert adds a document. added is false if there is one with its _id already.
func Insert(ctx context.Context, c *mongo.Collection, doc any) (added bool, err error) {
	err = Patiently(ctx, func() error { _, err := c.InsertOne(ctx, doc); return err })
	if mongo.IsDuplicateKeyError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("insert into %s: %w", c.Name(), err)
	}
	return true, nil
}

// Update changes the document with that _id and those further values (a pair of key and value each). matched is false
// if there is no such document. With a version as such a value it is a compare-and-swap, of which one of several at once
// succeeds. Values are strings, integers and booleans, no operators: so the embedded store needs a look-up, not a scan.
func Update(ctx context.Context, c *mongo.Collection, id string, change bson.D, where ...bson.E) (matched bool, err error) {
	var res *mongo.UpdateResult
	err = Patiently(ctx, func() (err error) {
		res, err = c.UpdateOne(ctx, append(bson.D{{Key: "_id", Value: id}}, where...), change)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("update %s %q: %w", c.Name(), id, err)
	}
	return res.MatchedCount > 0, nil
}

// Delete deletes the document with that _id, if there is one.
func Delete(ctx context.Context, c *mongo.Collection, id string) error {
	if _, err := c.DeleteOne(ctx, bson.D{{Key: "_id", Value: id}}); err != nil {
		return fmt.Errorf("delete %s %q: %w", c.Name(), id, err)
	}
	return nil
}

// Upsert changes the document with that _id, or makes it.
func Upsert(ctx context.Context, c *mongo.Collection, id string, change bson.D) error {
	for range 3 {
		err := Patiently(ctx, func() error {
			_, err := c.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, change, options.UpdateOne().SetUpsert(true))
			return err
		})
		if mongo.IsDuplicateKeyError(err) {
			continue // made by another in between; now it is there to be changed
		}
		if err != nil {
			return fmt.Errorf("upsert %s %q: %w", c.Name(), id, err)
		}
		return nil
	}
	return fmt.Errorf("upsert %s %q: made and gone again three times", c.Name(), id)
}
