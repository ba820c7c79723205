package auth

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/store"
)

// Each session stands in the document of the day on which it expires, or did when it was last used some days before; documents are split
// by the session's id, so that they stay small. When a day is over its documents are read and deleted, and with them the
// sessions in them that have expired. So nothing ever searches all sessions.
const shards = 256

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// shard is the document of the session: ids end in random digits.
func shard(id string) string { return id[max(0, len(id)-2):] }

func expiryID(day, shard string) string { return day + "/" + shard }

// expect puts a session where the pruning finds it when it has expired.
func (a *auth) expect(ctx context.Context, s session) error {
	return store.Upsert(ctx, a.expiries(), expiryID(day(s.Expires), shard(s.ID)),
		bson.D{{Key: "$set", Value: bson.D{{Key: "sessions." + s.ID, Value: true}}}})
}

// prunedID is the document that says which day was pruned last.
const prunedID = "pruned"

type prunedDay struct {
	ID  string    `bson:"_id"`
	Day time.Time `bson:"day"` // its beginning
}

// prune deletes the sessions that expired on days which are over. Several instances may do it at once.
func (a *auth) prune(ctx context.Context) error {
	const oneDay = 24 * time.Hour
	yesterday := a.Now().UTC().Truncate(oneDay).Add(-oneDay)
	last, ok, err := store.Get[prunedDay](ctx, a.settings(), prunedID)
	if err != nil {
		return err
	}
	if !ok { // the first time; no session is older
		last = prunedDay{ID: prunedID, Day: yesterday}
		if _, err := store.Insert(ctx, a.settings(), last); err != nil {
			return err
		}
	}
	for d := last.Day.UTC().Add(oneDay); !d.After(yesterday); d = d.Add(oneDay) {
		for i := range shards {
			if err := a.pruneShard(ctx, expiryID(day(d), fmt.Sprintf("%02x", i))); err != nil {
				return err
			}
		}
		if err := store.Upsert(ctx, a.settings(), prunedID, bson.D{{Key: "$max", Value: bson.D{{Key: "day", Value: d}}}}); err != nil {
			return err
		}
	}
	return nil
}

func (a *auth) pruneShard(ctx context.Context, id string) error {
	type expiry struct {
		Sessions map[string]bool `bson:"sessions"`
	}
	e, ok, err := store.Get[expiry](ctx, a.expiries(), id)
	if err != nil || !ok {
		return err
	}
	for sid := range e.Sessions {
		s, ok, err := store.Get[session](ctx, a.sessions(), sid)
		if err != nil {
			return err
		}
		if !ok || a.Now().Before(s.Expires) {
			continue // ended, or used since, and then it stands under another day
		}
		// A socket that was open all the time has to close, too.
		if err := a.end(ctx, s); err != nil {
			return err
		}
		a.pruned.Inc()
	}
	return store.Delete(ctx, a.expiries(), id)
}
