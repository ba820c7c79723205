package trace

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	otel "go.opentelemetry.io/otel/trace"

	"github.com/labctl/labctl/services/requestid"
)

// Serve begins the span of a request that a service answers. The caller of a path under /internal/ is another service, whose trace goes
// on. Anyone else begins a new one, linked to what they may have sent, so that nobody outside decides what is kept.
func (t *Tracer) Serve(r *http.Request) (context.Context, otel.Span) {
	if t == nil {
		return r.Context(), none
	}
	ctx, opts := r.Context(), []otel.SpanStartOption{otel.WithSpanKind(otel.SpanKindServer)}
	theirs := w3c.Extract(ctx, propagation.HeaderCarrier(r.Header))
	if strings.HasPrefix(r.URL.Path, "/internal/") {
		ctx = theirs
	} else if c := otel.SpanContextFromContext(theirs); c.IsValid() {
		opts = append(opts, otel.WithLinks(otel.Link{SpanContext: c}))
	}
	return t.Start(ctx, method(r.Method), opts...)
}

// Answered names a request's span by its pattern, which holds no id, and notes the status.
func Answered(span otel.Span, r *http.Request, status int) {
	if !span.IsRecording() {
		return
	}
	attributes := []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method(r.Method)), semconv.HTTPResponseStatusCode(status)}
	if _, route, ok := strings.Cut(r.Pattern, " "); ok {
		span.SetName(method(r.Method) + " " + route)
		attributes = append(attributes, semconv.HTTPRoute(route))
	}
	span.SetAttributes(attributes...)
	if status >= 500 {
		span.SetStatus(codes.Error, "")
	}
}

// Call begins the span of a request to another service, if its context has one, and lets the trace go on there, as the id of the request
// that is being answered does. route is the path with a name in place of each id.
func Call(req *http.Request, route string) (*http.Request, otel.Span) {
	if id := Request(req.Context()); id != "" {
		req.Header.Set(requestid.Header, id)
	}
	if !in(req.Context()) {
		return req, none
	}
	ctx, span := child(req.Context(), req.Method+" "+route, otel.WithSpanKind(otel.SpanKindClient), otel.WithAttributes(
		semconv.HTTPRequestMethodKey.String(method(req.Method)), semconv.URLTemplate(route)))
	req = req.WithContext(ctx)
	w3c.Inject(ctx, propagation.HeaderCarrier(req.Header))
	return req, span
}

// Called notes the status of the answer.
func Called(span otel.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= 400 {
		span.SetStatus(codes.Error, "")
	}
}

// method gives a method that is one; a client may write any word.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "_OTHER"
}
