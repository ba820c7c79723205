package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/labctl/labctl/pkg/shadow/exchange"
)

// hopByHop are the headers of one connection (RFC 9110, section 7.6.1), and those that the transport sets itself.
var hopByHop = []string{
	"Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Length", "Expect", "Host",
}

// side is the candidate or the baseline.
type side struct {
	name         string
	scheme, host string
	o            Options
	transport    *http.Transport
	counts       *SideCounts
}

func newTransport(o Options) *http.Transport {
	return &http.Transport{ // without a proxy, so that connections go to the side itself
		MaxIdleConnsPerHost:    o.InFlight,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // bodies are compared as they are sent
	}
}

// ask sends the live request to the side. It uses the transport and no client, so it follows no redirect.
func (s *side) ask(ctx context.Context, live exchange.Request) Answer {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	began := s.o.Now()
	fail := func(err error) Answer {
		return Answer{Latency: s.o.Now().Sub(began), Err: explain(ctx, err)}
	}
	req, err := s.request(ctx, live)
	if err != nil {
		return fail(err)
	}
	res, err := s.transport.RoundTrip(req)
	if err != nil {
		return fail(err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusSwitchingProtocols {
		return fail(errors.New("it switches protocols, which nobody asked for")) // such a body has no time limit
	}
	a := Answer{Status: res.StatusCode, Header: exchange.AnswerHeader(res.Header), Latency: s.o.Now().Sub(began)}
	a.Body, err = io.ReadAll(io.LimitReader(res.Body, s.o.MaxBody+1))
	switch {
	case err != nil:
		return fail(err)
	case int64(len(a.Body)) > s.o.MaxBody:
		return fail(fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, s.o.MaxBody))
	}
	return a
}

func (s *side) request(ctx context.Context, live exchange.Request) (*http.Request, error) {
	target, err := url.ParseRequestURI(live.Target)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, live.Method, s.scheme+"://"+s.host, bytes.NewReader(live.Body))
	if err != nil {
		return nil, err
	}
	req.URL = &url.URL{Scheme: s.scheme, Host: s.host, Path: target.Path, RawPath: target.RawPath, RawQuery: target.RawQuery, ForceQuery: target.ForceQuery}
	req.Host = live.Host
	for name, values := range live.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	for _, value := range req.Header.Values("Connection") {
		for name := range strings.SplitSeq(value, ",") {
			req.Header.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		req.Header.Del(name)
	}
	if _, ok := req.Header["User-Agent"]; !ok {
		req.Header["User-Agent"] = nil // else the transport names itself
	}
	req.Header.Del("X-Request-Id")
	if live.ID != "" {
		req.Header.Set("X-Request-Id", live.ID)
	}
	req.Header.Set("X-Shadow", s.name)
	return req, nil
}

// explain gives an error its kind.
func explain(ctx context.Context, err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

func (c *SideCounts) add(a Answer) {
	switch {
	case a.Err == nil:
		c.Answered++
	case errors.Is(a.Err, ErrTimeout):
		c.Timeouts++
	case errors.Is(a.Err, ErrUnreachable):
		c.Unreachable++
	case errors.Is(a.Err, ErrTooLarge):
		c.TooLarge++
	default:
		c.Broken++
	}
}
