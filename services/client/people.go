package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/labctl/labctl/services/internal/wire"
)

// Groups, invitations and contacts.
type (
	Group       = wire.Group // as a member sees it
	Invited     = wire.Invited
	Invitation  = wire.Invitation
	PublicGroup = wire.PublicGroup
	Relation    = wire.Relation
	Contact     = wire.Contact
	Request     = wire.Request
	People      = wire.People
	Notice      = wire.Notice
)

// ParseNotice reads a frame, such as Events.Frame gets, that is a notice. ok is false for any other.
func ParseNotice(raw []byte) (n Notice, ok bool) {
	err := json.Unmarshal(raw, &n)
	return n, err == nil && n.Type == wire.FrameNotice
}

func groupPath(id string, more ...string) string {
	p := "/api/groups/" + url.PathEscape(id)
	for _, m := range more {
		p += "/" + url.PathEscape(m)
	}
	return p
}

// CreatePublicGroup is CreateGroup of a group that anyone may find and join.
func (s *Session) CreatePublicGroup(ctx context.Context, title string, members ...string) (g Group, err error) {
	err = s.do(ctx, http.MethodPost, "/api/groups", map[string]any{"title": title, "members": append([]string{}, members...), "public": true}, &g)
	return g, err
}

// SetPublic makes a group public or private.
func (s *Session) SetPublic(ctx context.Context, id string, public bool) (g Group, err error) {
	err = s.do(ctx, http.MethodPatch, groupPath(id), map[string]bool{"public": public}, &g)
	return g, err
}

// SetGroupRole gives a member the role "admin" or "member". With "owner" the group is handed over.
func (s *Session) SetGroupRole(ctx context.Context, id, user, role string) (g Group, err error) {
	err = s.do(ctx, http.MethodPut, groupPath(id, "members", user), map[string]string{"role": role}, &g)
	return g, err
}

// PublicGroups gives public groups with words in the title that begin as those of q do; some of all, if q is empty.
func (s *Session) PublicGroups(ctx context.Context, q string) ([]PublicGroup, error) {
	var a struct {
		Groups []PublicGroup `json:"groups"`
	}
	err := s.do(ctx, http.MethodGet, "/api/groups/public?q="+url.QueryEscape(q), nil, &a)
	return a.Groups, err
}

// JoinGroup makes the session's user a member of a public group.
func (s *Session) JoinGroup(ctx context.Context, id string) (g Group, err error) {
	err = s.do(ctx, http.MethodPost, groupPath(id, "join"), nil, &g)
	return g, err
}

// Invite asks a user to come into a group.
func (s *Session) Invite(ctx context.Context, id, user string) (g Group, err error) {
	err = s.do(ctx, http.MethodPost, groupPath(id, "invitations"), map[string]string{"user": user}, &g)
	return g, err
}

// TakeBackInvitation ends an invitation that has no answer yet.
func (s *Session) TakeBackInvitation(ctx context.Context, id, user string) (g Group, err error) {
	err = s.do(ctx, http.MethodDelete, groupPath(id, "invitations", user), nil, &g)
	return g, err
}

// Invitations gives the invitations of the session's user, newest first.
func (s *Session) Invitations(ctx context.Context) ([]Invitation, error) {
	var a struct {
		Invitations []Invitation `json:"invitations"`
	}
	err := s.do(ctx, http.MethodGet, "/api/invitations", nil, &a)
	return a.Invitations, err
}

// AcceptInvitation makes the session's user a member of a group that they are invited to.
func (s *Session) AcceptInvitation(ctx context.Context, id string) (g Group, err error) {
	err = s.do(ctx, http.MethodPost, "/api/invitations/"+url.PathEscape(id)+"/accept", nil, &g)
	return g, err
}

// DeclineInvitation ends an invitation of the session's user.
func (s *Session) DeclineInvitation(ctx context.Context, id string) error {
	return s.do(ctx, http.MethodPost, "/api/invitations/"+url.PathEscape(id)+"/decline", nil, nil)
}

// People gives the contacts, requests and blocks of the session's user.
func (s *Session) People(ctx context.Context) (p People, err error) {
	err = s.do(ctx, http.MethodGet, "/api/contacts", nil, &p)
	return p, err
}

// RequestContact asks a user to be a contact, or accepts if that user has asked.
func (s *Session) RequestContact(ctx context.Context, user string) (r Relation, err error) {
	err = s.do(ctx, http.MethodPost, "/api/contacts/requests", map[string]string{"user": user}, &r)
	return r, err
}

// AcceptContact makes a contact of a user who has asked for it.
func (s *Session) AcceptContact(ctx context.Context, user string) (r Relation, err error) {
	err = s.do(ctx, http.MethodPost, "/api/contacts/requests/"+url.PathEscape(user)+"/accept", nil, &r)
	return r, err
}

// DeclineContact ends the request of another user.
func (s *Session) DeclineContact(ctx context.Context, user string) (r Relation, err error) {
	err = s.do(ctx, http.MethodPost, "/api/contacts/requests/"+url.PathEscape(user)+"/decline", nil, &r)
	return r, err
}

// SetNickname says how the session's user calls a contact; "" is no name.
func (s *Session) SetNickname(ctx context.Context, user, nickname string) (r Relation, err error) {
	err = s.do(ctx, http.MethodPatch, "/api/contacts/"+url.PathEscape(user), map[string]string{"nickname": nickname}, &r)
	return r, err
}

// EndContact ends a contact, or takes back one's own request.
func (s *Session) EndContact(ctx context.Context, user string) (r Relation, err error) {
	err = s.do(ctx, http.MethodDelete, "/api/contacts/"+url.PathEscape(user), nil, &r)
	return r, err
}

// Block keeps a user from writing to the session's user, from asking and from inviting.
func (s *Session) Block(ctx context.Context, user string) (r Relation, err error) {
	err = s.do(ctx, http.MethodPut, "/api/blocks/"+url.PathEscape(user), nil, &r)
	return r, err
}

// Unblock ends a block.
func (s *Session) Unblock(ctx context.Context, user string) (r Relation, err error) {
	err = s.do(ctx, http.MethodDelete, "/api/blocks/"+url.PathEscape(user), nil, &r)
	return r, err
}
