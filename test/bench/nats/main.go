// Command nats measures the chat's peer in the way in which test/bench/chat.go measures the chat: NATS, through its WebSocket, its server a
// process of its own and the generator beside it. Core NATS stores nothing; JetStream syncs each write, as the chat's broker does.
// It is a module of its own, so that labctl does not depend on NATS. Its argument is what to measure: rooms, pairs or fan-out. It prints JSON.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	asServer = "LABCTL_BENCH_NATS_DIR"
	users    = 100
	roomSize = 10
	rate     = 500
	seconds  = 15
	bigRoom  = 1000
	bigRate  = 1000 // more than can be delivered
	bigTime  = 5
	pairs    = 200
	pairTime = 5
	size     = 100 // bytes of a text
)

func main() {
	var err error
	if dir := os.Getenv(asServer); dir != "" {
		err = serve(dir)
	} else if err = errors.New("usage: nats rooms|pairs|fan-out"); len(os.Args) == 2 {
		err = run(os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "nats:", err)
		os.Exit(1)
	}
}

// serve is the server, until its input ends.
func serve(dir string) error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, MaxPending: 1 << 30,
		JetStream: true, StoreDir: dir, SyncAlways: true,
		Websocket: server.WebsocketOpts{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoTLS: true},
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		return errors.New("the server is not ready after 20 s")
	}
	fmt.Println(s.WebsocketURL())
	_, _ = io.Copy(io.Discard, os.Stdin)
	s.Shutdown()
	return nil
}

// latency is the shape of pkg/load's.
type latency struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

type peer struct {
	Stored    latency `json:"stored"`
	Delivered latency `json:"delivered"`
	PerSecond float64 `json:"per_second"`
}

func run(what string) (err error) {
	dir, err := os.MkdirTemp("", "labctl-bench-nats-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env, cmd.Stderr = append(os.Environ(), asServer+"="+dir), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close(), cmd.Wait()) }()
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	url = strings.TrimSpace(url)
	var result struct {
		Core      peer `json:"core"`
		JetStream peer `json:"jetstream"`
	}
	switch what {
	case "rooms":
		if result.Core.Delivered, err = coreRooms(url); err != nil {
			return fmt.Errorf("core NATS in rooms: %w", err)
		}
		if result.JetStream.Stored, result.JetStream.Delivered, err = streamRooms(url); err != nil {
			return fmt.Errorf("JetStream in rooms: %w", err)
		}
	case "pairs":
		if result.JetStream.PerSecond, err = streamPairs(url); err != nil {
			return fmt.Errorf("JetStream in pairs: %w", err)
		}
	case "fan-out":
		if result.Core.PerSecond, err = coreFanOut(url); err != nil {
			return fmt.Errorf("core NATS in a large room: %w", err)
		}
	default:
		return fmt.Errorf("%q is none of rooms, pairs, fan-out", what)
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// gathering collects durations.
type gathering struct {
	mu   sync.Mutex
	all  []time.Duration
	last time.Time
}

func (g *gathering) add(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, d)
	g.last = time.Now()
}

func (g *gathering) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.all)
}

// until waits until n are there, or a minute.
func (g *gathering) until(n int) {
	for limit := time.Now().Add(time.Minute); g.count() < n && time.Now().Before(limit); {
		time.Sleep(20 * time.Millisecond)
	}
}

func (g *gathering) latency() latency {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all) == 0 {
		return latency{}
	}
	slices.Sort(g.all)
	at := func(q float64) float64 {
		return float64(g.all[min(int(q*float64(len(g.all))), len(g.all)-1)].Microseconds()) / 1000
	}
	return latency{len(g.all), at(0.5), at(0.99), at(0.999), at(1)}
}

func connect(url string, n int) (all []*nats.Conn, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range all {
			c.Close()
		}
	}
	for range n {
		c, err := nats.Connect(url)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		all = append(all, c)
	}
	return all, closeAll, nil
}

// arrive calls send at the times of a Poisson process, with the time at which each message was due.
func arrive(rate float64, duration time.Duration, send func(i int, due time.Time)) (sent int) {
	rng := rand.New(rand.NewPCG(1, 0))
	begin := time.Now()
	for due := begin; ; sent++ {
		due = due.Add(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
		if due.Sub(begin) > duration {
			return sent
		}
		time.Sleep(time.Until(due))
		send(sent, due)
	}
}

// text is a message that holds the time at which it was due.
func text(due time.Time) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint64(b, uint64(due.UnixNano()))
	return b
}

