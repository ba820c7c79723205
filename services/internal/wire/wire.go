// Package wire holds what services say to each other and to clients: docs/protocol.md in Go.
package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits of the protocol.
const (
	MaxBodyRunes   = 4000
	MaxClientID    = 64
	MaxFrame       = 32 << 10
	MaxDepth       = 16 // of objects and lists in a frame
	MaxFrameID     = 64
	MaxTitleRunes  = 80
	MaxMembers     = 1000
	MaxResume      = 300 // which fit a frame
	MaxMissed      = 200
	MaxIDs         = 100
	directPrefix   = "dm:"
	groupPrefix    = "g:"
	timeResolution = time.Millisecond
)

// NewID makes an id for a user or a session. Later ids sort behind earlier ones.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// NewGroupID makes the id of a group conversation.
func NewGroupID() string { return groupPrefix + uuid.NewString() }

// ValidID says whether s is an id as NewID makes them.
func ValidID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && id.String() == s
}

// ValidGroupID says whether s is an id as NewGroupID makes them.
func ValidGroupID(s string) bool {
	id, ok := strings.CutPrefix(s, groupPrefix)
	return ok && ValidID(id)
}

// ValidConversation says whether s can be a conversation's id.
func ValidConversation(s string) bool {
	_, _, direct := Direct(s)
	return direct || ValidGroupID(s)
}

// DirectID gives the id of the conversation of two users.
func DirectID(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return directPrefix + a + ":" + b
}

// Direct gives the two users of a direct conversation. ok is false for any other id.
func Direct(conversation string) (a, b string, ok bool) {
	rest, ok := strings.CutPrefix(conversation, directPrefix)
	if !ok {
		return "", "", false
	}
	a, b, ok = strings.Cut(rest, ":")
	return a, b, ok && a < b && ValidID(a) && ValidID(b)
}

// ValidClientID says whether s can be a message's client id.
func ValidClientID(s string) bool {
	if len(s) == 0 || len(s) > MaxClientID {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// CheckBody says what is wrong with a message's text.
func CheckBody(s string) error { return checkText("body", s, MaxBodyRunes, true) }

// CleanTitle gives a group's title as it is kept, or says what is wrong with it.
func CleanTitle(s string) (string, error) { return cleanText("title", s, MaxTitleRunes, false) }

func checkText(what, s string, limit int, lines bool) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", what)
	case strings.TrimSpace(s) == "":
		return fmt.Errorf("%s is empty", what)
	case utf8.RuneCountInString(s) > limit:
		return fmt.Errorf("%s is longer than %d characters", what, limit)
	}
	for _, r := range s {
		if unicode.IsControl(r) && (!lines || (r != '\n' && r != '\r' && r != '\t')) {
			return fmt.Errorf("%s holds the control character %U", what, r)
		}
	}
	return nil
}

// Time is a time as the protocol writes it.
type Time struct{ time.Time }

// At is t in the protocol's resolution.
func At(t time.Time) Time { return Time{t.UTC().Truncate(timeResolution)} }

const timeLayout = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes milliseconds always, so that text order is time order.
func (t Time) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON reads any RFC 3339 time.
func (t *Time) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &t.Time) }

// Kinds of messages.
const (
	Text  = "text"
	Event = "event"
)

// Types of group events.
const (
	Created       = "created"
	Renamed       = "renamed"
	MemberAdded   = "member_added"
	MemberRemoved = "member_removed"
	MemberLeft    = "member_left"
)

// GroupEvent is a change of a group.
type GroupEvent struct {
	Type  string   `json:"type" bson:"type"`
	Title string   `json:"title,omitempty" bson:"title,omitempty"`
	Users []string `json:"users,omitempty" bson:"users,omitempty"`
	Owner string   `json:"owner,omitempty" bson:"owner,omitempty"`
	Role  string   `json:"role,omitempty" bson:"role,omitempty"`
}

