package groups

import (
	"context"
	"errors"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// erase takes a deleted user out of all groups, and ends what others have to do with them. Where it was done already, nothing changes.
func (s *groups) erase(ctx context.Context, d wire.Deletion) error {
	m, _, err := store.Get[membership](ctx, s.members(), d.User)
	if err != nil {
		return err
	}
	p, _, err := store.Get[person](ctx, s.people(), d.User)
	if err != nil {
		return err
	}
	for _, id := range slices.Concat(slices.Sorted(maps.Keys(m.Groups)), slices.Sorted(maps.Keys(p.Invitations))) {
		if err := s.eraseFromGroup(ctx, d.User, id); err != nil {
			return err
		}
	}
	for _, other := range slices.Sorted(maps.Keys(p.Peers)) {
		if err := s.erasePair(ctx, d.User, other); err != nil {
			return err
		}
	}
	if !d.Final {
		return nil // they say where to look the next time
	}
	for _, c := range []*mongo.Collection{s.members(), s.people()} {
		if err := store.Delete(ctx, c, d.User); err != nil {
			return err
		}
	}
	return nil
}

func (s *groups) eraseFromGroup(ctx context.Context, user, id string) error {
	uncounted := func(string, string, string, int) error { return nil }
	_, err := s.changeCounted(ctx, id, user, uncounted, func(g *group) (events []event, _ error) {
		g.Barred = slices.DeleteFunc(g.Barred, func(u string) bool { return u == user })
		if g.role(user) != "" {
			return []event{g.leaves(user)}, nil
		}
		return g.uninvite(user), nil
	})
	if e, ok := errors.AsType[*service.Error](err); ok && e.Code == wire.CodeNotFound {
		return nil // the group is gone
	}
	return err
}

// erasePair leaves of a pair what the other has said: that may be a block.
func (s *groups) erasePair(ctx context.Context, user, other string) error {
	_, err := s.changePair(ctx, user, other, func(p *pair) (*news, error) {
		blocks, kind := p.Sides[user].Blocks, p.apart()
		delete(p.Sides, user)
		if kind == "" && !blocks {
			return nil, nil
		}
		n := &news{Notices: map[string]string{}}
		if kind != "" {
			n.Notices[other] = kind
		}
		if blocks {
			n.Block = wire.Unblocked
		}
		return n, nil
	})
	return err
}
