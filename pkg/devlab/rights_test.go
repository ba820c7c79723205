package devlab

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/services/topics"
	"github.com/labctl/labctl/test/kafka/apache"
)

// What each service may do, written down once more by hand: who changes services/topics shall see it here. All other operations
// on all topics and groups must be refused.
var rights = map[string]struct{ write, read, configure, groups string }{
	"auth":      {"sessions", "sessions", "sessions", ""},
	"gateway":   {"messages presence", "users sessions", "", ""},
	"groups":    {"messages users", "sessions", "", ""},
	"messaging": {"users messages messages.dead", "messages messages.dead sessions", "users messages messages.dead", "messaging"},
	"presence":  {"users", "sessions presence", "presence", "presence"},
}

// login logs a client in.
func login(user, password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())
}

func TestEachServiceHasOnlyItsOwnTopics(t *testing.T) {
	ctx := t.Context()
	l := &lab{dir: t.TempDir()}
	var addr string
	if apache.There() {
		addr = useApache(t, l)
	} else {
		broker, err := kafka.Start(kafka.Options{DataDir: l.dir, Listen: anywhere, Users: l.users()})
		require.NoError(t, err)
		t.Cleanup(broker.Close)
		addr = broker.Addr()
	}
	as := func(user string, opts ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), login(user, l.passwords[user]), kgo.ProducerLinger(0)}, opts...)...)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	root := kadm.NewClient(as(admin))
	clients := map[string]*kgo.Client{}
	for _, service := range topics.Services() {
		clients[service] = as(service)
	}
	require.Len(t, rights, len(clients), "every service is in the table")

	names, groups := []string{"another"}, []string{"another"}
	for _, topic := range topics.All() {
		names = append(names, topic.Name)
		if topic.Group != "" {
			groups = append(groups, topic.Group)
		}
	}
	is := func(service, operation, name string, allowed bool, err error) {
		t.Helper()
		if allowed {
			require.NoError(t, err, "%s may %s %s", service, operation, name)
			return
		}
		refused := errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
		require.True(t, refused, "%s must not %s %s: %v", service, operation, name, err)
	}
	create := func(c *kadm.Client, name string) error {
		r, err := c.CreateTopic(ctx, 1, -1, nil, name)
		return errors.Join(err, r.Err)
	}

	for service, c := range clients {
		for _, name := range names {
			uses := slices.Contains(strings.Fields(rights[service].write+" "+rights[service].read), name)
			is(service, "make", name, uses, create(kadm.NewClient(c), name))
			if uses {
				_, err := root.DeleteTopic(ctx, name)
				require.NoError(t, err)
			}
		}
	}
	for _, name := range names {
		require.NoError(t, create(root, name))
		require.NoError(t, as(admin).ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte("first")}).FirstErr())
	}
	for service, c := range clients {
		a := kadm.NewClient(c)
		for _, name := range names {
			is(service, "write", name, slices.Contains(strings.Fields(rights[service].write), name),
				c.ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte(service)}).FirstErr())

			reader := as(service, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}))
			is(service, "read", name, slices.Contains(strings.Fields(rights[service].read), name), reader.PollFetches(ctx).Err0())

			none := func(operation string, err error) { t.Helper(); is(service, operation, name, false, err) }
			r, err := a.DeleteTopic(ctx, name)
			none("remove", errors.Join(err, r.Err))
			changed, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: new("3600000")}}, name)
			for _, r := range changed {
				err = errors.Join(err, r.Err)
			}
			is(service, "change", name, slices.Contains(strings.Fields(rights[service].configure), name), err)
			var offsets kadm.Offsets
			offsets.AddOffset(name, 0, 1, -1)
			deleted, err := a.DeleteRecords(ctx, offsets)
			none("empty", errors.Join(err, deleted.Error()))
			granted, err := a.CreateACLs(ctx, kadm.NewACLs().Allow("User:"+service).AllowHosts("*").Topics(name).
				ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpAll))
			for _, r := range granted {
				err = errors.Join(err, r.Err)
			}
			none("take more rights on", err)
		}
		for _, group := range groups {
			_, err := a.FetchOffsets(ctx, group)
			if errors.Is(err, kerr.GroupIDNotFound) { // only members are told so
				err = nil
			}
			is(service, "be in group", group, slices.Contains(strings.Fields(rights[service].groups), group), err)
		}
	}

	for who, as := range map[string]kgo.Opt{
		"someone without a password":  kgo.ClientID("nobody"),
		"someone with a wrong one":    login("auth", "guess"),
		"someone unknown":             login("eve", "guess"),
		"the superuser of the docs":   kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()),
		"a service as another's user": login("auth", l.passwords["groups"]),
	} {
		c, err := kgo.NewClient(kgo.SeedBrokers(addr), as, kgo.RetryTimeout(1), kgo.RequestRetries(0))
		require.NoError(t, err)
		require.Error(t, c.Ping(ctx), who)
		c.Close()
	}
}

// Each service that has a database may read its own, and no other.
func TestEachServiceHasOnlyItsOwnDatabase(t *testing.T) {
	w := newWorld(t)
	services := []string{"auth", "groups", "messaging", "presence"}
	for _, service := range services {
		c, err := mongo.Connect(options.Client().ApplyURI(w.env(service)("MONGODB_URI")))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Disconnect(t.Context()) })
		for _, name := range services {
			_, err := c.Database(name).Collection("schema").CountDocuments(t.Context(), bson.D{})
			if name == service {
				require.NoError(t, err, service)
			} else {
				require.ErrorContains(t, err, service+" may not aggregate in "+name)
			}
		}
	}
	require.Empty(t, w.env("gateway")("MONGODB_URI"))
}
