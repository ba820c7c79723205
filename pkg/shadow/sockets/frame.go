package sockets

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// frame is what identifies a frame to a client (docs/protocol.md, § 7), and how it is compared.
type frame struct {
	kind string // its type
	id   string // of all frames of the type; two frames with one id are the same, once more
	// repeats says that the chat may send the same frame again, and clients drop it. Of other types a frame with the same
	// id is another one.
	repeats bool
	// answer says that the frame answers one of the client's, so each side sends it, whenever its socket opened.
	answer bool
	at     time.Time // when what it tells happened; zero where it does not say
	failed bool      // it says that a part of the chat is down
	user   string    // of a hello
}

// fields are those of frames that identify them.
type fields struct {
	Type         string    `json:"type"`
	ID           string    `json:"id"`
	ClientID     string    `json:"client_id"`
	Conversation string    `json:"conversation"`
	User         string    `json:"user"`
	Seq          int64     `json:"seq"`
	Kind         string    `json:"kind"`
	Group        string    `json:"group"`
	Code         string    `json:"code"`
	At           time.Time `json:"at"`
	Message      struct {
		Conversation string    `json:"conversation"`
		Seq          int64     `json:"seq"`
		At           time.Time `json:"at"`
	} `json:"message"`
}

const (
	// helloKind is the kind of the first frame.
	helloKind = "hello"
	// closeKind is the kind of how a side ends a socket.
	closeKind = "close"
	// unknownKind is the kind of what is no frame of the chat.
	unknownKind = "unknown"
)

func identify(data []byte) frame {
	var f fields
	if json.Unmarshal(data, &f) != nil {
		return frame{kind: unknownKind}
	}
	named := func(parts ...string) string { return strings.Join(parts, "/") }
	switch f.Type {
	case helloKind:
		return frame{kind: f.Type, answer: true, user: f.User}
	case "resumed", "pong":
		return frame{kind: f.Type, id: f.ID, answer: true}
	case "message":
		return frame{kind: f.Type, id: named(f.Message.Conversation, strconv.FormatInt(f.Message.Seq, 10)), repeats: true, at: f.Message.At}
	case "read":
		return frame{kind: f.Type, id: named(f.Conversation, f.User, strconv.FormatInt(f.Seq, 10)), repeats: true, at: f.At}
	case "presence":
		return frame{kind: f.Type, id: named(f.User, f.At.Format(time.RFC3339Nano)), repeats: true, at: f.At}
	case "typing":
		return frame{kind: f.Type, id: named(f.Conversation, f.User)}
	case "error":
		return frame{kind: f.Type, id: named(f.Conversation, f.ClientID, f.ID), failed: f.Code == "unavailable"}
	case "notice":
		return frame{kind: f.Type, id: named(f.Kind, f.User, f.Group)}
	}
	return frame{kind: unknownKind}
}

// jsonOf gives data as JSON: what is none as a string.
func jsonOf(data []byte) []byte {
	if json.Valid(data) && utf8.Valid(data) {
		return data
	}
	text, _ := json.Marshal(string(data)) // of a string there is always one
	return text
}
