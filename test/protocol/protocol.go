// Package protocol holds a running chat against docs/protocol.md. Its client is written from that page alone: it shares no code with the
// services or their Go client, so that what both of those would have wrong in the same way is found here.
package protocol

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// check is a rule of the protocol.
type check struct {
	name string
	run  func(c *chat)
}

// Run holds the chat at base against the protocol, each rule in a subtest. It registers some users, whose names are new in each run.
func Run(t *testing.T, base string) {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	chapters := []struct {
		name   string
		checks []check
	}{
		{"1 HTTP", inGeneral()}, {"2 auth", aboutAuth()}, {"3 conversations", aboutMessages()}, {"4 messaging", aboutReading()},
		{"5 groups", aboutGroups()}, {"5a people", aboutPeople()}, {"6 presence", aboutPresence()}, {"7 gateway", aboutSockets()},
	}
	run := strings.ToLower(rand.Text()[:8])
	var count atomic.Int64
	shared := &shared{}
	for _, chapter := range chapters {
		t.Run(chapter.name, func(t *testing.T) {
			for _, k := range chapter.checks {
				t.Run(k.name, func(t *testing.T) {
					t.Parallel() // most of the time a check waits for the chat
					k.run(&chat{Assertions: require.New(t), t: t, base: strings.TrimSuffix(base, "/"), http: transport, run: run, count: &count, shared: shared})
				})
			}
		})
	}
}

// chat is the chat that a check tries.
type chat struct {
	*require.Assertions
	t     *testing.T
	base  string
	http  *http.Transport
	run   string // what the names of this run's users have in them
	count *atomic.Int64
	*shared
}

// shared are users whom checks share that do not mind what else comes to them: a chat takes only so many registrations from one address.
type shared struct {
	mu    sync.Mutex
	users []*session
	pairs int
}

// sharedUsers is how many there are. Two and two they are enough for 28 checks; the last one is in no pair.
const sharedUsers = 9

// sharing gives a user as this check's own.
func (c *chat) sharing(n int) *session {
	s := *c.shared.users[n]
	s.c = c
	return &s
}

// register makes the shared users.
func (c *chat) registerShared() {
	if c.shared.users == nil {
		c.shared.users = c.users(slices.Repeat([]string{"shared"}, sharedUsers)...)
	}
}

// anyone gives a user who is in no pair.
func (c *chat) anyone() *session {
	c.t.Helper()
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.registerShared()
	return c.sharing(sharedUsers - 1)
}

// pair opens sockets of two users who have not spoken with each other.
func (c *chat) pair() (a, b *socket, conversation string) {
	c.t.Helper()
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.registerShared()
	n := c.shared.pairs
	c.shared.pairs++
	for first := range sharedUsers - 2 {
		if rest := sharedUsers - 2 - first; n >= rest {
			n -= rest
			continue
		}
		u, v := c.sharing(first), c.sharing(first+1+n)
		return u.open(), v.open(), direct(u, v)
	}
	c.FailNow("there are no more pairs", "add to sharedUsers")
	return nil, nil, ""
}

const password = "correct horse"

// nobody is the id of no user.
const nobody = "00000000-0000-4000-8000-000000000000"

// fresh gives a word that was not used before.
func (c *chat) fresh(begin string) string {
	return fmt.Sprintf("%s-%s-%d", begin, c.run, c.count.Add(1))
}

// users registers users, when the chat takes them.
func (c *chat) users(names ...string) (l []*session) {
	c.t.Helper()
	for _, name := range names {
		a := c.ask("POST", "/api/auth/register", "", object{"name": c.fresh(name), "password": password, "device": "test"})
		for a.status == http.StatusTooManyRequests {
			seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
			c.NoError(err)
			time.Sleep(time.Duration(seconds) * time.Second)
			a = c.ask("POST", "/api/auth/register", "", object{"name": c.fresh(name), "password": password, "device": "test"})
		}
		l = append(l, c.session(c.is(a, 201), password))
	}
	return l
}

// newcomers are a pair of users who know nobody.
func (c *chat) newcomers() (a, b *socket, conversation string) {
	c.t.Helper()
	u := c.users("alice", "bob")
	return u[0].open(), u[1].open(), direct(u[0], u[1])
}

