package shadow

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/pkg/shadow/records"
	"github.com/labctl/labctl/pkg/shadow/replay"
	"github.com/labctl/labctl/pkg/shadow/seed"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/messaging"
	"github.com/labctl/labctl/services/presence"
)

// copyOrders has the services that can be tried, and in which order their collections are copied.
func copyOrders() map[string][]string {
	return map[string][]string{"messaging": messaging.CopyOrder(), "presence": presence.CopyOrder()}
}

// Services gives the services that can be tried.
func Services() []string { return slices.Sorted(maps.Keys(copyOrders())) }

// Check says what is wrong with a service to try.
func Check(service string) error {
	if slices.Contains(Services(), service) {
		return nil
	}
	return fmt.Errorf("there is no shadow of %q yet; there is one of %s", service, strings.Join(Services(), ", "))
}

// Trial is the work of a comparer, as the user topics.Comparer.
type Trial struct {
	// Kafka are the options of a client, and DB is one.
	Kafka []kgo.Opt
	DB    *mongo.Client
	// Processes are the base addresses of the sides' metrics.
	Processes map[side.Side]string
	// Requests asks the sides what the live service was asked.
	Requests *replay.Replayer
	// Copied hears how many documents are copied.
	Copied func(documents int)
	// Begun is called when the candidate and the baseline may start.
	Begun func(ctx context.Context)
}

// Run compares until ctx ends.
func (c *Comparer) Run(ctx context.Context, t Trial) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("shadow of %s: %w", c.o.Service, err)
			c.fail(err)
		}
	}()
	reader, err := c.begin(ctx, t)
	if err != nil {
		return err
	}
	g, run := errgroup.WithContext(ctx)
	g.Go(func() error { return reader.Run(run) })
	g.Go(func() error { t.Requests.Run(run); return nil })
	g.Go(func() error {
		return c.watch(run, t.Processes, func() {
			c.sawFacts(reader.Facts())
			c.sawRequests(t.Requests.Counts())
		})
	})
	t.Begun(run)
	return g.Wait()
}

// begin gives the sides the live state, and reads the records from then on.
func (c *Comparer) begin(ctx context.Context, t Trial) (*records.Reader, error) {
	client, err := kgo.NewClient(t.Kafka...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	kafka := kadm.NewClient(client)
	begun, err := seed.HasBegun(ctx, kafka, c.o.Service)
	if err != nil {
		return nil, err
	}
	var start seed.Start
	if begun {
		// This comparer is not the first one: the sides keep what they have, and the records from now on count.
		start, err = seed.Now(ctx, c.o.Service, kafka)
	} else if err = seed.Clean(ctx, kafka, t.DB, c.o.Service); err == nil { // what a run that was killed has left
		start, err = seed.Take(ctx, c.o.Service, kafka, t.DB, copyOrders()[c.o.Service], t.Copied)
	}
	if err != nil {
		return nil, err
	}
	return records.Open(records.Options{
		Kafka: t.Kafka, Service: c.o.Service, Sides: side.NamesOf(c.o.Service), From: start.Counted, Live: start.Live,
	}, c)
}

// Clean removes what the sides have in Kafka and in the database. They must have ended.
func (t Trial) Clean(ctx context.Context, service string) error {
	client, err := kgo.NewClient(t.Kafka...)
	if err != nil {
		return err
	}
	defer client.Close()
	return seed.Clean(ctx, kadm.NewClient(client), t.DB, service)
}
