package client

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/labctl/labctl/services/internal/wire"
)

// Post is a message to send.
type Post struct {
	ClientID string // empty: a new one
	Body     string
	ReplyTo  int64    // the seq of the text that it answers; 0: none
	Mentions []string // users
}

// Post sends a message and waits until it is stored.
func (d *Device) Post(ctx context.Context, conversation string, p Post) (Message, error) {
	if p.ClientID == "" {
		p.ClientID = uuid.NewString()
	}
	return d.post(ctx, wire.ClientFrame{
		Type: wire.FrameSend, Conversation: conversation, ClientID: p.ClientID, Body: p.Body, ReplyTo: p.ReplyTo, Mentions: p.Mentions,
	})
}

// Change is a change of a text: one of Edit, Delete and React.
type Change struct {
	kind  string
	body  string
	emoji string
	on    bool
}

// Edit gives a text another body.
func Edit(body string) Change { return Change{kind: wire.FrameEdit, body: body} }

// Delete takes a text back.
func Delete() Change { return Change{kind: wire.FrameDelete} }

// React sets a reaction, or takes it back.
func React(emoji string, on bool) Change { return Change{kind: wire.FrameReact, emoji: emoji, on: on} }

// Change changes the text with that seq and waits until the change, which is a message too, is stored.
func (d *Device) Change(ctx context.Context, conversation string, seq int64, c Change) (Message, error) {
	return d.ChangeAs(ctx, conversation, uuid.NewString(), seq, c)
}

// ChangeAs is Change with a client id of one's own: the same again changes nothing twice.
func (d *Device) ChangeAs(ctx context.Context, conversation, clientID string, seq int64, c Change) (Message, error) {
	return d.post(ctx, wire.ClientFrame{
		Type: c.kind, Conversation: conversation, ClientID: clientID, Seq: seq, Body: c.body, Emoji: c.emoji, On: c.on,
	})
}

// MarkRead says that the user has read up to a seq. There is no answer; Events.Read tells when it is known.
func (d *Device) MarkRead(ctx context.Context, conversation string, seq int64) error {
	return d.say(ctx, wire.ClientFrame{Type: wire.FrameRead, Conversation: conversation, Seq: seq})
}

// Type says that the user writes, or does no more.
func (d *Device) Type(ctx context.Context, conversation string, on bool) error {
	return d.say(ctx, wire.ClientFrame{Type: wire.FrameTyping, Conversation: conversation, On: on})
}

// say sends a frame that has no answer.
func (d *Device) say(ctx context.Context, f wire.ClientFrame) error {
	d.mu.Lock()
	ws := d.ws
	d.mu.Unlock()
	if ws == nil {
		return fmt.Errorf("%s in %s: the device is not connected", f.Type, f.Conversation)
	}
	return d.write(ctx, ws, wire.Encode(f))
}

// Changed gives a text with a change that came after it, as the server has it then. A change that is in it already, or is of another
// text, leaves it as it is, and so does an edit that says nothing any more, since the text was deleted after it.
func Changed(m, change Message) Message {
	if change.Conversation != m.Conversation || change.Target != m.Seq || change.Seq <= m.Changed || !change.Deleted.IsZero() {
		return m
	}
	m.Changed = change.Seq
	switch {
	case !m.Deleted.IsZero():
	case change.Kind == wire.Edit:
		m.Body, m.Edited = change.Body, change.At
	case change.Kind == wire.Delete:
		m.Body, m.Mentions, m.Reactions, m.Deleted = "", nil, nil, change.At
	case change.Kind == wire.Reaction:
		m.Reactions = reacted(m.Reactions, change)
	}
	return m
}

// reacted gives reactions with one more or one less. The given ones stay as they are.
func reacted(all map[string][]string, change Message) map[string][]string {
	on := change.On != nil && *change.On
	users := all[change.Emoji]
	if slices.Contains(users, change.Sender) == on {
		return all
	}
	all = maps.Clone(all)
	if all == nil {
		all = map[string][]string{}
	}
	if on {
		all[change.Emoji] = append(slices.Clone(users), change.Sender)
		return all
	}
	users = slices.DeleteFunc(slices.Clone(users), func(u string) bool { return u == change.Sender })
	if all[change.Emoji] = users; len(users) == 0 {
		delete(all, change.Emoji)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// Found is what a search gives: the messages that match, newest first, whether there may be older ones, and then the cursor of the next page.
type Found struct {
	Messages []Message `json:"messages"`
	More     bool      `json:"more"`
	Next     string    `json:"next"`
}

// Search looks for texts with all the words of q: in one conversation, or in all of the user's if that is empty. limit 0: the server's.
func (s *Session) Search(ctx context.Context, q, conversation string, limit int) (Found, error) {
	return s.SearchOn(ctx, q, conversation, limit, "")
}

// SearchOn is Search from a cursor on.
func (s *Session) SearchOn(ctx context.Context, q, conversation string, limit int, cursor string) (f Found, err error) {
	v := url.Values{"q": {q}}
	if conversation != "" {
		v.Set("conversation", conversation)
	}
	if limit > 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	if cursor != "" {
		v.Set("cursor", cursor)
	}
	err = s.do(ctx, http.MethodGet, "/api/messages/search?"+v.Encode(), nil, &f)
	return f, err
}
