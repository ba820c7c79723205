package protocol

import (
	"fmt"
	"strings"
)

func aboutGroups() []check {
	title := func(t string) object { return object{"title": t} }
	user := func(s *session) object { return object{"user": s.user} }
	return []check{
		{"a group begins with its creator as owner, and the event that all members get", func(c *chat) {
			u := append(c.users("olga", "max"), c.anyone())
			k := u[1].open()
			group := u[0].group("Lab", u[1])
			e := k.event(group, "created")
			c.Equal([]any{"event", 1.0, u[0].user, ""}, []any{e["kind"], e["seq"], e["sender"], e["body"]})
			c.Equal("Lab", text(e, "event", "title"))
			c.Equal([]any{u[0].user, u[1].user}, list(e, "event", "users"))
			g := u[1].ok("GET", "/api/groups/"+group, nil)
			c.Equal([]any{"Lab", false, nil}, []any{g["title"], g["public"], g["invited"]})
			c.Equal([]any{"owner", "member"}, pluck(list(g, "members"), "role"))
			c.Equal([]any{group}, pluck(list(u[1].ok("GET", "/api/groups", nil), "groups"), "id"))
			c.Empty(list(u[2].ok("GET", "/api/groups", nil), "groups"))
		}},
		{"the limits of a group", func(c *chat) {
			u := c.users("olga", "max")
			for _, t := range []string{"", " ", strings.Repeat("é", 81), "\u200b"} {
				c.is(u[0].as("POST", "/api/groups", title(t)), 400, "bad_request")
			}
			group := u[0].group(strings.Repeat("é", 80))
			path := "/api/groups/" + group
			c.is(u[0].as("PATCH", path, object{}), 400, "bad_request")
			c.is(u[0].as("POST", path+"/members", object{"user": nobody}), 400, "unknown_user")
			c.is(u[0].as("POST", path+"/invitations", object{"user": nobody}), 400, "unknown_user")
			c.is(u[0].as("POST", "/api/groups", object{"title": "x", "members": []string{nobody}}), 400, "unknown_user")
			c.is(u[0].as("PUT", path+"/members/"+u[0].user, object{"role": "admin"}), 400, "bad_request")
			c.is(u[0].as("PUT", path+"/members/"+u[1].user, object{"role": "admin"}), 404, "not_found")
			u[0].ok("POST", path+"/members", user(u[1]))
			c.is(u[0].as("PUT", path+"/members/"+u[1].user, object{"role": "king"}), 400, "bad_request")
			u[0].ok("POST", path+"/members", user(u[1]))
			u[0].ok("DELETE", path+"/members/"+nobody, nil)
		}},
		{"who may not do what, by their part in the group", func(c *chat) {
			u := c.users("owner", "admin", "member", "invited", "removed", "stranger", "admin2", "member2")
			group := u[0].group("Parts", u[1], u[2], u[4], u[6], u[7])
			path := "/api/groups/" + group
			for _, admin := range []*session{u[1], u[6]} {
				u[0].ok("PUT", path+"/members/"+admin.user, object{"role": "admin"})
			}
			u[0].ok("POST", path+"/invitations", user(u[3]))
			u[0].ok("DELETE", path+"/members/"+u[4].user, nil)
			parts := map[string]*session{"admin": u[1], "member": u[2], "invited": u[3], "removed": u[4], "stranger": u[5]}
			for _, action := range []struct {
				what, method, path string
				body               any
				forbidden, unknown string // to whom the answer is 403, and 404
			}{
				{"see the group", "GET", path, nil, "", "invited removed stranger"},
				{"change its title", "PATCH", path, title("x"), "member", "invited removed stranger"},
				{"make it public", "PATCH", path, object{"public": true}, "member", "invited removed stranger"},
				{"add a user", "POST", path + "/members", user(u[7]), "member", "invited removed stranger"},
				{"invite a user", "POST", path + "/invitations", user(u[7]), "member", "invited removed stranger"},
				{"take an invitation back", "DELETE", path + "/invitations/" + u[5].user, nil, "member", "invited removed stranger"},
				{"remove a member", "DELETE", path + "/members/" + u[7].user, nil, "member", "invited removed stranger"},
				{"remove an admin", "DELETE", path + "/members/" + u[6].user, nil, "admin member", "invited removed stranger"},
				{"remove the owner", "DELETE", path + "/members/" + u[0].user, nil, "admin member", "invited removed stranger"},
				{"make an admin", "PUT", path + "/members/" + u[7].user, object{"role": "admin"}, "admin member", "invited removed stranger"},
				{"make a member of an admin", "PUT", path + "/members/" + u[6].user, object{"role": "member"}, "admin member", "invited removed stranger"},
				{"hand the group over", "PUT", path + "/members/" + u[7].user, object{"role": "owner"}, "admin member", "invited removed stranger"},
				{"leave", "POST", path + "/leave", nil, "", "invited removed stranger"},
				{"accept an invitation", "POST", "/api/invitations/" + group + "/accept", nil, "", "removed stranger"},
				{"decline an invitation", "POST", "/api/invitations/" + group + "/decline", nil, "", "admin member removed stranger"},
				{"join while it is private", "POST", path + "/join", nil, "", "invited removed stranger"},
				{"read its messages", "GET", query("/api/messages", "conversation", group), nil, "", "invited removed stranger"},
			} {
				for part, s := range parts {
					switch {
					case strings.Contains(action.forbidden, part):
						c.Equal(403, s.as(action.method, action.path, action.body).status, "%s: %s", part, action.what)
					case strings.Contains(action.unknown, part):
						c.Equal(404, s.as(action.method, action.path, action.body).status, "%s: %s", part, action.what)
					}
				}
			}
		}},
		{"each change is an event, in order, and the last that a removed member gets is the removal", func(c *chat) {
			u := c.users("olga", "max", "mia")
			group := u[0].group("Lab", u[1])
			path := "/api/groups/" + group
			owner, max, mia := u[0].open(), u[1].open(), u[2].open()
			u[0].ok("PATCH", path, title("Lab 2"))
			c.Equal("Lab 2", text(max.event(group, "renamed"), "event", "title"))
			u[0].ok("PATCH", path, object{"public": true})
			max.event(group, "made_public")
			u[0].ok("PATCH", path, object{"public": false})
			max.event(group, "made_private")
			before := owner.say(group, "before mia came")
			u[0].ok("POST", path+"/members", user(u[2]))
			added := mia.event(group, "member_added")
			c.Equal([]any{u[2].user}, list(added, "event", "users"))
			c.Equal(u[0].user, added["sender"])
			c.InDelta(number(before, "seq")+1, number(added, "seq"), 0)
			v := u[2].ok("GET", query("/api/conversations/"+group, "at_least", fmt.Sprint(number(added, "seq"))), nil)
			c.Equal([]any{added["seq"], "Lab 2", "group"}, []any{v["first_seq"], v["title"], v["kind"]})
			c.Equal([]any{added["seq"]}, pluck(u[2].texts(group), "seq"), "a new member sees nothing before")
			u[0].ok("PUT", path+"/members/"+u[1].user, object{"role": "admin"})
			c.Equal("admin", text(max.event(group, "role_changed"), "event", "role"))
			u[0].ok("DELETE", path+"/members/"+u[2].user, nil)
			removed := mia.event(group, "member_removed")
			c.Equal([]any{u[2].user}, list(removed, "event", "users"))
			after := owner.say(group, "after mia")
			max.message(group, number(after, "seq"))
			mia.refuses("not_member", "send", group, object{"body": "x"})
			c.is(u[2].as("GET", query("/api/messages", "conversation", group, "at_least", fmt.Sprint(number(removed, "seq"))), nil), 404, "not_found")
			// What comes to her next is of another conversation: nothing of the group came after.
			marker := u[0].group("Another", u[2])
			f := mia.next("anything", func(f object) bool { return f["type"] == "message" })
			c.Equal(marker, text(f, "message", "conversation"))
		}},
		{"a group is handed over, and finds an owner when its own leaves", func(c *chat) {
			u := c.users("olga", "max", "mia", "ada")
			group := u[0].group("Lab", u[1], u[2], u[3])
			path := "/api/groups/" + group
			k := u[2].open()
			u[0].ok("PUT", path+"/members/"+u[1].user, object{"role": "owner"})
			e := k.event(group, "role_changed")
			c.Equal([]any{"owner", u[1].user}, []any{text(e, "event", "role"), text(e, "event", "owner")})
			roles := func(s *session) (l []any) { return pluck(list(s.ok("GET", path, nil), "members"), "role") }
			c.Equal([]any{"admin", "owner", "member", "member"}, roles(u[2]))
			c.is(u[1].as("POST", path+"/leave", nil), 204)
			e = k.event(group, "member_left")
			c.Equal([]any{u[0].user, []any{u[1].user}}, []any{text(e, "event", "owner"), list(e, "event", "users")}, "the admin")
			c.is(u[0].as("POST", path+"/leave", nil), 204)
			c.Equal(u[2].user, text(k.event(group, "member_left"), "event", "owner"), "who has been a member longest")
			c.is(u[3].as("POST", path+"/leave", nil), 204)
			u[2].ok("POST", path+"/invitations", user(u[0]))
			c.is(u[2].as("POST", path+"/leave", nil), 204)
			c.is(u[2].as("GET", path, nil), 404, "not_found")
			c.Empty(list(u[0].ok("GET", "/api/invitations", nil), "invitations"), "its invitations go with it")
		}},
		{"an invitation is told, and accepted, declined or taken back", func(c *chat) {
			u := c.users("olga", "ina")
			group := u[0].group("Lab")
			path := "/api/groups/" + group
			k := u[1].open()
			invite := func() {
				c.t.Helper()
				g := u[0].ok("POST", path+"/invitations", user(u[1]))
				c.Equal([]any{u[1].user}, pluck(list(g, "invited"), "user"))
				f := k.notice("invitation", group)
				c.Equal(u[0].user, f["user"])
			}
			invite()
			l := list(u[1].ok("GET", "/api/invitations", nil), "invitations")
			c.Equal([]any{group, "Lab", 1.0, u[0].user}, []any{pluck(l, "id")[0], pluck(l, "title")[0], pluck(l, "size")[0], pluck(l, "by")[0]})
			u[0].ok("POST", path+"/invitations", user(u[1])) // again
			c.is(u[1].as("POST", "/api/invitations/"+group+"/decline", nil), 204)
			k.notice("invitation_gone", group)
			c.is(u[1].as("POST", "/api/invitations/"+group+"/decline", nil), 404, "not_found")
			c.is(u[1].as("POST", "/api/invitations/"+group+"/accept", nil), 404, "not_found")
			invite()
			u[0].ok("DELETE", path+"/invitations/"+u[1].user, nil)
			k.notice("invitation_gone", group)
			c.Empty(list(u[1].ok("GET", "/api/invitations", nil), "invitations"))
			invite()
			g := u[1].ok("POST", "/api/invitations/"+group+"/accept", nil)
			c.Equal([]any{u[0].user, u[1].user}, pluck(list(g, "members"), "user"))
			c.Equal(u[1].user, k.event(group, "member_added")["sender"], "who accepted")
			u[1].ok("POST", "/api/invitations/"+group+"/accept", nil) // a member already
		}},
		{"a public group is found and joined by anyone but who was removed", func(c *chat) {
			u := c.users("olga", "joe")
			word := "w" + strings.ReplaceAll(c.fresh("x"), "-", "")
			a := c.is(u[0].as("POST", "/api/groups", object{"title": "Open " + word, "public": true}), 201)
			group := text(a.body, "id")
			path := "/api/groups/" + group
			find := func(q string) []any {
				return list(u[1].ok("GET", query("/api/groups/public", "q", q), nil), "groups")
			}
			c.Equal([]any{object{"id": group, "title": "Open " + word, "size": 1.0}}, find("OP "+strings.ToUpper(word[:len(word)-1])))
			c.Empty(find(word + " closed"))
			k := u[1].open()
			u[1].ok("POST", path+"/join", nil)
			c.Equal(u[1].user, k.event(group, "member_added")["sender"])
			u[1].ok("POST", path+"/join", nil)
			u[0].ok("DELETE", path+"/members/"+u[1].user, nil)
			c.is(u[1].as("POST", path+"/join", nil), 403, "forbidden")
			u[0].ok("POST", path+"/members", user(u[1]))
			u[0].ok("PATCH", path, object{"public": false})
			c.Empty(find(word))
		}},
	}
}