// group makes a group.
func (s *session) group(title string, members ...*session) string {
	s.c.t.Helper()
	ids := []string{}
	for _, m := range members {
		ids = append(ids, m.user)
	}
	a := s.c.is(s.as("POST", "/api/groups", object{"title": title, "members": ids}), 201)
	id := text(a.body, "id")
	s.c.Regexp("^g:[0-9a-f-]{36}$", id)
	return id
}

func inGeneral() []check {
	return []check{
		{"every answer has a request id, the request's own if it is well formed", func(c *chat) {
			own := "own-" + strings.ToLower(rand.Text())
			c.Equal(own, c.ask("GET", "/api/auth/jwks", "", nil, "X-Request-Id", own).header.Get("X-Request-Id"))
			c.NotEqual("no/good/one", c.ask("GET", "/api/auth/jwks", "", nil, "X-Request-Id", "no/good/one").header.Get("X-Request-Id"))
			c.is(c.ask("GET", "/api/auth/nowhere", "", nil), 404, "not_found")
		}},
		{"nothing but the public is answered without a token", func(c *chat) {
			for _, path := range []string{"/api/auth/me", "/api/auth/sessions", "/api/conversations", "/api/messages?conversation=x", "/api/groups", "/api/invitations", "/api/contacts", "/api/presence?ids=x"} {
				c.is(c.ask("GET", path, "", nil), 401, "unauthenticated")
				c.is(c.ask("GET", path, "no token", nil), 401, "unauthenticated")
			}
		}},
		{"a wrong method is 405", func(c *chat) {
			c.is(c.ask("PUT", "/api/auth/login", "", object{}), 405, "method_not_allowed")
		}},
		{"a body is JSON of at most 64 KiB, and says so", func(c *chat) {
			good := fmt.Sprintf(`{"name":%q,"password":%q}`, c.fresh("nobody"), password)
			for _, tc := range []struct {
				what, body, kind string
				status           int
				code             string
			}{
				{"another type", good, "text/plain", 415, "unsupported_media_type"},
				{"too much white space", good + strings.Repeat(" ", 64<<10), "application/json", 413, "too_large"},
				{"half of it", good[:20], "application/json", 400, "bad_request"},
				{"two of it", good + good, "application/json", 400, "bad_request"},
				{"an unknown field", `{"another":1,` + good[1:], "application/json", 400, "bad_request"},
				{"a field in another case", strings.Replace(good, "name", "NAME", 1), "application/json", 400, "bad_request"},
				{"null", `{"device":null,` + good[1:], "application/json", 400, "bad_request"},
				{"an object for a string", `{"name":{"$ne":""},"password":"` + password + `"}`, "application/json", 400, "bad_request"},
				{"a missing field", `{"name":"x"}`, "application/json", 400, "bad_request"},
				{"not UTF-8", `{"device":"` + "\xff" + `",` + good[1:], "application/json", 400, "bad_request"},
			} {
				a := c.ask("POST", "/api/auth/register", "", tc.body, "Content-Type", tc.kind)
				c.Equal(fmt.Sprint(tc.status, " ", tc.code), fmt.Sprint(a.status, " ", a.code()), tc.what)
			}
		}},
		{"what people call themselves is NFC, trimmed, with single spaces, and can be seen", func(c *chat) {
			s := c.users("nora")[0]
			name := func(n string) answer {
				return s.as("PUT", "/api/auth/profile", object{"display_name": n, "colour": "teal"})
			}
			for in, kept := range map[string]string{
				" Zoë  A. ": "Zoë A.", "Zoe\u0308": "Zoë", "👩\u200d👩\u200d👧": "👩\u200d👩\u200d👧", "❤\ufe0f": "❤\ufe0f", "क\u094d\u200dष": "क\u094d\u200dष",
			} {
				c.Equal(kept, text(c.is(name(in), 200).body, "display_name"), "%+q", in)
			}
			for _, in := range []string{"", " ", "\u200b", "\u3164", "a\u202eb", "a\u0000b", "a\u200db", "e" + strings.Repeat("\u0316", 5), strings.Repeat("x", 65)} {
				c.Equal(400, name(in).status, "%+q", in)
			}
			bio := s.ok("PUT", "/api/auth/profile", object{"display_name": "N", "colour": "teal", "bio": " two  words "})
			c.Equal("two  words", bio["bio"], "but for a bio")
		}},
	}
}
