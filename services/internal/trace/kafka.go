package trace

import (
	"context"
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	otel "go.opentelemetry.io/otel/trace"
)

// Headers of a record carry the trace that it belongs to.
type headers struct{ *kgo.Record }

func (h headers) Get(key string) string {
	for _, have := range h.Headers {
		if have.Key == key {
			return string(have.Value)
		}
	}
	return ""
}

// Set replaces what is there: a record that is passed on has the headers of the one before. It makes a new list, since the old one may be
// shared.
func (h headers) Set(key, value string) {
	kept := make([]kgo.RecordHeader, 0, len(h.Headers)+1)
	for _, have := range h.Headers {
		if have.Key != key {
			kept = append(kept, have)
		}
	}
	h.Headers = append(kept, kgo.RecordHeader{Key: key, Value: []byte(value)})
}

func (h headers) Keys() (keys []string) {
	for _, have := range h.Headers {
		keys = append(keys, have.Key)
	}
	return keys
}

// In gives ctx in the trace that a record belongs to. ok is false if it belongs to none.
func In(ctx context.Context, r *kgo.Record) (_ context.Context, ok bool) {
	if !slices.ContainsFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "traceparent" }) {
		return ctx, false
	}
	ctx = w3c.Extract(ctx, headers{r})
	return ctx, in(ctx)
}

// Consume begins the span of work on a record, in the trace of In. The record's key is not told: it may be a user.
func (t *Tracer) Consume(ctx context.Context, work string, r *kgo.Record) (context.Context, otel.Span) {
	return t.Start(ctx, work+" "+r.Topic, otel.WithSpanKind(otel.SpanKindConsumer), otel.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingOperationName(work), semconv.MessagingDestinationName(r.Topic),
		attribute.Int("messaging.destination.partition", int(r.Partition)), semconv.MessagingKafkaOffset(int(r.Offset)),
	))
}

// Hooks are a client's, and make a span of each record that is produced within a trace; the record carries it on, and the id of the
// request that it is of. Records outside of both are left as they are: leases and the like, of which there are many and which nobody follows.
func Hooks() kgo.Hook { return hooks{} }

type hooks struct{}

var (
	_ kgo.HookProduceRecordBuffered   = hooks{}
	_ kgo.HookProduceRecordUnbuffered = hooks{}
)

type sendKey struct{}

// OnProduceRecordBuffered begins the span.
func (hooks) OnProduceRecordBuffered(r *kgo.Record) {
	if id := Request(r.Context); id != "" {
		headers{r}.Set(requestHeader, id)
	}
	if !in(r.Context) {
		return
	}
	ctx, span := child(r.Context, "send "+r.Topic, otel.WithSpanKind(otel.SpanKindProducer), otel.WithAttributes(
		semconv.MessagingSystemKafka, semconv.MessagingOperationName("send"), semconv.MessagingDestinationName(r.Topic)))
	w3c.Inject(ctx, headers{r})
	r.Context = context.WithValue(r.Context, sendKey{}, span)
}

// OnProduceRecordUnbuffered ends it, when the brokers have the record or it is given up.
func (hooks) OnProduceRecordUnbuffered(r *kgo.Record, err error) {
	span, ok := r.Context.Value(sendKey{}).(otel.Span)
	if !ok {
		return
	}
	if err != nil {
		Fail(span, "not produced")
	} else if span.IsRecording() {
		span.SetAttributes(attribute.Int("messaging.destination.partition", int(r.Partition)), semconv.MessagingKafkaOffset(int(r.Offset)))
	}
	span.End()
}
