package gateway

import (
	"iter"
	"maps"
	"slices"
	"sync"
)

// hub knows the sockets of this gateway by user.
type hub struct {
	mu    sync.RWMutex
	users map[string][]*conn
}

func newHub() *hub {
	return &hub{users: map[string][]*conn{}}
}

func (h *hub) add(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	// A new slice, since of has given the old one away.
	h.users[c.user] = append(slices.Clip(h.users[c.user]), c)
}

func (h *hub) remove(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(h.users[c.user]), func(o *conn) bool { return o == c })
	if len(rest) == 0 {
		delete(h.users, c.user)
		return
	}
	h.users[c.user] = rest
}

// each gives the sockets of all users of an audience.
func (h *hub) each(audience iter.Seq[[]byte]) iter.Seq[*conn] {
	return func(yield func(*conn) bool) {
		h.mu.RLock()
		defer h.mu.RUnlock()
		for user := range audience {
			for _, c := range h.users[string(user)] {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// of gives a user's sockets. The slice must not be changed.
func (h *hub) of(user string) []*conn {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.users[user]
}

// count gives how many sockets a user has, at how many of them nobody is, and of each session whether nobody is at any of its sockets.
func (h *hub) count(user string) (devices, away int, sessions map[string]bool) {
	sessions = map[string]bool{}
	for _, c := range h.of(user) {
		devices++
		left := c.away.Load()
		if left {
			away++
		}
		before, seen := sessions[c.session]
		sessions[c.session] = left && (before || !seen)
	}
	return devices, away, sessions
}

func (h *hub) all() (l []*conn) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, conns := range h.users {
		l = append(l, conns...)
	}
	return l
}

// present gives the users with a socket here.
func (h *hub) present() []string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return slices.Collect(maps.Keys(h.users))
}
