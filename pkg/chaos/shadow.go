package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/verdict"
	"github.com/labctl/labctl/services/topics"
)

// shadowed is the service whose shadow may run beside the chat.
const shadowed = "messaging"

// companion is a shadow of messaging beside the chat. Its candidate and its baseline are of the version that is live.
type companion struct {
	sides    map[side.Side]*process
	trial    shadow.Trial
	comparer *shadow.Comparer
	kafka    *kgo.Client // the comparer's user
	before   int64       // the records of the topic before those that are compared
	stop     context.CancelFunc
	ended    chan struct{} // closed when nothing is compared any more
}

// Compared is what came of a shadow.
type Compared struct {
	Records  int64           `json:"records"` // that there are to compare
	Evidence shadow.Evidence `json:"evidence"`
}

// Check says what went wrong with the shadow of a version that is live, which must not fail because of faults of others.
// Without a shadow nothing can.
func (c *Compared) Check() error {
	switch {
	case c == nil:
		return nil
	case c.Evidence.Error != "":
		return fmt.Errorf("the shadow is not compared any more: %s", c.Evidence.Error)
	case c.Evidence.Verdict.State == verdict.Fail:
		return fmt.Errorf("the verdict is fail: %s", c.Evidence.Verdict.Why)
	case !c.complete():
		return fmt.Errorf("only %d of %d records were compared; give the chat more time to recover", c.Count(), c.Records)
	}
	return nil
}

// Count is how many records were compared, also those that led to nothing.
func (c *Compared) Count() int64 { return c.Evidence.Verdict.Samples + c.Evidence.Nothing }

// complete says that each record was compared.
func (c *Compared) complete() bool { return c.Count() == c.Records }

// isSettled says that besides, the facts about the sides are of after that.
func (c *Compared) isSettled() bool {
	for _, s := range c.Evidence.Sides {
		if s.Lag > 0 {
			return false
		}
	}
	return c.complete()
}

// CandidatePart and BaselinePart are the sides of the shadow, as parts that faults can be done to.
func CandidatePart() string { return sidePart(side.Candidate) }
func BaselinePart() string  { return sidePart(side.Baseline) }

func sidePart(s side.Side) string { return side.NamesOf(shadowed)[s].Group + "/0" }

// layOutSides makes the processes of the shadow. add makes one, and connect gives it its ways and what all instances of
// the service are told.
func (p *Processes) layOutSides(add func(name, part string) (*process, error), connect func(*process) (database string, err error)) error {
	p.companion = &companion{sides: map[side.Side]*process{}}
	for _, s := range []side.Side{side.Candidate, side.Baseline} {
		q, err := add(sidePart(s), shadowed)
		if err != nil {
			return err
		}
		delete(p.parts, q.name) // it is not there from the beginning
		p.companion.sides[s] = q
		database, err := connect(q)
		if err != nil {
			return err
		}
		for name, value := range p.users.SideVariables(shadowed, s, database) {
			q.env = append(q.env, name+"="+value)
		}
	}
	return nil
}

// startShadow begins to compare. Nobody talks meanwhile.
func (p *Processes) startShadow(ctx context.Context) (err error) {
	c := p.companion
	broker, database := p.Broker(), p.databaseAddress()
	if c.trial, err = p.users.Trial(shadowed, broker, database); err != nil {
		return err
	}
	for s, q := range c.sides {
		c.trial.Processes[s] = "http://" + q.health
	}
	if c.kafka, err = kgo.NewClient(c.trial.Kafka...); err != nil {
		return err
	}
	if c.before, err = c.records(ctx); err != nil {
		return err
	}
	policy := verdict.Default()
	policy.Latency = nil // a part that is away for a while makes both copies late, and not alike
	if c.comparer, err = shadow.New(shadow.Options{
		Service: shadowed, Dir: filepath.Join(p.o.Dir, "shadow"), Now: time.Now,
		About: shadow.About{Version: "the live one", By: "chaos", At: time.Now(), Policy: policy},
	}); err != nil {
		return err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx)) // until Close
	begun := make(chan struct{})
	c.stop, c.ended = stop, make(chan struct{})
	c.trial.Begun = func(context.Context) { close(begun) }
	var failed error
	go func() {
		defer close(c.ended)
		failed = c.comparer.Run(run, c.trial)
	}()
	select {
	case <-begun:
	case <-c.ended:
		return failed
	case <-ctx.Done():
		return ctx.Err()
	}
	for s, q := range c.sides {
		q.gone = func(err error) { c.comparer.Ended(s, err) }
		if err := q.start(); err != nil {
			return err
		}
	}
	return p.await(ctx, c.sides[side.Candidate], c.sides[side.Baseline])
}

// records gives how many records the topic has that the service handles.
func (c *companion) records(ctx context.Context) (n int64, err error) {
	handled, _ := topics.Shared(shadowed)
	ends, err := kadm.NewClient(c.kafka).ListEndOffsets(ctx, handled.Name)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, fmt.Errorf("count the records of the topic %s: %w", handled.Name, err)
	}
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n, nil
}

// Compared waits until all records are compared, or until nothing more is to be expected, and gives what is known then.
// It is nil without a shadow.
func (p *Processes) Compared(ctx context.Context) (*Compared, error) {
	c := p.companion
	if c == nil {
		return nil, nil
	}
	for {
		all, err := c.records(ctx)
		if err != nil {
			return nil, err
		}
		found := &Compared{Records: all - c.before, Evidence: c.comparer.Evidence()}
		if found.isSettled() || found.Evidence.Error != "" || sleep(ctx, 100*time.Millisecond) != nil {
			return found, nil
		}
	}
}

// close ends the shadow, whose processes have ended.
func (c *companion) close() {
	if c.stop != nil {
		c.stop()
		<-c.ended
	}
	if c.comparer != nil {
		_ = c.comparer.Close() // its files go with the directory
	}
	if c.kafka != nil {
		c.kafka.Close()
	}
	if c.trial.DB != nil {
		_ = c.trial.DB.Disconnect(context.Background())
	}
}
