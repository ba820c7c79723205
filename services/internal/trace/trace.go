// Package trace follows what happens across the services: OpenTelemetry spans, exported by OTLP over HTTP.
//
// Each service has a Tracer of its own, since several may run in one process; nothing here uses OpenTelemetry's globals. A nil *Tracer is
// one that is off, and all of its methods do nothing. What has no Tracer at hand (records that are produced, calls of other services)
// begins spans with the tracer of the span in its context, and none where there is none.
//
// Spans say where time goes, and leave the lab for wherever they are kept: no text, name, token or address of a person is in them, and no
// error's text, which may hold any of these. A conversation's id, a seq, a kind and a code is all.
package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/internal/env"
)

// scope names what makes the spans.
const scope = "github.com/labctl/labctl/services"

// w3c carries a trace from one process to another. It carries no baggage, into which whoever calls could put anything.
var w3c = propagation.TraceContext{}

// Config says where spans go. The zero value is off.
type Config struct {
	// Endpoint is the whole address to which spans are posted; empty: tracing is off.
	Endpoint string
	// Service is the name under which they are found.
	Service string
	// Sampler decides which traces are kept.
	Sampler sdk.Sampler
}

// FromEnv reads OpenTelemetry's variables for the service called name: OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT
// (tracing is off without), OTEL_SERVICE_NAME (name), OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG (parentbased_always_on), and
// OTEL_SDK_DISABLED. Others, such as those of headers, certificates and queues, the SDK reads from the process's environment.
func FromEnv(name string, getenv func(string) string) (Config, error) {
	c := Config{Service: name}
	if v := getenv("OTEL_SERVICE_NAME"); v != "" {
		c.Service = v
	}
	var errs []error
	for _, of := range []struct{ name, path string }{{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"}} {
		v := getenv(of.name)
		if v == "" || c.Endpoint != "" {
			continue
		}
		u, err := url.Parse(v)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			errs = append(errs, fmt.Errorf("%s is no http:// or https:// address", of.name)) // it may hold a password
			continue
		}
		if u.Path = strings.TrimSuffix(u.Path, "/") + of.path; u.Path == "" {
			u.Path = "/"
		}
		c.Endpoint = u.String()
	}
	var err error
	if c.Sampler, err = sampler(getenv("OTEL_TRACES_SAMPLER"), getenv("OTEL_TRACES_SAMPLER_ARG")); err != nil {
		errs = append(errs, err)
	}
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") {
		c.Endpoint = ""
	}
	return c, errors.Join(errs...)
}

// Variables gives what FromEnv reads for a service.
func Variables(service string) []env.Variable {
	return []env.Variable{
		{Name: "OTEL_EXPORTER_OTLP_ENDPOINT", Form: "a base address such as `http://collector:4318`",
			Meaning: "Where spans are sent, by OTLP over HTTP, at its path `/v1/traces`. Nowhere, if it is not set: there is no tracing."},
		{Name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", Form: "a whole address",
			Meaning: "The same, exactly as it stands, instead of `OTEL_EXPORTER_OTLP_ENDPOINT`."},
		{Name: "OTEL_SERVICE_NAME", Default: service, Form: "a name", Meaning: "The name under which the spans are found."},
		{Name: "OTEL_TRACES_SAMPLER", Default: "parentbased_always_on", Form: "`always_on`, `always_off` or `traceidratio`, or one of them behind `parentbased_`",
			Meaning: "Which traces are kept."},
		{Name: "OTEL_TRACES_SAMPLER_ARG", Default: "1", Form: "a number from 0 to 1", Meaning: "How many of them, with `traceidratio`."},
		{Name: "OTEL_SDK_DISABLED", Default: "false", Form: "`true` or `false`", Meaning: "Turns tracing off, whatever else is set."},
	}
}

func sampler(name, arg string) (sdk.Sampler, error) {
	ratio := func() (sdk.Sampler, error) {
		if arg == "" {
			return sdk.AlwaysSample(), nil
		}
		f, err := strconv.ParseFloat(arg, 64)
		if err != nil || !(f >= 0 && f <= 1) {
			return nil, fmt.Errorf("OTEL_TRACES_SAMPLER_ARG is %q, which is no number from 0 to 1", arg)
		}
		return sdk.TraceIDRatioBased(f), nil
	}
	switch name {
	case "", "parentbased_always_on":
		return sdk.ParentBased(sdk.AlwaysSample()), nil
	case "always_on":
		return sdk.AlwaysSample(), nil
	case "always_off":
		return sdk.NeverSample(), nil
	case "parentbased_always_off":
		return sdk.ParentBased(sdk.NeverSample()), nil
	case "traceidratio":
		return ratio()
	case "parentbased_traceidratio":
		root, err := ratio()
		if err != nil {
			return nil, err
		}
		return sdk.ParentBased(root), nil
	}
	return nil, fmt.Errorf("OTEL_TRACES_SAMPLER is %q, which is none of always_on, always_off, traceidratio, and each of them behind parentbased_", name)
}

// Tracer makes the spans of one service. Nil is one that is off.
type Tracer struct {
	otel.Tracer
	provider *sdk.TracerProvider
	exporter *exporter
}

