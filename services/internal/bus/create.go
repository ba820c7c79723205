package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/topics"
)

// Create makes the topics that the client's service uses (table in services/topics) and that are missing, those of several partitions
// with as many as the configuration says where topics.Partitions is meant, and so for others in proportion. Several instances may do it at once. A topic that is there stays as it is: no service may change one.
//
// There is no identity that makes topics for all: each service has the right to make the very topics it uses, so none waits for
// another, and none holds a key to more. Where topics can't be made through Kafka (some tiers of Event Hubs) or by a
// service (managed Event Hubs, where stacks/azure/2-databases makes them), they have to be there first.
func Create(ctx context.Context, c *kgo.Client, config Config) error {
	service, _ := c.OptValue(kgo.ClientID).(string)
	return create(ctx, c, service, topics.Of(service), config.Partitions)
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
