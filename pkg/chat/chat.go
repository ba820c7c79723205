// Package chat tries a running chat from outside, as a user would: it is how labctl knows that a lab works.
package chat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/labctl/labctl/services/client"
)

// User is a user of the lab.
type User struct {
	Name     string
	Password string
}

// EnsureDemoUsers makes the users that are missing. A user whose password was changed meanwhile is an error. Where the chat
// is not up yet it is tried again until ctx ends.
func EnsureDemoUsers(ctx context.Context, baseURL string, users []User) error {
	c := client.New(baseURL)
	defer c.Close()
	for _, u := range users {
		s, err := enter(ctx, c, u)
		if err != nil {
			return fmt.Errorf("demo user %s at %s: %w", u.Name, baseURL, err)
		}
		if err := s.Logout(ctx); err != nil {
			return fmt.Errorf("demo user %s at %s: log out: %w", u.Name, baseURL, err)
		}
	}
	return nil
}

const device = "labctl"

// enter logs a user in, and registers them first if there is no such.
func enter(ctx context.Context, c *client.Client, u User) (s *client.Session, err error) {
	err = retry(ctx, func() error {
		s, err = c.Login(ctx, u.Name, u.Password, device)
		if !client.IsCode(err, "wrong_credentials") {
			return err
		}
		s, err = c.Register(ctx, u.Name, u.Password, device)
		return err
	})
	if client.IsCode(err, "name_taken") {
		return nil, errors.New("there is such a user, with another password")
	}
	return s, err
}

// Delivery is what Deliver measured.
type Delivery struct {
	Stored    time.Duration // from the send to the sender's acknowledgement
	Delivered time.Duration // from the send to the receiver's device
}

// Deliver sends a message from a to b and waits until a has the acknowledgement and a device of b the message.
func Deliver(ctx context.Context, baseURL string, a, b User) (Delivery, error) {
	var out Delivery
	c := client.New(baseURL)
	defer c.Close()
	fail := func(what string, err error) (Delivery, error) {
		return Delivery{}, fmt.Errorf("deliver a message from %s to %s at %s: %s: %w", a.Name, b.Name, baseURL, what, err)
	}
	from, err := enter(ctx, c, a)
	if err != nil {
		return fail("log "+a.Name+" in", err)
	}
	to, err := enter(ctx, c, b)
	if err != nil {
		return fail("log "+b.Name+" in", err)
	}
	got := make(chan client.Message, 1024)
	receiver, err := connect(ctx, to, client.DeviceOptions{Events: client.Events{Message: func(m client.Message) {
		select {
		case got <- m:
		default: // a lab so busy has shown that it delivers
		}
	}}})
	if err != nil {
		return fail("connect the receiver", err)
	}
	defer receiver.Close()
	sender, err := connect(ctx, from, client.DeviceOptions{})
	if err != nil {
		return fail("connect the sender", err)
	}
	defer sender.Close()

	begin := time.Now()
	sent, err := sender.Send(ctx, client.DirectID(from.User.ID, to.User.ID), "labctl says hello")
	if err != nil {
		return fail("send", err)
	}
	out.Stored = time.Since(begin)
	for {
		select {
		case m := <-got:
			if m.Conversation != sent.Conversation || m.Seq != sent.Seq {
				continue
			}
			out.Delivered = time.Since(begin)
			// What a page asks for first when it is opened. The ingress may know messaging's way a moment after the others'.
			if err := retry(ctx, func() error {
				_, _, err := to.History(ctx, sent.Conversation, client.Page{Limit: 1})
				return err
			}); err != nil {
				return fail("read it in the history", err)
			}
			// The sessions are of no more use; that they end is not what is tried.
			_, _ = from.Logout(ctx), to.Logout(ctx)
			return out, nil
		case <-receiver.Done():
			return fail("wait for the message", client.ErrClosed)
		case <-ctx.Done():
			return fail("stored, and waiting for it at the receiver's device", ctx.Err())
		}
	}
}

func connect(ctx context.Context, s *client.Session, o client.DeviceOptions) (d *client.Device, err error) {
	err = retry(ctx, func() error {
		d, err = s.Connect(ctx, o)
		return err
	})
	return d, err
}

// retry tries again while the chat is not up yet. An ingress that does not know a service's way yet gives its requests to
// the page, which has no such path: so 404, which nothing that is tried here answers otherwise, passes too.
func retry(ctx context.Context, f func() error) error {
	pause := 100 * time.Millisecond
	for {
		err := f()
		var e *client.Error
		if err == nil || (errors.As(err, &e) && e.Status < 500 && e.Status != 429 && e.Status != 404 && e.Code != "http") {
			return err
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		case <-t.C:
		}
		pause = min(2*pause, 2*time.Second)
	}
}
