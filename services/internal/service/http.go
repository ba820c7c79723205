package service

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"mime"
	"net"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/labctl/labctl/services/internal/identity"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/trace"
	"github.com/labctl/labctl/services/requestid"
)

// MaxBody is the size limit of a request's body, in bytes.
const MaxBody = 64 << 10

// Error is an answer that is not what the caller hoped for. Its message is for the caller's eyes.
type Error struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	// RetryAfter, if any, is when the caller may come again.
	RetryAfter time.Duration `json:"-"`
	// Cause is for the log.
	Cause error `json:"-"`
}

func (e *Error) Error() string {
	if e.Cause != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Cause)
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Cause }

// BadRequest says what is wrong with a request.
func BadRequest(format string, a ...any) error {
	return &Error{Status: http.StatusBadRequest, Code: "bad_request", Message: fmt.Sprintf(format, a...)}
}

// NotFound is the answer about what does not exist or the caller may not know of.
func NotFound(what string) error {
	return &Error{Status: http.StatusNotFound, Code: "not_found", Message: "no such " + what}
}

// Forbidden says what the caller may not do.
func Forbidden(message string) error {
	return &Error{Status: http.StatusForbidden, Code: "forbidden", Message: message}
}

// Unauthenticated asks for a (new) access token.
func Unauthenticated(message string) error {
	return &Error{Status: http.StatusUnauthorized, Code: "unauthenticated", Message: message}
}

// Unavailable says that a part is down; cause goes to the log.
func Unavailable(what string, cause error) error {
	return &Error{Status: http.StatusServiceUnavailable, Code: "unavailable", Message: what + " is not available; try again", Cause: cause}
}

// Handle makes a handler of a function that returns its error.
func Handle(f func(w http.ResponseWriter, r *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			WriteError(w, r, err)
		}
	})
}

// SessionEnded asks for a new log-in.
func SessionEnded() error {
	return &Error{Status: http.StatusUnauthorized, Code: "session_ended", Message: "this session has ended; log in again"}
}

// Busy is the answer to who comes too often.
func Busy(message string, wait time.Duration) error {
	return &Error{Status: http.StatusTooManyRequests, Code: "busy", Message: message, RetryAfter: wait}
}

// Authenticated is Handle for those who show a valid access token.
func Authenticated(v *token.Verifier, f func(w http.ResponseWriter, r *http.Request, caller token.Claims) error) http.Handler {
	return Handle(func(w http.ResponseWriter, r *http.Request) error {
		raw := bearer(r)
		if raw == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			return Unauthenticated("the header Authorization: Bearer <access_token> is missing; log in")
		}
		claims, err := v.Verify(r.Context(), raw)
		switch {
		case errors.Is(err, token.ErrEnded):
			return SessionEnded()
		case errors.Is(err, token.ErrInvalid):
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			return &Error{Status: http.StatusUnauthorized, Code: "unauthenticated",
				Message: "the access token is expired or invalid; refresh it or log in again", Cause: err}
		case err != nil:
			return Unavailable("auth", err)
		}
		return f(w, r, claims)
	})
}

// bearer gives the token that a request shows; empty if it shows none.
func bearer(r *http.Request) string {
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}

// Callers verifies which service asks the service of that name. now is the clock.
func (s Settings) Callers(name string, now func() time.Time) *identity.Verifier {
	return identity.NewVerifier(s.Identity, name, now)
}

