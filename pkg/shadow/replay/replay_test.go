package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/replay"
)

// result is what the callback was given.
type result struct {
	live                exchange.Exchange
	candidate, baseline replay.Answer
}

// comparer is a Replayer behind a server.
type comparer struct {
	*replay.Replayer
	url     string
	results chan result
}

func newComparer(t *testing.T, candidate, baseline string, o replay.Options) *comparer {
	t.Helper()
	c := &comparer{results: make(chan result, 10_000)}
	o.Candidate, o.Baseline = candidate, baseline
	o.Result = func(live exchange.Exchange, candidate, baseline replay.Answer) {
		c.results <- result{live, candidate, baseline}
	}
	var err error
	c.Replayer, err = replay.New(o)
	require.NoError(t, err)
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	c.url = server.URL
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return c
}

func (c *comparer) post(t *testing.T, batch string) int {
	t.Helper()
	res, err := http.Post(c.url+exchange.Path, "application/x-ndjson", strings.NewReader(batch))
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode
}

// give hands over exchanges.
func (c *comparer) give(t *testing.T, exchanges ...exchange.Exchange) {
	t.Helper()
	var batch bytes.Buffer
	lines := json.NewEncoder(&batch)
	for _, e := range exchanges {
		require.NoError(t, lines.Encode(exchange.Line{Exchange: &e}))
	}
	require.Equal(t, http.StatusNoContent, c.post(t, batch.String()))
}

func get(target string) exchange.Exchange {
	return exchange.Exchange{
		Request: exchange.Request{ID: "0123456789abcdef", Method: http.MethodGet, Target: target, Host: "chat.example"},
		Answer:  exchange.Answer{Status: http.StatusOK, Body: []byte("live")},
	}
}

func newSide(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func says(t *testing.T, text string) string {
	return newSide(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
}

// TestThousands: each exchange has one result, and no more are asked at once than may be.
func TestThousands(t *testing.T) {
	const exchanges, inFlight = 5000, 8
	var now, most atomic.Int64
	side := newSide(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for {
			m := most.Load()
			if n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		_, _ = io.WriteString(w, r.URL.Path)
	})
	c := newComparer(t, side, side, replay.Options{InFlight: inFlight, Entries: exchanges})
	for batch := range exchanges / 100 {
		var all []exchange.Exchange
		for i := range 100 {
			all = append(all, get(fmt.Sprintf("/%d", 100*batch+i)))
		}
		c.give(t, all...)
	}
	seen := map[string]bool{}
	for range exchanges {
		r := <-c.results
		target := r.live.Request.Target
		require.False(t, seen[target], target)
		seen[target] = true
		require.NoError(t, r.candidate.Err)
		require.Equal(t, target, string(r.candidate.Body))
		require.NoError(t, r.baseline.Err)
		require.Equal(t, target, string(r.baseline.Body))
	}
	require.LessOrEqual(t, most.Load(), int64(2*inFlight))
	require.Equal(t, replay.Counts{
		Received: exchanges, LeftOut: map[string]int64{},
		Candidate: replay.SideCounts{Answered: exchanges}, Baseline: replay.SideCounts{Answered: exchanges},
	}, c.Counts())
}

// TestHandlerDoesNotWait: while both sides hang, what finds no room is counted.
func TestHandlerDoesNotWait(t *testing.T) {
	for name, o := range map[string]replay.Options{
		"entries": {InFlight: 1, Entries: 2},
		"bytes":   {InFlight: 1, Bytes: 2*1010 + 500},
	} {
		t.Run(name, func(t *testing.T) {
			entered, released := make(chan struct{}, 100), make(chan struct{})
			side := newSide(t, func(w http.ResponseWriter, _ *http.Request) {
				entered <- struct{}{}
				<-released
				_, _ = w.Write(nil)
			})
			o.Timeout = time.Hour
			c := newComparer(t, side, side, o)
			live := get("/")
			live.Answer.Body = make([]byte, 1000)
			c.give(t, live)
			<-entered
			<-entered // it is in the queue no more
			for range 10 {
				c.give(t, live)
			}
			require.EqualValues(t, 11, c.Counts().Received)
			require.EqualValues(t, 8, c.Counts().Dropped)
			close(released)
			for range 3 {
				r := <-c.results
				require.NoError(t, r.candidate.Err)
				require.NoError(t, r.baseline.Err)
			}
			c.give(t, live) // there is room again
			<-c.results
		})
	}
}

func TestMethods(t *testing.T) {
	side := says(t, "x")
	for _, c := range []struct {
		allowed []string
		refused int64
	}{{nil, 2}, {[]string{http.MethodPost}, 1}} {
		r := newComparer(t, side, side, replay.Options{Methods: c.allowed})
		var all []exchange.Exchange
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, "get"} {
			e := get("/")
			e.Request.Method = method
			all = append(all, e)
		}
		r.give(t, all...)
		require.Equal(t, c.refused, r.Counts().Refused)
		for range int64(len(all)) - c.refused {
			<-r.results
		}
	}
}

func TestBatches(t *testing.T) {
	side := says(t, "x")
	c := newComparer(t, side, side, replay.Options{MaxBatch: 1000})
	line := `{"request": {"method": "GET", "target": "/"}, "answer": {"status": 200}}` + "\n"
	require.Equal(t, http.StatusNoContent, c.post(t, `{"left_out": {"dropped": 2, "too_large": 1}}`+"\nbad\n"+line))
	require.Equal(t, http.StatusNoContent, c.post(t, `{"left_out": {"dropped": 3}, "since": "2100-01-01T00:00:00Z"}`))
	require.Equal(t, http.StatusNoContent, c.post(t, `{"left_out": {"dropped": 7}, "since": "2000-01-01T00:00:00Z"}`), "before the comparer was there")
	require.Equal(t, http.StatusBadRequest, c.post(t, strings.Repeat(line, 1+1000/len(line))), "what came whole is taken")
	for range 1 + 1000/len(line) {
		<-c.results
	}
	counts := c.Counts()
	require.EqualValues(t, 1+1000/len(line), counts.Received)
	require.EqualValues(t, 2, counts.BadLines)
	require.Equal(t, map[string]int64{"dropped": 5, "too_large": 1, "away": 7}, counts.LeftOut)

	res, err := http.Get(c.url + exchange.Path)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
}

// TestRunEnds: what breaks off because the comparer ends says nothing of a side.
func TestRunEnds(t *testing.T) {
	entered := make(chan struct{}, 2)
	side := newSide(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	r, err := replay.New(replay.Options{Candidate: side, Baseline: side, Result: func(exchange.Exchange, replay.Answer, replay.Answer) {
		assert.Fail(t, "there is no result")
	}})
	require.NoError(t, err)
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	(&comparer{url: server.URL}).give(t, get("/"))
	<-entered
	<-entered
	stop()
	<-ended
	require.Zero(t, r.Counts().Candidate)
}

func TestWrongAddresses(t *testing.T) {
	for _, address := range []string{"", "shadow:8080", "ftp://shadow", "http://", "://"} {
		_, err := replay.New(replay.Options{Candidate: "http://candidate", Baseline: address})
		require.ErrorContains(t, err, "the address of the baseline")
		_, err = replay.New(replay.Options{Candidate: address, Baseline: "http://baseline"})
		require.ErrorContains(t, err, "the address of the candidate")
	}
}
