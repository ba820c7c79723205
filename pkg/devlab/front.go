package devlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"github.com/labctl/labctl/services/requestid"
)

// newFront makes the proxy before the services: the ingress's paths, and the page for all others. What is under /internal/ has no
// path here. As the ingress does, it gives each request an id.
func newFront(units []*unit, urls map[string]string, frontend http.Handler) (http.Handler, error) {
	mux := http.NewServeMux()
	for _, u := range units {
		target, err := url.Parse(urls[u.name])
		if err != nil {
			return nil, fmt.Errorf("route to %s: %w", u.name, err)
		}
		proxy := &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target)
				r.Out.Host = r.In.Host // the gateway compares it with the Origin
				r.SetXForwarded()
			},
			FlushInterval: -1,
			ModifyResponse: func(res *http.Response) error {
				res.Header.Del(requestid.Header) // the same, which is there
				return nil
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = fmt.Fprintf(w, `{"error":{"code":"unavailable","message":"%s is not available; try again"}}`+"\n", u.name)
			},
		}
		for _, route := range u.routes {
			mux.Handle(route, proxy)
			mux.Handle(route+"/", proxy)
		}
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"error":{"code":"not_found","message":"no such path"}}`+"\n")
	})
	if frontend == nil {
		frontend = http.NotFoundHandler()
	}
	mux.Handle("/", frontend)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := requestid.Of(r)
		r.Header.Set(requestid.Header, id)
		w.Header().Set(requestid.Header, id)
		mux.ServeHTTP(w, r)
	}), nil
}

// ask gets a URL and wants 200.
func ask(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(string(bytes.TrimSpace(b)))
	}
	return nil
}

func join(l []string) string { return strings.Join(l, ",") }
