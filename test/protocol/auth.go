package protocol

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"image"
	"image/png"
	"strings"
)

func aboutAuth() []check {
	register := func(c *chat, name, pw string) answer {
		return c.ask("POST", "/api/auth/register", "", object{"name": name, "password": pw})
	}
	login := func(c *chat, name, pw string) answer {
		return c.ask("POST", "/api/auth/login", "", object{"name": name, "password": pw})
	}
	refresh := func(c *chat, token string) answer {
		return c.ask("POST", "/api/auth/refresh", "", object{"refresh_token": token})
	}
	return []check{
		{"registration: names are unique without regard to case, and shown as registered", func(c *chat) {
			name := c.fresh("Ada")
			s := c.session(c.is(register(c, name, password), 201), password)
			c.Equal(name, s.name)
			c.Equal("user", s.role)
			c.is(register(c, strings.ToUpper(name), password), 409, "name_taken")
		}},
		{"registration: the limits of names and passwords", func(c *chat) {
			for _, name := range []string{"", "x", "-ab", ".ab", "_ab", "a b", "é" + c.run, "a/b", strings.Repeat("a", 33)} {
				c.is(register(c, name, password), 400, "bad_request")
			}
			for _, pw := range []string{"", "1234567", strings.Repeat("x", 129), "password", "12345678"} {
				c.is(register(c, c.fresh("p"), pw), 400, "bad_request")
			}
			c.is(c.ask("POST", "/api/auth/register", "", object{"name": c.fresh("p"), "password": password, "device": strings.Repeat("x", 65)}), 400, "bad_request")
		}},
		{"log-in: a wrong password and an unknown name get the same answer", func(c *chat) {
			s := c.users("lea")[0]
			wrong, unknown := c.is(login(c, s.name, "wrong horse"), 401, "wrong_credentials"), c.is(login(c, c.fresh("no"), password), 401, "wrong_credentials")
			c.Equal(wrong.body, unknown.body)
			other := s.login()
			c.Equal(s.user, other.user)
			c.NotEqual(s.id, other.id)
		}},
		{"log-in: ten wrong passwords are free, then even the right one is 429", func(c *chat) {
			s := c.users("tom")[0]
			for _, name := range []string{s.name, c.fresh("no")} {
				for range 10 {
					c.is(login(c, name, "wrong horse"), 401, "wrong_credentials")
				}
				c.NotEmpty(c.is(login(c, name, password), 429, "busy").header.Get("Retry-After"))
			}
		}},
		{"the access token is a JWT by a key of the key set", func(c *chat) {
			s := c.users("jo")[0]
			parts := strings.Split(s.access, ".")
			c.Len(parts, 3)
			head, claims := c.claims(parts[0]), c.claims(parts[1])
			c.Equal("EdDSA", head["alg"])
			c.Equal([]any{s.user, s.id, s.name, "user"}, []any{claims["sub"], claims["sid"], claims["name"], claims["role"]})
			sum, err := base64.RawURLEncoding.DecodeString(parts[2])
			c.NoError(err)
			for _, v := range list(c.is(c.ask("GET", "/api/auth/jwks", "", nil), 200).body, "keys") {
				if key := v.(object); key["kid"] == head["kid"] {
					x, err := base64.RawURLEncoding.DecodeString(text(key, "x"))
					c.NoError(err)
					c.True(ed25519.Verify(x, []byte(parts[0]+"."+parts[1]), sum))
					return
				}
			}
			c.Fail("the key set lacks the key", head["kid"])
		}},
		{"a token that was tampered with is none", func(c *chat) {
			s := c.users("eve")[0]
			parts := strings.Split(s.access, ".")
			claims := strings.Replace(string(c.decoded(parts[1])), `"role":"user"`, `"role":"admin"`, 1)
			forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "." + parts[2]
			none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
			for _, token := range []string{forged, none, s.refresh} {
				c.is(c.ask("GET", "/api/auth/me", token, nil), 401, "unauthenticated")
			}
		}},
		{"refresh: until the next token is used, the one before gives the same again", func(c *chat) {
			s := c.users("ron")[0]
			k := s.open()
			next := c.session(c.is(refresh(c, s.refresh), 200), password)
			c.Equal(s.id, next.id)
			for range 2 {
				c.Equal(next.refresh, text(c.is(refresh(c, s.refresh), 200).body, "refresh_token"))
			}
			third := c.session(c.is(refresh(c, next.refresh), 200), password)
			c.NotEqual(next.refresh, third.refresh)
			c.is(third.as("GET", "/api/auth/me", nil), 200)
			k.alive() // it is the session's
		}},
		{"refresh: a retired token ends the session, and its sockets with 4401", func(c *chat) {
			s := c.users("rex")[0]
			k := s.open()
			next := c.session(c.is(refresh(c, s.refresh), 200), password)
			third := c.session(c.is(refresh(c, next.refresh), 200), password)
			c.is(refresh(c, s.refresh), 401, "session_ended")
			c.is(refresh(c, third.refresh), 401, "session_ended")
			k.closes(4401)
			c.is(third.as("GET", "/api/auth/me", nil), 401, "session_ended")
			c.is(refresh(c, "no token"), 401, "session_ended")
		}},
		{"log-out ends the session and its socket at every service", func(c *chat) {
			s := c.users("lou")[0]
			other := s.login()
			k, beside := s.open(), other.open()
			c.is(s.as("POST", "/api/auth/logout", nil), 204)
			k.closes(4401)
			beside.alive()
			for _, path := range []string{"/api/auth/me", "/api/conversations", "/api/groups", "/api/presence?ids=" + s.user} {
				c.within(func() bool { return s.as("GET", path, nil).code() == "session_ended" }, path)
			}
			late := c.dial()
			late.send(object{"type": "hello", "token": s.access})
			late.closes(4401)
			c.is(refresh(c, s.refresh), 401, "session_ended")
		}},
		{"a new password ends all other sessions", func(c *chat) {
			s := c.users("pia")[0]
			other := s.login()
			k := other.open()
			change := func(old, next string) answer {
				return s.as("POST", "/api/auth/password", object{"password": old, "new_password": next})
			}
			c.is(change("wrong horse", "battery staple"), 403, "wrong_password")
			c.is(change(password, "1234567"), 400, "bad_request")
			c.InDelta(1, number(c.is(change(password, "battery staple"), 200).body, "ended"), 0)
			k.closes(4401)
			c.is(s.as("GET", "/api/auth/me", nil), 200)
			c.is(login(c, s.name, password), 401, "wrong_credentials")
			c.is(login(c, s.name, "battery staple"), 200)
		}},
		{"sessions: they are listed, last used first, and ended one by one or all others", func(c *chat) {
			s := c.users("sam")[0]
			second, third := s.login(), s.login()
			k := second.open()
			l := list(s.ok("GET", "/api/auth/sessions", nil), "sessions")
			c.Equal([]any{third.id, second.id, s.id}, pluck(l, "id"))
			c.Equal([]any{false, false, true}, pluck(l, "current"))
			c.Equal([]any{"another", "another", "test"}, pluck(l, "device"))
			for _, name := range []string{"created", "used", "expires"} {
				c.Regexp(instant, pluck(l, name)[0], name)
			}
			c.is(s.as("DELETE", "/api/auth/sessions/"+nobody, nil), 404, "not_found")
			stranger := c.users("sid")[0]
			c.is(stranger.as("DELETE", "/api/auth/sessions/"+second.id, nil), 404, "not_found")
			c.is(s.as("DELETE", "/api/auth/sessions/"+second.id, nil), 204)
			k.closes(4401)
			c.InDelta(1, number(s.ok("DELETE", "/api/auth/sessions", nil), "ended"), 0)
			c.is(third.as("GET", "/api/auth/me", nil), 401, "session_ended")
			c.Len(list(s.ok("GET", "/api/auth/sessions", nil), "sessions"), 1)
		}},
		{"users are found by ids, by name in any case, and by the beginning of a name", func(c *chat) {
			u := c.users("una", "una")
			me := u[0].ok("GET", "/api/auth/me", nil)
			c.Equal(object{"user": object{"id": u[0].user, "name": u[0].name}, "role": "user", "session": u[0].id, "password": true}, me)
			find := func(name, v string) []any {
				return list(u[0].ok("GET", query("/api/auth/users", name, v), nil), "users")
			}
			c.ElementsMatch([]any{u[0].user, u[1].user}, pluck(find("ids", strings.Join([]string{u[0].user, nobody, u[1].user}, ",")), "id"))
			c.Equal([]any{u[1].user}, pluck(find("name", strings.ToUpper(u[1].name)), "id"))
			c.Empty(find("name", u[1].name+"x"))
			c.Equal([]any{u[1].name}, pluck(find("q", u[1].name), "display_name"))
			c.ElementsMatch([]any{u[0].user, u[1].user}, pluck(find("q", "una-"+c.run), "id"))
			c.is(u[0].as("GET", query("/api/auth/users", "ids", strings.Repeat(nobody+",", 100)+nobody), nil), 400, "bad_request")
			c.is(u[0].as("GET", "/api/auth/users", nil), 400, "bad_request")
		}},
		{"profiles begin with the name, are replaced, and have a version that grows", func(c *chat) {
			u := c.users("kim", "ben")
			path := "/api/auth/users/" + u[0].user + "/profile"
			first := u[1].ok("GET", path, nil)
			c.Equal(u[0].name, first["display_name"])
			c.Regexp("^(red|orange|amber|green|teal|blue|indigo|violet|pink|slate)$", first["colour"])
			c.Equal([]any{"", "", nil}, []any{first["bio"], first["status"], first["picture"]})
			put := func(p object) answer { return u[0].as("PUT", "/api/auth/profile", p) }
			c.is(put(object{"display_name": "Kim K.", "colour": "#00aa00", "bio": strings.Repeat("é", 280), "status": strings.Repeat("é", 80)}), 200)
			now := u[1].ok("GET", path, nil)
			c.Equal([]any{"Kim K.", "#00aa00", strings.Repeat("é", 280)}, []any{now["display_name"], now["colour"], now["bio"]})
			c.Greater(number(now, "version"), number(first, "version"))
			c.is(put(object{"display_name": "Kim", "colour": "teal"}), 200)
			c.Equal("", u[1].ok("GET", path, nil)["bio"], "it is replaced")
			for _, p := range []object{{"display_name": "K", "colour": "black"}, {"display_name": "K", "colour": "#00AA0"}, {"display_name": "K", "colour": "teal", "bio": strings.Repeat("é", 281)}, {"display_name": "K", "colour": "teal", "status": strings.Repeat("é", 81)}, {"colour": "teal"}} {
				c.is(put(p), 400, "bad_request")
			}
			c.is(u[1].as("GET", "/api/auth/users/"+nobody+"/profile", nil), 404, "not_found")
		}},
		{"a picture is shown without a token, and each has an address of its own", func(c *chat) {
			s := c.users("pam")[0]
			draw := func(w int) string {
				var b bytes.Buffer
				c.NoError(png.Encode(&b, image.NewRGBA(image.Rect(0, 0, w, 300))))
				return b.String()
			}
			put := func(body string) answer {
				return s.c.ask("PUT", "/api/auth/profile/picture", s.access, body, "Content-Type", "image/jpeg")
			}
			old := text(c.is(put(draw(300)), 200).body, "picture")
			shown := c.is(c.ask("GET", old, "", nil), 200)
			c.Equal([]string{"image/png", "nosniff"}, []string{shown.header.Get("Content-Type"), shown.header.Get("X-Content-Type-Options")})
			c.Contains(shown.header.Get("Content-Security-Policy"), "sandbox")
			kept, err := png.DecodeConfig(strings.NewReader(shown.raw))
			c.NoError(err)
			c.LessOrEqual(max(kept.Width, kept.Height), 128)
			next := text(c.is(put(draw(200)), 200).body, "picture")
			c.NotEqual(old, next)
			c.is(c.ask("GET", old, "", nil), 404, "not_found")
			c.is(put("no picture"), 415, "unsupported_media_type")
			c.is(put(draw(10)[:40]), 400, "bad_request")
			c.is(put(draw(1025)), 400, "bad_request")
			c.is(put(strings.Repeat("x", 65<<10)), 413, "too_large")
			c.Nil(s.ok("DELETE", "/api/auth/profile/picture", nil)["picture"])
			c.is(c.ask("GET", next, "", nil), 404, "not_found")
		}},
		{"preferences are the user's on all devices, and replaced as a whole", func(c *chat) {
			s := c.users("pru")[0]
			c.Equal(object{"theme": "system", "enter_sends": true, "receipts": true, "typing": true}, s.ok("GET", "/api/auth/preferences", nil))
			mine := object{"theme": "dark", "enter_sends": false, "receipts": false, "typing": true}
			c.Equal(mine, s.ok("PUT", "/api/auth/preferences", mine))
			c.Equal(mine, s.login().ok("GET", "/api/auth/preferences", nil))
			c.is(s.as("PUT", "/api/auth/preferences", object{"theme": "dark"}), 400, "bad_request")
			c.is(s.as("PUT", "/api/auth/preferences", object{"theme": "pink", "enter_sends": false, "receipts": false, "typing": true}), 400, "bad_request")
		}},
		{"what needs a role is forbidden without it", func(c *chat) {
			u := c.users("max", "mia")
			c.is(u[0].as("DELETE", "/api/auth/users/"+u[1].user+"/sessions", nil), 403, "forbidden")
			c.is(u[0].as("PUT", "/api/auth/users/"+u[0].user+"/role", object{"role": "admin"}), 403, "forbidden")
			c.is(u[0].as("PUT", "/api/auth/users/"+u[1].user+"/suspension", nil), 403, "forbidden")
			c.is(u[0].as("DELETE", "/api/auth/users/"+u[1].user+"/suspension", nil), 403, "forbidden")
			c.is(u[0].as("POST", "/api/auth/keys/rotate", object{}), 403, "forbidden")
			c.is(u[1].as("GET", "/api/auth/me", nil), 200)
		}},
		{"OpenID Connect: a bad code is over, and a log-in leads somewhere", func(c *chat) {
			c.IsType(true, c.is(c.ask("GET", "/api/auth/oidc", "", nil), 200).body["enabled"])
			c.is(c.ask("POST", "/api/auth/oidc/session", "", object{"code": "x"}), 401, "login_expired")
			c.NotEmpty(c.is(c.ask("GET", "/api/auth/oidc/login", "", nil), 302).header.Get("Location"))
			c.Contains(c.is(c.ask("GET", "/api/auth/oidc/callback?code=x&state=x", "", nil), 302).header.Get("Location"), "#login_error=")
		}},
		{"a hundred sessions are the most; one more ends the one that was not used for longest", func(c *chat) {
			s := c.users("cem")[0]
			ids := map[string]bool{}
			var last *session
			for range 100 {
				last = s.login()
				ids[last.id] = true
			}
			l := list(last.ok("GET", "/api/auth/sessions", nil), "sessions")
			c.Len(l, 100)
			for _, v := range l {
				c.True(ids[text(v.(object), "id")], fmt.Sprint(v))
			}
			c.is(s.as("GET", "/api/auth/me", nil), 401, "session_ended")
		}},
	}
}
