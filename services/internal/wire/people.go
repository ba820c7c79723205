package wire

import "strings"

// Limits of what people have to do with each other.
const (
	MaxContacts      = 1000 // of a user; as many users may be blocked
	MaxPending       = 200  // requests in, requests out and invitations of a user; invitations of a group
	MaxNicknameRunes = 40
	MaxPublic        = 50 // groups in an answer
)

// Admin is the role between owner and member.
const Admin = "admin"

// Further types of group events.
const (
	// RoleChanged: Users have Role now. Owner is set where the group was handed over: the owner before is an admin now.
	RoleChanged = "role_changed"
	MadePublic  = "made_public"
	MadePrivate = "made_private"
)

// CodeLimit is the code of the answer to who or what has as much as may be.
const CodeLimit = "limit_reached"

// FrameNotice is the type of a Notice.
const FrameNotice = "notice"

// Kinds of notices.
const (
	NoticeInvitation     = "invitation"      // User invites to Group
	NoticeInvitationGone = "invitation_gone" // it was accepted, declined or taken back, or the group is gone
	NoticeRequest        = "contact_request" // User asks to be a contact
	NoticeRequestSent    = "request_sent"    // the one who is told has asked User, perhaps from another device
	NoticeRequestGone    = "request_gone"    // a request of or to User was declined or taken back
	NoticeContact        = "contact"         // User is a contact now, or the nickname has changed
	NoticeContactGone    = "contact_gone"    // User is none any more
	NoticeBlocks         = "blocks"          // User was blocked, or is no more, by the one who is told
)

// Notice tells a user's devices that something between them and another has changed. What is so now, HTTP says.
type Notice struct {
	Type  string `json:"type"`
	Kind  string `json:"kind"`
	User  string `json:"user"`
	Group string `json:"group,omitempty"`
}

// What one user can be to another.
const (
	RelationNone     = "none"
	RelationIncoming = "incoming" // the other has asked
	RelationOutgoing = "outgoing" // the other was asked
	RelationContact  = "contact"
)

// Relation is what another user is to the one who asks. Since is the time of the contact or the request.
type Relation struct {
	User     string `json:"user"`
	State    string `json:"state"`
	Nickname string `json:"nickname,omitempty"`
	Since    *Time  `json:"since,omitempty"`
	Blocked  bool   `json:"blocked"`
}

// Contact is one of a user's contacts.
type Contact struct {
	User     string `json:"user"`
	Nickname string `json:"nickname"`
	Since    Time   `json:"since"`
}

// Request is a wish to be a contact that has no answer yet.
type Request struct {
	User string `json:"user"`
	At   Time   `json:"at"`
}

// People is all that a user has to do with others.
type People struct {
	Contacts []Contact `json:"contacts"`
	Incoming []Request `json:"incoming"`
	Outgoing []Request `json:"outgoing"`
	Blocked  []string  `json:"blocked"`
}

// Invited is an invitation, as owner and admins of the group see it.
type Invited struct {
	User string `json:"user"`
	By   string `json:"by"`
	At   Time   `json:"at"`
}

// Group is a group as a member sees it. Invited is for its owner and admins.
type Group struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Public  bool      `json:"public"`
	Version int64     `json:"version"`
	Members []Member  `json:"members"`
	Invited []Invited `json:"invited,omitempty"`
}

// Invitation is an invitation, as the invited user sees it.
type Invitation struct {
	ID    string `json:"id"` // of the group
	Title string `json:"title"`
	Size  int    `json:"size"`
	By    string `json:"by"`
	At    Time   `json:"at"`
}

// PublicGroup is a public group as anyone sees it.
type PublicGroup struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Size  int    `json:"size"`
}

// Relations is the answer to GET groups/internal/contacts/{user}: who the user's contacts are, and who is to know nothing of them, nor they
// of those, because one of the two has blocked the other.
type Relations struct {
	Contacts []string `json:"contacts"`
	Hidden   []string `json:"hidden"`
}

// CleanNickname gives a nickname as it is kept, or says what is wrong with it. None is fine.
func CleanNickname(s string) (string, error) {
	if strings.TrimSpace(s) == "" {
		return "", nil
	}
	return cleanText("nickname", s, MaxNicknameRunes, false)
}
