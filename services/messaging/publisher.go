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
	err := s.retry("publish")(ctx, func(ctx context.Context) error {
		s.quarantine.divert(batches)
		records, of := s.recordsFor(ctx, batches)
		results := s.kafka.ProduceSync(ctx, tamper(records)...)
		for _, r := range results {
			if e := of[r.Record]; isOwn(r.Err) && e.outcome != invalid {
				s.quarantine.hold(e.conversation(), e.input.source, fmt.Errorf("publish: %w", r.Err))
			}
		}
		if err := results.FirstErr(); err != nil {
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

// recordsFor makes the records for those who are to know what became of batches, and says from what each follows.
func (s *messaging) recordsFor(ctx context.Context, batches []*batch) (records []*kgo.Record, of map[*kgo.Record]effects) {
	of = map[*kgo.Record]effects{}
	for _, b := range batches {
		for _, e := range b.effects {
			out := frames(e)
			for _, r := range out {
				r.Topic = s.Kafka.Writes(r.Topic)
				of[r] = e
			}
			if e.input.raw != nil {
				within := trace.WithRequest(ctx, trace.RequestOf(e.input.raw))
				if s.tracer.On() {
					within = trace.Within(within, e.input.raw.Context)
				}
				for _, r := range out {
					r.Headers = append(r.Headers, bus.Source(e.input.raw))
					r.Context = within
				}
			}
			records = append(records, out...)
		}
	}
	return records, of
}

// frames makes the records for those who are to know of e. Their topics have the names of the table.
func frames(e effects) (out []*kgo.Record) {
	r := e.input.record
	switch {
	case e.outcome == invalid:
		return []*kgo.Record{deadLetter(e.input)}
	case e.cursor.Seq > 0:
		at := wire.Position{e.input.source.Partition: e.input.source.Offset}
		value := wire.Encode(wire.ReadFrame{
			Type: wire.FrameRead, Conversation: r.Conversation, User: r.Sender, Seq: e.cursor.Seq, At: r.At, Position: at.String(),
		})
		to := []string{r.Sender}
		if !e.members.Large {
			to = e.members.users(r.Conversation)
		}
		return []*kgo.Record{bus.For(r.Conversation, to, value)}
	case e.outcome == quarantined && hasKey(r):
		return []*kgo.Record{refuse(r, wire.CodeHeld)}
	case e.code != "":
		return []*kgo.Record{refuse(r, e.code)}
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

// refuse tells the sender of a record why there is no message.
func refuse(r wire.Record, code string) *kgo.Record {
	return bus.For(r.Conversation, []string{r.Sender}, wire.Encode(wire.ErrorFrame{
		Type: wire.FrameError, Code: code, Message: refusal(code), ClientID: r.ClientID, Conversation: r.Conversation,
	}))
}

func (s *messaging) count(all []effects) {
	for _, e := range all {
		switch e.outcome {
		case invalid:
			s.dead.Inc()
			r := e.input.raw
			of := trace.WithRequest(trace.Within(context.Background(), r.Context), trace.RequestOf(r))
			trace.Log(of, s.Log).Error("a record goes to the dead letters", "topic", r.Topic, "partition", r.Partition, "offset", r.Offset, "reason", e.input.invalid)
		case repeated:
			s.repeated.Inc()
		case refused:
			s.refused.Inc()
		case quarantined:
			s.held.Inc()
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
func (s *messaging) follow(inputs []input) (end func(error)) {
	if !s.tracer.On() {
		return func(error) {}
	}
	var spans []otel.Span
	var last *kgo.Record
	for _, in := range inputs {
		if in.raw == last {
			continue // one record has all of these released
		}
		last = in.raw
		ctx, _ := trace.In(context.Background(), last)
		ctx, span := s.tracer.Consume(ctx, "process", last)
		last.Context, spans = ctx, append(spans, span)
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
