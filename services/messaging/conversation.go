package messaging

import (
	"maps"
	"slices"

	"github.com/labctl/labctl/services/internal/wire"
)

// conversation is where a conversation stands after the records that were applied.
type conversation struct {
	id     string
	source source // of its last message; the records up to there are done
	next   int64  // the seq of the next message
	texts  int64  // how many of those before are texts
	shown  int64  // the seq of the last text or event
	event  int64  // the seq of the last event
	roster *roster

	cursors  map[string]readCursor // how far each has read; not those of a large group
	messages seqs                  // those that somebody points to, or that are not stored yet

	batch int64 // in which it was touched last
}

func newConversation(id string) *conversation {
	return &conversation{id: id, next: 1, roster: &roster{ID: id}, cursors: map[string]readCursor{}, messages: seqs{}}
}

// seqs are messages by seq, as they are now.
type seqs map[int64]*message

// readCursor is how far a user has read: to Seq, with Texts texts up to it.
type readCursor struct {
	Seq   int64 `bson:"seq"`
	Texts int64 `bson:"texts"`

	source source // the record that says so
}

// read gives how far a member has read who says in a record to have read up to a seq. ok is false if that is no news.
func (c *conversation) read(user string, seq int64, at source) (to readCursor, ok bool) {
	to = readCursor{Seq: min(seq, c.next-1), Texts: c.texts, source: at}
	if to.Seq < 1 || !c.roster.member(c.id, user) {
		return to, false
	}
	if to.Seq < c.next-1 {
		m := c.messages[to.Seq]
		if m == nil {
			return to, false
		}
		to.Texts = m.Texts
	}
	if to.Seq <= c.cursors[user].Seq {
		return to, false
	}
	if !c.roster.Large {
		c.cursors[user] = to
	}
	return to, true
}

// advance moves a read cursor forward, and adds it to moved if it has moved.
func (c *conversation) advance(moved map[string]readCursor, user string, to readCursor) {
	if to.Seq <= c.cursors[user].Seq {
		return
	}
	moved[user] = to
	if !c.roster.Large {
		c.cursors[user] = to
	}
}

// judge gives the code of a record's refusal, if it must be refused.
func (c *conversation) judge(r wire.Record) string {
	first, member := c.roster.since(c.id, r.Sender)
	if !member {
		return wire.CodeNotMember
	}
	if r.Type != wire.RecordDelete && c.roster.blocked(c.id, r.Sender) {
		return wire.CodeBlocked
	}
	if targetOf(r) == 0 {
		return ""
	}
	t := c.messages[targetOf(r)]
	switch {
	case t == nil || t.Kind != wire.Text || t.Seq < first:
		return wire.CodeNotFound
	case r.Type == wire.RecordSend:
		return "" // an answer to a text, which may be gone
	case !t.alive():
		return wire.CodeNotFound
	}
	switch r.Type {
	case wire.RecordEdit:
		if t.Sender != r.Sender || len(t.now().Edits) >= wire.MaxEdits {
			return wire.CodeNotAllowed
		}
	case wire.RecordDelete:
		if t.Sender != r.Sender && !c.roster.moderates(r.Sender) {
			return wire.CodeNotAllowed
		}
	case wire.RecordReact:
		if !r.On {
			break
		}
		list := t.now().Reactions
		known := slices.ContainsFunc(list, func(e reaction) bool { return e.Emoji == r.Emoji })
		if (!known && len(list) >= wire.MaxReactions) || t.now().reacted() >= wire.MaxReacted {
			return wire.CodeNotAllowed
		}
	}
	return ""
}

// targetOf gives the seq of the message that a record points to, 0 if to none.
func targetOf(r wire.Record) int64 {
	if r.Type == wire.RecordSend {
		return r.ReplyTo
	}
	return r.Target
}

// refusal are the words for a code.
func refusal(code string) string {
	switch code {
	case wire.CodeNotFound:
		return "there is no such text, or it is deleted"
	case wire.CodeNotAllowed:
		return "this text is not yours, or it has as many changes as it can have"
	case wire.CodeHeld:
		return "a fault stops this conversation; your message is kept, and delivered once the fault is mended"
	case wire.CodeBlocked:
		return "you can't write to this user"
	}
	return "you are no member of this conversation"
}

// roster is who is in a group, as its events up to Seq say. Of a direct conversation, whose members follow from its id, it is who blocks the
// other, and Seq counts what was said about that. It is a value: whoever changes one makes another.
type roster struct {
	ID      string   `bson:"_id"`
	Seq     int64    `bson:"seq"`     // of the last event in it; 0: no event yet
	Version int64    `bson:"version"` // of that event
	Title   string   `bson:"title"`
	Members []member `bson:"stays"` // in the order of coming
	Large   bool     `bson:"large"` // it had more members at some time than are told of each other's reading

	Blocks map[string]block `bson:"blocks,omitempty"` // by who blocks

	Source source `bson:"source"` // the record of the last event, or block

	index map[string]int // of Members, by user
}