func aboutPeople() []check {
	return []check{
		{"a request is told, and accepted, declined or taken back", func(c *chat) {
			u := c.users("ann", "ben")
			a, b := u[0].open(), u[1].open()
			ask := func() {
				c.t.Helper()
				r := u[0].ok("POST", "/api/contacts/requests", object{"user": u[1].user})
				c.Equal([]any{u[1].user, "outgoing", false}, []any{r["user"], r["state"], r["blocked"]})
				a.notice("request_sent", u[1].user)
				b.notice("contact_request", u[0].user)
			}
			ask()
			c.Equal([]any{u[0].user}, pluck(list(u[1].ok("GET", "/api/contacts", nil), "incoming"), "user"))
			c.Equal([]any{u[1].user}, pluck(list(u[0].ok("GET", "/api/contacts", nil), "outgoing"), "user"))
			c.Equal("none", u[1].ok("POST", "/api/contacts/requests/"+u[0].user+"/decline", nil)["state"])
			a.notice("request_gone", u[1].user)
			c.is(u[1].as("POST", "/api/contacts/requests/"+u[0].user+"/accept", nil), 404, "not_found")
			ask()
			u[0].ok("DELETE", "/api/contacts/"+u[1].user, nil)
			b.notice("request_gone", u[0].user)
			ask()
			c.Equal("contact", u[1].ok("POST", "/api/contacts/requests/"+u[0].user+"/accept", nil)["state"])
			a.notice("contact", u[1].user)
			b.notice("contact", u[0].user)
			u[1].ok("POST", "/api/contacts/requests/"+u[0].user+"/accept", nil) // a contact already
			r := u[0].ok("PATCH", "/api/contacts/"+u[1].user, object{"nickname": "Benny"})
			c.Equal("Benny", r["nickname"])
			c.Equal([]any{"Benny"}, pluck(list(u[0].ok("GET", "/api/contacts", nil), "contacts"), "nickname"))
			c.Equal([]any{""}, pluck(list(u[1].ok("GET", "/api/contacts", nil), "contacts"), "nickname"), "the caller's alone")
			c.is(u[0].as("PATCH", "/api/contacts/"+u[1].user, object{"nickname": strings.Repeat("é", 41)}), 400, "bad_request")
			u[1].ok("DELETE", "/api/contacts/"+u[0].user, nil)
			a.notice("contact_gone", u[1].user)
			c.is(u[0].as("PATCH", "/api/contacts/"+u[1].user, object{"nickname": "B"}), 404, "not_found")
			c.is(u[0].as("POST", "/api/contacts/requests", object{"user": nobody}), 400, "unknown_user")
		}},
		{"two who ask each other are contacts", func(c *chat) {
			u := c.users("ann", "ben")
			u[0].ok("POST", "/api/contacts/requests", object{"user": u[1].user})
			c.Equal("contact", u[1].ok("POST", "/api/contacts/requests", object{"user": u[0].user})["state"])
		}},
		{"a block ends what was between two, refuses messages, and is told nobody", func(c *chat) {
			a, b, dm := c.newcomers()
			a.s.ok("POST", "/api/contacts/requests", object{"user": b.s.user})
			b.s.ok("POST", "/api/contacts/requests", object{"user": a.s.user})
			first := a.say(dm, "hello")
			group := b.s.group("Both", a.s)
			r := b.s.ok("PUT", "/api/blocks/"+a.s.user, nil)
			c.Equal([]any{"none", true}, []any{r["state"], r["blocked"]})
			b.notice("blocks", a.s.user)
			c.Equal([]any{a.s.user}, list(b.s.ok("GET", "/api/contacts", nil), "blocked"))
			c.Empty(list(a.s.ok("GET", "/api/contacts", nil), "contacts"))
			c.Empty(list(a.s.ok("GET", "/api/contacts", nil), "blocked"))
			c.within(func() bool {
				id := a.postAs(c.fresh("c"), "send", dm, object{"body": "are you there?"})
				f := a.next("an answer", func(f object) bool { return f["client_id"] == id || text(f, "message", "client_id") == id })
				return f["code"] == "blocked"
			}, "messages are refused")
			a.refuses("blocked", "edit", dm, object{"seq": number(first, "seq"), "body": "x"})
			a.post("delete", dm, object{"seq": number(first, "seq")})
			for _, pair := range [][2]*session{{a.s, b.s}, {b.s, a.s}} {
				c.is(pair[0].as("POST", "/api/contacts/requests", object{"user": pair[1].user}), 403, "blocked")
				c.is(pair[0].as("POST", "/api/groups", object{"title": "x", "members": []string{pair[1].user}}), 403, "blocked")
			}
			a.say(group, "groups stay as they are")
			c.Equal(false, b.s.ok("DELETE", "/api/blocks/"+a.s.user, nil)["blocked"])
			c.Empty(list(b.s.ok("GET", "/api/contacts", nil), "contacts"), "nothing comes back")
			c.within(func() bool {
				id := a.postAs(c.fresh("c"), "send", dm, object{"body": "and now?"})
				return a.next("an answer", func(f object) bool { return f["client_id"] == id || text(f, "message", "client_id") == id })["type"] == "message"
			}, "messages are taken again")
			c.is(b.s.as("PUT", "/api/blocks/"+nobody, nil), 404, "not_found")
			c.is(b.s.as("PUT", "/api/blocks/"+b.s.user, nil), 400, "bad_request")
		}},
	}
}

