package kafka

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Mechanism is how users log in: it never shows the password to the network.
const Mechanism = "SCRAM-SHA-512"

// User is who may log in.
type User struct {
	Name, Password string
	// Admin may do everything; the rights are then of no use.
	Admin bool
	Rights
}

// Rights are what a user may do.
type Rights struct {
	// Write and Read are topics whose records the user may write and read. Describe are those of which the user may
	// know how far they go, which is part of writing and of reading, too. Make are topics that the user may make where
	// they are missing, Configure those whose configs the user may see and change, Remove those that the user may
	// remove. Groups are the consumer groups that the user may be a member of, which is also the right to set their
	// offsets. SeeGroups are those of which the user may see members and offsets, RemoveGroups those that the user may
	// remove.
	Write, Read, Describe, Make, Configure, Remove, Groups, SeeGroups, RemoveGroups []string
}

// operator is the broker's own user, who gives the others their rights and asks for the broker's health. Its password is made at
// each start and never leaves the process.
const operator = "labctl"

func checkUsers(users []User) error {
	seen := map[string]bool{operator: true}
	for _, u := range users {
		switch {
		case u.Name == "" || u.Password == "":
			return fmt.Errorf("user %q has no name or no password", u.Name)
		case seen[u.Name]:
			return fmt.Errorf("there is a user %q already", u.Name)
		}
		seen[u.Name] = true
	}
	return nil
}

// login are the options of a broker that knows these users. The log-ins and rights of an earlier start are forgotten: what
// the configuration says now is all there is.
func login(o Options, password string) ([]kfake.Opt, error) {
	for _, kept := range []string{"acls.json", "sasl.json"} {
		if err := os.Remove(filepath.Join(o.DataDir, kept)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("forget the earlier users: %w", err)
		}
	}
	if len(o.Users) == 0 {
		return nil, nil
	}
	opts := []kfake.Opt{kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser(Mechanism, operator, password)}
	for _, u := range o.Users {
		if u.Admin {
			opts = append(opts, kfake.Superuser(Mechanism, u.Name, u.Password))
		} else {
			opts = append(opts, kfake.User(Mechanism, u.Name, u.Password))
		}
	}
	return opts, nil
}

// grant gives the users their rights over the wire: a broker that finds data takes none from its options. No client is let in
// before, since a producer that is told that it may not write gives its records up.
func grant(ctx context.Context, users []User, opts ...kgo.Opt) error {
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("give the users their rights: %w", err)
	}
	defer c.Close()
	for _, u := range users {
		for _, b := range ACLs(u) {
			results, err := kadm.NewClient(c).CreateACLs(ctx, b)
			for _, r := range results {
				err = errors.Join(err, r.Err)
			}
			if err != nil {
				return fmt.Errorf("give user %s its rights: %w", u.Name, err)
			}
		}
	}
	return nil
}

// ACLs are a user's rights as access rules, which Apache Kafka takes as well.
func ACLs(u User) (rules []*kadm.ACLBuilder) {
	principal := "User:" + u.Name
	rule := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Allow(principal).AllowHosts("*").ResourcePatternType(kadm.ACLPatternLiteral)
	}
	for _, allowed := range []struct {
		topics     []string
		operations []kadm.ACLOperation
	}{
		{u.Write, []kadm.ACLOperation{kadm.OpWrite}},
		{u.Read, []kadm.ACLOperation{kadm.OpRead}},
		{u.Describe, []kadm.ACLOperation{kadm.OpDescribe}},
		{u.Make, []kadm.ACLOperation{kadm.OpCreate}},
		{u.Configure, []kadm.ACLOperation{kadm.OpDescribeConfigs, kadm.OpAlterConfigs}},
		{u.Remove, []kadm.ACLOperation{kadm.OpDelete}},
	} {
		if len(allowed.topics) > 0 {
			rules = append(rules, rule().Topics(allowed.topics...).Operations(allowed.operations...))
		}
	}
	for _, allowed := range []struct {
		groups    []string
		operation kadm.ACLOperation
	}{{u.Groups, kadm.OpRead}, {u.SeeGroups, kadm.OpDescribe}, {u.RemoveGroups, kadm.OpDelete}} {
		if len(allowed.groups) > 0 {
			rules = append(rules, rule().Groups(allowed.groups...).Operations(allowed.operation))
		}
	}
	return rules
}

// operatorLogin logs a client in as the broker's own user.
func operatorLogin(password string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: operator, Pass: password}.AsSha512Mechanism())
}

func randomPassword() string { return rand.Text() }

// door lets nobody into a listener but who comes through inside, until it is opened.
type door struct {
	net.Listener
	sync   *syncer
	tls    *tls.Config // nil: no TLS
	inside chan net.Conn
	open   chan struct{}
	once   sync.Once
}

func newDoor(ln net.Listener, s *syncer) *door {
	return &door{Listener: ln, sync: s, inside: make(chan net.Conn), open: make(chan struct{})}
}

func (d *door) Open() { d.once.Do(func() { close(d.open) }) }

func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.inside:
		return c, nil
	case <-d.open:
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if d.tls != nil {
			c = tls.Server(c, d.tls) // shakes hands with the first read, where nobody else waits
		}
		return newSynced(c, d.sync), nil
	}
}

func (d *door) Close() error {
	d.Open() // so that Accept ends
	return d.Listener.Close()
}

// Dial connects from the inside, while the door is closed.
func (d *door) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case d.inside <- server:
		return client, nil
	case <-d.open:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
