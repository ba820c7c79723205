package shadow

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Handler serves the evidence as JSON to who shows the token: results may have what people said.
//
//	GET /evidence
func (c *Comparer) Handler(token string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /evidence", func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.Marshal(c.Evidence())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	return Authorized(token, mux.ServeHTTP)
}

// Authorized answers who shows the token, and nobody else.
func Authorized(token string, answer http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+token)) != 1 {
			http.Error(w, "who asks shows no good token", http.StatusUnauthorized)
			return
		}
		answer(w, r)
	})
}

// Address is where a comparer serves its evidence.
type Address struct {
	Service string `json:"service"`
	URL     string `json:"url"`
	Token   string `json:"token"`
}

// ErrAway is a comparer that does not answer.
var ErrAway = errors.New("the comparer of the shadow does not answer")

// maxEvidence is how many bytes evidence may have.
const maxEvidence = 64 << 20

// Evidence asks for it.
func (a Address) Evidence(ctx context.Context) (e Evidence, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	body, err := a.ask(ctx, http.MethodGet, "/evidence")
	if err != nil {
		return e, err
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return e, fmt.Errorf("read the evidence of the shadow of %s: %w", a.Service, err)
	}
	return e, nil
}

// Clean has the comparer end its work, and remove what the sides have in Kafka and in the database.
func (a Address) Clean(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := a.ask(ctx, http.MethodPost, "/clean")
	return err
}

func (a Address) ask(ctx context.Context, method, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.URL+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+a.Token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxEvidence))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAway, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the comparer of the shadow of %s: %s: %s", a.Service, resp.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}
