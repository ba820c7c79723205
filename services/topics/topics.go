// Package topics is the table of the chat's Kafka topics: how each is made, who writes it and who reads it. Services make their topics
// by it, brokers take their access rules from it, and tests hold to it what is written elsewhere (docs/protocol.md, stacks/azure).
//
// A new topic is one line of All.
package topics

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// The topics (DESIGN, section 6).
const (
	Messages = "messages"      // key conversation: what users send and how groups change
	Users    = "users"         // what users' devices must see; key user, or conversation where it is for all its members
	Sessions = "sessions"      // key session: sessions that have ended
	Presence = "presence"      // key user: leases of connections
	Dead     = "messages.dead" // records of messages that can never be handled, with the reason
)

// Partitions of the topics that are divided by key. Keys must keep their partition, so it can't be changed later.
const Partitions = 12

// Topic is one topic.
type Topic struct {
	Name       string
	Partitions int32
	Configs    map[string]string
	// Writers and Readers are services. Each of them may make the topic, too, where it is missing.
	Writers, Readers []string
	// Askers are services that ask how far it goes, beside those that read it.
	Askers []string
	// Owner is the service that keeps the topic's configs as they are here, also where the topic was made with others.
	Owner string
	// Passing says that its records are for whoever is connected now: what they tell is in a database, too.
	Passing bool
	// Group is the consumer group of the readers; empty where each reads all of it and commits nothing.
	Group string
}

// Services gives the services that use Kafka.
func Services() []string { return []string{"auth", "gateway", "groups", "messaging", "presence"} }

// All gives the topics.
func All() []Topic {
	return []Topic{
		// What is stored is in the database; the log must last over the longest time that messaging is down. `messaging replay` puts
		// dead letters back.
		{
			Name: Messages, Partitions: Partitions, Writers: []string{"gateway", "groups", "messaging"}, Readers: []string{"messaging"}, Askers: []string{"gateway"}, Owner: "messaging", Group: "messaging",
			Configs: configs("delete", 72*time.Hour, 8, time.Hour),
		},
		// Gateways read from the end, so it must last over a broker's restart only. Each reads all partitions, which divide it over the brokers and
		// no more.
		{
			Name: Users, Partitions: Partitions / 3, Writers: []string{"groups", "messaging", "presence"}, Readers: []string{"gateway"}, Owner: "messaging", Passing: true,
			Configs: configs("delete", time.Hour, 8, time.Hour),
		},
		// Whoever starts reads all of it. It must last longer than an access token.
		{
			Name: Sessions, Partitions: 1, Writers: []string{"auth"}, Readers: Services(), Owner: "auth",
			Configs: configs("delete", time.Hour, 1, 10*time.Minute),
		},
		// A lease is good for a minute. Compaction keeps replay short.
		{
			Name: Presence, Partitions: Partitions, Writers: []string{"gateway"}, Readers: []string{"presence"}, Owner: "presence", Group: "presence",
			Configs: configs("compact,delete", time.Hour, 1, 10*time.Minute),
		},
		// For people to look at, and for `messaging replay`.
		{
			Name: Dead, Partitions: 1, Writers: []string{"messaging"}, Readers: []string{"messaging"}, Owner: "messaging",
			Configs: configs("delete", 30*24*time.Hour, 0, 0),
		},
	}
}

// configs are the configs of a topic. A segment's size is in MiB; 0 leaves it to the broker, and so its time. Time
// alone decides what is dropped: a size, be it ever so large, is one day reached sooner by those who write than by
// those who read, and what was acknowledged is lost. How much a broker can hold its own configuration says
// (log.retention.bytes; nothing limits it in Apache Kafka's).
func configs(policy string, retention time.Duration, segmentMiB int, segment time.Duration) map[string]string {
	c := map[string]string{"cleanup.policy": policy, "retention.ms": strconv.FormatInt(retention.Milliseconds(), 10)}
	if segmentMiB > 0 {
		c["segment.bytes"] = strconv.Itoa(segmentMiB << 20)
	}
	if segment > 0 {
		c["segment.ms"] = strconv.FormatInt(segment.Milliseconds(), 10)
	}
	return c
}

// MinInSync gives the config min.insync.replicas of a topic that has so many replicas: with three, what is acknowledged
// is on two, and one may be away. With fewer, whoever wants to write while one is away must do with what is there.
func MinInSync(replicas int) int {
	if replicas >= 3 {
		return 2
	}
	return 1
}

// Passing gives the topics that pass.
func Passing() (names []string) {
	for _, t := range All() {
		if t.Passing {
			names = append(names, t.Name)
		}
	}
	return names
}

// Names set a copy of the services apart: what the names of the topics begin with that it reads and that it writes, and the consumer group that it
// is in. The zero value is the live one, with the names of the table. A shadow reads what the live one reads, in a group of its own, and writes
// where nobody hears it.
type Names struct{ ReadPrefix, WritePrefix, Group string }

// Reads gives the whole name of a topic that is read.
func (n Names) Reads(topic string) string { return n.ReadPrefix + topic }

// Writes gives the whole name of a topic that is written.
func (n Names) Writes(topic string) string { return n.WritePrefix + topic }

// Made gives the topics that a service makes where they are missing, with their whole names: those that it writes, and those that it reads. But what it
// reads under another prefix is not its own.
func Made(service string, n Names) (made []Topic) {
	for _, t := range All() {
		if slices.Contains(t.Writers, service) || (slices.Contains(t.Readers, service) && n.ReadPrefix == n.WritePrefix) {
			t.Name = n.Writes(t.Name)
			made = append(made, t)
		}
	}
	return made
}

// Shared gives the topic whose records the instances of a service divide among them, as a consumer group. ok is false where each reads all of its topics.
func Shared(service string) (t Topic, ok bool) {
	all := All()
	i := slices.IndexFunc(all, func(t Topic) bool { return t.Group != "" && slices.Contains(t.Readers, service) })
	if i < 0 {
		return Topic{}, false
	}
	return all[i], true
}

// Rights are what a user may do at Kafka, and no more: write and read records of topics, ask for the offsets of others,
// make topics where they are missing, see and change the configs of those that it owns, and remove topics; be a member
// of consumer groups, or only see what they have committed, and remove groups.
type Rights struct{ Write, Read, Describe, Make, Configure, Remove, Groups, SeeGroups, RemoveGroups []string }

// RightsOf gives the rights of a service, or of a copy of it that has other names.
func RightsOf(service string, n Names) (r Rights) {
	for _, t := range Made(service, n) {
		r.Make = append(r.Make, t.Name)
		if t.Owner == service {
			r.Configure = append(r.Configure, t.Name)
		}
	}
	for _, t := range All() {
		if slices.Contains(t.Writers, service) {
			r.Write = append(r.Write, n.Writes(t.Name))
		}
		if slices.Contains(t.Readers, service) {
			r.Read = append(r.Read, n.Reads(t.Name))
		}
	}
	if t, ok := Shared(service); ok {
		r.Groups = []string{cmp.Or(n.Group, t.Group)}
	}
	for _, t := range All() { // who may write a topic, or read it, may ask for its offsets, too
		if name := n.Reads(t.Name); slices.Contains(t.Askers, service) && !slices.Contains(r.Write, name) {
			r.Describe = append(r.Describe, name)
		}
	}
	return r
}