func aboutPresence() []check {
	return []check{
		{"who shares a conversation sees the other, a stranger sees nothing", func(c *chat) {
			a, b, dm := c.newcomers()
			a.say(dm, "hello")
			stranger := c.anyone()
			of := func(s *session, id string) object {
				l := list(s.ok("GET", "/api/presence?ids="+id, nil), "presence")
				c.Len(l, 1)
				return l[0].(object)
			}
			c.within(func() bool { return of(a.s, b.s.user)["state"] == "online" }, "b online for a")
			seen := of(a.s, b.s.user)
			c.Equal([]any{true, nil}, []any{seen["online"], seen["devices"]})
			c.Regexp(instant, seen["seen"])
			c.Equal(object{"user": b.s.user, "online": false, "state": "offline"}, of(stranger, b.s.user))
			c.Equal(object{"user": nobody, "online": false, "state": "offline"}, of(stranger, nobody))
			own := of(b.s, b.s.user)
			c.Equal([]any{object{"session": b.s.id, "state": "online"}}, list(own, "devices"))
			second := b.s.login()
			k := second.open()
			k.send(object{"type": "away", "away": true})
			c.within(func() bool {
				states := map[any]any{}
				for _, d := range list(of(b.s, b.s.user), "devices") {
					states[d.(object)["session"]] = d.(object)["state"]
				}
				return states[b.s.id] == "online" && states[second.id] == "away"
			}, "one device away")
			c.Equal("online", of(a.s, b.s.user)["state"], "somebody is at the other")
		}},
		{"who comes is told to the others", func(c *chat) {
			u := c.users("ann", "ben")
			a := u[0].open()
			u[0].ok("POST", "/api/contacts/requests", object{"user": u[1].user})
			u[1].ok("POST", "/api/contacts/requests", object{"user": u[0].user})
			a.notice("contact", u[1].user)
			u[1].open()
			f := a.next("presence", func(f object) bool { return f["type"] == "presence" && f["user"] == u[1].user && f["online"] == true })
			c.Equal("online", f["state"])
			c.Regexp(instant, f["at"])
		}},
		{"ids are at most 100", func(c *chat) {
			s := c.anyone()
			c.Len(list(s.ok("GET", "/api/presence?ids="+strings.TrimSuffix(strings.Repeat(nobody+",", 100), ","), nil), "presence"), 100)
			for _, ids := range []string{"", "x", strings.Repeat(nobody+",", 100) + nobody} {
				c.is(s.as("GET", "/api/presence?ids="+ids, nil), 400, "bad_request")
			}
		}},
	}
}
