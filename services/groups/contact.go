package groups

import (
	"errors"
	"net/http"
	"slices"

	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/token"
	"github.com/labctl/labctl/services/internal/wire"
)

func (s *groups) contacts(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	p, _, err := store.Get[person](r.Context(), s.people(), caller.User)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	return service.Write(w, http.StatusOK, p.answer())
}

// answer is what a user sees of all that they have to do with others: contacts, oldest first, and requests, newest first.
func (p person) answer() wire.People {
	a := wire.People{Contacts: []wire.Contact{}, Incoming: []wire.Request{}, Outgoing: []wire.Request{}, Blocked: []string{}}
	for u, c := range p.Peers {
		switch c.State {
		case wire.RelationContact:
			a.Contacts = append(a.Contacts, wire.Contact{User: u, Nickname: c.Nickname, Since: wire.At(c.Since)})
		case wire.RelationIncoming:
			a.Incoming = append(a.Incoming, wire.Request{User: u, At: wire.At(c.Since)})
		case wire.RelationOutgoing:
			a.Outgoing = append(a.Outgoing, wire.Request{User: u, At: wire.At(c.Since)})
		}
		if c.Blocks {
			a.Blocked = append(a.Blocked, u)
		}
	}
	slices.SortFunc(a.Contacts, func(x, y wire.Contact) int { return cmpTimes(x.Since.Time, y.Since.Time, x.User, y.User) })
	newest := func(x, y wire.Request) int { return cmpTimes(y.At.Time, x.At.Time, x.User, y.User) }
	slices.SortFunc(a.Incoming, newest)
	slices.SortFunc(a.Outgoing, newest)
	slices.Sort(a.Blocked)
	return a
}

// count says how many peers of a user are so.
func (p person) count(is func(peerCopy) bool) (n int) {
	for _, c := range p.Peers {
		if is(c) {
			n++
		}
	}
	return n
}

func (p person) in(state string) int {
	return p.count(func(c peerCopy) bool { return c.State == state })
}

// room says why another can't be added to those whom a user has in a state. What comes at the very same time may go beyond the limit.
func (s *groups) room(r *http.Request, user, state string, limit int, format string) error {
	p, _, err := store.Get[person](r.Context(), s.people(), user)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if p.in(state) >= limit {
		return errFull(format, limit)
	}
	return nil
}

// roomForContact says why two users can't become contacts.
func (s *groups) roomForContact(r *http.Request, caller, other string) error {
	if err := s.room(r, caller, wire.RelationContact, wire.MaxContacts, "you have %d contacts; end some first"); err != nil {
		return err
	}
	return s.room(r, other, wire.RelationContact, wire.MaxContacts, "that user has %d contacts, and takes no more")
}

