package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/chat"
	"github.com/labctl/labctl/pkg/event"
)

// deliverWithin bounds the proof: a chat whose pods are all ready needs well under a second.
const deliverWithin = 90 * time.Second

// The steps that follow the engine's.
const (
	stepUsers   = "demo users"
	stepMessage = "message"
)

// Demo is what a lab remembers of its demo users, in a file for its owner alone.
type Demo struct {
	Users []DemoUser `json:"users"`
	// Delivered says that a message of theirs arrived since the lab last changed.
	Delivered bool `json:"delivered"`

	path string
}

// DemoUser can log in to the chat.
type DemoUser struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

func (d *Demo) users() []chat.User {
	var out []chat.User
	for _, u := range d.Users {
		out = append(out, chat.User{Name: u.Name, Password: u.Password})
	}
	return out
}

// Prove registers two demo users and delivers a message from one to the other through the chat's front door. Where
// nothing changed since a message last arrived, it only waits until both can log in: pods that came back a moment ago are
// ready before the ingress knows it.
func (l *Lab) Prove(ctx context.Context, changed bool, sink event.Sink) ([]DemoUser, error) {
	url, err := l.URL(ctx)
	if err != nil {
		return nil, err
	}
	demo, err := OpenDemo(l.Graph.Dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, deliverWithin)
	defer cancel()
	if !changed && demo.Delivered {
		if err := demo.login(ctx, url, sink); err != nil {
			return nil, err
		}
		sink.Emit(event.Event{Kind: event.Skipped, Step: stepMessage, Message: "nothing changed since the last one arrived"})
		return demo.Users, nil
	}
	if err := demo.Register(ctx, url, sink); err != nil {
		return nil, err
	}
	users := demo.users()
	err = During(sink, stepMessage, func(report event.Report) (string, error) {
		report.Doing("sending from %s to %s through %s", users[0].Name, users[1].Name, url)
		d, err := chat.Deliver(ctx, url, users[0], users[1])
		return fmt.Sprintf("from %s to %s: stored after %d ms, delivered after %d ms", users[0].Name, users[1].Name,
			d.Stored.Milliseconds(), d.Delivered.Milliseconds()), err
	})
	if err != nil {
		return nil, err
	}
	demo.Delivered = true
	return demo.Users, demo.write()
}

// Register makes the demo users known to the chat at url. Their passwords are kept before that, so that a kill in between
// locks nobody out.
func (d *Demo) Register(ctx context.Context, url string, sink event.Sink) error {
	d.Delivered = false
	if err := d.write(); err != nil {
		return err
	}
	return d.login(ctx, url, sink)
}

// login logs the demo users in, and registers those that are missing, once the chat answers.
func (d *Demo) login(ctx context.Context, url string, sink event.Sink) error {
	return During(sink, stepUsers, func(report event.Report) (string, error) {
		report.Doing("logging in at %s", url)
		return d.Users[0].Name + " and " + d.Users[1].Name, chat.EnsureDemoUsers(ctx, url, d.users())
	})
}

// During runs one step of ours as the engine runs its own.
func During(sink event.Sink, step string, do func(event.Report) (string, error)) error {
	start := time.Now()
	sink.Emit(event.Event{Time: start, Kind: event.Started, Step: step})
	message, err := do(event.For(sink, step))
	e := event.Event{Time: time.Now(), Kind: event.Done, Step: step, Message: message, Elapsed: time.Since(start)}
	if err != nil {
		e.Kind, e.Message, e.Err = event.Failed, "", err.Error()
	}
	sink.Emit(e)
	return err
}

// OpenDemo gives the demo users that dir remembers, or new ones with random passwords.
func OpenDemo(dir string) (*Demo, error) {
	d := &Demo{path: filepath.Join(dir, "demo.json")}
	content, err := os.ReadFile(d.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		for _, name := range []string{"ada", "grace"} {
			d.Users = append(d.Users, DemoUser{Name: name, Password: strings.ToLower(rand.Text()[:16])})
		}
		return d, nil
	case err != nil:
		return nil, fmt.Errorf("read the demo users: %w", err)
	}
	if err := json.Unmarshal(content, d); err != nil || len(d.Users) != 2 {
		return nil, fmt.Errorf("read the demo users: %s is damaged; remove it, then `labctl down` and `labctl up`", d.path)
	}
	return d, nil
}

// write writes the file whole or not at all.
func (d *Demo) write() error {
	content, err := json.MarshalIndent(d, "", "  ")
	if err == nil {
		err = os.WriteFile(d.path+".tmp", append(content, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(d.path+".tmp", d.path)
	}
	if err != nil {
		return fmt.Errorf("keep the demo users: %w", err)
	}
	return nil
}
