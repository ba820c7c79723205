// Package secret keeps the values that nobody may read in an event, a log or an error, and takes them out of text.
package secret

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"sort"
	"strings"
	"sync"
)

// Mask is what stands where a secret stood.
const Mask = "(sensitive)"

// minLength keeps values such as "" or "no" from masking ordinary text.
const minLength = 3

// tokenLength is the length from which one word of a longer secret (a key inside a kubeconfig) counts as secret itself.
const tokenLength = 16

// Set is a growing set of secrets. The zero value is ready, a nil Set has no secrets; it is safe for concurrent use.
type Set struct {
	mu    sync.RWMutex
	words []string // longest first, so that a secret which contains another is masked whole
	seen  map[string]bool
}

// Add learns secrets, together with the forms in which they show up in tools' output: JSON-escaped, URL-escaped,
// base64, the password of a URL, and the long words of a text of several lines.
func (s *Set) Add(values ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		for _, form := range forms(v) {
			if len(form) < minLength || s.seen[form] {
				continue
			}
			if s.seen == nil {
				s.seen = map[string]bool{}
			}
			s.seen[form] = true
			s.words = append(s.words, form)
		}
	}
	sort.SliceStable(s.words, func(i, j int) bool { return len(s.words[i]) > len(s.words[j]) })
}

// Values gives every form that the set masks.
func (s *Set) Values() []string {
	if s == nil {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return append([]string(nil), s.words...)
}

// Redact replaces every secret in text by Mask.
func (s *Set) Redact(text string) string {
	if s == nil || text == "" {
		return text
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, w := range s.words {
		if strings.Contains(text, w) {
			text = strings.ReplaceAll(text, w, Mask)
		}
	}
	return text
}

// Error gives err with a text that holds no secret. errors.Is and errors.As still see err.
func (s *Set) Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if clean := s.Redact(text); clean != text {
		return &redacted{text: clean, err: err}
	}
	return err
}

type redacted struct {
	text string
	err  error
}

func (r *redacted) Error() string { return r.text }
func (r *redacted) Unwrap() error { return r.err }

func forms(v string) []string {
	trimmed := strings.TrimSpace(v)
	if trimmed == "" {
		return nil
	}
	out := []string{v, trimmed, base64.StdEncoding.EncodeToString([]byte(v)), url.QueryEscape(v)}
	if b, err := json.Marshal(v); err == nil {
		out = append(out, string(b[1:len(b)-1]))
	}
	if u, err := url.Parse(trimmed); err == nil && u.User != nil {
		if p, ok := u.User.Password(); ok {
			out = append(out, p)
		}
	}
	if !strings.Contains(trimmed, "\n") {
		return out
	}
	for _, word := range strings.Fields(trimmed) {
		word = strings.Trim(word, `"',`)
		// An address is not what makes a kubeconfig secret, and errors that hide it help nobody.
		if len(word) < tokenLength || strings.HasPrefix(word, "https://") || strings.HasPrefix(word, "http://") || strings.HasSuffix(word, ":") {
			continue
		}
		out = append(out, word)
	}
	return out
}
