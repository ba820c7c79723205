package messaging

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/deletion"
)

// consumer reads the topic messages as a member of its group, decides what comes, and hands what follows to the pipeline.
//
// Of a partition that is assigned to it, it reads once more the records just before the last commit: what was said in them is the window in which a
// client id is recognized. Those from the commit on it decides; another instance may have done so before, and came to the same.
//
// Each partition is decided apart from the others: none waits for what another has to load.
type consumer struct {
	*messaging

	mu         sync.Mutex
	partitions map[int32]*partition
	taken      map[int32]int64 // of each partition that is this instance's to commit: where it was taken over
	turns      sync.WaitGroup
	lostUpTo   map[int32]int64 // of each partition, the end of what was counted as lost
	failed     error           // of a turn: its records are not decided

	turnOver chan struct{} // closed, and made anew, when a partition can go on after a turn
}

func newConsumer(s *messaging) *consumer {
	return &consumer{messaging: s, partitions: map[int32]*partition{}, taken: map[int32]int64{}, lostUpTo: map[int32]int64{}, turnOver: make(chan struct{})}
}

func (c *consumer) newDecider() *decider {
	return &decider{
		restorer: &restorer{c.database, newState()}, quarantine: c.quarantine, retry: c.retry("load"), out: c.pipeline, follow: c.follow,
	}
}

// partition is where the consumer is in one that is assigned to it.
type partition struct {
	decider *decider
	turn    *turn // nil: nothing is being decided

	committed int64 // the records before are only for the window
	next      int64 // the offset of the next record
	replayed  int64 // the records before may have been decided by another instance; 0: not known yet

	backlog []input // has come, and is not decided yet
	paused  bool    // nothing more is to come
}

// turn is the deciding of some records of a partition.
type turn struct {
	stop context.CancelFunc
	over chan struct{}
}

// turnShare is how many records of one partition are decided together, at most. Those of others come in between.
const turnShare = 200

// finishTime is how long what is being handled may go on after the service is told to stop.
const finishTime = 5 * time.Second

// work handles records until ctx ends. What it is handling then is finished if the database and Kafka are there, and
// repeated by the next instance if not.
func (c *consumer) work(ctx context.Context) error {
	finish, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishTime, cancel) })()
	beside, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { c.keepPruned(beside) })
	all.Go(func() { c.filterAll(beside) })
	all.Go(func() { c.projector.run(beside) })
	all.Go(func() {
		deletion.Follower{Auth: c.auth, Every: c.Config.Erase, Log: c.Log, Shadow: c.Shadow, Erase: c.erase}.Follow(beside)
	})
	staged := make(chan error, 1)
	go func() { staged <- c.pipeline.run(finish, c.projector.take) }()
	reading, end := context.WithCancel(ctx)
	defer end()
	failed := make(chan error, 1)
	go func() {
		err := <-staged
		cancel() // nobody would take what is decided
		end()
		failed <- err
	}()
	err := c.read(reading, finish)
	if err == nil {
		c.drain(context.WithoutCancel(ctx))
	}
	cancel()
	if staged := <-failed; ctx.Err() == nil {
		return staged // why it does not go on
	}
	return err
}

// assigned takes partitions over. They are read from some records before their commit on.
func (c *consumer) assigned(ctx context.Context, offsets map[int32]kgo.Offset) error {
	log, err := c.findLog(ctx)
	if err != nil {
		return err
	}
	starts, err := bus.Starts(ctx, c.kafka, c.topic())
	if err != nil {
		return err
	}
	ends, err := bus.Ends(ctx, c.kafka, c.topic())
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	handled := positions{}
	for n, o := range offsets {
		p := &partition{decider: c.newDecider(), committed: o.EpochOffset().Offset}
		if p.committed < 0 { // nothing was ever committed
			p.committed = starts[n]
		}
		if p.committed > ends[n] {
			return fmt.Errorf("partition %d of the topic messages ends at %d, before the offset %d up to which it was handled: the brokers have lost records, or KAFKA_START is of another topic", n, ends[n], p.committed)
		}
		if p.committed < starts[n] {
			c.countLost(n, p.committed, starts[n])
			p.committed = starts[n] // nobody need wait for what was lost
		}
		if p.committed > 0 {
			handled.add(source{Log: log, Partition: n, Offset: p.committed - 1})
		}
		p.next = max(starts[n], p.committed-windowSize)
		c.partitions[n], c.taken[n] = p, p.committed
		offsets[n] = kgo.NewOffset().At(p.next)
	}
	if err := c.quarantine.load(ctx, slices.Collect(maps.Keys(offsets))); err != nil {
		return err
	}
	return c.database.putPositions(ctx, handled)
}

