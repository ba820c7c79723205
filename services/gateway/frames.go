package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gobwas/ws"
	"github.com/twmb/franz-go/pkg/kgo"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// handle handles a frame of the client.
func (c *conn) handle(op ws.OpCode, data []byte) {
	c.mirror.said(op, data)
	ctx := trace.WithRequest(context.Background(), c.socket.nextRequest())
	select {
	case <-c.done:
		return // the end of the connection is near
	default:
	}
	c.g.received.Inc()
	if op != ws.OpText {
		c.close(ws.StatusUnsupportedData, "frames are text")
		return
	}
	if !c.may() {
		c.refuse(data)
		return
	}
	f, err := wire.DecodeFrame(data)
	switch {
	case errors.Is(err, wire.ErrField) && c.opened:
		c.complain(f, wire.CodeBadFrame, err.Error())
		return
	case err != nil:
		c.close(wire.CloseBadFrame, err.Error())
		return
	}
	if !c.opened {
		if f.Type == wire.FrameHello {
			c.hello(ctx, f)
		} else {
			c.close(wire.CloseBadFrame, "the first frame must be a hello")
		}
		return
	}
	switch f.Type {
	case wire.FrameHello: // it is open
	case wire.FrameSend, wire.FrameEdit, wire.FrameDelete, wire.FrameReact:
		c.traced(ctx, f, c.say)
	case wire.FrameRead:
		c.traced(ctx, f, c.markRead)
	case wire.FrameTyping:
		c.typing(ctx, f)
	case wire.FrameResume:
		c.resume(ctx, f)
	case wire.FrameAway:
		if c.away.Swap(f.Away) != f.Away {
			c.g.announce(c.user)
		}
	case wire.FramePing:
		c.enqueue(wire.Encode(wire.Pong{Type: wire.FramePong, ID: f.ID}))
	}
}

// traced handles a frame that leads to a record. What the frame leads to is one trace, whose root is the receipt of the frame.
func (c *conn) traced(ctx context.Context, f wire.ClientFrame, handle func(context.Context, wire.ClientFrame)) {
	if !c.g.tracer.On() {
		handle(ctx, f)
		return
	}
	ctx, span := c.g.tracer.Start(ctx, "frame "+f.Type, otel.WithSpanKind(otel.SpanKindServer), otel.WithAttributes(trace.Kind(f.Type)))
	if wire.ValidConversation(f.Conversation) {
		span.SetAttributes(trace.Conversation(f.Conversation))
	}
	if f.Type != wire.FrameSend {
		span.SetAttributes(trace.Target(f.Seq))
	}
	defer func() { span.End() }()
	handle(ctx, f)
}

// may says whether one more frame is within the limits of the connection, the user and the address.
func (c *conn) may() bool {
	if !c.frames.Take(c.g.Now()) {
		return false
	}
	if _, ok := c.g.byAddress.Take(c.address); !ok {
		return false
	}
	if c.user == "" { // before the hello
		return true
	}
	_, ok := c.g.byUser.Take(c.user)
	return ok
}

// refuse closes for a frame too many, and says which message was in it.
func (c *conn) refuse(data []byte) {
	c.g.flooding.Inc()
	f, _ := wire.DecodeFrame(data) // of what is none, nothing is said
	e := about(f, wire.CodeRateLimited, "too many frames; reconnect and send more slowly")
	e.Retry = true
	c.closeAfter(wire.Encode(e), wire.CloseTooMany, "too many frames")
}

// about is an error that names what of a frame it is about.
func about(f wire.ClientFrame, code, message string) wire.ErrorFrame {
	e := wire.ErrorFrame{Type: wire.FrameError, Code: code, Message: message, Retry: code == wire.CodeUnavailable, ID: f.ID}
	if wire.ValidClientID(f.ClientID) {
		e.ClientID = f.ClientID
	}
	if wire.ValidConversation(f.Conversation) {
		e.Conversation = f.Conversation
	}
	return e
}

// complain answers a frame with an error.
func (c *conn) complain(f wire.ClientFrame, code, message string) {
	c.enqueue(wire.Encode(about(f, code, message)))
}

// record is what a frame says, for messaging. Both have the same types.
func (c *conn) record(f wire.ClientFrame) wire.Record {
	r := wire.Record{
		Type: f.Type, Conversation: f.Conversation, Sender: c.user, ClientID: f.ClientID, At: wire.At(c.g.Now()), Again: f.Again,
	}
	switch f.Type {
	case wire.FrameSend:
		r.Body, r.ReplyTo, r.Mentions = f.Body, f.ReplyTo, f.Mentions
	case wire.FrameEdit:
		r.Target, r.Body = f.Seq, f.Body
	case wire.FrameReact:
		r.Target, r.Emoji, r.On = f.Seq, f.Emoji, f.On
	default:
		r.Target = f.Seq
	}
	return r
}

