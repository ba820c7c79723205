package groups

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// A copy is a part of a document that repeats what another one, the original, says, so that a look-up is one point read. It
// is made anew from the original, which is read after the document that holds the copy; and that document is written only if it has not
// changed since, also by who finds the copy right: one who has read an older original may be about to write. So whoever comes late can't
// put something older in the place of something newer, however many do it at once.

// person is what is known of a user in one place. Copies of pairs and of groups' invitations.
type person struct {
	ID          string                `bson:"_id"`
	Version     int64                 `bson:"version"`
	Peers       map[string]peerCopy   `bson:"peers"`       // by user
	Invitations map[string]invitation `bson:"invitations"` // by group
}

// peerCopy is what another user is to this one.
type peerCopy struct {
	State     string    `bson:"state"`
	Since     time.Time `bson:"since"`
	Nickname  string    `bson:"nickname"`
	Blocks    bool      `bson:"blocks"`     // this user has blocked the other
	BlockedBy bool      `bson:"blocked_by"` // the other this one
}

// names holds the public groups with a word in the title that begins so.
type names struct {
	ID      string            `bson:"_id"`
	Version int64             `bson:"version"`
	Groups  map[string]string `bson:"groups"` // id to title
}

func (p person) version() int64 { return p.Version }
func (n names) version() int64  { return n.Version }

// renew changes the document with that _id by what f gives for it, an update without its version; nil where the copy is right already.
func renew[T interface{ version() int64 }](ctx context.Context, c *mongo.Collection, id string, f func(T) (bson.D, error)) error {
	for range maxTries {
		doc, ok, err := store.Get[T](ctx, c, id)
		if err != nil {
			return err
		}
		change, err := f(doc)
		if err != nil {
			return err
		}
		if !ok {
			if _, err := store.Insert(ctx, c, bson.D{{Key: "_id", Value: id}, {Key: "version", Value: int64(0)}}); err != nil {
				return err
			}
		}
		change = append(change, bson.E{Key: "$inc", Value: bson.D{{Key: "version", Value: int64(1)}}})
		matched, err := store.Update(ctx, c, id, change, bson.E{Key: "version", Value: doc.version()})
		if err != nil || matched {
			return err
		}
	}
	return fmt.Errorf("renew %s %q: %w", c.Name(), id, errBusy)
}

// put gives the update that sets a field, drop the one that removes it.
func put(field string, v any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: v}}}}
}
func drop(field string) bson.D {
	return bson.D{{Key: "$unset", Value: bson.D{{Key: field, Value: ""}}}}
}

// copyInvitation copies a user's invitation to a group, or that there is none any more.
func (s *groups) copyInvitation(ctx context.Context, user, id string) error {
	return renew(ctx, s.people(), user, func(p person) (bson.D, error) {
		g, _, err := store.Get[group](ctx, s.groups(), id)
		if err != nil {
			return nil, err
		}
		has, copied := p.Invitations[id]
		is, invited := g.Invited[user]
		switch {
		case invited == copied && has.By == is.By && has.At.Equal(is.At):
			return nil, nil
		case invited:
			return put("invitations."+id, is), nil
		}
		return drop("invitations." + id), nil
	})
}

// copyPair copies what one user of a pair is to the other.
func (s *groups) copyPair(ctx context.Context, id, user, other string) error {
	return renew(ctx, s.people(), user, func(p person) (bson.D, error) {
		original, _, err := store.Get[pair](ctx, s.pairs(), id)
		if err != nil {
			return nil, err
		}
		has, copied := p.Peers[other]
		is := original.as(user, other)
		nothing := is == peerCopy{State: wire.RelationNone}
		switch {
		case nothing && !copied, copied && !nothing && has.same(is):
			return nil, nil
		case nothing:
			return drop("peers." + other), nil
		}
		return put("peers."+other, is), nil
	})
}

func (c peerCopy) same(d peerCopy) bool {
	at := c.Since.Equal(d.Since)
	c.Since, d.Since = time.Time{}, time.Time{}
	return at && c == d
}