// Message is what has been said. (Conversation, Seq) is its identity.
type Message struct {
	Conversation string      `json:"conversation"`
	Seq          int64       `json:"seq"`
	Kind         string      `json:"kind"`
	Sender       string      `json:"sender"`
	ClientID     string      `json:"client_id"`
	Body         string      `json:"body"`
	Event        *GroupEvent `json:"event,omitempty"`
	At           Time        `json:"at"`

	// Of a text.
	ReplyTo  int64    `json:"reply_to,omitempty"`
	Mentions []string `json:"mentions,omitempty"`
	// Of a text that was changed. Changed is the seq of the last change that is in it.
	Edited    Time                `json:"edited,omitzero"`
	Deleted   Time                `json:"deleted,omitzero"` // also of an edit of a deleted text
	Reactions map[string][]string `json:"reactions,omitempty"`
	Changed   int64               `json:"changed,omitempty"`
	// Of a change: the seq of the text that it changes, and what a reaction is.
	Target int64  `json:"target,omitempty"`
	Emoji  string `json:"emoji,omitempty"`
	On     *bool  `json:"on,omitempty"`
}

// Roles of members.
const (
	Owner      = "owner"
	RoleMember = "member"
)

// Member is one user's part in a conversation.
type Member struct {
	User string `json:"user" bson:"user"`
	Role string `json:"role" bson:"role"`
}

// Conversation is what one of its members sees of it.
type Conversation struct {
	ID          string   `json:"id"`
	Kind        string   `json:"kind"` // direct or group
	Title       string   `json:"title,omitempty"`
	Members     []Member `json:"members"`
	FirstSeq    int64    `json:"first_seq"`
	LastSeq     int64    `json:"last_seq"`
	LastMessage *Message `json:"last_message"` // the last text or event
	// Read is how far the one who asks has read, Unread how many texts follow, Reads how far each member has read.
	Read   int64            `json:"read"`
	Unread int64            `json:"unread"`
	Reads  map[string]int64 `json:"reads,omitempty"`
}

// Record types in the topic messages.
const (
	RecordSend  = "send"
	RecordGroup = "group"
	// RecordRelease has messaging handle what it keeps of a conversation in quarantine.
	RecordRelease = "release"
)

// Record is the value of a record in the topic messages, whose key is the conversation.
type Record struct {
	Type         string `json:"type"`
	Conversation string `json:"conversation"`
	Sender       string `json:"sender"`
	// ClientID is the sender's, or "<version>" of a group's event; (Sender, ClientID) of a send and
	// (Conversation, ClientID) of an event are unique.
	ClientID string      `json:"client_id"`
	Body     string      `json:"body,omitempty"`
	Event    *GroupEvent `json:"event,omitempty"`
	ReplyTo  int64       `json:"reply_to,omitempty"`
	Mentions []string    `json:"mentions,omitempty"`
	Target   int64       `json:"target,omitempty"` // the seq that is changed, or was read
	Emoji    string      `json:"emoji,omitempty"`
	On       bool        `json:"on,omitempty"`
	At       Time        `json:"at"`
	// Again says that the same may have come before, which need not be lately.
	Again bool `json:"again,omitempty"`
}

// Check says why a record can never be handled.
func (r Record) Check(key string) error {
	switch {
	case r.Conversation != key:
		return errors.New("the key is not the conversation")
	case !ValidConversation(r.Conversation):
		return fmt.Errorf("%q is no conversation", r.Conversation)
	case !ValidID(r.Sender):
		return fmt.Errorf("sender %q is no user", r.Sender)
	case !ValidClientID(r.ClientID) && r.Type != RecordRead:
		return errors.New("the client id is not valid")
	case r.At.IsZero():
		return errors.New("it has no time")
	}
	switch r.Type {
	case RecordSend, RecordEdit, RecordDelete, RecordReact, RecordRead, RecordErase:
		return r.CheckContent()
	case RecordBlock:
		return r.checkBlock()
	case RecordRelease:
		return nil
	case RecordGroup:
		if r.Event == nil || !ValidGroupID(r.Conversation) {
			return errors.New("a group event without an event or a group")
		}
		if v, err := strconv.ParseInt(r.ClientID, 10, 64); err != nil || v < 1 {
			return errors.New("a group event without a version")
		}
		for _, u := range r.Event.Users {
			if !ValidID(u) {
				return fmt.Errorf("%q is no user", u)
			}
		}
		switch r.Event.Type {
		case Created, Renamed, MemberAdded, MemberRemoved, MemberLeft, RoleChanged, MadePublic, MadePrivate:
			return nil
		}
		return fmt.Errorf("unknown group event %q", r.Event.Type)
	}
	return fmt.Errorf("unknown type %q", r.Type)
}

