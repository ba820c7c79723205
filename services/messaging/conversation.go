package messaging

import (
	"iter"
	"maps"
	"slices"

	"github.com/labctl/labctl/services/internal/wire"
)

// conversation is where a conversation stands.
type conversation struct {
	id    string
	next  int64 // the seq of the next message; all below it are stored
	texts int64 // how many of those are texts
	shown int64 // the seq of the last text or event
	group roster

	reads map[string]mark // how far each has read; not those of a large group
	marks map[string]mark // what a plan adds to it
}

// roster is who is and was in a group, as its events up to Seq say. Of a direct conversation it is who blocks the other, and Seq counts
// what was said about that.
type roster struct {
	ID    string `bson:"_id"`
	Seq   int64  `bson:"seq"` // of the last event in it; 0: no event yet
	Title string `bson:"title"`
	Stays []stay `bson:"stays"` // in the order of coming
	Large bool   `bson:"large"` // it had more members at some time than are told of each other's reading

	Blocks map[string]block `bson:"blocks,omitempty"` // by who blocks
}

// block is whether a user blocks the other, as the record of that version says.
type block struct {
	Version int64 `bson:"version"`
	On      bool  `bson:"on"`
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
	d.group.Stays, d.group.Blocks, d.marks = slices.Clone(c.group.Stays), maps.Clone(c.group.Blocks), nil
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

// audience gives the users who were members at seq, each with the first seq that they may read.
func (c *conversation) audience(seq int64) iter.Seq2[string, int64] {
	return func(yield func(user string, first int64) bool) {
		if a, b, direct := wire.Direct(c.id); direct {
			_ = yield(a, 1) && yield(b, 1)
			return
		}
		for _, s := range c.group.Stays {
			if s.First <= seq && (s.Last == 0 || seq <= s.Last) && !yield(s.User, s.First) {
				return
			}
		}
	}
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
	case wire.RoleChanged:
		for i := range r.Stays { // the group was handed over: the owner before becomes an admin
			if s := &r.Stays[i]; e.Owner != "" && s.Last == 0 && s.Role == wire.Owner {
				s.Role = wire.Admin
			}
		}
		for _, u := range e.Users {
			if s := r.stay(u); s != nil {
				s.Role = e.Role
			}
		}
	}
	r.Seq = seq
	here := 0
	for _, s := range r.Stays {
		if s.Last == 0 {
			here++
		}
	}
	r.Large = r.Large || here > wire.MaxTold
}

// block takes a block record in, if none as new is in it.
func (r *roster) block(user, version string, on bool) {
	v := wire.BlockVersion(version)
	if v <= r.Blocks[user].Version {
		return
	}
	if r.Blocks == nil {
		r.Blocks = map[string]block{}
	}
	r.Blocks[user] = block{Version: v, On: on}
	r.Seq++
}

// blocked says whether a member of a direct conversation is blocked by the other.
func (r *roster) blocked(conversation, user string) bool {
	a, b, direct := wire.Direct(conversation)
	if !direct {
		return false
	}
	if user == a {
		return r.Blocks[b].On
	}
	return r.Blocks[a].On
}

// moderates says whether a member may delete what others said.
func (r *roster) moderates(user string) bool {
	s := r.stay(user)
	return s != nil && (s.Role == wire.Owner || s.Role == wire.Admin)
}

// read notes that a user has read up to a seq, with so many texts up to it. It says whether that is news.
func (c *conversation) read(user string, to mark) bool {
	if to.Seq <= max(c.reads[user].Seq, c.marks[user].Seq) {
		return false
	}
	if c.marks == nil {
		c.marks = map[string]mark{}
	}
	c.marks[user] = to
	return true
}

// settle keeps what a plan has added.
func (c *conversation) settle() {
	if !c.group.Large {
		maps.Copy(c.reads, c.marks)
	}
	c.marks = nil
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

// mentioned gives those of users who are members, each once.
func (c *conversation) mentioned(users []string) (found []string) {
	for _, u := range users {
		if c.member(u) && !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	return found
}
