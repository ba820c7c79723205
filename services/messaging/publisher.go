package messaging

import (
	"context"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/internal/wire"
)

// publish lets devices know what became of batches. It comes before the database: so whatever is stored was published, and need not be again.
func (s *messaging) publish(ctx context.Context, batches []*batch) error {
	var records []*kgo.Record
	for _, b := range batches {
		for _, e := range b.effects {
			out := frames(e)
			if e.input.raw != nil {
				for _, r := range out {
					r.Headers = append(r.Headers, bus.Source(e.input.raw))
					if s.tracer.On() {
						r.Context = trace.Within(ctx, e.input.raw.Context)
					}
				}
			}
			records = append(records, out...)
		}
	}
	err := s.retry("publish")(ctx, func(ctx context.Context) error {
		if err := s.kafka.ProduceSync(ctx, records...).FirstErr(); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		return nil
	})
	for _, b := range batches {
		if err == nil {
			s.count(b.effects)
		}
		b.end(err)
	}
	return err
}

// frames makes the records for those who are to know of e.
func frames(e effects) (out []*kgo.Record) {
	r := e.input.record
	switch {
	case e.outcome == invalid:
		return []*kgo.Record{deadLetter(e.input)}
	case e.cursor.Seq > 0:
		value := wire.Encode(wire.ReadFrame{Type: wire.FrameRead, Conversation: r.Conversation, User: r.Sender, Seq: e.cursor.Seq, At: r.At})
		to := []string{r.Sender}
		if !e.members.Large {
			to = e.members.users(r.Conversation)
		}
		return []*kgo.Record{bus.For(r.Conversation, to, value)}
	case e.code != "":
		return []*kgo.Record{bus.For(r.Conversation, []string{r.Sender}, wire.Encode(wire.ErrorFrame{
			Type: wire.FrameError, Code: e.code, Message: refusal(e.code), ClientID: r.ClientID, Conversation: r.Conversation,
		}))}
	case e.outcome == repeated && e.message != nil: // only the sender waits for it
		return []*kgo.Record{bus.For(r.Conversation, []string{r.Sender}, wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: e.message.said()}))}
	case e.outcome != accepted:
		return nil
	}
	message := e.message.said()
	all := e.members.users(r.Conversation)
	var later []string // who came after what is changed
	if message.Target > 0 {
		for _, u := range all {
			if first, _ := e.members.since(r.Conversation, u); message.Target < first {
				later = append(later, u)
			}
		}
		all = slices.DeleteFunc(all, func(u string) bool { return slices.Contains(later, u) })
	}
	if all = append(all, e.leaving...); len(all) > 0 {
		out = append(out, bus.For(r.Conversation, all, wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: message})))
	}
	if len(later) > 0 {
		out = append(out, bus.For(r.Conversation, later, wire.Encode(wire.MessageFrame{Type: wire.FrameMessage, Message: seenFrom(message, message.Target+1)})))
	}
	return out
}

func (s *messaging) count(all []effects) {
	for _, e := range all {
		switch e.outcome {
		case invalid:
			s.dead.Inc()
			r := e.input.raw
			trace.Log(r.Context, s.Log).Error("a record goes to the dead letters", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", e.input.invalid)
		case repeated:
			s.repeated.Inc()
		case refused:
			s.refused.Inc()
		case accepted:
			s.stored.Inc()
		}
		s.note(e)
	}
}

// note says at the span of a record what became of it.
func (s *messaging) note(e effects) {
	if !s.tracer.On() || e.input.raw == nil {
		return
	}
	r := e.input.record
	span := otel.SpanFromContext(e.input.raw.Context)
	if e.outcome == invalid {
		trace.Fail(span, "dead letter")
		return
	}
	span.SetAttributes(trace.Conversation(r.Conversation), trace.Kind(r.Type))
	if e.message != nil {
		span.SetAttributes(trace.Seq(e.message.Seq))
	}
	if r.Target > 0 {
		span.SetAttributes(trace.Target(r.Target))
	}
	if e.code != "" {
		trace.Refused(e.input.raw.Context, e.code)
	}
}

// follow begins a span for each record of a batch, in the record's own trace, and puts it into the record's context. All last until the
// batch is published, which none of its records is alone.
func (s *messaging) follow(records []*kgo.Record) (end func(error)) {
	if !s.tracer.On() {
		return func(error) {}
	}
	spans := make([]otel.Span, len(records))
	for i, r := range records {
		ctx, _ := trace.In(context.Background(), r)
		r.Context, spans[i] = s.tracer.Consume(ctx, "process", r)
	}
	return func(err error) {
		for _, span := range spans {
			if err != nil {
				trace.Fail(span, "not published")
			}
			span.End()
		}
	}
}
