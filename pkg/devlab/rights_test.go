package devlab

import (
	"context"
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
	"github.com/labctl/labctl/pkg/mongodb"
	"github.com/labctl/labctl/services/topics"
	"github.com/labctl/labctl/test/kafka/apache"
)

// allowed is what a user may do with topics and consumer groups.
type allowed struct{ write, read, ends, make, configure, remove, join, see, removeGroups string }

// What each user may do, written down once more by hand: who changes services/topics shall see it here. All other operations
// on all topics and groups must be refused. SIDE stands for each side of a shadow.
var rights = map[string]allowed{
	"auth":      {write: "sessions", read: "sessions", make: "sessions", configure: "sessions"},
	"gateway":   {write: "messages presence", read: "users sessions", make: "messages presence users sessions"},
	"groups":    {write: "messages users", read: "sessions", make: "messages users sessions"},
	"messaging": {write: "messages users messages.dead", read: "messages messages.dead sessions", make: "messages users messages.dead sessions", configure: "messages users messages.dead", join: "messaging"},
	"presence":  {write: "users", read: "sessions presence", make: "users sessions presence", configure: "presence", join: "presence"},

	"gateway-SIDE":   {write: "SIDE.gateway.messages SIDE.gateway.presence", read: "users sessions", ends: "messages", make: "SIDE.gateway.messages SIDE.gateway.presence"},
	"auth-SIDE":      {read: "sessions"},
	"groups-SIDE":    {read: "sessions"},
	"messaging-SIDE": {write: "SIDE.messaging.messages SIDE.messaging.users SIDE.messaging.messages.dead", read: "messages messages.dead sessions", make: "SIDE.messaging.messages SIDE.messaging.users SIDE.messaging.messages.dead", configure: "SIDE.messaging.messages SIDE.messaging.users SIDE.messaging.messages.dead", join: "messaging-SIDE"},
	"presence-SIDE":  {write: "SIDE.presence.users", read: "sessions presence", make: "SIDE.presence.users", join: "presence-SIDE"},

	"gateway-comparer": {read: "messages presence shadow.gateway.messages shadow.gateway.presence baseline.gateway.messages baseline.gateway.presence", remove: "shadow.gateway.messages shadow.gateway.presence baseline.gateway.messages baseline.gateway.presence"},
	"messaging-comparer": {
		read:   "messages users messages.dead shadow.messaging.messages shadow.messaging.users shadow.messaging.messages.dead baseline.messaging.messages baseline.messaging.users baseline.messaging.messages.dead",
		remove: "shadow.messaging.messages shadow.messaging.users shadow.messaging.messages.dead baseline.messaging.messages baseline.messaging.users baseline.messaging.messages.dead",
		join:   "messaging-shadow messaging-baseline", see: "messaging", removeGroups: "messaging-shadow messaging-baseline",
	},
	"presence-comparer": {
		read: "users presence shadow.presence.users baseline.presence.users", remove: "shadow.presence.users baseline.presence.users",
		join: "presence-shadow presence-baseline", see: "presence", removeGroups: "presence-shadow presence-baseline",
	},
}

// rightsOf gives what a user may do.
func rightsOf(user string) (a allowed, ok bool) {
	for _, side := range []string{"shadow", "baseline"} {
		if a, ok := rights[strings.Replace(user, side, "SIDE", 1)]; ok {
			for _, names := range []*string{&a.write, &a.make, &a.configure, &a.join} {
				*names = strings.ReplaceAll(*names, "SIDE", side)
			}
			return a, true
		}
	}
	return allowed{}, false
}

// login logs a client in.
func login(user, password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha512Mechanism())
}

