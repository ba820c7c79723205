package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

// talk is two users on two devices each, who send to each other all the while.
type talk struct {
	t            *testing.T
	conversation string
	alice, bob   *client.Session
	devices      []*device
	stop         chan struct{}
	senders      sync.WaitGroup

	mu    sync.Mutex
	acked map[string]client.Message // by body
	moved chan struct{}
}

// device is a connected device and what it was told, in order.
type device struct {
	*client.Device
	mu  sync.Mutex
	got []client.Message
}

// startTalk registers the users and lets every device send until finish.
func startTalk(t *testing.T, url string) *talk {
	t.Helper()
	ctx := t.Context()
	c := client.New(url)
	t.Cleanup(c.Close)
	suffix := fmt.Sprint(time.Now().UnixNano())
	enter := func(how func(context.Context, string, string, string) (*client.Session, error), name, where string) *client.Session {
		s, err := how(ctx, name+suffix, "a password of the test", where)
		require.NoError(t, err)
		return s
	}
	k := &talk{t: t, stop: make(chan struct{}), acked: map[string]client.Message{}, moved: make(chan struct{}, 1)}
	k.alice, k.bob = enter(c.Register, "alice", "phone"), enter(c.Register, "bob", "phone")
	k.conversation = client.DirectID(k.alice.User.ID, k.bob.User.ID)
	sessions := []*client.Session{k.alice, enter(c.Login, "alice", "laptop"), k.bob, enter(c.Login, "bob", "laptop")}
	for _, s := range sessions {
		d := &device{}
		var err error
		d.Device, err = s.Connect(ctx, client.DeviceOptions{Events: client.Events{Message: func(m client.Message) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.got = append(d.got, m)
			k.nudge()
		}}})
		require.NoError(t, err)
		t.Cleanup(d.Close)
		k.devices = append(k.devices, d)
	}
	// Only now: a device is told what is said from its connecting on.
	for i, d := range k.devices {
		k.senders.Go(func() { k.send(ctx, d, i) })
	}
	return k
}

func (k *talk) send(ctx context.Context, d *device, i int) {
	for n := 0; ; n++ {
		select {
		case <-k.stop:
			return
		default:
		}
		body := fmt.Sprintf("message %d of device %d", n, i)
		m, err := d.Send(ctx, k.conversation, body)
		if err != nil {
			k.t.Errorf("send %q: %v", body, err)
			return
		}
		k.mu.Lock()
		k.acked[body] = m
		k.mu.Unlock()
		k.nudge()
	}
}

func (k *talk) nudge() {
	select {
	case k.moved <- struct{}{}:
	default:
	}
}

// until waits for what the talk brings about.
func (k *talk) until(what string, holds func() bool) {
	k.t.Helper()
	limit := time.NewTimer(3 * time.Minute)
	defer limit.Stop()
	for !holds() {
		if k.t.Failed() {
			k.t.FailNow()
		}
		select {
		case <-k.moved:
		case <-limit.C:
			require.FailNow(k.t, "waited in vain for "+what)
		}
	}
}

func (k *talk) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.acked)
}

// more waits until n more messages were acknowledged.
func (k *talk) more(n int) {
	k.t.Helper()
	target := k.count() + n
	k.until(fmt.Sprintf("%d more messages", n), func() bool { return k.count() >= target })
}

// history reads the whole conversation. While a pod is being replaced the ingress may answer 502 or 503, as any does.
func (k *talk) history() []client.Message {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	for {
		stored, err := k.alice.HistoryAfter(ctx, k.conversation, 0, 0)
		var e *client.Error
		if errors.As(err, &e) && e.Status >= http.StatusInternalServerError && ctx.Err() == nil {
			continue
		}
		require.NoError(k.t, err)
		return stored
	}
}

// finish stops the senders and checks the promise: what was acknowledged is on every device and in the history, once,
// in one order.
func (k *talk) finish() {
	k.t.Helper()
	close(k.stop)
	k.senders.Wait()
	stored := k.history()
	// A messaging that died may have acknowledged what it had not written yet. Who takes its place finds that in Kafka, and writes it.
	for limit := time.Now().Add(3 * time.Minute); len(stored) < len(k.acked) && time.Now().Before(limit); stored = k.history() {
		select {
		case <-k.t.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	require.Len(k.t, stored, len(k.acked), "every message was acknowledged, so as many are stored: no more, no fewer")
	for i, m := range stored {
		require.EqualValues(k.t, i+1, m.Seq)
		require.Equal(k.t, k.acked[m.Body], m)
	}
	for i, d := range k.devices {
		k.until(fmt.Sprintf("device %d to have all %d messages", i, len(stored)), func() bool {
			d.mu.Lock()
			defer d.mu.Unlock()
			return len(d.got) >= len(stored)
		})
		d.mu.Lock()
		require.Equal(k.t, stored, d.got, "device %d", i)
		d.mu.Unlock()
	}
	k.t.Logf("%d messages, all acknowledged, stored once and shown once in one order on %d devices", len(stored), len(k.devices))
}
