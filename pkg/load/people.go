package load

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/services/client"
)

// userName is the n-th user's name of a seed: a later run finds the users again and logs them in.
func userName(seed uint64, n int) string { return fmt.Sprintf("load-%d-%d", seed, n) }

// password is known to who has the key alone. The users are real users of whatever lab this is.
func password(key []byte, name string) string {
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write([]byte(name))
	return hex.EncodeToString(mac.Sum(nil))
}

// ErrForeign is a user of that name who is not ours.
var ErrForeign = errors.New("there is such a user, with another password; choose another seed")

// Enter logs users in, and registers those that there are not. A password takes the server 20 ms and only so many may wait, so it
// asks for few at once and waits where it is told to.
func Enter(ctx context.Context, c *client.Client, key []byte, seed uint64, users int, report event.Report) ([]*client.Session, error) {
	sessions := make([]*client.Session, users)
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i := range users {
		g.Go(func() error {
			name := userName(seed, i)
			s, err := enter(ctx, c, name, password(key, name))
			if err != nil {
				return fmt.Errorf("user %s: %w", name, err)
			}
			sessions[i] = s
			if n := done.Add(1); n%50 == 0 || n == int64(users) {
				report.At(n, int64(users), "logging users in")
			}
			return nil
		})
	}
	return sessions, g.Wait()
}

func enter(ctx context.Context, c *client.Client, name, password string) (s *client.Session, err error) {
	err = Patiently(ctx, func() error {
		s, err = c.Login(ctx, name, password, "labctl load")
		if !client.IsCode(err, "wrong_credentials") {
			return err
		}
		s, err = c.Register(ctx, name, password, "labctl load")
		if client.IsCode(err, "name_taken") {
			return ErrForeign
		}
		return err
	})
	return s, err
}

// Patiently tries again what a server that is busy or a part that is away has turned down.
func Patiently(ctx context.Context, f func() error) error {
	pause := 100 * time.Millisecond
	for {
		err := f()
		var (
			e    *client.Error
			name *net.DNSError
		)
		switch {
		case err == nil, errors.Is(err, ErrForeign), errors.As(err, &name) && name.IsNotFound:
			return err
		case errors.As(err, &e) && e.Status < 500 && e.Status != http.StatusTooManyRequests:
			return err
		}
		wait := pause
		if e != nil {
			wait = max(wait, e.RetryAfter)
		}
		if sleep(ctx, wait) != nil {
			return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// settle makes the rooms' conversations. Direct ones are there always; a group is made anew for each run, so that nobody is in it
// who was not told. It is there when messaging has stored its first event, which all devices show before the run: in a large room that is a large
// message, which each device would have to be sent.
func (r *runner) settle(ctx context.Context) error {
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range r.rooms {
		g.Go(func() error {
			m := r.rooms[i].members
			id, last, made, err := r.converse(ctx, i, m)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			r.conversations[i], r.base[i] = id, last
			for _, m := range made {
				r.shownBefore[i] = append(r.shownBefore[i], Entry{Conversation: int32(i), Message: r.foreign(m), Seq: m.Seq})
			}
			if done++; done%50 == 0 || done == len(r.rooms) {
				r.Report.At(int64(done), int64(len(r.rooms)), "making rooms")
			}
			return nil
		})
	}
	return g.Wait()
}

// converse makes a conversation, and gives up to where it is before the run, and the first event of a new one.
func (r *runner) converse(ctx context.Context, i int, members []int) (id string, last int64, made []client.Message, err error) {
	first := r.sessions[members[0]]
	if len(members) == 2 {
		id = client.DirectID(first.User.ID, r.sessions[members[1]].User.ID)
		err = Patiently(ctx, func() error {
			c, err := first.Conversation(ctx, id)
			last = c.LastSeq
			return err
		})
		return id, last, nil, err
	}
	var others []string
	for _, m := range members[1:] {
		others = append(others, r.sessions[m].User.ID)
	}
	err = Patiently(ctx, func() error {
		g, err := first.CreateGroup(ctx, fmt.Sprintf("load %d/%d", r.Seed, i), others...)
		id = g.ID
		return err
	})
	if err == nil {
		err = Patiently(ctx, func() error {
			made, err = first.HistoryAfter(ctx, id, 0, 1)
			return err
		})
	}
	if err != nil {
		return "", 0, nil, fmt.Errorf("make a room of %d: %w", len(members), err)
	}
	return id, 0, made, nil
}
