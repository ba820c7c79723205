package topics_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/services/topics"
)

// The protocol's table says of each topic who writes and who reads it.
func TestTheProtocolSaysTheSame(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "| Topic | Key | Value | Written by | Read by |")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	word := regexp.MustCompile(`[a-z]+`)
	in := func(cell string) (services []string) {
		if strings.Contains(cell, "every service") {
			return topics.Services()
		}
		for _, s := range topics.Services() {
			if slices.Contains(word.FindAllString(regexp.MustCompile("`[^`]*`").ReplaceAllString(cell, ""), -1), s) {
				services = append(services, s)
			}
		}
		return services
	}
	said := map[string]bool{}
	for _, row := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		cells := strings.Split(strings.Trim(row, "| "), " | ")
		require.Len(t, cells, 5, row)
		name := strings.Trim(cells[0], "`")
		said[name] = true
		i := slices.IndexFunc(topics.All(), func(t topics.Topic) bool { return t.Name == name })
		require.GreaterOrEqual(t, i, 0, "there is no topic %s", name)
		topic := topics.All()[i]
		require.ElementsMatch(t, in(cells[3]), topic.Writers, "who writes %s", name)
		require.ElementsMatch(t, in(cells[4]), topic.Readers, "who reads %s", name)
		require.Equal(t, topic.Group != "", strings.Contains(cells[4], "(group `"+topic.Group+"`"), "the group of %s", name)
	}
	require.Len(t, said, len(topics.All()))
}

// local reads one of the locals of a Terraform file that refers to nothing.
func local(t *testing.T, path, name string) cty.Value {
	t.Helper()
	f, diags := hclparse.NewParser().ParseHCLFile(path)
	require.False(t, diags.HasErrors(), diags)
	for _, b := range f.Body.(*hclsyntax.Body).Blocks {
		if a, ok := b.Body.Attributes[name]; ok && b.Type == "locals" {
			v, diags := a.Expr.Value(&hcl.EvalContext{})
			require.False(t, diags.HasErrors(), diags)
			return v
		}
	}
	t.Fatalf("%s has no local %s", path, name)
	return cty.NilVal
}

func texts(v cty.Value) (l []string) {
	for _, e := range v.AsValueSlice() {
		l = append(l, e.AsString())
	}
	return l
}

func TestAzureSaysTheSame(t *testing.T) {
	access := local(t, "../../stacks/azure/5-release/main.tf", "access").AsValueMap()
	require.ElementsMatch(t, topics.Services(), slices.Collect(maps.Keys(access)))
	for service, v := range access {
		require.ElementsMatch(t, topics.RightsOf(service, topics.Names{}).Write, texts(v.GetAttr("send")), "what %s sends to", service)
		require.ElementsMatch(t, topics.RightsOf(service, topics.Names{}).Read, texts(v.GetAttr("receive")), "what %s receives from", service)
	}

	made := local(t, "../../stacks/azure/2-databases/kafka.tf", "topics").AsValueMap()
	require.Len(t, made, len(topics.All()))
	const longest = 7 * 24 * time.Hour // that Event Hubs keeps anything
	for _, topic := range topics.All() {
		v, ok := made[topic.Name]
		require.True(t, ok, topic.Name)
		number := func(name string) int64 { n, _ := v.GetAttr(name).AsBigFloat().Int64(); return n }
		require.EqualValues(t, topic.Partitions, number("partitions"), topic.Name)
		keeps, err := strconv.ParseInt(topic.Configs["retention.ms"], 10, 64)
		require.NoError(t, err)
		require.EqualValues(t, min(time.Duration(keeps)*time.Millisecond, longest).Hours(), number("hours"), topic.Name)
		require.Equal(t, strings.Contains(topic.Configs["cleanup.policy"], "compact"), v.GetAttr("cleanup").AsString() == "Compact", topic.Name)
	}
}

// The users that the stacks make passwords for are those of the table. They make the names of a shadow's users from these lists.
func TestEachUserHasAPassword(t *testing.T) {
	for _, path := range []string{"../../stacks/local/2-databases/main.tf", "../../stacks/azure/2-databases/kafka.tf"} {
		require.ElementsMatch(t, topics.Services(), texts(local(t, path, "kafka_services")), path)
		require.ElementsMatch(t, topics.Shadowed(), texts(local(t, path, "shadowed_services")), path)
		var names []string
		for _, service := range topics.Shadowed() {
			for _, part := range texts(local(t, path, "shadow_parts")) {
				if part == "comparer" && slices.Contains(texts(local(t, path, "without_comparer")), service) {
					continue
				}
				names = append(names, service+"-"+part)
			}
		}
		var want []string
		for _, u := range topics.AllUsers()[len(topics.Services()):] {
			want = append(want, u.Name)
		}
		require.ElementsMatch(t, want, names, path)
	}
	for _, path := range []string{"../../stacks/local/2-databases/main.tf", "../../stacks/azure/2-databases/mongodb.tf"} {
		require.ElementsMatch(t, topics.Stores(), texts(local(t, path, "mongodb_services")), path)
	}
}