// Lease is the value of a record in the topic presence, whose key is the user: a gateway has Devices of theirs connected.
type Lease struct {
	User    string `json:"user"`
	Gateway string `json:"gateway"`
	Devices int    `json:"devices"` // 0: none any more
	Away    int    `json:"away"`    // of those, how many nobody is at
	// Sessions says of each of those devices' sessions whether nobody is at any of its devices.
	Sessions map[string]bool `json:"sessions,omitempty"`
	At       Time            `json:"at"`
}

// Frame types.
const (
	FrameSend     = "send"
	FrameResume   = "resume"
	FramePing     = "ping"
	FrameHello    = "hello"
	FrameMessage  = "message"
	FrameError    = "error"
	FramePresence = "presence"
	FrameResumed  = "resumed"
	FramePong     = "pong"
)

// Hello is the first frame from the server.
type Hello struct {
	Type       string `json:"type"`
	User       string `json:"user"`
	Session    string `json:"session"`
	Connection string `json:"connection"`
	Heartbeat  int    `json:"heartbeat_seconds"`
	MaxFrame   int    `json:"max_frame"`
	Position   string `json:"position"` // what this socket was not told, and is to be found by HTTP
}

// MessageFrame carries a message. It is also the acknowledgement for its sender.
type MessageFrame struct {
	Type    string  `json:"type"`
	Message Message `json:"message"`
}

// Codes of error frames.
const (
	CodeBadFrame    = "bad_frame"
	CodeNotMember   = "not_member"
	CodeUnknownUser = "unknown_user"
	CodeUnavailable = "unavailable"
	CodeRateLimited = "rate_limited"
)

// ErrorFrame says what did not work.
type ErrorFrame struct {
	Type         string `json:"type"`
	Code         string `json:"code"`
	Message      string `json:"message"`
	Retry        bool   `json:"retry"`
	ClientID     string `json:"client_id,omitempty"`
	Conversation string `json:"conversation,omitempty"`
	ID           string `json:"id,omitempty"`
}

// PresenceFrame says that a user came or went.
type PresenceFrame struct {
	Type   string `json:"type"`
	User   string `json:"user"`
	Online bool   `json:"online"` // or away
	State  string `json:"state"`
	At     Time   `json:"at"`
}

// Resumed ends the answer to resume.
type Resumed struct {
	Type   string           `json:"type"`
	ID     string           `json:"id,omitempty"`
	Behind map[string]int64 `json:"behind"`
}

// Pong answers ping.
type Pong struct {
	Type string `json:"type"`
	ID   string `json:"id,omitempty"`
}

// Close codes of sockets beside the standard ones.
const (
	CloseBadFrame     = 4400
	CloseSessionEnded = 4401
	CloseBadToken     = 4402
	CloseNoHeartbeat  = 4408
	CloseTooSlow      = 4409
	CloseTooMany      = 4429
)

// SessionEnd is the value of a record in the topic sessions, whose key is the session.
type SessionEnd struct {
	Session string `json:"session"`
	User    string `json:"user"`
	At      Time   `json:"at"`
}

// User is what others see of a user. The profile's part is there in the answers that say so.
type User struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Colour      string `json:"colour,omitempty"`
	Picture     string `json:"picture,omitempty"`
	Deleted     bool   `json:"deleted,omitempty"` // there is nothing left but the id
}

// Bodies of the calls between services, under /internal/, which no ingress routes.
type (
	// ResumeRequest asks messaging for what User missed.
	ResumeRequest struct {
		User string           `json:"user"`
		Have map[string]int64 `json:"have,omitempty"`
		// Position is how far what is read must go.
		Position string `json:"position,omitempty"`
	}
	// ResumeAnswer is its answer.
	ResumeAnswer struct {
		Messages []Message        `json:"messages"`
		Behind   map[string]int64 `json:"behind"`
	}
	// Deletion is an account that is deleted. It is final once nothing more can come from it.
	Deletion struct {
		User  string `json:"user"`
		Final bool   `json:"final"`
	}
	// Deletions are those that a service has not confirmed yet.
	Deletions struct {
		Deletions []Deletion `json:"deletions"`
	}
	// Users is a list of users by id.
	Users struct {
		Users []string `json:"users"`
	}
)

// Encode gives the JSON of one of this package's values, or of one as plain as those: they always encode.
func Encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		return Encode(ErrorFrame{Type: FrameError, Code: CodeUnavailable, Message: "a value could not be written"})
	}
	return b
}
