package shadow

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow/join"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/pkg/shadow/sockets"
)

// Sockets gives what takes the sockets that the live gateway mirrors, and plays them to the sides at these addresses. Run
// runs it. It hands over at once what the three sides said, so this needs no join. It is called before anybody asks for
// the evidence.
func (c *Comparer) Sockets(kafka []kgo.Opt, urls map[side.Side]string) (s *sockets.Sockets, err error) {
	c.mirrored, err = sockets.New(sockets.Options{Copies: urls, Kafka: kafka, Result: c.said, Now: c.o.Now})
	if err != nil {
		return nil, fmt.Errorf("shadow of %s: %w", c.o.Service, err)
	}
	return c.mirrored, nil
}

// said takes what the three sides said to a client, or gave to Kafka for it.
func (c *Comparer) said(label string, results [side.Count]*sockets.Result) {
	var all [side.Count]*join.Result
	for s, r := range results {
		if r == nil {
			continue
		}
		body, err := c.comparer.Canonical(r.Body)
		if err != nil {
			c.fail(fmt.Errorf("result of %s for %s: %w", side.Side(s), label, err))
			return
		}
		all[s] = &join.Result{Kind: r.Kind, Body: body, Latency: r.Latency, Error: r.Error}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.observe(label, all); err != nil {
		c.failed = err
	}
}

// sawSockets notes how many sockets were mirrored, and what of them was not compared. What was lost by chance blocks a
// pass: nobody knows what it was.
func (c *Comparer) sawSockets(n sockets.Counts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.monitor.Dropped(n.Dropped - c.sockets.Dropped)
	for _, s := range side.All() {
		c.monitor.Late(n.Late[s] - c.sockets.Late[s])
	}
	c.sockets = n
}
