package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of changes.
const (
	MaxMentions  = 50
	MaxEmoji     = 32   // bytes
	MaxReactions = 20   // different ones of a message
	MaxReacted   = 1000 // reactions of a message in all
	MaxEdits     = 100  // of a message
	// MaxTold is how many members a conversation may have whose reads and typing are told.
	MaxTold = 200
)

// Kinds of messages that change another, their target.
const (
	Edit     = "edit"
	Delete   = "delete"
	Reaction = "reaction"
)

// Changes says whether messages of that kind change another.
func Changes(kind string) bool { return kind == Edit || kind == Delete || kind == Reaction }

// Further record types in the topic messages.
const (
	RecordEdit   = "edit"
	RecordDelete = "delete"
	RecordReact  = "react"
	// RecordErase deletes a text of Sender, whose account is deleted. Sender need not be a member.
	RecordErase = "erase"
	// RecordRead says how far Sender has read. It takes no seq.
	RecordRead = "read"
	// RecordBlock says that Sender blocks the other of a direct conversation, or does no more. It takes no seq.
	RecordBlock = "block"
)

// What the event of a block record says.
const (
	Blocked   = "blocked"
	Unblocked = "unblocked"
)

// Further frame types.
const (
	FrameEdit   = "edit"
	FrameDelete = "delete"
	FrameReact  = "react"
	FrameRead   = "read"
	FrameTyping = "typing"
)

// Further codes of error frames.
const (
	CodeNotFound   = "not_found"
	CodeNotAllowed = "not_allowed"
	CodeBlocked    = "blocked"
	CodeHeld       = "held" // the message is kept, and delivered once a fault in its conversation is mended
)

// ReadFrame says how far a member has read. Whoever asks with its position gets an answer that knows it.
type ReadFrame struct {
	Type         string `json:"type"`
	Conversation string `json:"conversation"`
	User         string `json:"user"`
	Seq          int64  `json:"seq"`
	At           Time   `json:"at"`
	Position     string `json:"position"`
}

// TypingFrame says that a member writes, or does no more.
type TypingFrame struct {
	Type         string `json:"type"`
	Conversation string `json:"conversation"`
	User         string `json:"user"`
	On           bool   `json:"on"`
}

// Typing asks messaging to tell that User writes.
type Typing struct {
	User         string `json:"user"`
	Conversation string `json:"conversation"`
	On           bool   `json:"on"`
}

// CheckEmoji says what is wrong with a reaction's emoji.
func CheckEmoji(s string) error {
	if len(s) == 0 || len(s) > MaxEmoji || !utf8.ValidString(s) {
		return fmt.Errorf("emoji must be 1 to %d bytes", MaxEmoji)
	}
	for _, r := range s {
		if unicode.IsControl(r) || unicode.IsSpace(r) {
			return fmt.Errorf("emoji holds %U", r)
		}
	}
	return nil
}

// CheckMentions says what is wrong with a message's mentions.
func CheckMentions(users []string) error {
	if len(users) > MaxMentions {
		return fmt.Errorf("mentions names %d users; at most %d", len(users), MaxMentions)
	}
	for _, u := range users {
		if !ValidID(u) {
			return errors.New("mentions names what is no user's id")
		}
	}
	return nil
}

// CheckContent says what is wrong with what a record or frame says, all but who says it where.
func (r Record) CheckContent() error {
	if r.Type == RecordSend {
		if r.ReplyTo < 0 {
			return errors.New("reply_to must be a seq")
		}
		if err := CheckMentions(r.Mentions); err != nil {
			return err
		}
		return CheckBody(r.Body)
	}
	if r.Target < 1 {
		return errors.New("seq must be that of a message")
	}
	switch r.Type {
	case RecordEdit:
		return CheckBody(r.Body)
	case RecordReact:
		return CheckEmoji(r.Emoji)
	}
	return nil
}

// blockPrefix is what the client id of a block record begins with; the version follows.
const blockPrefix = "b-"

// BlockID gives the client id of a block record. Versions of one sender and conversation only grow.
func BlockID(version int64) string { return blockPrefix + strconv.FormatInt(version, 10) }

// BlockVersion gives the version in the client id of a block record, 0 if there is none.
func BlockVersion(clientID string) int64 {
	s, ok := strings.CutPrefix(clientID, blockPrefix)
	v, err := strconv.ParseInt(s, 10, 64)
	if !ok || err != nil || v < 1 {
		return 0
	}
	return v
}

func (r Record) checkBlock() error {
	a, b, direct := Direct(r.Conversation)
	switch {
	case !direct || (r.Sender != a && r.Sender != b):
		return errors.New("a block without a direct conversation of its sender")
	case BlockVersion(r.ClientID) == 0:
		return errors.New("a block without a version")
	case r.Event == nil || (r.Event.Type != Blocked && r.Event.Type != Unblocked):
		return errors.New("a block that says neither blocked nor unblocked")
	}
	return nil
}