// Open makes the tracer of a service, nil if tracing is off. What receives the spans may be down, yet or for ever: spans wait in a queue
// of bounded size and are dropped where it is full, which costs nobody but whoever wants to see them.
func Open(c Config, log *slog.Logger, metrics prometheus.Registerer) (*Tracer, error) {
	if c.Endpoint == "" {
		return nil, nil //nolint:nilnil // off is no error, and nil is what is off
	}
	to := otlptrace.NewUnstarted(otlptracehttp.NewClient(otlptracehttp.WithEndpointURL(c.Endpoint)))
	if err := to.Start(context.Background()); err != nil { // it connects later
		return nil, fmt.Errorf("open the exporter of traces: %w", err)
	}
	return open(c, to, log, metrics), nil
}

func open(c Config, to sdk.SpanExporter, log *slog.Logger, metrics prometheus.Registerer) *Tracer {
	counter := func(name, help string) prometheus.Counter {
		n := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		metrics.MustRegister(n)
		return n
	}
	ended := counter("trace_spans_ended_total", "Spans that ended. Those neither exported nor lost wait, or were dropped because too many did.")
	e := &exporter{
		SpanExporter: to, log: log, now: time.Now,
		exported: counter("trace_spans_exported_total", "Spans that the collector has taken."),
		lost:     counter("trace_spans_lost_total", "Spans that the collector did not take."),
	}
	p := sdk.NewTracerProvider(
		sdk.WithSampler(c.Sampler),
		sdk.WithResource(resource.NewSchemaless(semconv.ServiceName(c.Service), semconv.ServiceInstanceID(uuid.NewString()))),
		sdk.WithSpanProcessor(&counting{SpanProcessor: sdk.NewBatchSpanProcessor(e), ended: ended}),
	)
	return &Tracer{Tracer: p.Tracer(scope), provider: p, exporter: e}
}

// flushTime is how long the last spans may take at the end.
const flushTime = 3 * time.Second

// Close exports what waits, for a short time, and ends the exporter.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if t.provider.Shutdown(ctx) != nil {
		// Its goroutine is still at a request, which this ends.
		_ = t.exporter.Shutdown(context.Background())
	}
}

// On says whether there are spans to make.
func (t *Tracer) On() bool { return t != nil }

// Start begins a span, as a child of the one in ctx if there is one.
func (t *Tracer) Start(ctx context.Context, name string, opts ...otel.SpanStartOption) (context.Context, otel.Span) {
	if t == nil {
		return ctx, none
	}
	return t.Tracer.Start(ctx, name, opts...)
}

// none is the span of a tracer that is off.
var none = otel.SpanFromContext(context.Background())

// in says whether ctx is within a span.
func in(ctx context.Context) bool { return otel.SpanContextFromContext(ctx).IsValid() }

// child begins a span with the tracer of the one that ctx is within.
func child(ctx context.Context, name string, opts ...otel.SpanStartOption) (context.Context, otel.Span) {
	return otel.SpanFromContext(ctx).TracerProvider().Tracer(scope).Start(ctx, name, opts...)
}

// Within gives ctx with the span of another context. That one may be nil, as a record's is.
func Within(ctx, other context.Context) context.Context {
	return otel.ContextWithSpan(ctx, otel.SpanFromContext(other))
}

// Fail marks a span as failed. what is one of few words, never an error's text.
func Fail(span otel.Span, what string) { span.SetStatus(codes.Error, what) }

// Refused notes the code with which something was refused at the span in ctx.
func Refused(ctx context.Context, code string) {
	otel.SpanFromContext(ctx).SetAttributes(attribute.String("chat.refused", code))
}

// Conversation is the attribute of a conversation's id. It must be a valid one, as what a client takes for an id may be anything.
func Conversation(id string) attribute.KeyValue { return attribute.String("chat.conversation", id) }

// Seq is the attribute of a message's seq.
func Seq(n int64) attribute.KeyValue { return attribute.Int64("chat.seq", n) }

// Target is the attribute of the seq of the message that is changed, or was read.
func Target(n int64) attribute.KeyValue { return attribute.Int64("chat.target", n) }

// Kind is the attribute of a message's kind, or a record's type.
func Kind(kind string) attribute.KeyValue { return attribute.String("chat.kind", kind) }

// Log gives a log whose lines name the request of ctx, if there is one, and its trace, if it is one that is kept. ctx may be nil, as a
// record's is.
func Log(ctx context.Context, log *slog.Logger) *slog.Logger {
	if id := Request(ctx); id != "" {
		log = log.With("request", id)
	}
	if c := otel.SpanContextFromContext(ctx); c.IsSampled() {
		return log.With("trace_id", c.TraceID().String())
	}
	return log
}

// counting counts the spans that end.
type counting struct {
	sdk.SpanProcessor
	ended prometheus.Counter
}

func (c *counting) OnEnd(s sdk.ReadOnlySpan) {
	c.ended.Inc()
	c.SpanProcessor.OnEnd(s)
}

// exporter keeps its errors to itself: the SDK would give each to a global handler.
type exporter struct {
	sdk.SpanExporter
	log            *slog.Logger
	now            func() time.Time
	exported, lost prometheus.Counter

	mu   sync.Mutex
	said time.Time
}

// quiet is how long the log says nothing about the exporter after it has said something.
const quiet = time.Minute

func (e *exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err == nil {
		e.exported.Add(float64(len(spans)))
		return nil
	}
	e.lost.Add(float64(len(spans)))
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.now(); e.said.IsZero() || now.Sub(e.said) >= quiet {
		e.said = now
		e.log.Warn("traces are lost; nothing else is", "spans", len(spans), "error", err)
	}
	return nil
}
