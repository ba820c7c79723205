package messaging

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
)

// What became of a record is kept for as long as it may come again: as long as dead letters can be put back (30 days), which is far longer
// than the topic keeps it or a client tries. Then it goes, once a day, by whichever instance is first to say that it does so.
const (
	sendLife   = 30 * 24 * time.Hour
	pruneEvery = 10 * time.Minute // how often an instance looks whether it is to
	pruneTime  = 15 * time.Minute // how long it may take
	pruneChunk = 100
)

// prunedID is the document that says on which day sends were pruned last.
const prunedID = "pruned"

type pruned struct {
	ID  string `bson:"_id"`
	Day string `bson:"day"`
}

// prune deletes the old sends if nobody has done so today. It says how many.
func (d *database) prune(ctx context.Context, now time.Time) (n int64, err error) {
	today := now.UTC().Format(time.DateOnly)
	p, ok, err := store.Get[pruned](ctx, d.settings, prunedID)
	switch {
	case err != nil || p.Day >= today:
		return 0, err
	case ok:
		ok, err = store.Update(ctx, d.settings, prunedID, bson.D{{Key: "$set", Value: bson.D{{Key: "day", Value: today}}}}, bson.E{Key: "day", Value: p.Day})
	default:
		ok, err = store.Insert(ctx, d.settings, pruned{ID: prunedID, Day: today})
	}
	if err != nil || !ok {
		return 0, err
	}
	// All of them are read for this, once a day, which the deadline allows for; an index would cost each send more.
	ctx, cancel := context.WithTimeout(ctx, pruneTime)
	defer cancel()
	old := bson.D{{Key: "at", Value: bson.D{{Key: "$lt", Value: now.Add(-sendLife)}}}}
	cursor, err := d.sends.Find(ctx, old, options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		return 0, fmt.Errorf("find old sends: %w", err)
	}
	defer func() { _ = cursor.Close(ctx) }()
	var chunk []mongo.WriteModel
	flush := func() error {
		if len(chunk) == 0 {
			return nil
		}
		// Each by its _id, which is a look-up in the embedded store, too.
		r, err := d.sends.BulkWrite(ctx, chunk, options.BulkWrite().SetOrdered(false))
		if err != nil {
			return fmt.Errorf("delete old sends: %w", err)
		}
		n, chunk = n+r.DeletedCount, chunk[:0]
		return nil
	}
	for cursor.Next(ctx) {
		var s struct {
			ID string `bson:"_id"`
		}
		if err := cursor.Decode(&s); err != nil {
			return n, fmt.Errorf("find old sends: %w", err)
		}
		chunk = append(chunk, mongo.NewDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: s.ID}}))
		if len(chunk) == pruneChunk {
			if err := flush(); err != nil {
				return n, err
			}
		}
	}
	if err := cursor.Err(); err != nil {
		return n, fmt.Errorf("find old sends: %w", err)
	}
	return n, flush()
}

// keepPruned prunes each day, until ctx ends.
func (s *messaging) keepPruned(ctx context.Context) {
	for {
		n, err := s.database.prune(ctx, s.Now())
		if err != nil && ctx.Err() == nil {
			s.Log.Warn("old sends stay for another day", "error", err)
		}
		s.pruned.Add(float64(n))
		if service.Sleep(ctx, pruneEvery) != nil {
			return
		}
	}
}
