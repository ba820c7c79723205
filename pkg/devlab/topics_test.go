package devlab

import (
	"errors"
	"maps"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/labctl/labctl/services/topics"
)

// Each topic has the configs of the table, made by the services themselves: nothing is dropped by its size, and where
// there are three replicas, what is acknowledged is on two. One that was made or changed otherwise comes to them when
// its owner starts.
func TestTopicsAreAsInTheTable(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c, err := kgo.NewClient(kgo.SeedBrokers(w.lab.brokerAddr), login(admin, w.lab.users.Password(admin)))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	root := kadm.NewClient(c)
	brokers, err := root.ListBrokers(ctx)
	require.NoError(t, err)
	list, err := root.ListTopics(ctx)
	require.NoError(t, err)
	check := func(topic topics.Topic) {
		t.Helper()
		n := list[topic.Name].Partitions.NumReplicas()
		require.Len(t, brokers, n, topic.Name)
		want := maps.Clone(topic.Configs)
		want["min.insync.replicas"] = strconv.Itoa(map[int]int{1: 1, 3: 2}[n])
		found, err := root.DescribeTopicConfigs(ctx, topic.Name)
		require.NoError(t, err)
		have := map[string]string{}
		for _, c := range found[0].Configs {
			if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
				have[c.Key] = c.MaybeValue()
			}
		}
		require.Equal(t, want, have, topic.Name)
	}
	for _, topic := range topics.All() {
		check(topic)
	}

	changed, err := root.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Name: "retention.bytes", Value: new("67108864")}, {Name: "min.insync.replicas", Value: new("1")}, {Name: "retention.ms", Value: new("3600000")},
	}, topics.Messages)
	require.NoError(t, errors.Join(err, changed[0].Err))
	w.parts["messaging"].stop()
	w.start("messaging")
	w.ready()
	check(topics.All()[0])
}