// member is one who is in a group since the message First, the first that they may see.
type member struct {
	User  string `bson:"user"`
	Role  string `bson:"role"`
	First int64  `bson:"first"`
	Last  int64  `bson:"last"` // not 0: they have left. An earlier version kept those, too, and called all of them stays
}

// block is whether a user blocks the other, as the record of that version says.
type block struct {
	Version int64 `bson:"version"`
	On      bool  `bson:"on"`
}

// settle makes a roster that was read, or changed, ready for use.
func (r *roster) settle() *roster {
	r.Members = slices.DeleteFunc(r.Members, func(m member) bool { return m.Last != 0 })
	r.index = make(map[string]int, len(r.Members))
	for i, m := range r.Members {
		r.index[m.User] = i
	}
	r.Large = r.Large || len(r.Members) > wire.MaxTold
	return r
}

// find gives one who is in the group, nil for who is not.
func (r *roster) find(user string) *member {
	if i, ok := r.index[user]; ok {
		return &r.Members[i]
	}
	return nil
}

// since gives the first seq that a member of a conversation may read. ok is false for who is no member.
func (r *roster) since(conversation, user string) (first int64, ok bool) {
	if a, b, direct := wire.Direct(conversation); direct {
		return 1, user == a || user == b
	}
	if m := r.find(user); m != nil {
		return m.First, true
	}
	return 0, false
}

func (r *roster) member(conversation, user string) bool {
	_, ok := r.since(conversation, user)
	return ok
}

// users are all members of a conversation.
func (r *roster) users(conversation string) []string {
	if a, b, direct := wire.Direct(conversation); direct {
		return []string{a, b}
	}
	users := make([]string, len(r.Members))
	for i, m := range r.Members {
		users[i] = m.User
	}
	return users
}

// mentioned gives those of users who are members, each once.
func (r *roster) mentioned(conversation string, users []string) (found []string) {
	for _, u := range users {
		if r.member(conversation, u) && !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	return found
}

// moderates says whether a member may delete what others said.
func (r *roster) moderates(user string) bool {
	m := r.find(user)
	return m != nil && (m.Role == wire.Owner || m.Role == wire.Admin)
}

// with gives the roster after an event.
func (r *roster) with(conversation string, m *message) *roster {
	next := &roster{ID: conversation, Seq: m.Seq, Version: m.Version, Title: r.Title, Members: slices.Clone(r.Members), Large: r.Large, Source: m.Source}
	added := map[string]bool{}
	add := func(user, role string) {
		if r.find(user) == nil && !added[user] {
			next.Members = append(next.Members, member{User: user, Role: role, First: m.Seq})
			added[user] = true
		}
	}
	promote := func(user, role string) {
		if i, ok := r.index[user]; ok {
			next.Members[i].Role = role
		}
	}
	switch e := m.Event; e.Type {
	case wire.Created:
		next.Title = e.Title
		for _, u := range e.Users {
			role := wire.RoleMember
			if u == m.Sender {
				role = wire.Owner
			}
			add(u, role)
		}
	case wire.Renamed:
		next.Title = e.Title
	case wire.MemberAdded:
		for _, u := range e.Users {
			add(u, wire.RoleMember)
		}
	case wire.MemberRemoved, wire.MemberLeft:
		promote(e.Owner, wire.Owner)
		next.Members = slices.DeleteFunc(next.Members, func(m member) bool { return slices.Contains(e.Users, m.User) })
	case wire.RoleChanged:
		for i := range next.Members { // the group was handed over: the owner before becomes an admin
			if e.Owner != "" && next.Members[i].Role == wire.Owner {
				next.Members[i].Role = wire.Admin
			}
		}
		for _, u := range e.Users {
			promote(u, e.Role)
		}
	}
	return next.settle()
}

// withBlock gives the roster after a block record. ok is false if one as new is in it.
func (r *roster) withBlock(conversation, user, version string, on bool, at source) (next *roster, ok bool) {
	v := wire.BlockVersion(version)
	if v <= r.Blocks[user].Version {
		return r, false
	}
	next = &roster{ID: conversation, Seq: r.Seq + 1, Blocks: maps.Clone(r.Blocks), Source: at}
	if next.Blocks == nil {
		next.Blocks = map[string]block{}
	}
	next.Blocks[user] = block{Version: v, On: on}
	return next, true
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

// left gives who is in one roster and not in the next.
func left(before, after *roster) (users []string) {
	if before == after {
		return nil
	}
	for _, m := range before.Members {
		if after.find(m.User) == nil {
			users = append(users, m.User)
		}
	}
	return users
}

// list gives the members of a conversation as clients see them.
func (r *roster) list(conversation string) []wire.Member {
	if a, b, direct := wire.Direct(conversation); direct {
		return []wire.Member{{User: a, Role: wire.RoleMember}, {User: b, Role: wire.RoleMember}}
	}
	l := make([]wire.Member, len(r.Members))
	for i, m := range r.Members {
		l[i] = wire.Member{User: m.User, Role: m.Role}
	}
	return l
}