// endTurns has nothing more decided in partitions that go: others decide about their records from now on.
func (c *consumer) endTurns(gone []int32) {
	c.mu.Lock()
	var running []*turn
	for _, n := range gone {
		if p := c.partitions[n]; p != nil && p.turn != nil {
			running = append(running, p.turn)
		}
		delete(c.partitions, n)
	}
	c.mu.Unlock()
	for _, t := range running {
		t.stop()
		<-t.over
	}
}

// lost forgets what else is known of partitions that are gone. Nothing of them is committed any more.
func (c *consumer) lost(gone []int32) {
	c.mu.Lock()
	for _, n := range gone {
		delete(c.taken, n)
	}
	c.mu.Unlock()
	c.quarantine.drop(gone)
	c.kafka.ResumeFetchPartitions(map[string][]int32{c.topic(): gone})
}

// mark has the records up to these committed in time.
func (c *consumer) mark(upTo []source) {
	c.mu.Lock()
	defer c.mu.Unlock() // no partition goes meanwhile
	c.kafka.MarkCommitOffsets(map[string]map[int32]kgo.EpochOffset{c.topic(): c.commits(upTo)})
}

// commits gives what is to be committed. An instance that was paused finishes what it had begun when others have its partitions, or had them: they have
// committed more since then, which a commit of ours would undo. The caller holds mu.
func (c *consumer) commits(upTo []source) map[int32]kgo.EpochOffset {
	offsets := map[int32]kgo.EpochOffset{}
	for _, at := range upTo {
		if from, ours := c.taken[at.Partition]; ours && at.Offset >= from {
			offsets[at.Partition] = kgo.EpochOffset{Epoch: -1, Offset: at.Offset + 1}
		}
	}
	return offsets
}

// read has records decided until ctx ends. What is being decided then ends with finish.
func (c *consumer) read(ctx, finish context.Context) error {
	defer c.turns.Wait()
	for {
		fetches := c.poll(ctx)
		if ctx.Err() != nil {
			c.turns.Wait()
			c.kafka.AllowRebalance()
			return nil
		}
		fetches.EachError(func(topic string, partition int32, err error) {
			if !errors.Is(err, context.Canceled) { // poll does so
				c.Log.Warn("reading goes on after an error", "topic", topic, "partition", partition, "error", err)
			}
		})
		err := c.takeTurns(finish, fetches)
		c.kafka.AllowRebalance()
		if err != nil {
			return err
		}
	}
}

// poll takes what has come. It waits for that, or until a backlog can go on.
func (c *consumer) poll(ctx context.Context) kgo.Fetches {
	c.mu.Lock()
	var waiting []int32
	deciding := false
	for n, p := range c.partitions {
		switch {
		case p.turn != nil:
			deciding = true
		case len(p.backlog) > 0:
			waiting = append(waiting, n)
		}
	}
	turnOver := c.turnOver // of the turns that are seen above
	c.mu.Unlock()
	if slices.ContainsFunc(waiting, c.pipeline.hasRoom) {
		var now context.Context // without one, the client does not wait
		return c.kafka.PollRecords(now, c.Batch)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if deciding {
		go func() {
			defer cancel()
			select {
			case <-turnOver:
			case <-ctx.Done(): // something has come
			}
		}()
	}
	if len(waiting) > 0 {
		go func() {
			defer cancel()
			_ = c.pipeline.awaitRoom(ctx, waiting) // else something has come
		}()
	}
	return c.kafka.PollRecords(ctx, c.Batch)
}

// takeTurns has decided what has come: of each partition its share, so that no backlog stands before what others say.
func (c *consumer) takeTurns(ctx context.Context, fetches kgo.Fetches) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.take(fetches)
	for n, p := range c.partitions {
		if p.turn == nil && len(p.backlog) > 0 && c.pipeline.hasRoom(n) {
			c.takeTurn(ctx, p)
		}
		// More than that stays with the brokers.
		if pause := len(p.backlog) >= c.Batch; pause != p.paused {
			p.paused = pause
			one := map[string][]int32{c.topic(): {n}}
			if pause {
				c.kafka.PauseFetchPartitions(one)
			} else {
				c.kafka.ResumeFetchPartitions(one)
			}
		}
	}
	return c.failed
}

