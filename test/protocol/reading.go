package protocol

import (
	"fmt"
	"strings"
)

func aboutReading() []check {
	return []check{
		{"a page of messages is before or after a seq, or the last ones, in ascending order", func(c *chat) {
			a, b, dm := c.pair()
			for n := range 10 {
				a.say(dm, fmt.Sprint(n+1))
			}
			page := func(more ...string) (seqs []any, rest any) {
				o := b.s.ok("GET", query("/api/messages", append([]string{"conversation", dm, "at_least", "10"}, more...)...), nil)
				return pluck(list(o, "messages"), "seq"), o["more"]
			}
			for want, more := range map[string][]string{
				"[8 9 10] true": {"limit", "3"}, "[1 2 3 4 5 6 7 8 9 10] false": {}, "[5 6 7] true": {"before", "8", "limit", "3"}, "[1 2] false": {"before", "3"},
				"[4 5] true": {"after", "3", "limit", "2"}, "[9 10] false": {"after", "8"}, "[] false": {"after", "10"},
			} {
				seqs, rest := page(more...)
				c.Equal(want, fmt.Sprint(orNone(seqs), " ", rest), "%v", more)
			}
			for _, bad := range [][]string{{"before", "1", "after", "1"}, {"limit", "0"}, {"limit", "201"}, {"limit", "x"}, {"before", "-1"}, {"after", "1.5"}, {"at_least", "-1"}, {"position", ""}, {"position", "x"}} {
				c.is(b.s.as("GET", query("/api/messages", append([]string{"conversation", dm}, bad...)...), nil), 400, "bad_request")
			}
			c.is(b.s.as("GET", "/api/messages", nil), 400, "bad_request")
		}},
		{"who is no member reads nothing", func(c *chat) {
			a, _, dm := c.pair()
			a.say(dm, "between us")
			group := a.s.group("Ours")
			s := c.anyone()
			for _, id := range []string{dm, group, "g:" + nobody, "x"} {
				c.is(s.as("GET", query("/api/messages", "conversation", id), nil), 404, "not_found")
				c.is(s.as("GET", "/api/conversations/"+id, nil), 404, "not_found")
				c.is(s.as("GET", query("/api/messages/search", "q", "us", "conversation", id), nil), 404, "not_found")
			}
		}},
		{"what was acknowledged can be read at once by its seq", func(c *chat) {
			a, b, dm := c.pair()
			for n := range 20 {
				seq := fmt.Sprint(number(a.say(dm, fmt.Sprint(n)), "seq"))
				l := b.s.texts(dm, "at_least", seq, "limit", "1")
				c.Equal(fmt.Sprint(n), l[0].(object)["body"])
				c.Equal(seq, fmt.Sprint(number(b.s.ok("GET", query("/api/conversations/"+dm, "at_least", seq), nil), "last_seq")))
			}
		}},
		{"what was said before a hello is read with its position", func(c *chat) {
			a, b, dm := c.newcomers()
			for n := range 10 {
				a.say(dm, fmt.Sprint("text ", n))
				k := b.s.open()
				position := text(k.hello, "position")
				l := list(b.s.ok("GET", query("/api/conversations", "position", position), nil), "conversations")
				c.Len(l, 1)
				c.InDelta(n+1, number(l[0].(object), "last_seq"), 0)
				c.Equal(fmt.Sprint("text ", n), text(l[0].(object), "last_message", "body"))
				c.InDelta(n+1, number(b.s.texts(dm, "limit", "1", "position", position)[0].(object), "seq"), 0)
				c.NoError(k.ws.Close())
			}
		}},
		{"a direct conversation is there before its first message, but in no list", func(c *chat) {
			u := c.users("ida", "ole")
			dm := direct(u[0], u[1])
			v := u[0].ok("GET", "/api/conversations/"+dm, nil)
			c.Equal([]any{dm, "direct", 0.0, nil, 0.0, 0.0}, []any{v["id"], v["kind"], v["last_seq"], v["last_message"], v["read"], v["unread"]})
			c.ElementsMatch([]any{u[0].user, u[1].user}, pluck(list(v, "members"), "user"))
			c.Empty(list(u[0].ok("GET", "/api/conversations", nil), "conversations"))
		}},
		{"the list has each conversation once, page by page", func(c *chat) {
			a, b, dm := c.newcomers()
			want := []any{dm}
			a.say(dm, "hello")
			for n := range 4 {
				group := a.s.group(fmt.Sprint("Group ", n), b.s)
				b.event(group, "created")
				want = append(want, group)
			}
			position := text(b.s.open().hello, "position")
			l := list(b.s.ok("GET", query("/api/conversations", "position", position), nil), "conversations")
			c.Equal(want[len(want)-1], pluck(l, "id")[0], "last active first")
			c.ElementsMatch(want, pluck(l, "id"))
			var paged []any
			for next := ""; ; {
				pairs := []string{"limit", "2"}
				if next != "" {
					pairs = append(pairs, "cursor", next)
				}
				o := b.s.ok("GET", query("/api/conversations", pairs...), nil)
				page := list(o, "conversations")
				c.LessOrEqual(len(page), 2)
				paged = append(paged, pluck(page, "id")...)
				if next = text(o, "next"); next == "" {
					break
				}
			}
			c.ElementsMatch(want, paged)
			for _, bad := range [][]string{{"limit", "0"}, {"limit", "501"}, {"cursor", "x"}} {
				c.is(b.s.as("GET", query("/api/conversations", bad...), nil), 400, "bad_request")
			}
		}},
		{"what is read only grows, and counts what is unread", func(c *chat) {
			a, b, dm := c.pair()
			phone := b.s.login().open()
			for n := range 5 {
				a.say(dm, fmt.Sprint(n))
			}
			state := func(s *session, more ...string) string {
				v := s.ok("GET", query("/api/conversations/"+dm, append([]string{"at_least", "5"}, more...)...), nil)
				return fmt.Sprint(v["read"], " ", v["unread"], " ", at(v, "reads", a.s.user), " ", at(v, "reads", b.s.user))
			}
			c.Equal("0 5 5 <nil>", state(b.s))
			c.Equal("5 0 5 <nil>", state(a.s), "who sends has read")
			b.send(object{"type": "read", "conversation": dm, "seq": 3})
			for _, k := range []*socket{a, b, phone} {
				f := k.next("read", func(f object) bool { return f["type"] == "read" && f["conversation"] == dm })
				c.Equal([]any{dm, b.s.user, 3.0}, []any{f["conversation"], f["user"], f["seq"]})
				c.Regexp(instant, f["at"])
				c.Equal("3 2 5 3", state(b.s, "position", text(f, "position")))
			}
			b.send(object{"type": "read", "conversation": dm, "seq": 2}) // no news
			b.send(object{"type": "read", "conversation": dm, "seq": 5})
			f := a.next("read", func(f object) bool { return f["type"] == "read" && f["conversation"] == dm })
			c.InDelta(5, number(f, "seq"), 0)
			c.Equal("5 0 5 5", state(b.s, "position", text(f, "position")))
			b.say(dm, "an answer")
			c.InDelta(6, number(b.s.ok("GET", query("/api/conversations/"+dm, "at_least", "6"), nil), "read"), 0)
		}},
		{"a search is for whole words, whatever their case and accents, in texts as they are now", func(c *chat) {
			a, b, dm := c.pair()
			word := "z" + strings.ReplaceAll(c.fresh("w"), "-", "")
			a.say(dm, "Café "+word+" one")
			a.say(dm, word+" two")
			a.say(dm, word+"ing is another word")
			a.say(dm, "gone "+word)
			a.say(dm, "will be edited")
			a.post("delete", dm, object{"seq": 4})
			last := a.post("edit", dm, object{"seq": 5, "body": "edited " + word})
			b.s.texts(dm, "at_least", fmt.Sprint(number(last, "seq")))
			find := func(s *session, q string, more ...string) object {
				return s.ok("GET", query("/api/messages/search", append([]string{"q", q}, more...)...), nil)
			}
			seqs := func(o object) []any { return pluck(list(o, "messages"), "seq") }
			c.Equal([]any{5.0, 2.0, 1.0}, seqs(find(b.s, strings.ToUpper(word))), "newest first")
			c.Equal([]any{1.0}, seqs(find(b.s, "cafe "+word)))
			c.Empty(seqs(find(b.s, word[:len(word)-1])))
			c.Equal([]any{5.0, 2.0, 1.0}, seqs(find(b.s, word, "conversation", dm)))
			c.Empty(seqs(find(c.anyone(), word)))
			var all []any
			for cursor := ""; ; {
				pairs := []string{"limit", "1"}
				if cursor != "" {
					pairs = append(pairs, "cursor", cursor)
				}
				o := find(b.s, word, pairs...)
				all = append(all, seqs(o)...)
				c.Equal(o["next"] != nil, o["more"])
				if cursor = text(o, "next"); cursor == "" {
					break
				}
			}
			c.Equal([]any{5.0, 2.0, 1.0}, all)
			for _, q := range []string{"", ",", "a b c d e f g h i j k", strings.Repeat("x", 201)} {
				c.is(b.s.as("GET", query("/api/messages/search", "q", q), nil), 400, "bad_request")
			}
			c.is(b.s.as("GET", query("/api/messages/search", "q", word, "limit", "101"), nil), 400, "bad_request")
		}},
	}
}

func orNone(l []any) []any {
	if l == nil {
		return []any{}
	}
	return l
}
