package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/labctl/labctl/services/topics"
)

// Create makes the topics that are the client's service's to make (topics.Made) and that are missing, those of
// several partitions with as many as the configuration says where topics.Partitions is meant, and so for others in
// proportion. Several instances may do it at once. Of a topic that is there the owner brings the configs to those of
// the table; its partitions stay.
//
// There is no identity that makes topics for all: each service has the right to make the very topics it uses, so none waits for
// another, and none holds a key to more. Only those that are read under another prefix than the service writes under have to be there. Where topics can't be made through Kafka (some tiers of Event Hubs) or by a
// service (managed Event Hubs, where stacks/azure/2-databases makes them), they have to be there first.
func Create(ctx context.Context, c *kgo.Client, config Config) error {
	service, _ := c.OptValue(kgo.ClientID).(string)
	made := topics.Made(service, config.Names)
	if err := create(ctx, c, service, made, config.Partitions); err != nil {
		return err
	}
	return reconcile(ctx, c, service, made)
}

// reconcile brings the configs of the topics that a service owns to those of the table. Where the brokers do not let
// it, the log says so and the service goes on: whoever made the topics may have reasons, and Event Hubs has configs of
// its own.
func reconcile(ctx context.Context, c *kgo.Client, service string, used []topics.Topic) error {
	admin := kadm.NewClient(c)
	for _, t := range used {
		if t.Owner != service {
			continue
		}
		n, err := replicas(ctx, c, t.Name)
		if err != nil {
			return err
		}
		want := maps.Clone(t.Configs)
		want["min.insync.replicas"] = strconv.Itoa(topics.MinInSync(n))
		var changes []kadm.AlterConfig
		have, err := describe(ctx, admin, t.Name)
		if err == nil {
			changes = differences(have, want)
			err = alter(ctx, admin, t.Name, changes)
		}
		switch log := logOf(c); {
		case err != nil && (ctx.Err() != nil || kerr.IsRetriable(err)): // such as: not all brokers know the topic yet
			return fmt.Errorf("bring topic %s to its configs: %w", t.Name, err)
		case err != nil:
			log.Warn("the topic may have other configs than it should, and the brokers do not let the service change them; let it do DescribeConfigs and AlterConfigs on the topic, or set them by hand",
				"topic", t.Name, "wanted", want, "error", err)
		case len(changes) > 0:
			log.Info("the topic has other configs now", "topic", t.Name, "configs", want)
		}
	}
	return nil
}

// replicas gives how many replicas a topic has. It asks the brokers, since what the client knows may be older than the
// topic.
func replicas(ctx context.Context, c *kgo.Client, topic string) (int, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
	r, err := req.RequestWith(ctx, c)
	if err == nil && len(r.Topics) == 1 {
		if err = kerr.ErrorForCode(r.Topics[0].ErrorCode); err == nil && len(r.Topics[0].Partitions) > 0 {
			return len(r.Topics[0].Partitions[0].Replicas), nil
		}
	}
	if err == nil {
		err = kerr.UnknownTopicOrPartition
	}
	return 0, fmt.Errorf("look for the replicas of topic %s: %w", topic, err)
}

// describe gives the configs that a topic has of its own.
func describe(ctx context.Context, admin *kadm.Client, topic string) (map[string]string, error) {
	found, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err //nolint:wrapcheck // reconcile says of what
	}
	r, err := found.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	own := map[string]string{}
	for _, c := range r.Configs {
		if c.Source == kmsg.ConfigSourceDynamicTopicConfig {
			own[c.Key] = c.MaybeValue()
		}
	}
	return own, err //nolint:wrapcheck // the same
}

// differences gives what has to be changed. A limit by size is taken away, as the table has none; what else a topic has
// beside the table is for whoever has set it.
func differences(have, want map[string]string) (changes []kadm.AlterConfig) {
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v := want[k]; have[k] != v {
			changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: &v})
		}
	}
	if _, limited := have["retention.bytes"]; limited {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.bytes"})
	}
	return changes
}

func alter(ctx context.Context, admin *kadm.Client, topic string, changes []kadm.AlterConfig) error {
	if len(changes) == 0 {
		return nil
	}
	done, err := admin.AlterTopicConfigs(ctx, changes, topic)
	if err != nil {
		return err //nolint:wrapcheck // reconcile says of what
	}
	r, err := done.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	return err //nolint:wrapcheck // the same
}

// logOf gives the log that a client was opened with.
func logOf(c *kgo.Client) *slog.Logger {
	if l, ok := c.OptValue(kgo.WithLogger).(logger); ok && l.log != nil {
		return l.log
	}
	return slog.New(slog.DiscardHandler)
}

func create(ctx context.Context, c *kgo.Client, service string, wanted []topics.Topic, partitions int32) error {
	if len(wanted) == 0 {
		return nil
	}
	names := make([]string, len(wanted))
	for i, t := range wanted {
		names[i] = t.Name
	}
	admin := kadm.NewClient(c)
	there, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("look for topics %v: %w", names, err)
	}
	for _, t := range wanted {
		switch err := there[t.Name].Err; {
		case err == nil:
			continue
		case errors.Is(err, kerr.TopicAuthorizationFailed):
			// So Kafka answers, too, about a topic that is not there to who may not make it.
			return fmt.Errorf("look for topic %s: %w: %s may do nothing with it; give it the rights of services/topics", t.Name, err, service)
		case !errors.Is(err, kerr.UnknownTopicOrPartition):
			return fmt.Errorf("look for topic %s: %w", t.Name, err)
		}
		if t.Partitions > 1 && partitions > 0 {
			t.Partitions = max(1, t.Partitions*partitions/topics.Partitions)
		}
		configs := map[string]*string{}
		for k, v := range t.Configs {
			configs[k] = &v
		}
		r, err := admin.CreateTopic(ctx, t.Partitions, -1, configs, t.Name)
		if err == nil {
			err = r.Err
		}
		switch {
		case err == nil || errors.Is(err, kerr.TopicAlreadyExists):
		case refused(err):
			said := ""
			if r.ErrMessage != "" {
				said = " (" + r.ErrMessage + ")"
			}
			return fmt.Errorf("create topic %s: %w%s; the brokers do not let %s make it: make it there first, with %d partitions and %s (Event Hubs: stacks/azure/2-databases)",
				t.Name, err, said, service, t.Partitions, t.Configs["cleanup.policy"])
		default:
			return fmt.Errorf("create topic %s: %w", t.Name, err)
		}
	}
	return nil
}

// refused says that asking again will not help.
func refused(err error) bool {
	for _, no := range []error{
		kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed, kerr.PolicyViolation, kerr.InvalidConfig,
		kerr.InvalidRequest, kerr.InvalidPartitions, kerr.InvalidReplicationFactor, kerr.UnsupportedVersion,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