// say gives a message, or a change of one, to Kafka. The acknowledgement comes from messaging, once it is stored.
func (c *conn) say(ctx context.Context, f wire.ClientFrame) {
	refuse := func(code, message string) {
		trace.Refused(ctx, code)
		c.complain(f, code, message)
	}
	if !wire.ValidClientID(f.ClientID) {
		refuse(wire.CodeBadFrame, "client_id must be 1 to 64 of A-Z a-z 0-9 _ . -")
		return
	}
	r := c.record(f)
	if err := r.CheckContent(); err != nil {
		refuse(wire.CodeBadFrame, err.Error())
		return
	}
	if !c.mayBeIn(f.Conversation) {
		refuse(wire.CodeNotMember, "you are no member of this conversation, or there is none")
		return
	}
	if a, b, direct := wire.Direct(f.Conversation); direct && f.Type == wire.FrameSend {
		other := a
		if c.user == a {
			other = b
		}
		err := c.g.exists(ctx, other)
		switch {
		case errors.Is(err, peer.ErrNotFound):
			refuse(wire.CodeUnknownUser, "there is no such user")
			return
		case err != nil:
			trace.Log(ctx, c.g.Log).Warn("a send waits for auth", "error", err)
			refuse(wire.CodeUnavailable, "try again")
			return
		}
	}
	c.produce(ctx, r, func() { refuse(wire.CodeUnavailable, "try again") })
}

// produce gives a record to messaging. It goes on without this socket's context, as what the client has sent does.
func (c *conn) produce(ctx context.Context, r wire.Record, failed func()) {
	if isDropped(r) {
		return
	}
	c.g.kafka.Produce(context.WithoutCancel(ctx), &kgo.Record{Topic: c.g.Kafka.Writes(bus.Messages), Key: []byte(r.Conversation), Value: wire.Encode(r)},
		func(_ *kgo.Record, err error) {
			if err != nil {
				trace.Log(ctx, c.g.Log).Warn("what a client sent did not reach kafka", "type", r.Type, "error", err)
				failed()
			}
		})
}

// mayBeIn says whether this user can be a member of a conversation, by its id alone.
func (c *conn) mayBeIn(conversation string) bool {
	a, b, direct := wire.Direct(conversation)
	return wire.ValidGroupID(conversation) || (direct && (c.user == a || c.user == b))
}

// markRead tells messaging how far the user has read. A mark that is lost on the way is made up for by the next one.
func (c *conn) markRead(ctx context.Context, f wire.ClientFrame) {
	r := c.record(f)
	r.ClientID = ""
	if err := r.CheckContent(); err != nil {
		trace.Refused(ctx, wire.CodeBadFrame)
		c.complain(f, wire.CodeBadFrame, err.Error())
		return
	}
	if !c.mayBeIn(f.Conversation) {
		trace.Refused(ctx, wire.CodeNotMember)
		c.complain(f, wire.CodeNotMember, "you are no member of this conversation, or there is none")
		return
	}
	c.produce(ctx, r, func() {})
}

// knownTime is how long auth's word that there is a user is good. Afterwards the account may be deleted.
const knownTime = time.Minute

// exists asks auth for a user, unless it has done so lately. While auth is away, who was there is.
func (g *gateway) exists(ctx context.Context, user string) error {
	at, known := g.known.Load(user)
	if known && g.Now().Sub(at.(time.Time)) < knownTime { //nolint:errcheck,forcetypeassert // it holds nothing else
		return nil
	}
	_, err := g.auth.User(ctx, user)
	switch {
	case err == nil:
		g.known.Store(user, g.Now())
	case errors.Is(err, peer.ErrNotFound):
		g.known.Delete(user)
	case known:
		return nil
	}
	return err
}

// resume sends what the client has missed.
func (c *conn) resume(ctx context.Context, f wire.ClientFrame) {
	fail := func(code, message string) { c.complain(wire.ClientFrame{ID: f.ID}, code, message) }
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
	missed, err := c.g.messaging.Resume(ctx, wire.ResumeRequest{User: c.user, Have: f.Have, Position: c.position})
	if err != nil {
		trace.Log(ctx, c.g.Log).Warn("no resume", "error", err)
		fail(wire.CodeUnavailable, "try again")
		return
	}
	if missed.Behind == nil {
		missed.Behind = map[string]int64{}
	}
	frames := make([]*frame, 0, len(missed.Messages)+1)
	for _, m := range missed.Messages {
		frames = append(frames, text(wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: m})))
	}
	frames = append(frames, text(wire.Encode(wire.Resumed{Type: wire.FrameResumed, ID: f.ID, Behind: missed.Behind})))
	// As the client takes them, beside what waits in the queue, which has less room.
	c.send(frames...)
}
