// Package apache gives tests the Apache Kafka that tools/kafka.sh runs.
package apache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// User is one who may log in, with SCRAM-SHA-512.
type User struct {
	Name, Password string
	Rules          []*kadm.ACLBuilder
}

// There says whether there is one.
func There() bool { return os.Getenv(address) != "" }

const address = "LABCTL_TEST_KAFKA"

// Use takes all topics, groups and rules away, and lets users in. It gives the address of one of its nodes, and how many there are.
func Use(t *testing.T, users ...User) (addr string, nodes int) {
	t.Helper()
	addr = os.Getenv(address)
	c := rootClient(t)
	root := kadm.NewClient(c)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	nodes, err := strconv.Atoi(os.Getenv("LABCTL_TEST_KAFKA_NODES"))
	require.NoError(t, err)
	brokers := map[int32]string{} // by id: the address
	until(ctx, func() bool {      // they may still be starting
		m, err := root.BrokerMetadata(ctx)
		for _, b := range m.Brokers {
			brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
		}
		return err == nil && len(brokers) == nodes
	})
	require.Len(t, brokers, nodes, "Apache Kafka at %s", addr)

	topics, err := root.ListTopics(ctx)
	require.NoError(t, err)
	if names := topics.Names(); len(names) > 0 {
		_, err = root.DeleteTopics(ctx, names...)
		require.NoError(t, err)
	}
	groups, err := root.ListGroups(ctx)
	require.NoError(t, err)
	for _, name := range groups.Groups() {
		var r kadm.DeleteGroupResponse
		until(ctx, func() bool {
			r, err = root.DeleteGroup(ctx, name)
			return !errors.Is(r.Err, kerr.NonEmptyGroup) // a test has killed a member, which is one until its session ends
		})
		require.NoError(t, errors.Join(err, r.Err))
	}
	_, err = root.DeleteACLs(ctx, kadm.NewACLs().Topics().Groups().ResourcePatternType(kadm.ACLPatternLiteral).Allow().AllowHosts().Operations())
	require.NoError(t, err)

	for _, u := range users {
		r, err := root.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: u.Name, Mechanism: kadm.ScramSha512, Iterations: 4096, Password: u.Password}})
		require.NoError(t, err)
		require.NoError(t, r[u.Name].Err)
		for _, rule := range u.Rules {
			granted, err := root.CreateACLs(ctx, rule)
			require.NoError(t, err)
			for _, g := range granted {
				require.NoError(t, g.Err)
			}
		}
	}
	// The controller has taken all this; each broker hears of it a little later.
	for id, broker := range brokers {
		until(ctx, func() bool {
			r, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, c.Broker(int(id)))
			return err == nil && !slices.ContainsFunc(r.Topics, func(t kmsg.MetadataResponseTopic) bool { return !t.IsInternal })
		})
		for _, u := range users {
			as, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.SASL(scram.Auth{User: u.Name, Pass: u.Password}.AsSha512Mechanism()))
			require.NoError(t, err)
			until(ctx, func() bool {
				_, err = kadm.NewClient(as).BrokerMetadata(ctx)
				return err == nil
			})
			as.Close()
			require.NoError(t, err, "%s logs in at %s", u.Name, broker)
		}
	}
	require.NoError(t, ctx.Err())
	return addr, nodes
}

// rootClient gives a client that may do everything, until the test ends.
func rootClient(t *testing.T) *kgo.Client {
	t.Helper()
	password, err := os.ReadFile(os.Getenv("LABCTL_TEST_KAFKA_PASSWORD_FILE"))
	require.NoError(t, err)
	c, err := kgo.NewClient(kgo.SeedBrokers(os.Getenv(address)), kgo.SASL(plain.Auth{User: "root", Pass: strings.TrimSpace(string(password))}.AsMechanism()))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// Move moves all partitions from node to node, one turn each time that every passes, until the test calls stop, which gives how many turns there were, and why
// a turn that it ended was not done yet. At every turn each partition's next
// node leads it, and at every other one it loses one of its copies, which the next turn makes anew on that node.
func Move(t *testing.T, every time.Duration) (stop func() (turns int, err error)) {
	t.Helper()
	root := kadm.NewClient(rootClient(t))
	ctx, cancel := context.WithCancel(t.Context())
	var turns int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			// A broker that is asked may be away for a moment.
			until(ctx, func() bool {
				if err = move(ctx, root, turns); err != nil {
					err = fmt.Errorf("move partitions, turn %d: %w", turns+1, err)
				}
				return err == nil
			})
			if err == nil {
				turns++
			}
		}
	}()
	return func() (int, error) {
		cancel()
		<-done
		return turns, err
	}
}

func move(ctx context.Context, root *kadm.Client, turn int) error {
	all, err := root.ListTopicsWithInternal(ctx)
	if err != nil {
		return err
	}
	brokers, err := root.ListBrokers(ctx)
	if err != nil {
		return err
	}
	ids := brokers.NodeIDs()
	var moves kadm.AlterPartitionAssignmentsReq
	var partitions kadm.TopicsSet
	all.EachPartition(func(p kadm.PartitionDetail) {
		first := (int(p.Partition) + turn) % len(ids)
		order := append(slices.Clone(ids[first:]), ids[:first]...)
		if turn%2 == 0 {
			order = order[:len(order)-1]
		}
		moves.Assign(p.Topic, p.Partition, order)
		partitions.Add(p.Topic, p.Partition)
	})
	if moved, err := root.AlterPartitionAssignments(ctx, moves); err != nil || moved.Error() != nil {
		return errors.Join(err, moved.Error())
	}
	until(ctx, func() bool {
		var left kadm.ListPartitionReassignmentsResponses
		left, err = root.ListPartitionReassignments(ctx, partitions)
		return err == nil && len(left.Sorted()) == 0
	})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return err
	}
	elected, err := root.ElectLeaders(ctx, kadm.ElectPreferredReplica, partitions)
	if err != nil {
		return err
	}
	for _, of := range elected {
		for _, r := range of {
			if r.Err != nil && !errors.Is(r.Err, kerr.ElectionNotNeeded) && !errors.Is(r.Err, kerr.PreferredLeaderNotAvailable) {
				return fmt.Errorf("elect %s/%d: %w", r.Topic, r.Partition, r.Err)
			}
		}
	}
	return nil
}

// until waits until something is so, or ctx ends.
func until(ctx context.Context, so func() bool) {
	for !so() && ctx.Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
}

// Killers gives each node's name and what kills it, without notice. tools/kafka.sh starts it again at once.
func Killers() map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{}
	for i, file := range strings.Fields(os.Getenv("LABCTL_TEST_KAFKA_PIDS")) {
		name := "kafka"
		if i > 0 {
			name += "-" + strconv.Itoa(i+1)
		}
		all[name] = func(ctx context.Context) error { return kill(ctx, file) }
	}
	return all
}

// kill ends the process whose number is in a file, and waits until there is another.
func kill(ctx context.Context, file string) error {
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(before)))
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill the broker of %s: %w", file, err)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	until(ctx, func() bool {
		now, err := os.ReadFile(file)
		return err == nil && !bytes.Equal(now, before)
	})
	return ctx.Err()
}
