package shadow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/replay"
	"github.com/labctl/labctl/pkg/shadow/seed"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/sockets"
	"github.com/labctl/labctl/services/messaging"
	"github.com/labctl/labctl/services/mirror"
	"github.com/labctl/labctl/services/presence"
	"github.com/labctl/labctl/services/topics"
)

// copyOrders has the services whose databases are copied, and in which order their collections are.
func copyOrders() map[string][]string {
	return map[string][]string{"messaging": messaging.CopyOrder(), "presence": presence.CopyOrder()}
}

// Services gives the services that can be tried.
func Services() []string { return topics.Shadowed() }

// Check says what is wrong with a service to try.
func Check(service string) error {
	if slices.Contains(Services(), service) {
		return nil
	}
	return fmt.Errorf("there is no shadow of %q; there is one of %s", service, strings.Join(Services(), ", "))
}

// Trial is the work of a comparer, as the user topics.Comparer.
type Trial struct {
	// Kafka are the options of a client; nil where requests alone are compared. DB is a client where the live database is
	// copied, else nil.
	Kafka []kgo.Opt
	DB    *mongo.Client
	// Processes are the base addresses of the sides' metrics.
	Processes map[side.Side]string
	// Requests asks the sides what the live service was asked; nil: no requests are compared.
	Requests *replay.Replayer
	// Sockets, if any, plays to the sides what the clients of mirrored sockets say.
	Sockets *sockets.Sockets
	// Copied hears how many documents are copied.
	Copied func(documents int)
	// Begun is called when the candidate and the baseline may start.
	Begun func(ctx context.Context)
}

// Reach has the sides at these addresses be told what clients of mirrored sockets say, where the service is the gateway, or
// else be asked what the live service was asked.
func (t *Trial) Reach(c *Comparer, urls map[side.Side]string) (err error) {
	if c.Service() == mirror.Service {
		t.Sockets, err = c.Sockets(t.Kafka, urls)
	} else {
		t.Requests, err = c.Replayer(urls)
	}
	return err
}

// Run compares until ctx ends, or the lifetime is over.
func (c *Comparer) Run(ctx context.Context, t Trial) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("shadow of %s: %w", c.o.Service, err)
			c.fail(err)
		}
	}()
	if _, ok := topics.Shared(c.o.Service); !ok {
		g, run := errgroup.WithContext(ctx)
		c.attend(run, g, t, func() records.Facts { return records.Facts{} }) // who handles no records is never behind
		t.Begun(run)
		return c.ended(g.Wait())
	}
	client, err := kgo.NewClient(t.Kafka...)
	if err != nil {
		return err
	}
	defer client.Close()
	kept := storeOf(t.DB, c.o.Service)
	begin, err := c.begin(ctx, t, kadm.NewClient(client), kept)
	if errors.Is(err, errOver) {
		t.Begun(ctx)
	}
	if err != nil {
		return c.ended(err)
	}
	return c.compare(ctx, t, begin, newSaver(c, kept, saveEvery))
}

// attend has the sides asked and told what the live service was, and looks at how they are: facts gives how far they have
// come.
func (c *Comparer) attend(ctx context.Context, g *errgroup.Group, t Trial, facts func() records.Facts) {
	if t.Requests != nil {
		g.Go(func() error { t.Requests.Run(ctx); return nil })
	}
	if t.Sockets != nil {
		g.Go(func() error { return t.Sockets.Run(ctx) })
	}
	g.Go(func() error {
		return c.watch(ctx, t.Processes, func() {
			c.sawFacts(facts())
			if t.Requests != nil {
				c.sawRequests(t.Requests.Counts())
			}
		})
	})
}

// begin gives where the comparison begins. A comparer that is not the first one of its shadow goes on where the one
// before has saved that it was. The error is errOver where it has ended.
func (c *Comparer) begin(ctx context.Context, t Trial, kafka *kadm.Client, kept store) (p records.Position, err error) {
	saved, begun, err := c.lookBack(ctx, kafka, kept)
	if err != nil {
		return p, err
	}
	p, ok, err := c.resume(saved)
	if err == nil && c.o.IsOver(c.o.Now()) {
		err = errOver
	}
	if ok || err != nil {
		return p, err
	}
	var start seed.Start
	if begun {
		// Nothing was saved: the sides keep what they have, and the records from now on count.
		start, err = seed.Now(ctx, c.o.Service, kafka)
	} else if err = seed.Clean(ctx, kafka, t.DB, c.o.Service); err == nil { // what a run that was killed has left
		start, err = seed.Take(ctx, c.o.Service, kafka, t.DB, copyOrders()[c.o.Service], t.Copied)
	}
	return records.Begin(start.Counted, start.Live), err
}

const (
	// patience is how long the databases may be away when a comparer begins: with a node, all start again at once.
	patience = 5 * time.Minute
	// askAgain is the time between two tries.
	askAgain = time.Second
)

// lookBack gives what a comparer before this one has saved, and whether the sides are at work already.
func (c *Comparer) lookBack(ctx context.Context, kafka *kadm.Client, kept store) (saved []byte, begun bool, err error) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if saved, err = kept.load(within); err == nil {
			if begun, err = seed.HasBegun(within, kafka, c.o.Service); err == nil {
				return saved, begun, nil
			}
		}
		select {
		case <-within.Done():
			return nil, false, err
		case <-time.After(askAgain):
		}
	}
}

// compare compares from a position on, until ctx ends or the lifetime is over.
func (c *Comparer) compare(ctx context.Context, t Trial, begin records.Position, s *saver) error {
	var reader *records.Reader
	reader, err := records.Open(records.Options{
		Kafka: t.Kafka, Service: c.o.Service, Sides: side.NamesOf(c.o.Service), Begin: begin,
		Settled: func() { s.take(reader.Position) },
	}, c)
	if err != nil {
		return err
	}
	s.now(ctx, begin) // so that another comparer knows that the shadow has begun
	g, run := errgroup.WithContext(ctx)
	g.Go(func() error { return reader.Run(run) })
	c.attend(run, g, t, reader.Facts)
	g.Go(func() error { s.run(run); return nil })
	t.Begun(run)
	if err := c.ended(g.Wait()); err != nil {
		return err
	}
	s.now(ctx, reader.Position())
	return nil
}

// ended notes that the lifetime is over where it is, which is no error.
func (c *Comparer) ended(err error) error {
	if !errors.Is(err, errOver) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return nil
}

// Clean removes what the sides have in Kafka and in the database. They must have ended.
func (t Trial) Clean(ctx context.Context, service string) error {
	if topics.ReadsLive(service) {
		return nil
	}
	client, err := kgo.NewClient(t.Kafka...)
	if err != nil {
		return err
	}
	defer client.Close()
	return seed.Clean(ctx, kadm.NewClient(client), t.DB, service)
}
