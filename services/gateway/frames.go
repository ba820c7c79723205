package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/limit"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/wire"
)

// read handles the client's frames until the socket ends.
func (c *conn) read(ctx context.Context) {
	for first := true; ; first = false {
		kind, data, err := c.ws.Read(ctx)
		if err != nil {
			return
		}
		if first {
			close(c.said)
		}
		select {
		case <-c.done:
			continue // to the end of the connection, which is near
		default:
		}
		c.g.received.Inc()
		if kind != websocket.MessageText {
			c.close(websocket.StatusUnsupportedData, "frames are text")
			continue
		}
		if !c.may() {
			c.refuse(data)
			continue
		}
		f, err := wire.DecodeFrame(data)
		if err != nil {
			c.close(wire.CloseBadFrame, err.Error())
			continue
		}
		switch f.Type {
		case wire.FrameHello: // it has opened the socket, or does nothing
		case wire.FrameSend:
			c.send(ctx, f)
		case wire.FrameResume:
			c.resume(ctx, f)
		case wire.FramePing:
			if len(f.ID) > wire.MaxFrameID {
				f.ID = ""
			}
			c.enqueue(wire.Encode(wire.Pong{Type: wire.FramePong, ID: f.ID}))
		}
	}
}

// may says whether one more frame is within the limits of the connection, the user and the address.
func (c *conn) may() bool {
	for _, who := range []struct {
		buckets *limit.Buckets
		key     string
	}{{c.frames, ""}, {c.g.byUser, c.user}, {c.g.byAddress, c.address}} {
		if _, ok := who.buckets.Take(who.key); !ok {
			return false
		}
	}
	return true
}

// refuse closes for a frame too many, and says which message was in it.
func (c *conn) refuse(data []byte) {
	c.g.flooding.Inc()
	e := wire.ErrorFrame{Type: wire.FrameError, Code: wire.CodeRateLimited, Message: "too many frames; reconnect and send more slowly", Retry: true}
	if f, err := wire.DecodeFrame(data); err == nil {
		if wire.ValidClientID(f.ClientID) {
			e.ClientID = f.ClientID
		}
		if wire.ValidConversation(f.Conversation) {
			e.Conversation = f.Conversation
		}
		if len(f.ID) <= wire.MaxFrameID {
			e.ID = f.ID
		}
	}
	c.closeAfter(wire.Encode(e), wire.CloseTooMany, "too many frames")
}

// send gives a message to Kafka. The acknowledgement comes from messaging, once it is stored.
func (c *conn) send(ctx context.Context, f wire.ClientFrame) {
	refuse := func(code, message string) {
		e := wire.ErrorFrame{Type: wire.FrameError, Code: code, Message: message, Retry: code == wire.CodeUnavailable}
		if wire.ValidClientID(f.ClientID) {
			e.ClientID = f.ClientID
		}
		if wire.ValidConversation(f.Conversation) {
			e.Conversation = f.Conversation
		}
		c.enqueue(wire.Encode(e))
	}
	if !wire.ValidClientID(f.ClientID) {
		refuse(wire.CodeBadFrame, "client_id must be 1 to 64 of A-Z a-z 0-9 _ . -")
		return
	}
	if err := wire.CheckBody(f.Body); err != nil {
		refuse(wire.CodeBadFrame, err.Error())
		return
	}
	if !wire.ValidConversation(f.Conversation) {
		refuse(wire.CodeNotMember, "there is no such conversation")
		return
	}
	if a, b, direct := wire.Direct(f.Conversation); direct {
		other := a
		switch c.user {
		case a:
			other = b
		case b:
		default:
			refuse(wire.CodeNotMember, "you are no member of this conversation")
			return
		}
		err := c.g.exists(ctx, other)
		switch {
		case errors.Is(err, peer.ErrNotFound):
			refuse(wire.CodeUnknownUser, "there is no such user")
			return
		case err != nil:
			c.g.Log.Warn("a send waits for auth", "error", err)
			refuse(wire.CodeUnavailable, "try again")
			return
		}
	}
	value := wire.Encode(wire.Record{
		Type: wire.RecordSend, Conversation: f.Conversation, Sender: c.user, ClientID: f.ClientID, Body: f.Body, At: wire.At(c.g.Now()),
	})
	// Not this socket's context: what the client has sent goes on without it.
	c.g.kafka.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: bus.Messages, Key: []byte(f.Conversation), Value: value},
		func(_ *kgo.Record, err error) {
			if err != nil {
				c.g.Log.Warn("a send did not reach kafka", "error", err)
				refuse(wire.CodeUnavailable, "try again")
			}
		})
}

// exists asks auth for a user, once.
func (g *gateway) exists(ctx context.Context, user string) error {
	if _, ok := g.known.Load(user); ok {
		return nil
	}
	if _, err := g.auth.User(ctx, user); err != nil {
		return err
	}
	g.known.Store(user, struct{}{})
	return nil
}

// resume sends what the client has missed.
func (c *conn) resume(ctx context.Context, f wire.ClientFrame) {
	if len(f.ID) > wire.MaxFrameID {
		f.ID = ""
	}
	fail := func(code, message string) {
		c.enqueue(wire.Encode(wire.ErrorFrame{Type: wire.FrameError, Code: code, Message: message, Retry: code == wire.CodeUnavailable, ID: f.ID}))
	}
	if len(f.Have) > wire.MaxResume {
		fail(wire.CodeBadFrame, fmt.Sprintf("have names %d conversations; at most %d", len(f.Have), wire.MaxResume))
		return
	}
	for id, seq := range f.Have {
		if !wire.ValidConversation(id) || seq < 0 {
			fail(wire.CodeBadFrame, "have maps conversations to the last seq")
			return
		}
	}
	missed, err := c.g.messaging.Resume(ctx, wire.ResumeRequest{User: c.user, Have: f.Have})
	if err != nil {
		c.g.Log.Warn("no resume", "error", err)
		fail(wire.CodeUnavailable, "try again")
		return
	}
	frames := make([][]byte, 0, len(missed.Messages)+1)
	for _, m := range missed.Messages {
		frames = append(frames, wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: m}))
	}
	if missed.Behind == nil {
		missed.Behind = map[string]int64{}
	}
	frames = append(frames, wire.Encode(wire.Resumed{Type: wire.FrameResumed, ID: f.ID, Behind: missed.Behind}))
	for _, frame := range frames {
		select {
		case c.bulk <- frame:
		case <-c.done:
			return
		}
	}
}