func since(b []byte) time.Duration {
	return time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(b))))
}

func room(user int) string { return fmt.Sprintf("room.%d", user/roomSize) }

func coreRooms(url string) (latency, error) {
	all, closeAll, err := connect(url, users)
	if err != nil {
		return latency{}, err
	}
	defer closeAll()
	var shown gathering
	for i, c := range all {
		if _, err := c.Subscribe(room(i), func(m *nats.Msg) { shown.add(since(m.Data)) }); err != nil {
			return latency{}, err
		}
		if err := c.Flush(); err != nil {
			return latency{}, err
		}
	}
	sent := arrive(rate, seconds*time.Second, func(i int, due time.Time) {
		user := i * 37 % users
		if publishErr := errors.Join(all[user].Publish(room(user), text(due))); publishErr != nil {
			err = publishErr
		}
	})
	shown.until(sent * roomSize)
	return shown.latency(), err
}

func coreFanOut(url string) (float64, error) {
	all, closeAll, err := connect(url, bigRoom)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	var shown atomic.Int64
	var last atomic.Int64
	for _, c := range all {
		s, err := c.Subscribe("big", func(*nats.Msg) {
			shown.Add(1)
			last.Store(time.Now().UnixNano())
		})
		if err == nil {
			err = errors.Join(s.SetPendingLimits(-1, -1), c.Flush())
		}
		if err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	sent := arrive(bigRate, bigTime*time.Second, func(i int, due time.Time) {
		if publishErr := all[i%bigRoom].Publish("big", text(due)); publishErr != nil {
			err = publishErr
		}
	})
	for limit := time.Now().Add(time.Minute); shown.Load() < int64(sent*bigRoom) && time.Now().Before(limit); {
		time.Sleep(20 * time.Millisecond)
	}
	return float64(shown.Load()) / time.Unix(0, last.Load()).Sub(begin).Seconds(), err
}

func stream(c *nats.Conn, name, subjects string) error {
	js, err := c.JetStream()
	if err == nil {
		_, err = js.AddStream(&nats.StreamConfig{Name: name, Subjects: []string{subjects}, Storage: nats.FileStorage})
	}
	return err
}

func streamRooms(url string) (stored, delivered latency, err error) {
	all, closeAll, err := connect(url, users)
	if err != nil {
		return stored, delivered, err
	}
	defer closeAll()
	if err := stream(all[0], "rooms", "room.*"); err != nil {
		return stored, delivered, err
	}
	var acked, shown gathering
	senders := make([]nats.JetStreamContext, users)
	for i, c := range all {
		if senders[i], err = c.JetStream(); err != nil {
			return stored, delivered, err
		}
		if _, err := senders[i].Subscribe(room(i), func(m *nats.Msg) { shown.add(since(m.Data)) }, nats.OrderedConsumer(), nats.DeliverNew()); err != nil {
			return stored, delivered, err
		}
	}
	sent := arrive(rate, seconds*time.Second, func(i int, due time.Time) {
		user := i * 37 % users
		future, publishErr := senders[user].PublishAsync(room(user), text(due))
		if publishErr != nil {
			err = publishErr
			return
		}
		go func() {
			select {
			case <-future.Ok():
				acked.add(time.Since(due))
			case <-future.Err():
			}
		}()
	})
	acked.until(sent)
	shown.until(sent * roomSize)
	return acked.latency(), shown.latency(), err
}

// streamPairs sends as fast as it is acknowledged, one message of each connection under way: with more, their time runs out.
func streamPairs(url string) (float64, error) {
	all, closeAll, err := connect(url, pairs)
	if err != nil {
		return 0, err
	}
	defer closeAll()
	if err := stream(all[0], "pairs", "pair.*"); err != nil {
		return 0, err
	}
	var acked atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(pairTime * time.Second)
	for i, c := range all {
		js, err := c.JetStream()
		if err != nil {
			return 0, err
		}
		wg.Go(func() {
			for time.Now().Before(end) {
				if _, err := js.Publish(fmt.Sprintf("pair.%d", i/2), text(time.Now())); err == nil {
					acked.Add(1)
				}
			}
		})
	}
	begin := time.Now()
	wg.Wait()
	return float64(acked.Load()) / time.Since(begin).Seconds(), nil
}
