package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/chaos"
	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/services/client"
)

const (
	stored      = 1_000_000 // messages
	storedUsers = 16        // each of whom talks to each other
	storedChunk = 20_000    // messages that wait at once, which is less than the topic keeps
	pagesRead   = 3000
	pageSize    = 50
)

// history is how long a page of history takes, anywhere in a million messages, one page at a time. The messages come through Kafka.
func (b *chatBench) history(ctx context.Context) (results []result, err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-history-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	lab, err := chaos.StartProcesses(ctx, chaos.ProcessesOptions{Dir: dir, Command: []string{b.labctl, "part"}, Instances: chaos.One(), Direct: true})
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	defer lab.Close()
	fmt.Fprintln(os.Stderr, "storing a million messages for their history")
	pairs, err := talkers(ctx, client.New(lab.Address()))
	if err == nil {
		err = fill(ctx, lab.Broker(), pairs)
	}
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	var took load.Histogram
	rng := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // the same pages each time
	each := int64((stored + len(pairs) - 1) / len(pairs))
	for i := range pagesRead {
		p := pairs[rng.IntN(len(pairs))]
		before := pageSize + 2 + rng.Int64N(each-pageSize)
		begin := time.Now()
		page, _, err := p.session.History(ctx, p.id, client.Page{Before: before, Limit: pageSize})
		if err != nil {
			return nil, fmt.Errorf("history: page %d: %w", i, err)
		}
		if len(page) != pageSize || page[pageSize-1].Seq != before-1 {
			return nil, fmt.Errorf("history: page %d before %d of %s: %d messages", i, before, p.id, len(page))
		}
		took.Add(time.Since(begin))
	}
	return []result{against("chat.history_page_p99_ms", took.Latency().P99, "ms", 20)}, nil
}

// pair is a direct conversation and one of its two members.
type pair struct {
	id      string
	session *client.Session
}

func talkers(ctx context.Context, c *client.Client) (pairs []pair, err error) {
	var sessions []*client.Session
	for i := range storedUsers {
		s, err := c.Register(ctx, fmt.Sprintf("reader-%d", i), "a long enough password", "bench")
		if err != nil {
			return nil, err
		}
		for _, other := range sessions {
			pairs = append(pairs, pair{client.DirectID(s.User.ID, other.User.ID), s})
		}
		sessions = append(sessions, s)
	}
	return pairs, nil
}

// fill has messages stored, as many in each conversation.
func fill(ctx context.Context, broker string, pairs []pair) error {
	k, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.DefaultProduceTopic("messages"))
	if err != nil {
		return err
	}
	defer k.Close()
	each, said := int64((stored+len(pairs)-1)/len(pairs)), int64(0)
	for said < each {
		n := min(int64(storedChunk/len(pairs)), each-said)
		var records []*kgo.Record
		for _, p := range pairs {
			for i := range n {
				records = append(records, &kgo.Record{Key: []byte(p.id), Value: fmt.Appendf(nil,
					`{"type":"send","conversation":%q,"sender":%q,"client_id":"c-%d","body":%q,"at":"2026-11-21T08:15:30.123Z"}`,
					p.id, p.session.User.ID, said+i, strings.Repeat("some words ", 10))})
			}
		}
		if err := k.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return err
		}
		said += n
		for _, p := range pairs {
			for {
				c, err := p.session.Conversation(ctx, p.id)
				if err != nil {
					return err
				}
				if c.LastSeq == said {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		fmt.Fprintf(os.Stderr, "%d of %d\n", said*int64(len(pairs)), each*int64(len(pairs)))
	}
	return nil
}
