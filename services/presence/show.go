package presence

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
	"github.com/labctl/labctl/services/topics"
)

// audience gives those who may see a user, and whom the user may see: they share a conversation or are contacts, and neither has
// blocked the other.
func (p *presence) audience(ctx context.Context, user string) ([]string, error) {
	g, ctx := errgroup.WithContext(ctx)
	var peers []string
	var relations wire.Relations
	g.Go(func() (err error) {
		peers, err = p.messaging.Peers(ctx, user)
		return err
	})
	g.Go(func() (err error) {
		relations, err = p.groups.Relations(ctx, user)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(peers, relations.Contacts)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(id string) bool {
		return id == user || slices.Contains(relations.Hidden, id)
	}), nil
}

// tell lets a user's audience see a change. source is the record from which it follows.
func (p *presence) tell(ctx context.Context, user string, c change, source string) error {
	audience, err := p.audience(ctx, user)
	if err != nil {
		return err
	}
	value := wire.Encode(wire.PresenceFrame{
		Type: wire.FramePresence, User: user, Online: c.state != wire.StateOffline, State: c.state, At: wire.At(c.seen),
	})
	if len(audience) > 0 && isHeard(c.state) {
		record := bus.For(user, audience, value)
		record.Topic = p.Kafka.Writes(record.Topic)
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: topics.SourceHeader, Value: []byte(source)})
		if err := p.kafka.ProduceSync(ctx, record).FirstErr(); err != nil {
			return fmt.Errorf("tell %d users: %w", len(audience), err)
		}
	}
	p.told.Inc()
	return nil
}

// entry is what is shown of one user.
type entry struct {
	User    string     `json:"user"`
	Online  bool       `json:"online"` // or away
	State   string     `json:"state"`
	Seen    *wire.Time `json:"seen,omitempty"`
	Devices []device   `json:"devices,omitempty"` // the caller's own
}

type device struct {
	Session string `json:"session"`
	State   string `json:"state"`
}

// show answers about those whom the caller may see. Others look as if they had never been there.
func (p *presence) show(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	ids := strings.Split(r.URL.Query().Get("ids"), ",")
	if len(ids) > wire.MaxIDs {
		return service.BadRequest("%d ids; at most %d at once", len(ids), wire.MaxIDs)
	}
	for _, id := range ids {
		if !wire.ValidID(id) {
			return service.BadRequest("ids must be user ids, with commas between")
		}
	}
	visible, err := p.audience(r.Context(), caller.User)
	if err != nil {
		return service.Unavailable("messaging or groups", err)
	}
	answer := make([]entry, len(ids))
	g, ctx := errgroup.WithContext(r.Context())
	g.SetLimit(8)
	for i, id := range ids {
		answer[i] = entry{User: id, State: wire.StateOffline}
		if _, ok := slices.BinarySearch(visible, id); !ok && id != caller.User {
			continue
		}
		g.Go(func() error {
			s, ok, err := store.Get[status](ctx, p.users(), id)
			if err != nil || !ok {
				return err
			}
			now, seen := p.Now(), wire.At(s.Seen)
			answer[i].State, answer[i].Seen = s.at(now), &seen
			answer[i].Online = answer[i].State != wire.StateOffline
			if id == caller.User && answer[i].Online {
				for _, session := range slices.Sorted(maps.Keys(s.Devices)) {
					answer[i].Devices = append(answer[i].Devices, device{session, s.Devices[session]})
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, map[string][]entry{"presence": answer})
}