// Internal is Handle for those services that callers names. Each refusal is logged: it is a fault of the configuration, or an attack.
func Internal(v *identity.Verifier, f func(w http.ResponseWriter, r *http.Request) error, callers ...string) http.Handler {
	return Handle(func(w http.ResponseWriter, r *http.Request) error {
		log := Log(r.Context(), slog.New(slog.DiscardHandler))
		caller, err := v.Verify(r.Context(), bearer(r))
		switch {
		case errors.Is(err, identity.ErrInvalid):
			log.Warn("refuses who does not prove to be a service", "route", r.Pattern, "from", r.RemoteAddr, "error", err)
			w.Header().Set("WWW-Authenticate", "Bearer")
			return &Error{Status: http.StatusUnauthorized, Code: "unauthenticated",
				Message: "the header Authorization: Bearer <token of the caller's service account, for this service> is missing, or its token is no good", Cause: err}
		case err != nil:
			return Unavailable("the Kubernetes API, which knows the keys of service accounts,", err)
		case !slices.Contains(callers, caller):
			log.Warn("refuses a service that has no business here", "route", r.Pattern, "from", r.RemoteAddr, "caller", caller)
			return Forbidden("the service account " + caller + " may not ask for this")
		}
		return f(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
	})
}

type callerKey struct{}

// Caller gives the service that asks, of a request that Internal has let in.
func Caller(r *http.Request) string {
	caller, _ := r.Context().Value(callerKey{}).(string)
	return caller
}

// maxDepth is how deep objects and lists of a body may be nested. No document of docs/openapi comes near it.
const maxDepth = 16

// Decode reads a JSON body into v, strictly. It refuses what encoding/json lets pass and no document of docs/openapi allows: null, which
// is a field left out there, a field's name in another case or twice, and text that is not UTF-8.
func Decode(w http.ResponseWriter, r *http.Request, v any) error {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		return &Error{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type", Message: "the body must have Content-Type: application/json"}
	}
	raw, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	if !utf8.Valid(raw) {
		return BadRequest("the body is not UTF-8")
	}
	tokens := json.NewDecoder(bytes.NewReader(raw))
	tokens.UseNumber() // whether one fits is for its field to say
	if err := checkValue(tokens, reflect.TypeOf(v)); err != nil {
		return err
	}
	if _, more := tokens.Token(); !errors.Is(more, io.EOF) {
		return BadRequest("the body holds more than one JSON value")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return unexpected(err)
	}
	return nil
}

func unexpected(err error) error { return BadRequest("the body is not what is expected: %v", err) }

// checkValue reads the next value, which is to be decoded into a t, and refuses nulls in it, unknown fields and those that come twice. path leads to the
// value, as in ".members", "[2]". A value that is no t is for the decoder to refuse: then nothing is known of its fields.
func checkValue(tokens *json.Decoder, t reflect.Type, path ...string) error {
	token, err := tokens.Token()
	if err != nil {
		return unexpected(err)
	}
	if len(path) > maxDepth {
		return BadRequest("the body is nested deeper than %d", maxDepth)
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch token {
	case nil:
		return BadRequest("%s is null; leave it out or give a value", cmp.Or(joinPath(path), "the body"))
	case json.Delim('['):
		for i := 0; tokens.More(); i++ {
			if err := checkValue(tokens, elementOf(t), append(path, "["+strconv.Itoa(i)+"]")...); err != nil {
				return err
			}
		}
	case json.Delim('{'):
		if err := checkFields(tokens, t, path); err != nil {
			return err
		}
	default:
		return nil
	}
	if _, err := tokens.Token(); err != nil { // its end
		return unexpected(err)
	}
	return nil
}

func checkFields(tokens *json.Decoder, t reflect.Type, path []string) error {
	types := map[string]reflect.Type{}
	if t.Kind() == reflect.Struct {
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			types[cmp.Or(name, f.Name)] = f.Type
		}
	}
	seen := map[string]bool{}
	for tokens.More() {
		token, err := tokens.Token()
		if err != nil {
			return unexpected(err)
		}
		name, _ := token.(string)
		within := append(path, "."+name)
		of, known := types[name]
		switch {
		case t.Kind() != reflect.Struct:
			of = elementOf(t)
		case !known:
			return BadRequest("the body is not what is expected: unknown field %q", joinPath(within))
		}
		if seen[name] {
			return BadRequest("%s is there twice; give it once", joinPath(within))
		}
		seen[name] = true
		if err := checkValue(tokens, of, within...); err != nil {
			return err
		}
	}
	return nil
}

// elementOf is what a list or a map is of. Where a value is neither, it is anything.
func elementOf(t reflect.Type) reflect.Type {
	if k := t.Kind(); k == reflect.Slice || k == reflect.Map {
		return t.Elem()
	}
	return reflect.TypeFor[any]()
}

func joinPath(path []string) string { return strings.TrimPrefix(strings.Join(path, ""), ".") }

// ReadBody reads a body of at most MaxBody bytes.
func ReadBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: fmt.Sprintf("the body is larger than %d bytes", large.Limit)}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, &Error{Status: http.StatusRequestTimeout, Code: "too_slow", Message: "the body did not come in time; send it again over a faster line"}
	}
	if err != nil {
		return nil, BadRequest("the body did not come whole: %v", err)
	}
	return raw, nil
}