// A comparer writes nowhere but in the databases of the copies and its own, and commits for no live group.
func TestRightsOfAComparer(t *testing.T) {
	u, ok := topics.UserOf("messaging-comparer")
	require.True(t, ok)
	require.Equal(t, topics.User{
		Name: "messaging-comparer",
		Kafka: topics.Rights{
			Read: []string{
				"messages", "users", "messages.dead", "shadow.messaging.messages", "shadow.messaging.users", "shadow.messaging.messages.dead",
				"baseline.messaging.messages", "baseline.messaging.users", "baseline.messaging.messages.dead",
			},
			Remove: []string{"shadow.messaging.messages", "shadow.messaging.users", "shadow.messaging.messages.dead", "baseline.messaging.messages", "baseline.messaging.users", "baseline.messaging.messages.dead"},
			Groups: []string{"messaging-shadow", "messaging-baseline"}, SeeGroups: []string{"messaging"}, RemoveGroups: []string{"messaging-shadow", "messaging-baseline"},
		},
		MongoDB: topics.Databases{
			Read: []string{"messaging"}, Write: []string{"messaging-shadow", "messaging-baseline", "messaging-comparer"}, Drop: []string{"messaging-shadow", "messaging-baseline", "messaging-comparer"},
		},
	}, u)
	for _, service := range topics.Shadowed() {
		u, ok := topics.UserOf(topics.Comparer(service))
		require.Equal(t, ok, !topics.ReadsLive(service), service)
		require.Empty(t, slices.Concat(u.Kafka.Write, u.Kafka.Make, u.Kafka.Configure), service)
	}
	_, ok = topics.UserOf("frontend-shadow")
	require.False(t, ok)
}

// Where no topic tells what a service knows, its copies read the live database. They write nothing anywhere.
func TestRightsOfACopyThatReadsLive(t *testing.T) {
	for _, service := range []string{"auth", "groups"} {
		for _, side := range topics.Sides() {
			u, ok := topics.UserOf(topics.Copy(service, side))
			require.True(t, ok)
			require.Equal(t, topics.User{
				Name: service + "-" + side, Kafka: topics.Rights{Read: []string{"sessions"}}, MongoDB: topics.Databases{Read: []string{service}},
			}, u)
		}
	}
	for _, service := range []string{"gateway", "messaging", "presence"} {
		require.False(t, topics.ReadsLive(service), service)
	}
}

// A shadow may read what the live service reads, make and write only what has its prefix, and be in no live group.
func TestRightsOfAShadow(t *testing.T) {
	shadow := topics.Names{WritePrefix: "shadow.", Group: "messaging-shadow"}
	require.Equal(t, topics.Rights{
		Write:     []string{"shadow.messages", "shadow.users", "shadow.messages.dead"},
		Read:      []string{"messages", "sessions", "messages.dead"},
		Make:      []string{"shadow.messages", "shadow.users", "shadow.messages.dead"},
		Configure: []string{"shadow.messages", "shadow.users", "shadow.messages.dead"},
		Groups:    []string{"messaging-shadow"},
	}, topics.RightsOf("messaging", shadow))
	require.Equal(t, topics.Rights{
		Write: []string{"shadow.messages", "shadow.presence"}, Read: []string{"users", "sessions"}, Describe: []string{"messages"},
		Make: []string{"shadow.messages", "shadow.presence"},
	}, topics.RightsOf("gateway", shadow))
	for _, service := range topics.Services() {
		live, own := topics.RightsOf(service, topics.Names{}), topics.RightsOf(service, topics.Names{WritePrefix: "shadow.", Group: "shadow"})
		require.Equal(t, live.Read, own.Read, service)
		for _, name := range slices.Concat(own.Write, own.Make, own.Configure) {
			require.Contains(t, name, "shadow.", service)
		}
		for _, group := range own.Groups {
			require.Equal(t, "shadow", group, service)
		}
		require.Empty(t, live.Describe, "%s may ask of what it writes", service)
		for _, name := range slices.Concat(live.Write, live.Read) {
			require.Contains(t, live.Make, name, service)
		}
	}
}
