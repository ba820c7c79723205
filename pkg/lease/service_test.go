package lease_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/labctl/labctl/pkg/lease"
	"github.com/labctl/labctl/pkg/stack"
)

const (
	lasts = time.Minute
	// accountKey is base64, as Azure's are.
	accountKey = "c2VjcmV0LW9mLXRoZS1hY2NvdW50"
	password   = "hunter2-of-the-server"
)

// hours is the time of a service and of the machines that use it.
type hours struct {
	mu  sync.Mutex
	now time.Time
}

func (h *hours) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *hours) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// machine is one that takes locks. It does something when its time is up only by wake.
type machine struct {
	hours *hours
	locks *lease.Locks
	me    stack.LockHolder
	naps  chan nap
	lost  chan error
}

type nap struct {
	wait time.Duration
	up   chan time.Time
}

func newMachine(h *hours, s service, user string) *machine {
	m := &machine{hours: h, naps: make(chan nap, 1), lost: make(chan error, 1)}
	m.me = stack.LockHolder{ID: fmt.Sprintf("00000000-0000-4000-8000-%012x", user), User: user, Host: user + "-laptop", PID: 42, Command: "labctl up", Since: h.Now()}
	m.me.ID = m.me.ID[:36]
	m.locks = lease.New(lease.Options{Getenv: func(string) string { return "" }, BlobEndpoint: s.endpoint(), Clock: lease.Clock{Now: h.Now, After: func(d time.Duration) <-chan time.Time {
		up := make(chan time.Time, 1)
		m.naps <- nap{d, up}
		return up
	}}})
	return m
}

func (m *machine) request() stack.LockRequest {
	return stack.LockRequest{Holder: m.me, Lost: func(err error) { m.lost <- err }}
}

// wake lets the machine sleep as long as it wants and wakes it. It says how long that was.
func (m *machine) wake() time.Duration {
	n := <-m.naps
	m.hours.pass(n.wait)
	n.up <- m.hours.Now()
	return n.wait
}

// settled waits until the machine has done what it woke for.
func (m *machine) settled(t *testing.T) {
	t.Helper()
	select {
	case n := <-m.naps:
		m.naps <- n
	case err := <-m.lost:
		require.NoError(t, err)
	}
}

// service keeps locks.
type service interface {
	endpoint() string
	place() stack.StateBackend
	// refuse makes every request fail.
	refuse(bool)
	// free takes the lock from its holder, as somebody does by hand.
	free()
	// close removes the place.
	remove()
	// stored is all that it keeps.
	stored() string
}

type failing struct {
	*httptest.Server
	hours *hours
	mu    sync.Mutex
	no    bool
	gone  bool
}

func (f *failing) refuse(no bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.no = no
}

func (f *failing) remove() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone = true
}

// states is a server of terraform's http backend that checks who writes and unlocks.
type states struct {
	failing
	content map[string][]byte
	locks   map[string][]byte
}

func newStates(t *testing.T, h *hours) service {
	s := &states{failing: failing{hours: h}, content: map[string][]byte{}, locks: map[string][]byte{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *states) endpoint() string { return "" }

func (s *states) place() stack.StateBackend {
	return stack.StateBackend{Type: "http", Config: map[string]cty.Value{
		"address": cty.StringVal(s.URL + "/a"), "lock_address": cty.StringVal(s.URL + "/a/lock"), "unlock_address": cty.StringVal(s.URL + "/a/lock"),
		"username": cty.StringVal("robot"), "password": cty.StringVal(password).Mark("sensitive"),
	}}
}

func (s *states) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.locks)
}

func (s *states) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%s %s", s.content, s.locks)
}