// limitBody gives the request's body a deadline. It holds for a body that no handler reads, too, since the server reads
// the rest of it before it answers. A request without a body gets none: the server watches its connection for the client's
// end, and a deadline would look like one.
func (s *Server) limitBody(w http.ResponseWriter, r *http.Request) io.ReadCloser {
	if r.Body == nil || r.Body == http.NoBody {
		return r.Body
	}
	c := http.NewResponseController(w)
	if err := c.SetReadDeadline(time.Now().Add(cmp.Or(s.bodyTime, bodyTime))); err != nil {
		Log(r.Context(), s.Log).Error("a body may take for ever", "error", err)
	}
	return &limitedBody{ReadCloser: r.Body, whole: func() { _ = c.SetReadDeadline(time.Time{}) }} // it was possible before
}

// limitedBody is a body that tells when it is there as a whole.
type limitedBody struct {
	io.ReadCloser
	whole func()
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.whole()
	}
	return n, err //nolint:wrapcheck // io.EOF is compared as it is
}

// Write answers with v as JSON.
func Write(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
	return nil
}

// WriteError answers with an error. What is no *Error becomes "internal" and is told to the log only.
func WriteError(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Status: http.StatusInternalServerError, Code: "internal", Message: "something went wrong; the request id leads to the log", Cause: err}
		if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
			e = &Error{Status: 499, Code: "canceled", Message: "the client went away", Cause: err}
		}
	}
	if e.Status >= 500 && e.Cause != nil {
		Log(r.Context(), slog.New(slog.DiscardHandler)).Error("request fails", "method", r.Method, "route", r.Pattern, "status", e.Status, "error", e.Cause)
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	_ = Write(w, e.Status, map[string]*Error{"error": e}) // an Error always encodes
}

type logKey struct{}

// Log gives the log of a request, whose lines have the request's id, or other where ctx is no request's.
func Log(ctx context.Context, other *slog.Logger) *slog.Logger {
	if l, ok := ctx.Value(logKey{}).(*slog.Logger); ok {
		return l
	}
	return other
}

// instrument gives each request an id, a log line, its metrics and its span.
func (s *Server) instrument(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestid.Of(r)
		w.Header().Set(requestid.Header, id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		ctx, span := s.Tracer.Serve(r)
		defer func() { span.End() }() // called by a defer itself, it would take the text of a panic
		ctx = trace.WithRequest(ctx, id)
		log := trace.Log(ctx, s.Log)
		r = r.WithContext(context.WithValue(ctx, logKey{}, log))
		r.Body = s.limitBody(w, r)
		rec := &recorder{ResponseWriter: w}
		begin := time.Now()
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel that is thrown as it is
					panic(p)
				}
				log.Error("panic", "value", fmt.Sprint(p), "route", r.Pattern)
				if rec.status == 0 {
					WriteError(rec, r, fmt.Errorf("panic: %v", p))
				}
			}
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			status := rec.status
			if status == 0 {
				status = http.StatusOK
			}
			s.Metrics.requests.WithLabelValues(r.Method, route, strconv.Itoa(status)).Inc()
			s.Metrics.durations.WithLabelValues(route).Observe(time.Since(begin).Seconds())
			trace.Answered(span, r, status)
			log.Debug("request", "method", r.Method, "route", route, "status", status, "took", time.Since(begin).String())
		}()
		next(rec, r)
	})
}

// refuse answers as h would (not found, or a wrong method), in JSON.
func refuse(w http.ResponseWriter, r *http.Request, h http.Handler) {
	probe := &discard{header: http.Header{}}
	h.ServeHTTP(probe, r)
	if probe.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", probe.header.Get("Allow"))
		WriteError(w, r, &Error{Status: probe.status, Code: "method_not_allowed",
			Message: r.Method + " is not for this path; it knows " + probe.header.Get("Allow")})
		return
	}
	WriteError(w, r, NotFound("path"))
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Hijack gives the connection to who upgrades it, and writes the answer of that.
func (r *recorder) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(r.ResponseWriter).Hijack()
	if err == nil && r.status == 0 {
		r.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err //nolint:wrapcheck // the library's own, as without the recorder
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
