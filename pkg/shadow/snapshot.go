package shadow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/shadow/compare"
	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/topics"
)

// snapshotForm is of the form of a snapshot. A change of the form, or of what a field means, is a new one.
const snapshotForm = 1

// snapshot is all that a comparer knows at a moment: what was made of the results before a position, and the position.
// The next comparer of the shadow reads on from there, so each record is counted once.
type snapshot struct {
	Form int `json:"form"`
	// Which shadow it is of: a service has one after the other.
	At      time.Time `json:"at"`
	Version string    `json:"version"`

	Position records.Position      `json:"position"`
	Monitor  *verdict.Monitor      `json:"monitor"`
	Shapes   *compare.Shapes       `json:"shapes"`
	Intended int64                 `json:"intended"`
	Nothing  int64                 `json:"nothing"`
	Requests int64                 `json:"requests"`
	LeftOut  map[string]int64      `json:"leftOut"`
	Sides    [side.Count]SideFacts `json:"sides"`
	Started  [side.Count]float64   `json:"started"`
}

// snapshot takes one. The position must be of a moment at which all results before it are counted, and no others.
func (c *Comparer) snapshot(position records.Position) ([]byte, error) {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.Marshal(snapshot{
		Form: snapshotForm, At: c.o.At, Version: c.o.Version,
		Position: position, Monitor: c.monitor, Shapes: c.shapes, Intended: c.intended, Nothing: c.nothing, Requests: c.requests, LeftOut: c.leftOut, Sides: c.sides, Started: c.started,
	})
}

// resume goes on from a snapshot, and gives the position from which results are to be read. ok is false where there is
// none, or one of another shadow.
func (c *Comparer) resume(saved []byte) (position records.Position, ok bool, err error) {
	if saved == nil {
		return position, false, nil
	}
	const next = "end the shadow (labctl shadow abort), and start it again"
	var which struct {
		Form    int       `json:"form"`
		At      time.Time `json:"at"`
		Version string    `json:"version"`
	}
	if err := json.Unmarshal(saved, &which); err != nil {
		return position, false, fmt.Errorf("read the evidence that was saved: %w; %s", err, next)
	}
	if !which.At.Equal(c.o.At) || which.Version != c.o.Version {
		return position, false, nil
	}
	if which.Form != snapshotForm {
		return position, false, fmt.Errorf("read the evidence that was saved: its form is %d, and this comparer knows %d; %s", which.Form, snapshotForm, next)
	}
	var s snapshot
	if err := json.Unmarshal(saved, &s); err != nil {
		return position, false, fmt.Errorf("read the evidence that was saved: %w; %s", err, next)
	}
	if s.Monitor == nil || s.Shapes == nil || s.Position.First == nil {
		return position, false, fmt.Errorf("read the evidence that was saved: a part of it is missing; %s", next)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.monitor, c.shapes, c.intended, c.sides, c.started = s.Monitor, s.Shapes, s.Intended, s.Sides, s.Started
	c.nothing, c.requests, c.leftOut, c.leftOutBefore = s.Nothing, s.Requests, s.LeftOut, s.LeftOut
	return s.Position, true, nil
}

// store keeps the last snapshot.
type store interface {
	// load gives nil where there is none.
	load(ctx context.Context) ([]byte, error)
	save(ctx context.Context, snapshot []byte) error
}

// database is a store in the comparer's own database, which goes with those of the copies: a snapshot has examples of
// what people said, too.
type database struct{ *mongo.Collection }

func storeOf(db *mongo.Client, service string) store {
	return database{db.Database(topics.Comparer(service)).Collection("snapshot")}
}

// snapshotID is the one document's.
const snapshotID = "last"

// maxSnapshot is how many bytes of a snapshot fit into a document. MongoDB has a limit of 16 MiB.
const maxSnapshot = 15 << 20

func (d database) load(ctx context.Context) ([]byte, error) {
	var document struct {
		Snapshot []byte `bson:"snapshot"`
	}
	err := d.FindOne(ctx, bson.D{{Key: "_id", Value: snapshotID}}).Decode(&document)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for saved evidence in the database %s: %w", d.Database().Name(), err)
	}
	return document.Snapshot, nil
}

func (d database) save(ctx context.Context, snapshot []byte) error {
	if len(snapshot) > maxSnapshot {
		return fmt.Errorf("save the evidence: it has %d bytes, and a document has room for %d", len(snapshot), maxSnapshot)
	}
	id := bson.D{{Key: "_id", Value: snapshotID}}
	if _, err := d.ReplaceOne(ctx, id, append(id, bson.E{Key: "snapshot", Value: snapshot}), options.Replace().SetUpsert(true)); err != nil {
		return fmt.Errorf("save the evidence in the database %s: %w", d.Database().Name(), err)
	}
	return nil
}