func (s *states) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", s.hours.Now().UTC().Format(http.TimeFormat))
	user, pass, _ := r.BasicAuth()
	if s.no || user != "robot" || pass != password {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	if s.gone {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	name, ofLock := strings.CutSuffix(r.URL.Path, "/lock")
	held := s.locks[name]
	switch {
	case r.Method == http.MethodGet && !ofLock:
		if s.content[name] == nil {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(s.content[name])
	case r.Method == http.MethodPost && !ofLock:
		if held != nil && idOf(held) != r.URL.Query().Get("ID") {
			w.WriteHeader(http.StatusConflict)
			return
		}
		s.content[name] = body
	case r.Method == "LOCK" && ofLock:
		if held != nil {
			w.WriteHeader(http.StatusLocked)
			_, _ = w.Write(held)
			return
		}
		s.locks[name] = body
	case r.Method == "UNLOCK" && ofLock:
		if held == nil || idOf(held) != idOf(body) {
			w.WriteHeader(http.StatusConflict)
			return
		}
		delete(s.locks, name)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

func idOf(info []byte) string {
	var i struct{ ID string }
	_ = json.Unmarshal(info, &i)
	return i.ID
}

// blobs is Azure's blob service, as far as leases need it:
// https://learn.microsoft.com/rest/api/storageservices/lease-blob#outcomes-of-use-attempts-on-blobs-by-lease-state
type blobs struct {
	failing
	blobs map[string]*leased
}

type leased struct {
	content []byte
	id      string
	until   time.Time
	broken  bool
}

func newBlobs(t *testing.T, h *hours) service {
	s := &blobs{failing: failing{hours: h}, blobs: map[string]*leased{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *blobs) endpoint() string { return s.URL }

func (s *blobs) place() stack.StateBackend {
	return stack.StateBackend{Type: "azurerm", Config: map[string]cty.Value{
		"storage_account_name": cty.StringVal("stlab"), "container_name": cty.StringVal("tfstate"), "key": cty.StringVal("0-a.tfstate"),
		"access_key": cty.StringVal(accountKey).Mark("sensitive"),
	}}
}

func (s *blobs) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blobs {
		b.broken, b.until = true, time.Time{}
	}
}

func (s *blobs) stored() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	for name, b := range s.blobs {
		fmt.Fprintf(&out, "%s: %s\n", name, b.content)
	}
	return out.String()
}

func (s *blobs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.hours.Now()
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	no := func(status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="utf-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code)
	}
	if s.no || !strings.HasPrefix(r.Header.Get("Authorization"), "SharedKey stlab:") {
		no(http.StatusForbidden, "AuthenticationFailed")
		return
	}
	if s.gone || !strings.HasPrefix(r.URL.Path, "/tfstate/") {
		no(http.StatusNotFound, "ContainerNotFound")
		return
	}
	b := s.blobs[r.URL.Path]
	isLeased := b != nil && now.Before(b.until)
	id := r.Header.Get("x-ms-lease-id")
	switch {
	case r.Method == http.MethodPut && r.URL.Query().Get("comp") == "":
		switch {
		case b != nil && r.Header.Get("If-None-Match") == "*":
			no(http.StatusConflict, "BlobAlreadyExists")
			return
		case isLeased && id == "":
			no(http.StatusPreconditionFailed, "LeaseIdMissing")
			return
		case isLeased && id != b.id:
			no(http.StatusPreconditionFailed, "LeaseIdMismatchWithBlobOperation")
			return
		case !isLeased && id != "":
			no(http.StatusPreconditionFailed, "LeaseNotPresentWithBlobOperation")
			return
		}
		if b == nil {
			b = &leased{}
			s.blobs[r.URL.Path] = b
		}
		b.content = body
		w.WriteHeader(http.StatusCreated)
	case b == nil:
		no(http.StatusNotFound, "BlobNotFound")
	case r.Method == http.MethodGet:
		_, _ = w.Write(b.content)
	case r.Method != http.MethodPut || r.URL.Query().Get("comp") != "lease":
		no(http.StatusMethodNotAllowed, "UnsupportedHttpVerb")
	default:
		s.lease(w, r, b, isLeased, no)
	}
}

func (s *blobs) lease(w http.ResponseWriter, r *http.Request, b *leased, isLeased bool, no func(int, string)) {
	id, now := r.Header.Get("x-ms-lease-id"), s.hours.Now()
	switch r.Header.Get("x-ms-lease-action") {
	case "acquire":
		proposed := r.Header.Get("x-ms-proposed-lease-id")
		if isLeased && proposed != b.id {
			no(http.StatusConflict, "LeaseAlreadyPresent")
			return
		}
		seconds, err := time.ParseDuration(r.Header.Get("x-ms-lease-duration") + "s")
		if err != nil || seconds < 15*time.Second || seconds > time.Minute {
			no(http.StatusBadRequest, "InvalidHeaderValue")
			return
		}
		b.id, b.until, b.broken = proposed, now.Add(seconds), false
		w.Header().Set("x-ms-lease-id", b.id)
		w.WriteHeader(http.StatusCreated)
	case "renew":
		switch {
		case b.id != id:
			no(http.StatusConflict, "LeaseIdMismatchWithLeaseOperation")
		case b.broken:
			no(http.StatusConflict, "LeaseIsBrokenAndCannotBeRenewed")
		default:
			b.until = now.Add(lasts)
			w.Header().Set("x-ms-lease-id", b.id)
		}
	case "release":
		if b.id != id {
			no(http.StatusConflict, "LeaseIdMismatchWithLeaseOperation")
			return
		}
		b.id, b.until = "", time.Time{}
	default:
		no(http.StatusBadRequest, "InvalidHeaderValue")
	}
}
