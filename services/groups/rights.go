package groups

import (
	"slices"

	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// action is something that not every member may do.
type action int

const (
	edit action = iota // title, public or private
	addMember
	invite // and take invitations back
	removeMember
	removeAdmin
	setRole
)

// may says which roles may do what: the table in docs/protocol.md, section 5, which a test walks. All members may see the group and leave it,
// and nobody may remove the owner.
func may(role string, a action) bool {
	if role == wire.Owner {
		return true
	}
	return role == wire.Admin && slices.Contains([]action{edit, addMember, invite, removeMember}, a)
}

// need says why user may not do a. To who is no member there is no such group.
func (g *group) need(user string, a action) error {
	switch role := g.role(user); {
	case role == "":
		return service.NotFound("group")
	case may(role, a):
		return nil
	case may(wire.Admin, a):
		return service.Forbidden("only the owner and the admins of the group may do this")
	}
	return service.Forbidden("only the owner of the group may do this")
}
