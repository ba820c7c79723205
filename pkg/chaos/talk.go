package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/labctl/labctl/pkg/load"
	"github.com/labctl/labctl/services/client"
)

// said is a message on its way.
type said struct {
	conversation, sender, clientID, body string
	kind                                 load.Kind
	target                               *said // what a reply, an edit or a reaction is about
	person, device                       int
	at, answered                         time.Duration
	outcome                              load.Outcome
	seq                                  int64
}

// talk sends by the clock until talk ends; what is under way then has until late.
func (r *run) talk(talk, late context.Context) {
	rng := rand.New(rand.NewPCG(r.Seed, 2)) //nolint:gosec // a seed that is to be repeated
	conversations := append(slices.Clone(r.groups), r.direct...)
	var sending sync.WaitGroup
	defer sending.Wait()
	due := r.begin
	for i := 0; ; i++ {
		due = due.Add(time.Duration(rng.ExpFloat64() / r.Rate * float64(time.Second)))
		id := conversations[rng.IntN(len(conversations))]
		if rng.IntN(2) == 0 {
			id = r.groups[rng.IntN(len(r.groups))]
		}
		of := r.of[id]
		s := &said{
			conversation: id, person: of[rng.IntN(len(of))], device: rng.IntN(each), kind: load.Chat.Draw(rng),
			clientID: fmt.Sprintf("%s-%d", r.name, i), body: fmt.Sprintf("text %d", i),
		}
		s.sender = r.sessions[s.person][0].User.ID
		twice := rng.IntN(10) == 0
		if sleep(talk, time.Until(due)) != nil {
			return
		}
		r.mu.Lock()
		last := r.point(s)
		if s.kind != load.Read {
			r.said = append(r.said, s)
		}
		r.mu.Unlock()
		if s.kind == load.Read {
			// Nobody waits for it, and a later one makes up for it.
			_ = r.devices[s.person][s.device].MarkRead(late, s.conversation, last)
			continue
		}
		s.at = time.Since(r.begin)
		sending.Go(func() { r.send(late, s) })
		if twice { // an impatient client, on both devices
			sending.Go(func() { _, _ = r.post(late, s, 1-s.device) })
		}
		if i%100 == 0 {
			r.Report.At(int64(time.Since(r.begin).Seconds()), int64(r.Duration.Seconds()), "talking")
		}
	}
}

// point gives s the text that it points to: the last of its conversation that was acknowledged, the sender's own for an edit. Without one it is a
// text. last is the highest acknowledged seq. The caller holds mu.
func (r *run) point(s *said) (last int64) {
	for _, o := range slices.Backward(r.said) {
		if o.conversation != s.conversation || o.outcome != load.Stored {
			continue
		}
		last = max(last, o.seq)
		if text := o.kind == load.Text || o.kind == load.Reply; s.target == nil && text && (s.kind != load.Edit || o.sender == s.sender) {
			s.target = o
		}
	}
	switch {
	case s.kind == load.Text || s.kind == load.Read:
		s.target = nil
	case s.target == nil:
		s.kind = load.Text
	}
	return last
}

// post says s on one of its sender's devices.
func (r *run) post(ctx context.Context, s *said, device int) (client.Message, error) {
	d := r.devices[s.person][device]
	switch s.kind {
	case load.Edit:
		return d.ChangeAs(ctx, s.conversation, s.clientID, s.target.seq, client.Edit(s.body))
	case load.Reaction:
		return d.ChangeAs(ctx, s.conversation, s.clientID, s.target.seq, client.React(load.Emoji, true))
	case load.Reply:
		return d.Post(ctx, s.conversation, client.Post{ClientID: s.clientID, Body: s.body, ReplyTo: s.target.seq})
	}
	return d.SendAs(ctx, s.conversation, s.clientID, s.body)
}

// message is what s says.
func (s *said) message() load.Message {
	m := load.Message{Conversation: s.conversation, Sender: s.sender, ClientID: s.clientID, Body: s.body}
	if s.target == nil {
		return m
	}
	return m.As(s.kind, s.target.seq)
}

func (r *run) send(ctx context.Context, s *said) {
	m, err := r.post(ctx, s, s.device)
	r.mu.Lock()
	defer r.mu.Unlock()
	s.answered = time.Since(r.begin)
	var refused *client.Error
	switch {
	case err == nil:
		s.outcome, s.seq = load.Stored, m.Seq
	case errors.As(err, &refused):
		s.outcome = load.Refused
	}
}

// guests removes the guests from a group and takes them back in, as its owner, until talk ends. At the end they are in.
func (r *run) guests(talk, late context.Context, g int) {
	rng := rand.New(rand.NewPCG(r.Seed, 3+uint64(g))) //nolint:gosec // a seed that is to be repeated
	owner, group := r.sessions[g][0], r.groups[g]
	change := func(f func() (client.Group, error)) {
		_ = load.Patiently(late, func() error {
			made, err := f()
			if err != nil {
				return err
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.versions[group] = max(r.versions[group], made.Version)
			return nil
		})
	}
	for turn := 0; ; turn++ {
		guest := r.sessions[people-1-turn%guests][0].User.ID
		over := sleep(talk, time.Duration(rng.Int64N(int64(time.Second)))) != nil
		if !over {
			change(func() (client.Group, error) { return owner.RemoveMember(late, group, guest) })
			over = sleep(talk, time.Duration(rng.Int64N(int64(time.Second)))) != nil
		}
		change(func() (client.Group, error) { return owner.AddMember(late, group, guest) })
		if over {
			return
		}
	}
}
