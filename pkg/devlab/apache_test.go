package devlab

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/labctl/labctl/pkg/kafka"
)

// apache is the address of an Apache Kafka to test on, and the file of its user root's password (tools/kafka.sh); empty: the lab's own.
func apache() (addr, passwordFile string) {
	return os.Getenv("LABCTL_TEST_KAFKA"), os.Getenv("LABCTL_TEST_KAFKA_PASSWORD_FILE")
}

// useApache empties that Kafka and gives it the lab's users with their rights, as the lab's own gets them. It gives its address.
func useApache(t *testing.T, l *lab) string {
	t.Helper()
	addr, file := apache()
	password, err := os.ReadFile(file)
	require.NoError(t, err)
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.SASL(plain.Auth{User: "root", Pass: strings.TrimSpace(string(password))}.AsMechanism()))
	require.NoError(t, err)
	defer c.Close()
	root := kadm.NewClient(c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for c.Ping(ctx) != nil && ctx.Err() == nil { // it may still be starting
		time.Sleep(100 * time.Millisecond)
	}
	require.NoError(t, c.Ping(ctx), "Apache Kafka at %s", addr)

	topics, err := root.ListTopics(ctx)
	require.NoError(t, err)
	if names := topics.Names(); len(names) > 0 {
		_, err = root.DeleteTopics(ctx, names...)
		require.NoError(t, err)
	}
	groups, err := root.ListGroups(ctx)
	require.NoError(t, err)
	for _, name := range groups.Groups() {
		r, err := root.DeleteGroup(ctx, name)
		for errors.Is(r.Err, kerr.NonEmptyGroup) && ctx.Err() == nil { // a test has killed a member, which is one until its session ends
			time.Sleep(100 * time.Millisecond)
			r, err = root.DeleteGroup(ctx, name)
		}
		require.NoError(t, errors.Join(err, r.Err))
	}
	_, err = root.DeleteACLs(ctx, kadm.NewACLs().Topics().Groups().ResourcePatternType(kadm.ACLPatternLiteral).Allow().AllowHosts().Operations())
	require.NoError(t, err)

	for _, u := range l.users() {
		r, err := root.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: u.Name, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: u.Password}})
		require.NoError(t, err)
		require.NoError(t, r[u.Name].Err)
		for _, rule := range kafka.ACLs(u) {
			granted, err := root.CreateACLs(ctx, rule)
			require.NoError(t, err)
			for _, g := range granted {
				require.NoError(t, g.Err)
			}
		}
	}
	// The controller has taken all this; the broker hears of it a little later.
	for _, u := range l.users() {
		as := func() error {
			c, err := kgo.NewClient(kgo.SeedBrokers(addr), login(u.Name, u.Password))
			require.NoError(t, err)
			defer c.Close()
			_, err = kadm.NewClient(c).BrokerMetadata(ctx)
			return err
		}
		for as() != nil && ctx.Err() == nil {
			time.Sleep(50 * time.Millisecond)
		}
		require.NoError(t, as(), "%s logs in", u.Name)
	}
	return addr
}
