package groups

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/trace"
)

// maxTries is how often a change begins anew because another came first. Each time one of those who try succeeds.
const maxTries = 50

var errBusy = errors.New("too many change it at once")

// change lets f change a group that is not gone, on behalf of a user, and publishes the events that f gives, each a version of its own. With no
// event nothing is changed, and nothing counts. f may run more than once, each time on the group as it is then.
func (s *groups) change(ctx context.Context, id, by string, f func(*group) ([]event, error)) (group, error) {
	return s.changeCounted(ctx, id, by, s.mayChangeGroup, f)
}

// changeCounted is change for who may do so as often as count says.
func (s *groups) changeCounted(ctx context.Context, id, by string, count func(id, role, by string, n int) error, f func(*group) ([]event, error)) (group, error) {
	counted := false
	for range maxTries {
		g, _, err := store.Get[group](ctx, s.groups(), id)
		if err != nil {
			return g, service.Unavailable("the database", err)
		}
		if g.gone() {
			return g, service.NotFound("group")
		}
		before, role := g.Version, g.role(by)
		events, err := f(&g)
		if err != nil || len(events) == 0 {
			return g, err
		}
		if !counted {
			if err := count(id, role, by, len(events)); err != nil {
				return g, err
			}
			counted = true
		}
		set := bson.D{}
		for _, e := range events {
			g.Version++
			if err := s.mark(ctx, id, g.Version); err != nil {
				return g, err
			}
			e.By, e.At, e.Request = by, s.Now().UTC(), trace.Request(ctx)
			set = append(set, bson.E{Key: "pending." + strconv.FormatInt(g.Version, 10), Value: e})
		}
		set = append(set, bson.D{
			{Key: "title", Value: g.Title}, {Key: "public", Value: g.Public}, {Key: "version", Value: g.Version},
			{Key: "members", Value: g.Members}, {Key: "invited", Value: g.Invited}, {Key: "barred", Value: g.Barred},
		}...)
		matched, err := store.Update(ctx, s.groups(), id, bson.D{{Key: "$set", Value: set}}, bson.E{Key: "version", Value: before})
		if err != nil {
			return g, service.Unavailable("the database", err)
		}
		if matched {
			s.publishSoon(ctx, id)
			return g, nil
		}
	}
	return group{}, service.Unavailable("the group", errBusy)
}

// marker says that a version of a group or a pair may have news that are not out.
type marker struct {
	ID    string    `bson:"_id"`
	Of    string    `bson:"group"` // the group or pair
	Since time.Time `bson:"since"`
}

func markerID(id string, version int64) string {
	return id + "/" + strconv.FormatInt(version, 10)
}

// mark comes before the change. Another may have marked the same version: one of the two will make the change and remove the mark. A
// mark that was left by who did not come to a change is made young again, so that the sweep does not take it for a stale one.
func (s *groups) mark(ctx context.Context, id string, version int64) error {
	err := store.Upsert(ctx, s.outbox(), markerID(id, version), bson.D{{Key: "$set", Value: bson.D{
		{Key: "group", Value: id}, {Key: "since", Value: s.Now().UTC()},
	}}})
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return nil
}
