package trace

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	otel "go.opentelemetry.io/otel/trace"
)

func TestFromEnv(t *testing.T) {
	const base, own = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
	for name, tt := range map[string]struct {
		env     map[string]string
		want    string // the endpoint
		sampler string
		bad     []string
	}{
		"nothing":          {nil, "", "ParentBased{root:AlwaysOnSampler", nil},
		"a base":           {map[string]string{base: "http://c:4318"}, "http://c:4318/v1/traces", "", nil},
		"a base's path":    {map[string]string{base: "https://c/otel/"}, "https://c/otel/v1/traces", "", nil},
		"an own":           {map[string]string{base: "http://b:1", own: "http://c:4318/spans"}, "http://c:4318/spans", "", nil},
		"an own, no path":  {map[string]string{own: "http://c:4318"}, "http://c:4318/", "", nil},
		"disabled":         {map[string]string{base: "http://c:4318", "OTEL_SDK_DISABLED": "true"}, "", "", nil},
		"a ratio":          {map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, "", "ParentBased{root:TraceIDRatioBased{0.25}", nil},
		"none":             {map[string]string{"OTEL_TRACES_SAMPLER": "always_off"}, "", "AlwaysOffSampler", nil},
		"all that is bad":  {map[string]string{base: "c:4318", "OTEL_TRACES_SAMPLER": "some"}, "", "", []string{base + " is no http", `OTEL_TRACES_SAMPLER is "some"`}},
		"a bad ratio":      {map[string]string{"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, "", "", []string{"no number from 0 to 1"}},
		"a secret address": {map[string]string{own: "ftp://me:hunter2@c"}, "", "", []string{own}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := FromEnv("x", func(k string) string { return tt.env[k] })
			for _, bad := range tt.bad {
				require.ErrorContains(t, err, bad)
				require.NotContains(t, err.Error(), "hunter2")
			}
			if tt.bad != nil {
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, c.Endpoint)
			require.Equal(t, "x", c.Service)
			require.Contains(t, c.Sampler.Description(), tt.sampler)
		})
	}
	c, err := FromEnv("x", func(k string) string { return map[string]string{"OTEL_SERVICE_NAME": "y"}[k] })
	require.NoError(t, err)
	require.Equal(t, "y", c.Service)
}

// keptBy gives a tracer and what keeps its spans.
func keptBy(t *testing.T, s sdk.Sampler) (*Tracer, *tracetest.InMemoryExporter) {
	t.Helper()
	to := tracetest.NewInMemoryExporter()
	tracer := open(Config{Service: "x", Sampler: s}, to, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	t.Cleanup(tracer.Close)
	return tracer, to
}

func (t *Tracer) flush(test *testing.T) {
	test.Helper()
	require.NoError(test, t.provider.ForceFlush(test.Context()))
}

const foreign = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"

func TestServe(t *testing.T) {
	tracer, to := keptBy(t, sdk.ParentBased(sdk.AlwaysSample()))
	serve := func(method, path, pattern string, status int) tracetest.SpanStub {
		to.Reset()
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Traceparent", foreign)
		_, span := tracer.Serve(r)
		r.Pattern = pattern
		Answered(span, r, status)
		span.End()
		tracer.flush(t)
		require.Len(t, to.GetSpans(), 1)
		return to.GetSpans()[0]
	}
	s := serve("GET", "/internal/users/u-1", "GET /internal/users/{id}", 200)
	require.Equal(t, "GET /internal/users/{id}", s.Name)
	require.Equal(t, "0123456789abcdef", s.Parent.SpanID().String(), "a service's trace goes on")

	s = serve("GET", "/api/auth/users/u-1/profile?q=secret", "GET /api/auth/users/{id}/profile", 503)
	require.False(t, s.Parent.IsValid(), "nobody outside decides")
	require.Len(t, s.Links, 1)
	require.Equal(t, "Error", s.Status.Code.String())

	s = serve("SECRET", "/secret", "", 404)
	require.Equal(t, "_OTHER", s.Name)
	for _, a := range s.Attributes {
		require.NotContains(t, strings.ToLower(a.Value.Emit()), "secret")
	}
}

// What a caller does not keep, nobody else does, and it is passed on.
func TestUnkept(t *testing.T) {
	tracer, to := keptBy(t, sdk.ParentBased(sdk.NeverSample()))
	ctx, span := tracer.Start(t.Context(), "a")
	r := &kgo.Record{Topic: "x", Context: ctx}
	hooks{}.OnProduceRecordBuffered(r)
	hooks{}.OnProduceRecordUnbuffered(r, nil)
	span.End()
	in, ok := In(context.Background(), r)
	require.True(t, ok)
	require.False(t, otel.SpanContextFromContext(in).IsSampled())
	other, kept := keptBy(t, sdk.ParentBased(sdk.AlwaysSample()))
	_, span = other.Consume(in, "process", r)
	span.End()
	other.flush(t)
	tracer.flush(t)
	require.Empty(t, to.GetSpans())
	require.Empty(t, kept.GetSpans())
}

func TestRecords(t *testing.T) {
	tracer, to := keptBy(t, sdk.AlwaysSample())
	ctx, span := tracer.Start(t.Context(), "a")
	shared := []kgo.RecordHeader{{Key: "traceparent", Value: []byte(foreign)}, {Key: "reason", Value: []byte("x")}}
	r := &kgo.Record{Topic: "x", Key: []byte("secret"), Value: []byte("secret"), Context: ctx, Headers: shared}
	hooks{}.OnProduceRecordBuffered(r)
	require.Len(t, r.Headers, 2, "the old trace's header is replaced")
	require.Equal(t, foreign, string(shared[0].Value), "where it was taken from it stays")
	hooks{}.OnProduceRecordUnbuffered(r, errors.New("secret"))
	in, ok := In(context.Background(), r)
	require.True(t, ok)
	require.Equal(t, span.SpanContext().TraceID(), otel.SpanContextFromContext(in).TraceID())
	tracer.flush(t)
	require.Len(t, to.GetSpans(), 1, "the span around it goes on")
	s := to.GetSpans()[0]
	require.Equal(t, "not produced", s.Status.Description)
	for _, a := range s.Attributes {
		require.NotContains(t, a.Value.Emit(), "secret")
	}

	alone := &kgo.Record{Topic: "x", Context: t.Context()}
	hooks{}.OnProduceRecordBuffered(alone)
	hooks{}.OnProduceRecordUnbuffered(alone, nil)
	require.Empty(t, alone.Headers)
	_, ok = In(context.Background(), alone)
	require.False(t, ok)
	_, ok = In(context.Background(), &kgo.Record{Headers: []kgo.RecordHeader{{Key: "traceparent", Value: []byte("nonsense")}}})
	require.False(t, ok)
}

// One that is off does nothing, wherever it is used.
func TestOff(t *testing.T) {
	tracer, err := Open(Config{}, nil, nil)
	require.NoError(t, err)
	require.False(t, tracer.On())
	ctx, span := tracer.Start(t.Context(), "a")
	require.Equal(t, t.Context(), ctx)
	require.False(t, span.SpanContext().IsValid())
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Traceparent", foreign)
	ctx, span = tracer.Serve(r)
	Answered(span, r, 200)
	span.End()
	req, span := Call(r.WithContext(ctx), "/x")
	Called(span, 200)
	require.Equal(t, foreign, req.Header.Get("Traceparent"), "untouched")
	tracer.Close()
}

// The id of a request goes where its trace would go, whether there is a trace or not.
func TestRequest(t *testing.T) {
	kept, _ := keptBy(t, sdk.AlwaysSample())
	for name, tracer := range map[string]*Tracer{"off": nil, "kept": kept} {
		t.Run(name, func(t *testing.T) {
			ctx, span := tracer.Start(WithRequest(t.Context(), "id-1"), "a")
			defer span.End()
			req, span := Call(httptest.NewRequest("GET", "/internal/x", nil).WithContext(ctx), "/internal/x")
			span.End()
			require.Equal(t, "id-1", req.Header.Get("X-Request-Id"))
			r := &kgo.Record{Topic: "x", Context: ctx, Headers: []kgo.RecordHeader{{Key: "request", Value: []byte("the one before")}}}
			hooks{}.OnProduceRecordBuffered(r)
			hooks{}.OnProduceRecordUnbuffered(r, nil)
			require.Equal(t, "id-1", headers{r}.Get("request"))
			var out bytes.Buffer
			Log(ctx, slog.New(slog.NewTextHandler(&out, nil))).Info("x")
			require.Contains(t, out.String(), "request=id-1")
		})
	}
	req, _ := Call(httptest.NewRequest("GET", "/internal/x", nil), "/internal/x")
	require.Empty(t, req.Header.Get("X-Request-Id"))
}

type refusing struct{}

func (refusing) ExportSpans(context.Context, []sdk.ReadOnlySpan) error { return errors.New("refused") }
func (refusing) Shutdown(context.Context) error                        { return nil }

func TestLost(t *testing.T) {
	var out bytes.Buffer
	metrics := prometheus.NewRegistry()
	tracer := open(Config{Sampler: sdk.AlwaysSample()}, refusing{}, slog.New(slog.NewTextHandler(&out, nil)), metrics)
	now := time.Unix(1_800_000_000, 0)
	tracer.exporter.now = func() time.Time { return now }
	for _, after := range []time.Duration{0, time.Second, 58 * time.Second, time.Second, time.Second} {
		now = now.Add(after)
		_, span := tracer.Start(t.Context(), "a")
		span.End()
		tracer.flush(t)
	}
	tracer.Close()
	require.Equal(t, 2, strings.Count(out.String(), "traces are lost"), "once a minute")
	families, err := metrics.Gather()
	require.NoError(t, err)
	counts := map[string]float64{}
	for _, f := range families {
		counts[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue()
	}
	require.Equal(t, map[string]float64{"trace_spans_ended_total": 5, "trace_spans_exported_total": 0, "trace_spans_lost_total": 5}, counts)
}

// The end does not wait for a receiver that answers nothing, and its request ends, too.
func TestCloseIntoSilence(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000") // milliseconds; it does not end by itself
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
	gone := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		close(gone)
	}))
	defer silent.Close()
	tracer, err := Open(Config{Endpoint: silent.URL, Sampler: sdk.AlwaysSample()}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(t, err)
	_, span := tracer.Start(t.Context(), "a")
	span.End()
	tracer.Close()
	<-gone
}

func TestLog(t *testing.T) {
	for kept, sampler := range map[bool]sdk.Sampler{true: sdk.AlwaysSample(), false: sdk.NeverSample()} {
		tracer, _ := keptBy(t, sampler)
		ctx, span := tracer.Start(t.Context(), "a")
		var out bytes.Buffer
		Log(ctx, slog.New(slog.NewTextHandler(&out, nil))).Info("x")
		require.Equal(t, kept, strings.Contains(out.String(), "trace_id="+span.SpanContext().TraceID().String()))
		out.Reset()
		Log(nil, slog.New(slog.NewTextHandler(&out, nil))).Info("x") //nolint:staticcheck // as a record's context may be
		require.NotContains(t, out.String(), "trace_id")
	}
}

// BenchmarkFrame is what one message costs in spans: off, not kept, and kept.
func BenchmarkFrame(b *testing.B) {
	for name, tracer := range map[string]*Tracer{
		"off":    nil,
		"unkept": open(Config{Sampler: sdk.NeverSample()}, tracetest.NewNoopExporter(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()),
		"kept":   open(Config{Sampler: sdk.AlwaysSample()}, tracetest.NewNoopExporter(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			r := &kgo.Record{Topic: "messages"}
			for b.Loop() {
				ctx, span := tracer.Start(b.Context(), "frame send")
				r.Context = ctx
				hooks{}.OnProduceRecordBuffered(r)
				hooks{}.OnProduceRecordUnbuffered(r, nil)
				span.End()
			}
		})
	}
}