func TestEachUserHasOnlyItsOwnTopics(t *testing.T) {
	ctx := t.Context()
	l := &lab{dir: t.TempDir(), users: NewUsers()}
	var addr string
	if apache.There() {
		addr = useApache(t, l)
	} else {
		broker, err := kafka.Start(kafka.Options{DataDir: l.dir, Listen: anywhere, Users: l.users.Kafka})
		require.NoError(t, err)
		t.Cleanup(broker.Close)
		addr = broker.Addr()
	}
	as := func(user string, opts ...kgo.Opt) *kgo.Client {
		c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), login(user, l.users.Password(user)), kgo.ProducerLinger(0)}, opts...)...)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	root := kadm.NewClient(as(admin))
	clients := map[string]*kgo.Client{}
	for _, u := range topics.AllUsers() {
		clients[u.Name] = as(u.Name)
	}
	require.Len(t, clients, 5+3*3+2*2, "every user is in the table")

	names, groups := []string{"another"}, []string{"another"}
	for _, topic := range topics.All() {
		names = append(names, topic.Name)
		for _, service := range topics.Shadowed() {
			for _, side := range topics.Sides() {
				names = append(names, topics.NamesOf(service, side).Writes(topic.Name))
			}
		}
		if topic.Group != "" {
			groups = append(groups, topic.Group, topic.Group+"-shadow", topic.Group+"-baseline")
		}
	}
	is := func(user, operation, name, allowed string, err error) {
		t.Helper()
		if slices.Contains(strings.Fields(allowed), name) {
			require.NoError(t, err, "%s may %s %s", user, operation, name)
			return
		}
		refused := errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
		require.True(t, refused, "%s must not %s %s: %v", user, operation, name, err)
	}
	create := func(c *kadm.Client, name string) error {
		r, err := c.CreateTopic(ctx, 1, -1, nil, name)
		return errors.Join(err, r.Err)
	}
	commit := func(c *kadm.Client, group, topic string) error {
		var offsets kadm.Offsets
		offsets.AddOffset(topic, 0, 1, -1)
		r, err := c.CommitOffsets(ctx, group, offsets)
		return errors.Join(err, r.Error())
	}

	for user, c := range clients {
		may, ok := rightsOf(user)
		require.True(t, ok, "%s is not in the table", user)
		for _, name := range names {
			is(user, "make", name, may.make, create(kadm.NewClient(c), name))
			if slices.Contains(strings.Fields(may.make), name) {
				_, err := root.DeleteTopic(ctx, name)
				require.NoError(t, err)
			}
		}
	}
	for _, name := range names {
		require.NoError(t, create(root, name))
		require.NoError(t, as(admin).ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte("first")}).FirstErr())
	}
	for user, c := range clients {
		may, _ := rightsOf(user)
		a := kadm.NewClient(c)
		var records []*kgo.Record // at once, since the client looks up each topic that it may not see
		for _, name := range names {
			records = append(records, &kgo.Record{Topic: name, Value: []byte(user)})
		}
		for _, r := range c.ProduceSync(ctx, records...) {
			is(user, "write", r.Record.Topic, may.write, r.Err)
		}
		for _, name := range names {
			reader := as(user, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{name: {0: kgo.NewOffset().AtStart()}}))
			is(user, "read", name, may.read, reader.PollFetches(ctx).Err0())

			ends, err := a.ListEndOffsets(ctx, name)
			is(user, "ask for the end of", name, strings.Join([]string{may.write, may.read, may.ends, may.remove}, " "), errors.Join(err, ends.Error()))
			changed, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: new("3600000")}}, name)
			for _, r := range changed {
				err = errors.Join(err, r.Err)
			}
			is(user, "change", name, may.configure, err)
			grown, err := a.CreatePartitions(ctx, 1, name)
			is(user, "divide", name, "", errors.Join(err, grown.Error()))
			granted, err := a.CreateACLs(ctx, kadm.NewACLs().Allow("User:"+user).AllowHosts("*").Topics(name).
				ResourcePatternType(kadm.ACLPatternLiteral).Operations(kadm.OpAll))
			for _, r := range granted {
				err = errors.Join(err, r.Err)
			}
			is(user, "take more rights on", name, "", err)
		}
		for _, group := range groups {
			require.NoError(t, commit(root, group, topics.Messages))
			_, err := a.FetchOffsets(ctx, group)
			is(user, "see the offsets of", group, strings.Join([]string{may.join, may.see, may.removeGroups}, " "), err)
			is(user, "commit for", group, may.join, commit(a, group, strings.Fields(may.read)[0]))
		}
	}
	// What is removed comes back, so that the next user has something to remove.
	for user, c := range clients {
		may, _ := rightsOf(user)
		a := kadm.NewClient(c)
		for _, name := range names {
			var offsets kadm.Offsets
			offsets.AddOffset(name, 0, 1, -1)
			deleted, err := a.DeleteRecords(ctx, offsets)
			is(user, "empty", name, may.remove, errors.Join(err, deleted.Error()))
			r, err := a.DeleteTopic(ctx, name)
			is(user, "remove", name, may.remove, errors.Join(err, r.Err))
			if slices.Contains(strings.Fields(may.remove), name) {
				require.NoError(t, create(root, name))
				require.NoError(t, as(admin).ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte("again")}).FirstErr())
			}
		}
		for _, group := range groups {
			require.NoError(t, commit(root, group, topics.Messages))
			r, err := a.DeleteGroup(ctx, group)
			is(user, "remove group", group, may.removeGroups, errors.Join(err, r.Err))
		}
	}

	for who, as := range map[string]kgo.Opt{
		"someone without a password":  kgo.ClientID("nobody"),
		"someone with a wrong one":    login("auth", "guess"),
		"someone unknown":             login("eve", "guess"),
		"the superuser of the docs":   kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()),
		"a service as another's user": login("auth", l.users.Password("groups")),
	} {
		c, err := kgo.NewClient(kgo.SeedBrokers(addr), as, kgo.RetryTimeout(1), kgo.RequestRetries(0))
		require.NoError(t, err)
		require.Error(t, c.Ping(ctx), who)
		c.Close()
	}
}

