package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// pending is an end that is written down before it is made and deleted once Kafka has it: whatever stops auth in between, the sweep
// finishes it.
type pending struct {
	ID    string    `bson:"_id"` // the session, or "<user>/<epoch>"
	User  string    `bson:"user"`
	Name  string    `bson:"name"`  // with an epoch: the name's key
	Epoch int64     `bson:"epoch"` // all sessions of older ones end, if the name has reached this one; 0: one session ends
	Since time.Time `bson:"since"`
}

// tellTime is how long a request waits for Kafka to have heard of an end. After that the sweep goes on.
const tellTime = 3 * time.Second

// end ends a session for good and tells the gateways, which close its sockets. Where Kafka is away it is told later.
func (a *auth) end(ctx context.Context, s session) error {
	ctx = context.WithoutCancel(ctx) // what has begun is not left half done because a client went away
	p := pending{ID: s.ID, User: s.User, Since: a.Now().UTC()}
	isFirst, err := store.Insert(ctx, a.ends(), p)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if isFirst {
		a.audit(ctx).Info(eventSessionEnded, "user", s.User, "session", s.ID)
	}
	if err := a.finish(ctx, p); err != nil {
		if _, ok := errors.AsType[*kafkaError](err); ok {
			a.Log.Warn("the end of a session is told later", "session", s.ID, "error", err)
			return nil
		}
		return service.Unavailable("the database", err)
	}
	return nil
}

// kafkaError says that all is done but the telling.
type kafkaError struct{ error }

func (e *kafkaError) Unwrap() error { return e.error }

// finish makes a pending end.
func (a *auth) finish(ctx context.Context, p pending) error {
	if p.Epoch > 0 {
		return a.finishAll(ctx, p)
	}
	if err := store.Delete(ctx, a.sessions(), p.ID); err != nil {
		return err
	}
	if _, err := store.Update(ctx, a.devices(), p.User, bson.D{{Key: "$unset", Value: bson.D{{Key: "sessions." + p.ID, Value: ""}}}}); err != nil {
		return err
	}
	if err := a.tell(ctx, p); err != nil {
		return &kafkaError{err}
	}
	return store.Delete(ctx, a.ends(), p.ID)
}

// tell writes the end of a session to Kafka. It gives up waiting after tellTime.
func (a *auth) tell(ctx context.Context, p pending) error {
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	value := wire.Encode(wire.SessionEnd{Session: p.ID, User: p.User, At: wire.At(a.Now())})
	told := make(chan error, 1)
	a.kafka.Produce(ctx, &kgo.Record{Topic: a.Kafka.Writes(bus.Sessions), Key: []byte(p.ID), Value: value}, func(_ *kgo.Record, err error) { told <- err })
	select {
	case err := <-told:
		if err != nil {
			return fmt.Errorf("tell the end of session %s: %w", p.ID, err)
		}
		a.told.Inc()
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tell the end of session %s: %w", p.ID, ctx.Err())
	}
}

// endOlder ends a user's sessions of epochs before that one, which the name has reached, and gives how many there were.
func (a *auth) endOlder(ctx context.Context, user string, epoch int64) (n int, err error) {
	all, err := a.of(ctx, user)
	if err != nil {
		return 0, service.Unavailable("the database", err)
	}
	for _, s := range all {
		if s.Epoch < epoch {
			if err := a.end(ctx, s); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// renew changes a name in a way after which its older sessions end: change is written together with the next epoch, if the name is still
// as it was read. keep, if not empty, is a session that goes on. It gives how many have ended.
func (a *auth) renew(ctx context.Context, n username, change bson.D, keep string) (ended int, matched bool, err error) {
	ctx = context.WithoutCancel(ctx)
	next := n.Epoch + 1
	p := pending{ID: fmt.Sprintf("%s/%d", n.User, next), User: n.User, Name: n.ID, Epoch: next, Since: a.Now().UTC()}
	if _, err := store.Insert(ctx, a.ends(), p); err != nil {
		return 0, false, service.Unavailable("the database", err)
	}
	set := append(bson.D{{Key: "epoch", Value: next}}, change...)
	matched, err = store.Update(ctx, a.names(), n.ID, bson.D{{Key: "$set", Value: set}},
		bson.E{Key: "hash", Value: n.Hash}, bson.E{Key: "epoch", Value: n.Epoch})
	if err != nil {
		return 0, false, service.Unavailable("the database", err)
	}
	if !matched {
		return 0, false, nil
	}
	if keep != "" {
		if _, err := store.Update(ctx, a.sessions(), keep, bson.D{{Key: "$set", Value: bson.D{{Key: "epoch", Value: next}}}}); err != nil {
			return 0, true, service.Unavailable("the database", err)
		}
	}
	if ended, err = a.endOlder(ctx, n.User, next); err != nil {
		return ended, true, err
	}
	if err := store.Delete(ctx, a.ends(), p.ID); err != nil {
		return ended, true, service.Unavailable("the database", err)
	}
	return ended, true, nil
}

// abandoned is when a change that was written down and not made is given up: no request lasts so long.
const abandoned = 2 * time.Minute

func (a *auth) finishAll(ctx context.Context, p pending) error {
	n, _, err := a.named(ctx, p.Name)
	if err != nil {
		return err
	}
	if n.Epoch < p.Epoch {
		if a.Now().Sub(p.Since) > abandoned {
			return store.Delete(ctx, a.ends(), p.ID)
		}
		return nil
	}
	if _, err := a.endOlder(ctx, p.User, n.Epoch); err != nil {
		return err
	}
	return store.Delete(ctx, a.ends(), p.ID)
}

// sweep finishes what was begun and left. There is little of it at any time, so it may be read as a whole.
func (a *auth) sweep(ctx context.Context) error {
	cursor, err := a.ends().Find(ctx, bson.D{})
	if err != nil {
		return fmt.Errorf("read the pending ends: %w", err)
	}
	var all []pending
	if err := cursor.All(ctx, &all); err != nil {
		return fmt.Errorf("read the pending ends: %w", err)
	}
	var errs []error
	for _, p := range all {
		if a.Now().Sub(p.Since) < a.Sweep {
			continue // its request is at it
		}
		if err := a.finish(ctx, p); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
