package messaging

import (
	"slices"

	"github.com/labctl/labctl/services/internal/wire"
)

// conversation is where a conversation stands.
type conversation struct {
	id    string
	next  int64 // the seq of the next message; all below it are stored
	group roster
}

// roster is who is and was in a group, as its events up to Seq say. A direct conversation has none.
type roster struct {
	ID    string `bson:"_id"`
	Seq   int64  `bson:"seq"` // of the last event in it; 0: no event yet
	Title string `bson:"title"`
	Stays []stay `bson:"stays"` // in the order of coming
}

// stay is the time of one user in a group, from the event that added them to the one that removed them, both seen.
type stay struct {
	User  string `bson:"user"`
	Role  string `bson:"role"`
	First int64  `bson:"first"`
	Last  int64  `bson:"last"` // 0: still here
}

// clone gives a copy that can be changed alone.
func (c *conversation) clone() *conversation {
	d := *c
	d.group.Stays = slices.Clone(c.group.Stays)
	return &d
}

func (c *conversation) direct() bool {
	_, _, direct := wire.Direct(c.id)
	return direct
}

// member says whether user may speak now.
func (c *conversation) member(user string) bool {
	_, ok := c.since(user)
	return ok
}

// since gives the first seq that a member may read. ok is false for who is no member now.
func (c *conversation) since(user string) (first int64, ok bool) {
	if a, b, direct := wire.Direct(c.id); direct {
		return 1, user == a || user == b
	}
	return c.group.since(user)
}

func (r *roster) since(user string) (first int64, ok bool) {
	if s := r.stay(user); s != nil {
		return s.First, true
	}
	return 0, false
}

func (r *roster) stay(user string) *stay {
	for i := range r.Stays {
		if r.Stays[i].User == user && r.Stays[i].Last == 0 {
			return &r.Stays[i]
		}
	}
	return nil
}

// audience gives the users who were members at seq.
func (c *conversation) audience(seq int64) (users []string) {
	if a, b, direct := wire.Direct(c.id); direct {
		return []string{a, b}
	}
	for _, s := range c.group.Stays {
		if s.First <= seq && (s.Last == 0 || seq <= s.Last) {
			users = append(users, s.User)
		}
	}
	return users
}

// apply changes the roster by an event that has seq.
func (r *roster) apply(e wire.GroupEvent, by string, seq int64) {
	switch e.Type {
	case wire.Created:
		r.Title = e.Title
		for _, u := range e.Users {
			role := wire.RoleMember
			if u == by {
				role = wire.Owner
			}
			r.add(u, role, seq)
		}
	case wire.Renamed:
		r.Title = e.Title
	case wire.MemberAdded:
		for _, u := range e.Users {
			r.add(u, wire.RoleMember, seq)
		}
	case wire.MemberRemoved, wire.MemberLeft:
		for _, u := range e.Users {
			if s := r.stay(u); s != nil {
				s.Last = seq
			}
		}
		if s := r.stay(e.Owner); s != nil {
			s.Role = wire.Owner
		}
	}
	r.Seq = seq
}

func (r *roster) add(user, role string, seq int64) {
	if r.stay(user) == nil {
		r.Stays = append(r.Stays, stay{User: user, Role: role, First: seq})
	}
}

// members are those who are in it now.
func (c *conversation) members() []wire.Member {
	if a, b, direct := wire.Direct(c.id); direct {
		return []wire.Member{{User: a, Role: wire.RoleMember}, {User: b, Role: wire.RoleMember}}
	}
	l := []wire.Member{}
	for _, s := range c.group.Stays {
		if s.Last == 0 {
			l = append(l, wire.Member{User: s.User, Role: s.Role})
		}
	}
	return l
}