// request asks a user to be a contact. Who was asked by that user accepts by it.
func (s *groups) request(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		User string `json:"user"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	other := req.User
	if other == caller.User {
		return service.BadRequest("that user is you")
	}
	if err := s.notTooOften(caller.User); err != nil {
		return err
	}
	if err := s.addable(r.Context(), caller.User, other); err != nil {
		return err
	}
	relation, err := s.changePair(r.Context(), caller.User, other, func(p *pair) (*news, error) {
		if err := p.open(caller.User); err != nil {
			return nil, err
		}
		switch p.as(caller.User, other).State {
		case wire.RelationIncoming:
			return s.bind(r, p, caller.User, other)
		case wire.RelationNone:
		default:
			return nil, nil
		}
		if err := s.room(r, caller.User, wire.RelationOutgoing, wire.MaxPending, "you have %d requests without an answer; take some back first"); err != nil {
			return nil, err
		}
		if err := s.room(r, other, wire.RelationIncoming, wire.MaxPending, "that user has %d requests without an answer, and takes no more"); err != nil {
			return nil, err
		}
		p.State, p.Asker, p.Since = requested, caller.User, s.Now().UTC()
		return &news{Notices: map[string]string{other: wire.NoticeRequest, caller.User: wire.NoticeRequestSent}}, nil
	})
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, relation)
}

// bind makes contacts of two users.
func (s *groups) bind(r *http.Request, p *pair, caller, other string) (*news, error) {
	if err := s.roomForContact(r, caller, other); err != nil {
		return nil, err
	}
	p.State, p.Asker, p.Since = together, "", s.Now().UTC()
	return &news{Notices: both(caller, other, wire.NoticeContact)}, nil
}

// changeTo is changePair for the user in the path.
func (s *groups) changeTo(w http.ResponseWriter, r *http.Request, caller token.Claims, f func(p *pair, other string) (*news, error)) error {
	other := r.PathValue("user")
	if !wire.ValidID(other) {
		return service.NotFound("user")
	}
	if other == caller.User {
		return service.BadRequest("that user is you")
	}
	relation, err := s.changePair(r.Context(), caller.User, other, func(p *pair) (*news, error) { return f(p, other) })
	if err != nil {
		return err
	}
	return service.Write(w, http.StatusOK, relation)
}

func (s *groups) acceptRequest(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	return s.changeTo(w, r, caller, func(p *pair, other string) (*news, error) {
		switch p.as(caller.User, other).State {
		case wire.RelationContact:
			return nil, nil
		case wire.RelationIncoming:
			return s.bind(r, p, caller.User, other)
		}
		return nil, service.NotFound("request")
	})
}

func (s *groups) declineRequest(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	return s.changeTo(w, r, caller, func(p *pair, other string) (*news, error) {
		if p.as(caller.User, other).State != wire.RelationIncoming {
			return nil, service.NotFound("request")
		}
		return &news{Notices: both(caller.User, other, p.apart())}, nil
	})
}

func (s *groups) nickname(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	var req struct {
		Nickname string `json:"nickname"`
	}
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	name, err := wire.CleanNickname(req.Nickname)
	if err != nil {
		return service.BadRequest("%s", err)
	}
	return s.changeTo(w, r, caller, func(p *pair, _ string) (*news, error) {
		switch {
		case p.State != together:
			return nil, service.NotFound("contact")
		case p.Sides[caller.User].Nickname == name:
			return nil, nil
		}
		p.set(caller.User, func(s *side) { s.Nickname = name })
		return &news{Notices: map[string]string{caller.User: wire.NoticeContact}}, nil // it is nobody else's affair
	})
}

// endContact ends a contact, and takes the caller's own request back.
func (s *groups) endContact(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	return s.changeTo(w, r, caller, func(p *pair, other string) (*news, error) {
		switch p.as(caller.User, other).State {
		case wire.RelationContact, wire.RelationOutgoing:
			return &news{Notices: both(caller.User, other, p.apart())}, nil
		}
		return nil, nil
	})
}

// block ends what two users are to each other, and keeps the other from beginning anew.
func (s *groups) block(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	if err := s.notTooOften(caller.User); err != nil {
		return err
	}
	return s.changeTo(w, r, caller, func(p *pair, other string) (*news, error) {
		if p.Sides[caller.User].Blocks {
			return nil, nil
		}
		if err := s.exists(r.Context(), other); errors.Is(err, peer.ErrNotFound) {
			return nil, service.NotFound("user")
		} else if err != nil {
			return nil, service.Unavailable("auth", err)
		}
		own, _, err := store.Get[person](r.Context(), s.people(), caller.User)
		if err != nil {
			return nil, service.Unavailable("the database", err)
		}
		if own.count(func(c peerCopy) bool { return c.Blocks }) >= wire.MaxContacts {
			return nil, errFull("you have blocked %d users; unblock some first", wire.MaxContacts)
		}
		n := &news{Block: wire.Blocked, Notices: map[string]string{caller.User: wire.NoticeBlocks}}
		if kind := p.apart(); kind != "" {
			n.Notices[other] = kind
		}
		p.set(caller.User, func(s *side) { s.Blocks = true })
		return n, nil
	})
}

func (s *groups) unblock(w http.ResponseWriter, r *http.Request, caller token.Claims) error {
	if err := s.notTooOften(caller.User); err != nil {
		return err
	}
	return s.changeTo(w, r, caller, func(p *pair, _ string) (*news, error) {
		if !p.Sides[caller.User].Blocks {
			return nil, nil
		}
		p.set(caller.User, func(s *side) { s.Blocks = false })
		return &news{Block: wire.Unblocked, Notices: map[string]string{caller.User: wire.NoticeBlocks}}, nil
	})
}

// relations tells other services who a user's contacts are, and whom a block keeps apart from the user.
func (s *groups) relations(w http.ResponseWriter, r *http.Request) error {
	p, _, err := store.Get[person](r.Context(), s.people(), r.PathValue("user"))
	if err != nil {
		return service.Unavailable("the database", err)
	}
	a := wire.Relations{Contacts: []string{}, Hidden: []string{}}
	for u, c := range p.Peers {
		if c.State == wire.RelationContact {
			a.Contacts = append(a.Contacts, u)
		}
		if c.Blocks || c.BlockedBy {
			a.Hidden = append(a.Hidden, u)
		}
	}
	slices.Sort(a.Contacts)
	slices.Sort(a.Hidden)
	return service.Write(w, http.StatusOK, a)
}