// takeTurn has decided a partition's share. The caller holds mu, and does not wait.
func (c *consumer) takeTurn(ctx context.Context, p *partition) {
	share := min(turnShare, len(p.backlog))
	inputs, replayed, partitions := p.backlog[:share:share], p.replayed, len(c.partitions)
	p.backlog = p.backlog[share:]
	ctx, stop := context.WithCancel(ctx)
	t := &turn{stop, make(chan struct{})}
	p.turn = t
	c.turns.Go(func() {
		defer close(t.over)
		defer stop()
		err := p.decider.handle(ctx, inputs, func(s source) bool { return s.Offset < replayed })
		p.decider.state.forget(c.pipeline.last(), c.projector.last(), partitions)
		c.mu.Lock()
		defer c.mu.Unlock()
		if gone := c.partitions[inputs[0].source.Partition] != p; err != nil && !gone {
			c.failed = err // no turn of the partition follows: its next records come after these
		} else {
			p.turn = nil
		}
		if err != nil || len(p.backlog) > 0 {
			close(c.turnOver)
			c.turnOver = make(chan struct{})
		}
	})
}

// take takes records that have come, those before a commit for the window alone. The caller holds mu.
func (c *consumer) take(fetches kgo.Fetches) {
	fetches.EachPartition(func(f kgo.FetchTopicPartition) {
		p := c.partitions[f.Partition]
		if p == nil {
			return // it has gone
		}
		if p.replayed == 0 {
			p.replayed = f.HighWatermark
		}
		for _, r := range f.Records {
			c.countLost(f.Partition, max(p.next, p.committed), r.Offset)
			p.next = r.Offset + 1
			in := parse(r, *c.log.Load())
			p.decider.state.recognize(&in)
			if r.Offset >= p.committed {
				p.backlog = append(p.backlog, in)
			}
		}
	})
}

// countLost counts the records from one offset to before another: the topic has lost them before they were handled. Each counts once: a partition in which
// nothing more is said has the same commit when it is assigned again. The caller holds mu.
func (c *consumer) countLost(partition int32, from, to int64) {
	from = max(from, c.lostUpTo[partition])
	if from >= to {
		return
	}
	c.lostUpTo[partition] = to
	c.Log.Error("the topic messages has lost records before they were handled; its retention is too small", "partition", partition, "from", from, "to", to-1)
	c.missing.Add(float64(to - from))
}

// parse reads a record of the topic messages.
func parse(r *kgo.Record, l log) input {
	in := input{source: source{Log: l, Partition: r.Partition, Offset: r.Offset}, raw: r}
	if err := json.Unmarshal(r.Value, &in.record); err != nil {
		in.invalid = fmt.Errorf("not JSON as expected: %w", err)
	} else {
		in.invalid = in.record.Check(string(r.Key))
	}
	return in
}

// drainTime bounds how long the end of a turn waits for the database and Kafka. What is not stored then, the next instance decides again.
const drainTime = 3 * time.Second

// drain has stored and committed what is decided.
func (c *consumer) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	err := c.pipeline.drain(ctx)
	if err == nil {
		err = c.projector.write(ctx)
	}
	if err := errors.Join(err, c.kafka.CommitMarkedOffsets(ctx)); err != nil {
		c.Log.Info("not committed at the end of a turn; the next one repeats it", "error", err)
	}
}
