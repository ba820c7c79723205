package kafka_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/kafka"
)

// TestMain lets the test binary be the broker that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("LABCTL_TEST_KAFKA"); dir != "" {
		b, err := kafka.Start(kafka.Options{DataDir: dir, Listen: os.Getenv("LABCTL_TEST_LISTEN")})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(b.Addr())
		select {}
	}
	os.Exit(m.Run())
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func topic(t *testing.T, c *kgo.Client, name string) {
	t.Helper()
	r, err := kadm.NewClient(c).CreateTopic(t.Context(), 1, -1, nil, name)
	require.NoError(t, err)
	require.NoError(t, r.Err)
}

func read(t *testing.T, c *kgo.Client, n int) (values []string) {
	t.Helper()
	for len(values) < n {
		f := c.PollFetches(t.Context())
		require.NoError(t, f.Err0())
		f.EachRecord(func(r *kgo.Record) { values = append(values, string(r.Value)) })
	}
	return values
}

func TestAdvertisedAddress(t *testing.T) {
	b, err := kafka.Start(kafka.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Advertised: "kafka.data.svc:9092"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	require.Equal(t, "kafka.data.svc:9092", b.Addr())
	require.NoError(t, b.Ready(t.Context()), "ready is asked at the bound address")

	for name, adv := range map[string]string{"no port": "kafka", "no host": ":9092", "port 0": "kafka:0", "not a port": "kafka:x"} {
		_, err := kafka.Start(kafka.Options{DataDir: t.TempDir(), Listen: "127.0.0.1:0", Advertised: adv})
		require.ErrorContains(t, err, "advertised address", name)
	}
	_, err = kafka.Start(kafka.Options{Listen: "127.0.0.1:0"})
	require.ErrorContains(t, err, "no data directory")
}

func TestGroupGoesOnAfterARestart(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	b, err := kafka.Start(kafka.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	p := client(t, b.Addr())
	topic(t, p, "t")
	for i := range 10 {
		require.NoError(t, p.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte(fmt.Sprint(i))}).FirstErr())
	}
	g := client(t, b.Addr(), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	require.Len(t, read(t, g, 10), 10)
	require.NoError(t, g.CommitUncommittedOffsets(ctx))
	g.Close()
	b.Close()

	b, err = kafka.Start(kafka.Options{DataDir: dir, Listen: "127.0.0.1:0"})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	p = client(t, b.Addr())
	require.NoError(t, p.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("10")}).FirstErr())
	g = client(t, b.Addr(), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"))
	require.Equal(t, []string{"10"}, read(t, g, 1))
}

// A producer keeps writing over the broker's kill -9 and its restart; all that was acknowledged must be there once.
func TestKill(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	addr := freeport.Of(t).Addr()
	run := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, os.Args[0]) //nolint:gosec // the test binary itself
		cmd.Env = append(os.Environ(), "LABCTL_TEST_KAFKA="+dir, "LABCTL_TEST_LISTEN="+addr)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		require.True(t, bufio.NewScanner(out).Scan())
		return cmd
	}
	cmd := run()
	p := client(t, addr, kgo.ProducerLinger(0), kgo.RequiredAcks(kgo.AllISRAcks()))
	topic(t, p, "t")
	const n = 300
	for i := range n {
		require.NoError(t, p.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Topic: "t", Value: []byte(fmt.Sprint(i))}).FirstErr())
		if i == 100 || i == 200 {
			require.NoError(t, cmd.Process.Kill())
			_ = cmd.Wait()
			cmd = run()
		}
	}
	got := read(t, client(t, addr, kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), n)
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	require.Equal(t, want, got)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
}
