package gateway

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

var errTicket = errors.New("the ticket is unknown, used or expired")

// tickets lets a browser, which can't send an Authorization header with a WebSocket, show who it is without an access token
// in the address. Any gateway takes any gateway's ticket: all share one key, and the insert of a ticket's id
// into their database is what makes it work once.
type tickets struct {
	db  *store.DB
	ttl time.Duration
	now func() time.Time
	key []byte // set by start

	mu      sync.Mutex
	waiting []*use
	writing bool
}

// use is a ticket that is being used up.
type use struct {
	doc   bson.D
	done  chan struct{}
	first bool
	err   error
}

type ticket struct {
	ID      string `json:"i"`
	User    string `json:"u"`
	Session string `json:"s"`
	Expires int64  `json:"e"` // milliseconds
}

// migrations have made the database what it is. One that has run anywhere stays as it is; a change is a new one at the end.
func migrations() []store.Migration {
	return []store.Migration{store.Collections("settings", "used_tickets")}
}

func (t *tickets) start(ctx context.Context) error {
	if err := t.db.Migrate(ctx, migrations()); err != nil {
		return err
	}
	type key struct {
		ID  string `bson:"_id"`
		Key []byte `bson:"key"`
	}
	const id = "ticket-key"
	k, ok, err := store.Get[key](ctx, t.db.Collection("settings"), id)
	if err != nil {
		return err
	}
	if !ok {
		k = key{ID: id, Key: make([]byte, 32)}
		if _, err := rand.Read(k.Key); err != nil {
			return fmt.Errorf("make the ticket key: %w", err)
		}
		// Of several gateways one inserts; all use what is there.
		if _, err := store.Insert(ctx, t.db.Collection("settings"), k); err != nil {
			return err
		}
		if k, _, err = store.Get[key](ctx, t.db.Collection("settings"), id); err != nil {
			return err
		}
	}
	t.key = k.Key
	return nil
}

func (t *tickets) issue(user, session string) string {
	payload := base64.RawURLEncoding.EncodeToString(wire.Encode(ticket{
		ID: rand.Text(), User: user, Session: session, Expires: t.now().Add(t.ttl).UnixMilli(),
	}))
	return payload + "." + t.sign(payload)
}

func (t *tickets) sign(payload string) string {
	mac := hmac.New(sha256.New, t.key)
	_, _ = mac.Write([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// redeem uses a ticket up. The error is errTicket if it is no good.
func (t *tickets) redeem(ctx context.Context, raw string) (ticket, error) {
	var k ticket
	payload, mac, ok := strings.Cut(raw, ".")
	if !ok || len(raw) > 1024 || !hmac.Equal([]byte(t.sign(payload)), []byte(mac)) {
		return k, errTicket
	}
	b, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil || json.Unmarshal(b, &k) != nil {
		return k, errTicket
	}
	if t.now().UnixMilli() >= k.Expires {
		return k, errTicket
	}
	first, err := t.use(ctx, bson.D{{Key: "_id", Value: k.ID}, {Key: "expires", Value: k.Expires}})
	if err != nil {
		return k, err
	}
	if !first {
		return k, errTicket
	}
	return k, nil
}

// useTime is how long the database may take for used tickets.
const useTime = 10 * time.Second

// use notes a ticket, together with those that come while others are noted. first is false if it was noted before.
func (t *tickets) use(ctx context.Context, doc bson.D) (first bool, err error) {
	u := &use{doc: doc, done: make(chan struct{})}
	t.mu.Lock()
	t.waiting = append(t.waiting, u)
	if !t.writing {
		t.writing = true
		go t.write() //nolint:gosec // G118: for others, too
	}
	t.mu.Unlock()
	select {
	case <-u.done:
		return u.first, u.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// write notes tickets until none waits.
func (t *tickets) write() {
	for {
		t.mu.Lock()
		all := t.waiting
		t.waiting = nil
		t.writing = len(all) > 0
		t.mu.Unlock()
		if len(all) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), useTime)
		t.note(ctx, all)
		cancel()
		for _, u := range all {
			close(u.done)
		}
	}
}

// note writes tickets. What the database does not take in one with the others, it is asked for alone.
func (t *tickets) note(ctx context.Context, all []*use) {
	c := t.db.Collection("used_tickets")
	alone := all
	if len(all) > 1 {
		docs := make([]bson.D, len(all))
		for i, u := range all {
			docs[i], u.first = u.doc, true
		}
		_, err := c.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		var bulk mongo.BulkWriteException
		switch {
		case err == nil:
			return
		case errors.As(err, &bulk) && bulk.WriteConcernError == nil:
			alone = nil
			for _, e := range bulk.WriteErrors {
				all[e.Index].first = false
				if !mongo.IsDuplicateKeyError(e) {
					alone = append(alone, all[e.Index])
				}
			}
		default:
			for _, u := range all {
				u.first, u.err = false, fmt.Errorf("note used tickets: %w", err)
			}
			return
		}
	}
	for _, u := range alone {
		u.first, u.err = store.Insert(ctx, c, u.doc)
	}
}

// sweep forgets used tickets that are expired anyway.
func (t *tickets) sweep(ctx context.Context) error {
	before := t.now().Add(-time.Minute).UnixMilli() // clocks of gateways differ
	if _, err := t.db.Collection("used_tickets").DeleteMany(ctx, bson.D{{Key: "expires", Value: bson.D{{Key: "$lt", Value: before}}}}); err != nil {
		return fmt.Errorf("delete expired tickets: %w", err)
	}
	return nil
}

func (g *gateway) ticket(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	for _, who := range []struct {
		buckets *limit.Buckets
		key     string
	}{{g.byAddress, g.Address(r)}, {g.byUser, caller.User}} {
		if wait, ok := who.buckets.Take(who.key); !ok {
			g.flooding.Inc()
			return service.Busy("too much at once from this address or user", wait)
		}
	}
	return service.Write(w, http.StatusOK, struct {
		Ticket  string `json:"ticket"`
		Expires int    `json:"expires_in"`
	}{g.tickets.issue(caller.User, caller.Session), int(g.TicketTTL.Seconds())})
}
