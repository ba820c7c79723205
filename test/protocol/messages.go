package protocol

import (
	"fmt"
	"strings"
	"sync"
)

func aboutMessages() []check {
	return []check{
		{"a text goes to every device of both, the sender's own among them", func(c *chat) {
			a, b, dm := c.newcomers()
			second := a.s.login().open()
			sent := a.say(dm, "hello")
			c.Equal([]any{dm, 1.0, "text", a.s.user, "hello"}, []any{sent["conversation"], sent["seq"], sent["kind"], sent["sender"], sent["body"]})
			c.Regexp(instant, sent["at"])
			c.Equal(sent, b.message(dm, 1))
			c.Equal(sent, second.message(dm, 1))
			c.InDelta(2, number(b.say(dm, "hello yourself"), "seq"), 0)
		}},
		{"what is sent again is stored once, and repeated", func(c *chat) {
			a, b, dm := c.pair()
			id := a.postAs(c.fresh("c"), "send", dm, object{"body": "once"})
			first := a.acknowledged(id)
			for _, again := range []bool{false, true} {
				a.postAs(id, "send", dm, object{"body": "once", "again": again})
				c.Equal(first, a.acknowledged(id))
			}
			c.InDelta(2, number(a.say(dm, "next"), "seq"), 0)
			b.message(dm, 2)
			// The client_id is unique for the sender alone, and in one conversation.
			b.postAs(id, "send", dm, object{"body": "another's"})
			c.InDelta(3, number(b.acknowledged(id), "seq"), 0)
		}},
		{"a client_id is unique among all four kinds", func(c *chat) {
			a, _, dm := c.pair()
			id := a.postAs(c.fresh("c"), "send", dm, object{"body": "first"})
			first := a.acknowledged(id)
			a.postAs(id, "edit", dm, object{"seq": 1, "body": "second", "again": true})
			c.Equal(first, a.acknowledged(id))
			c.Equal("first", a.s.texts(dm, "at_least", "1")[0].(object)["body"])
		}},
		{"a refusal is repeated, too", func(c *chat) {
			a, b, _ := c.pair()
			group := b.s.group("Without a")
			id := a.postAs(c.fresh("c"), "send", group, object{"body": "let me in"})
			first := a.refused(id, "not_member")
			b.s.ok("POST", "/api/groups/"+group+"/members", object{"user": a.s.user})
			a.event(group, "member_added")
			a.postAs(id, "send", group, object{"body": "let me in", "again": true})
			c.Equal(first, a.refused(id, "not_member"))
			a.say(group, "a new client_id")
		}},
		{"the limits of a text", func(c *chat) {
			a, _, dm := c.newcomers()
			a.say(dm, strings.Repeat("é", 4000))
			for what, f := range map[string]object{
				"4001 characters": {"body": strings.Repeat("x", 4001)}, "white space": {"body": " \n\t "}, "nothing": {"body": ""}, "none": {}, "a number": {"body": 1},
				"51 mentions": {"body": "x", "mentions": repeated(a.s.user, 51)}, "a negative reply_to": {"body": "x", "reply_to": -1}, "a reply to a text": {"body": "x", "reply_to": "1"},
			} {
				c.t.Log(what)
				a.refuses("bad_frame", "send", dm, f)
			}
			for _, id := range []string{"a b", "é", "a/b", strings.Repeat("x", 65)} {
				a.refusedAtAll(object{"type": "send", "conversation": dm, "client_id": id, "body": "x"}, "bad_frame")
			}
			a.postAs(strings.Repeat("x", 64), "send", dm, object{"body": "the longest client_id"})
			a.acknowledged(strings.Repeat("x", 64))
			c.InDelta(3, number(a.say(dm, "last"), "seq"), 0, "nothing refused has a seq")
		}},
		{"who may not send is told why", func(c *chat) {
			a, b, _ := c.pair()
			a.refuses("unknown_user", "send", "dm:"+nobody+":"+a.s.user, object{"body": "x"})
			a.refuses("not_member", "send", "g:"+nobody, object{"body": "x"})
			a.refuses("not_member", "send", b.s.group("b's"), object{"body": "x"})
			other := c.anyone()
			a.refuses("not_member", "send", direct(b.s, other), object{"body": "x"})
		}},
		{"a reply names a text that the sender may see, and mentions name members", func(c *chat) {
			a, b, dm := c.pair()
			a.say(dm, "one")
			m := b.post("send", dm, object{"body": "two", "reply_to": 1, "mentions": []string{a.s.user, nobody}})
			c.Equal([]any{1.0, []any{a.s.user}}, []any{m["reply_to"], m["mentions"]})
			c.Equal(m, a.message(dm, 2))
			b.refuses("not_found", "send", dm, object{"body": "x", "reply_to": 99})
			a.post("delete", dm, object{"seq": 1})
			b.post("send", dm, object{"body": "to what is deleted", "reply_to": 1})
			b.refuses("not_found", "send", dm, object{"body": "to a change", "reply_to": 3})
		}},
		{"an edit is a message, and the text is as it is then", func(c *chat) {
			a, b, dm := c.pair()
			a.say(dm, "helo")
			e := a.post("edit", dm, object{"seq": 1, "body": "hello"})
			c.Equal([]any{2.0, "edit", 1.0, "hello"}, []any{e["seq"], e["kind"], e["target"], e["body"]})
			c.Equal(e, b.message(dm, 2))
			l := b.s.texts(dm, "at_least", "2")
			now := l[0].(object)
			c.Equal([]any{"hello", 2.0}, []any{now["body"], now["changed"]})
			c.Regexp(instant, now["edited"])
			c.Equal("edit", l[1].(object)["kind"])
			b.refuses("not_allowed", "edit", dm, object{"seq": 1, "body": "mine"})
			a.refuses("not_found", "edit", dm, object{"seq": 2, "body": "an edit"})
			a.refuses("not_found", "edit", dm, object{"seq": 99, "body": "nothing"})
			a.refuses("bad_frame", "edit", dm, object{"seq": 1, "body": " "})
			a.refuses("bad_frame", "edit", dm, object{"body": "no seq"})
		}},
		{"a text is edited at most 100 times", func(c *chat) {
			a, _, dm := c.pair()
			a.say(dm, "0")
			for n := range 100 {
				a.post("edit", dm, object{"seq": 1, "body": fmt.Sprint(n + 1)})
			}
			a.refuses("not_allowed", "edit", dm, object{"seq": 1, "body": "101"})
			c.Equal("100", a.s.texts(dm, "limit", "200", "at_least", "101")[0].(object)["body"])
		}},
		{"of a deleted text nothing is given out, nor of its edits", func(c *chat) {
			a, b, dm := c.pair()
			a.post("send", dm, object{"body": "secret", "mentions": []string{b.s.user}})
			a.post("edit", dm, object{"seq": 1, "body": "more secret"})
			b.post("react", dm, object{"seq": 1, "emoji": "👍", "on": true})
			b.refuses("not_allowed", "delete", dm, object{"seq": 1})
			d := a.post("delete", dm, object{"seq": 1})
			c.Equal([]any{"delete", 1.0}, []any{d["kind"], d["target"]})
			b.message(dm, number(d, "seq"))
			a1 := c.is(b.s.as("GET", query("/api/messages", "conversation", dm, "at_least", fmt.Sprint(number(d, "seq"))), nil), 200)
			c.NotContains(a1.raw, "secret")
			first := list(a1.body, "messages")[0].(object)
			c.Equal([]any{"", nil, nil, number(d, "seq")}, []any{first["body"], first["mentions"], first["reactions"], first["changed"]})
			c.Regexp(instant, first["deleted"])
			for kind, f := range map[string]object{"edit": {"seq": 1, "body": "x"}, "delete": {"seq": 1}, "react": {"seq": 1, "emoji": "👍", "on": true}} {
				a.refuses("not_found", kind, dm, f)
			}
		}},
		{"in a group the owner and admins delete any text, members their own", func(c *chat) {
			u := c.users("olga", "adam", "mel")
			group := u[0].group("Lab", u[1], u[2])
			u[0].ok("PUT", "/api/groups/"+group+"/members/"+u[1].user, object{"role": "admin"})
			owner, admin, member := u[0].open(), u[1].open(), u[2].open()
			first := number(owner.say(group, "the owner's"), "seq")
			own := number(member.say(group, "the member's"), "seq")
			member.refuses("not_allowed", "delete", group, object{"seq": first})
			admin.post("delete", group, object{"seq": first})
			member.post("delete", group, object{"seq": own})
			admin.refuses("not_allowed", "edit", group, object{"seq": number(owner.say(group, "again"), "seq"), "body": "x"})
		}},
		{"a change of a text from before one came has no words in it", func(c *chat) {
			u := c.users("olga", "new")
			group := u[0].group("Lab")
			owner, k := u[0].open(), u[1].open()
			old := number(owner.say(group, "a secret"), "seq")
			u[0].ok("POST", "/api/groups/"+group+"/members", object{"user": u[1].user})
			added := number(k.event(group, "member_added"), "seq")
			edit := owner.post("edit", group, object{"seq": old, "body": "another secret"})
			last := owner.post("react", group, object{"seq": old, "emoji": "👍", "on": true})
			seen := []object{k.message(group, number(edit, "seq")), k.message(group, number(last, "seq"))}
			k.refuses("not_found", "react", group, object{"seq": old, "emoji": "👍", "on": true})
			l := u[1].texts(group, "at_least", fmt.Sprint(number(last, "seq")))
			c.Equal([]any{added, added + 1, added + 2}, pluck(l, "seq"), "no hole")
			for _, m := range append(seen, l[1].(object), l[2].(object)) {
				c.Equal([]any{"", nil}, []any{m["body"], m["emoji"]}, "%v", m)
			}
			again := u[1].open()
			again.send(object{"type": "resume", "id": "r", "have": object{group: added}})
			for _, seq := range []float64{added + 1, added + 2} {
				m := again.message(group, seq)
				c.Equal([]any{"", nil}, []any{m["body"], m["emoji"]}, "%v", m)
			}
		}},
		{"the last message of a conversation is a text or event, as it is now", func(c *chat) {
			a, b, dm := c.pair()
			a.say(dm, "one")
			a.say(dm, "two")
			a.post("edit", dm, object{"seq": 2, "body": "two, edited"})
			last := number(a.post("delete", dm, object{"seq": 1}), "seq")
			v := b.s.ok("GET", query("/api/conversations/"+dm, "at_least", fmt.Sprint(last)), nil)
			c.Equal([]any{4.0, 2.0, "two, edited", 2.0}, []any{v["last_seq"], at(v, "last_message", "seq"), at(v, "last_message", "body"), v["unread"]}, "deleted texts are among the unread")
		}},
		{"an error names the conversation of a read or typing", func(c *chat) {
			a, _, dm := c.newcomers()
			a.send(object{"type": "read", "conversation": dm, "seq": -1})
			f := a.next("an error", func(f object) bool { return f["type"] == "error" })
			c.Equal([]any{"bad_frame", dm, nil}, []any{f["code"], f["conversation"], f["client_id"]})
		}},
		{"reactions are set once by each, and taken back", func(c *chat) {
			a, b, dm := c.pair()
			a.say(dm, "like it?")
			m := b.post("react", dm, object{"seq": 1, "emoji": "👍", "on": true})
			c.Equal([]any{"reaction", 1.0, "👍", true}, []any{m["kind"], m["target"], m["emoji"], m["on"]})
			last := a.post("react", dm, object{"seq": 1, "emoji": "👍", "on": true})
			c.ElementsMatch([]any{a.s.user, b.s.user}, list(a.s.first(dm, last), "reactions", "👍"))
			last = b.post("react", dm, object{"seq": 1, "emoji": "👍", "on": false})
			c.Equal([]any{a.s.user}, list(a.s.first(dm, last), "reactions", "👍"))
			last = a.post("react", dm, object{"seq": 1, "emoji": "👍", "on": false})
			c.Nil(a.s.first(dm, last)["reactions"])
			for _, emoji := range []string{"", " ", "a b", "a\u0007", strings.Repeat("x", 33)} {
				a.refuses("bad_frame", "react", dm, object{"seq": 1, "emoji": emoji, "on": true})
			}
			a.post("react", dm, object{"seq": 1, "emoji": strings.Repeat("x", 32), "on": true})
			a.refuses("not_found", "react", dm, object{"seq": 2, "emoji": "👍", "on": true})
		}},
		{"a text has at most 20 different reactions", func(c *chat) {
			a, b, dm := c.pair()
			a.say(dm, "like it?")
			for n := range 20 {
				a.post("react", dm, object{"seq": 1, "emoji": fmt.Sprint("e", n), "on": true})
			}
			b.refuses("not_allowed", "react", dm, object{"seq": 1, "emoji": "another", "on": true})
			b.post("react", dm, object{"seq": 1, "emoji": "e1", "on": true})
		}},
		{"for all members the seqs of a group ascend without holes, whoever sends at once", func(c *chat) {
			u := c.users("ann", "ben", "cat")
			group := u[0].group("Busy", u[1], u[2])
			sockets := []*socket{u[0].open(), u[1].open(), u[2].open()}
			beside := u[0].login().open()
			const each = 30
			var sending sync.WaitGroup
			for i, k := range sockets {
				sending.Go(func() {
					for n := range each {
						k.postAs(fmt.Sprintf("c-%d-%d", i, n), "send", group, object{"body": fmt.Sprint(i, " ", n)})
					}
				})
			}
			sending.Wait()
			want := map[string]bool{}
			for i := range sockets {
				for n := range each {
					want[fmt.Sprint(i, " ", n)] = true
				}
			}
			for _, k := range append(sockets, beside) {
				had := map[string]bool{}
				last := 1.0 // the event that made the group
				for range want {
					f := k.next("a text of the group", func(f object) bool {
						return f["type"] == "message" && text(f, "message", "conversation") == group && text(f, "message", "kind") == "text"
					})
					c.InDelta(last+1, number(f, "message", "seq"), 0)
					last++
					had[text(f, "message", "body")] = true
				}
				c.Equal(want, had)
			}
		}},
	}
}

// refusedAtAll sends a frame whose client_id may be too bad to come back.
func (k *socket) refusedAtAll(frame object, code string) {
	k.c.t.Helper()
	k.send(frame)
	f := k.next("an error", func(f object) bool { return f["type"] == "error" })
	k.c.Equal(code, f["code"], "%v", f)
}

// texts are the messages of a conversation, by HTTP.
func (s *session) texts(conversation string, more ...string) []any {
	s.c.t.Helper()
	return list(s.ok("GET", query("/api/messages", append([]string{"conversation", conversation}, more...)...), nil), "messages")
}

// first is the first message of a conversation, once a later one is stored.
func (s *session) first(conversation string, later object) object {
	s.c.t.Helper()
	return s.texts(conversation, "after", "0", "at_least", fmt.Sprint(number(later, "seq")))[0].(object)
}

func repeated(v string, n int) (l []string) {
	for range n {
		l = append(l, v)
	}
	return l
}
