package groups

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/deletion"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// publishSoon lets the news of a group or pair out before the caller gets an answer. Where that fails, the change stands, and the sweep does it.
func (s *groups) publishSoon(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := s.publish(ctx, id); err != nil {
		s.Log.Warn("a change is not published yet", "of", id, "error", err)
	}
}

func (s *groups) publish(ctx context.Context, id string) error {
	if _, _, ok := wire.Direct(id); ok {
		return s.publishPair(ctx, id)
	}
	return s.publishGroup(ctx, id)
}

// publishGroup lets a group's pending news out: copies first, which need no Kafka, then the records in order of version.
func (s *groups) publishGroup(ctx context.Context, id string) error {
	g, ok, err := store.Get[group](ctx, s.groups(), id)
	if err != nil || !ok {
		return err
	}
	versions, err := inOrder(id, g.Pending)
	if err != nil {
		return err
	}
	for _, n := range versions {
		if err := s.copyGroup(ctx, g, g.Pending[strconv.FormatInt(n, 10)]); err != nil {
			return err
		}
	}
	for _, n := range versions {
		v := strconv.FormatInt(n, 10)
		e := g.Pending[v]
		var records []*kgo.Record
		if e.Type != "" {
			records = append(records, &kgo.Record{Topic: bus.Messages, Key: []byte(id), Value: wire.Encode(wire.Record{
				Type: wire.RecordGroup, Conversation: id, Sender: e.By, ClientID: v, Event: &e.GroupEvent, At: wire.At(e.At),
			})})
		}
		for _, to := range slices.Sorted(maps.Keys(e.Notices)) {
			records = append(records, tell(to, wire.Notice{Kind: e.Notices[to].Kind, User: e.Notices[to].By, Group: id}))
		}
		if err := s.out(trace.WithRequest(ctx, e.Request), s.groups(), id, n, records); err != nil {
			return err
		}
	}
	return nil
}

// writesAtOnce is how many users' documents are written at once: a group may have a thousand new members. One command for many of them would be
// cheaper, but FerretDB 1.24 holds a connection for each update in a command, and waits for ever when it has no more.
const writesAtOnce = 8

// copyGroup brings up to date what others look up of a group.
func (s *groups) copyGroup(ctx context.Context, g group, e event) error {
	if e.Type == wire.Created || e.Type == wire.MemberAdded {
		writing, within := errgroup.WithContext(ctx)
		writing.SetLimit(writesAtOnce)
		for _, u := range e.Users {
			writing.Go(func() error {
				return store.Upsert(within, s.members(), u, bson.D{{Key: "$set", Value: bson.D{{Key: "groups." + g.ID, Value: true}}}})
			})
		}
		if err := writing.Wait(); err != nil {
			return err
		}
	}
	for u := range e.Notices {
		if err := s.copyInvitation(ctx, u, g.ID); err != nil {
			return err
		}
	}
	if e.Was != nil {
		return s.copyTitle(ctx, g.ID, *e.Was, g.Title)
	}
	return nil
}

// tell makes the record of a notice.
func tell(to string, n wire.Notice) *kgo.Record {
	n.Type = wire.FrameNotice
	return &kgo.Record{Topic: bus.Users, Key: []byte(to), Value: wire.Encode(n)}
}

// inOrder gives the versions of pending news.
func inOrder[T any](id string, pending map[string]T) ([]int64, error) {
	var versions []int64
	for v := range pending {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("publish %s: pending version %q", id, v)
		}
		versions = append(versions, n)
	}
	slices.Sort(versions)
	return versions, nil
}

// out brings the records of one version into Kafka, and then forgets that they are pending. Their topics have the names of the table.
func (s *groups) out(ctx context.Context, c *mongo.Collection, id string, version int64, records []*kgo.Record) error {
	for _, r := range records {
		r.Topic = s.Kafka.Writes(r.Topic)
	}
	if err := s.kafka.ProduceSync(ctx, records...).FirstErr(); err != nil {
		return fmt.Errorf("publish %s version %d: %w", id, version, err)
	}
	pending := "pending." + strconv.FormatInt(version, 10)
	if _, err := store.Update(ctx, c, id, bson.D{{Key: "$unset", Value: bson.D{{Key: pending, Value: ""}}}}); err != nil {
		return err
	}
	if err := store.Delete(ctx, s.outbox(), markerID(id, version)); err != nil {
		return fmt.Errorf("unmark %s version %d: %w", id, version, err)
	}
	return nil
}

// staleMarker is when a mark without a change is given up: no request lasts so long.
const staleMarker = 2 * time.Minute

// work sweeps, and erases deleted users, until ctx ends. In a shadow, the live instances do.
func (s *groups) work(ctx context.Context) error {
	if s.Shadow {
		<-ctx.Done()
		return nil
	}
	var erasing sync.WaitGroup
	erasing.Go(func() {
		deletion.Follower{Auth: s.auth, Every: s.Config.Erase, Log: s.Log, Erase: s.erase}.Follow(ctx)
	})
	defer erasing.Wait()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.Warn("changes are not published yet", "error", err)
		}
		if err := service.Sleep(ctx, s.Sweep); err != nil {
			return nil //nolint:nilerr // told to stop
		}
	}
}

func (s *groups) sweep(ctx context.Context) error {
	cursor, err := s.outbox().Find(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var markers []marker
	if err := cursor.All(ctx, &markers); err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	var errs []error
	for _, m := range markers {
		age := s.Now().Sub(m.Since)
		if age < s.Sweep {
			continue // its request is at it
		}
		if err := s.publish(ctx, m.Of); err != nil {
			errs = append(errs, err)
			continue
		}
		if age > staleMarker { // published by now, or never changed; unless someone is about to make that change just now
			if _, err := s.outbox().DeleteOne(ctx, bson.D{{Key: "_id", Value: m.ID}, {Key: "since", Value: m.Since}}); err != nil {
				errs = append(errs, fmt.Errorf("unmark %s: %w", m.ID, err))
			}
		}
	}
	return errors.Join(errs...)
}
