package groups

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// pair is what two users are to each other. It has the id of their conversation.
type pair struct {
	ID      string          `bson:"_id"`
	Version int64           `bson:"version"`
	State   string          `bson:"state"` // "", requested or together
	Since   time.Time       `bson:"since"`
	Asker   string          `bson:"asker"` // who has asked, while it is requested
	Sides   map[string]side `bson:"sides"` // by user
	Pending map[string]news `bson:"pending"`
}

const (
	requested = "requested"
	together  = "together"
)

// side is what one user of a pair has said of the other.
type side struct {
	Nickname string `bson:"nickname"`
	Blocks   bool   `bson:"blocks"`
}

// news is what has changed in a pair. Both users hear of it, each with the other's name.
type news struct {
	At      time.Time         `bson:"at"`
	Notices map[string]string `bson:"notices"` // by user: the kind
	Block   string            `bson:"block"`   // blocked or unblocked, for messaging
	By      string            `bson:"by"`
	Request string            `bson:"request,omitempty"` // the id of that which made the change
}

// as gives what other is to user.
func (p pair) as(user, other string) peerCopy {
	c := peerCopy{
		State: wire.RelationNone, Nickname: p.Sides[user].Nickname, Blocks: p.Sides[user].Blocks, BlockedBy: p.Sides[other].Blocks,
	}
	switch {
	case p.State == together:
		c.State, c.Since = wire.RelationContact, p.Since
	case p.State == requested && p.Asker == user:
		c.State, c.Since = wire.RelationOutgoing, p.Since
	case p.State == requested:
		c.State, c.Since = wire.RelationIncoming, p.Since
	}
	return c
}

func (c peerCopy) none() bool { return c.State == wire.RelationNone }

// relation is what user is told of other.
func (p pair) relation(user, other string) wire.Relation {
	c := p.as(user, other)
	r := wire.Relation{User: other, State: c.State, Nickname: c.Nickname, Blocked: c.Blocks}
	if !c.none() {
		r.Since = new(wire.At(c.Since))
	}
	return r
}

// apart ends what was, so that only blocks stay, and gives the notice of it for both; "" if there was nothing.
func (p *pair) apart() (kind string) {
	switch p.State {
	case together:
		kind = wire.NoticeContactGone
	case requested:
		kind = wire.NoticeRequestGone
	}
	p.State, p.Asker, p.Since = "", "", time.Time{}
	for u, s := range p.Sides {
		s.Nickname = ""
		p.Sides[u] = s
	}
	return kind
}

func (p *pair) set(user string, f func(*side)) {
	s := p.Sides[user]
	f(&s)
	if p.Sides == nil {
		p.Sides = map[string]side{}
	}
	p.Sides[user] = s
}

func (p pair) blocked() bool {
	for _, s := range p.Sides {
		if s.Blocks {
			return true
		}
	}
	return false
}

// both gives the same notice to both users.
func both(a, b, kind string) map[string]string { return map[string]string{a: kind, b: kind} }

// notBlocked says why one user can't reach the other: one of them has blocked the other. No block is had of oneself.
func (s *groups) notBlocked(ctx context.Context, by, user string) error {
	p, _, err := store.Get[pair](ctx, s.pairs(), wire.DirectID(by, user))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return p.open(by)
}

// open says why user can't reach the other.
func (p pair) open(user string) error {
	switch {
	case p.Sides[user].Blocks:
		return &service.Error{Status: http.StatusForbidden, Code: wire.CodeBlocked, Message: "you have blocked that user; unblock them first"}
	case p.blocked():
		return &service.Error{Status: http.StatusForbidden, Code: wire.CodeBlocked, Message: "that user does not want to hear from you"}
	}
	return nil
}

// changePair lets f change what two users are to each other. Without news nothing is changed. f may run more than once.
func (s *groups) changePair(ctx context.Context, user, other string, f func(*pair) (*news, error)) (wire.Relation, error) {
	id := wire.DirectID(user, other)
	for range maxTries {
		p, ok, err := store.Get[pair](ctx, s.pairs(), id)
		if err != nil {
			return wire.Relation{}, service.Unavailable("the database", err)
		}
		before := p.Version
		n, err := f(&p)
		if err != nil || n == nil {
			return p.relation(user, other), err
		}
		p.Version++
		n.By, n.At, n.Request = user, s.Now().UTC(), trace.Request(ctx)
		v := strconv.FormatInt(p.Version, 10)
		if err := s.mark(ctx, id, p.Version); err != nil {
			return wire.Relation{}, err
		}
		var done bool
		if ok {
			done, err = store.Update(ctx, s.pairs(), id, bson.D{{Key: "$set", Value: bson.D{
				{Key: "state", Value: p.State}, {Key: "since", Value: p.Since}, {Key: "asker", Value: p.Asker}, {Key: "sides", Value: p.Sides},
				{Key: "version", Value: p.Version}, {Key: "pending." + v, Value: n},
			}}}, bson.E{Key: "version", Value: before})
		} else {
			p.ID, p.Pending = id, map[string]news{v: *n}
			done, err = store.Insert(ctx, s.pairs(), p)
		}
		if err != nil {
			return wire.Relation{}, service.Unavailable("the database", err)
		}
		if done {
			s.publishSoon(ctx, id)
			return p.relation(user, other), nil
		}
	}
	return wire.Relation{}, service.Unavailable("the contact", errBusy)
}

// publishPair lets a pair's pending news out: both users' copies first, then the records in order of version.
func (s *groups) publishPair(ctx context.Context, id string) error {
	p, ok, err := store.Get[pair](ctx, s.pairs(), id)
	if err != nil || !ok {
		return err
	}
	versions, err := inOrder(id, p.Pending)
	if err != nil || len(versions) == 0 {
		return err
	}
	a, b, _ := wire.Direct(id)
	other := map[string]string{a: b, b: a}
	for _, u := range []string{a, b} {
		if err := s.copyPair(ctx, id, u, other[u]); err != nil {
			return fmt.Errorf("publish %s: %w", id, err)
		}
	}
	for _, v := range versions {
		n := p.Pending[strconv.FormatInt(v, 10)]
		var records []*kgo.Record
		if n.Block != "" {
			records = append(records, &kgo.Record{Topic: bus.Messages, Key: []byte(id), Value: wire.Encode(wire.Record{
				Type: wire.RecordBlock, Conversation: id, Sender: n.By, ClientID: wire.BlockID(v), Event: &wire.GroupEvent{Type: n.Block}, At: wire.At(n.At),
			})})
		}
		for _, to := range slices.Sorted(slices.Values([]string{a, b})) {
			if kind := n.Notices[to]; kind != "" {
				records = append(records, tell(to, wire.Notice{Kind: kind, User: other[to]}))
			}
		}
		if err := s.out(trace.WithRequest(ctx, n.Request), s.pairs(), id, v, records); err != nil {
			return err
		}
	}
	return nil
}