// What each user may do in the database, by hand again: read and write databases, only read them, and remove them. All
// else must be refused.
func TestEachUserHasOnlyItsOwnDatabases(t *testing.T) {
	rights := map[string]struct{ write, read, drop string }{}
	for _, service := range []string{"auth", "groups", "messaging", "presence"} {
		rights[service] = struct{ write, read, drop string }{write: service}
		copies := service + "-shadow " + service + "-baseline"
		if service == "auth" || service == "groups" {
			for _, name := range strings.Fields(copies) {
				rights[name] = struct{ write, read, drop string }{read: service}
			}
		} else {
			for _, name := range strings.Fields(copies) {
				rights[name] = struct{ write, read, drop string }{write: name}
			}
			own := copies + " " + service + "-comparer"
			rights[service+"-comparer"] = struct{ write, read, drop string }{write: own, read: service, drop: own}
		}
	}
	ctx := t.Context()
	l := &lab{users: NewUsers()}
	db, err := mongodb.Start(mongodb.Options{DataDir: t.TempDir(), Listen: anywhere, Users: l.users.MongoDB})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	names := []string{"another"}
	for name, may := range rights {
		if may.read == "" {
			names = append(names, name)
		}
	}
	require.Len(t, l.users.MongoDB, len(rights)+1, "every user but the administrator is in the table")
	for _, u := range l.users.MongoDB {
		if u.Admin {
			continue
		}
		may, ok := rights[u.Name]
		require.True(t, ok, "%s is not in the table", u.Name)
		c, err := mongo.Connect(options.Client().ApplyURI(l.users.DatabaseURI(db.Addr(), u.Name)))
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Disconnect(context.Background()) })
		is := func(command, name, allowed string, err error) {
			t.Helper()
			if slices.Contains(strings.Fields(allowed), name) {
				require.NoError(t, err, "%s may %s in %s", u.Name, command, name)
			} else {
				require.ErrorContains(t, err, u.Name+" may not "+command+" in "+name)
			}
		}
		for _, name := range names {
			_, err := c.Database(name).Collection("c").CountDocuments(ctx, bson.D{})
			is("aggregate", name, may.write+" "+may.read, err)
			_, err = c.Database(name).Collection("c").InsertOne(ctx, bson.D{})
			is("insert", name, may.write, err)
			is("drop", name, may.write, c.Database(name).Collection("c").Drop(ctx))
			is("dropDatabase", name, may.drop, c.Database(name).Drop(ctx))
		}
	}
	require.Empty(t, l.users.DatabaseURI(db.Addr(), "gateway"))
}
