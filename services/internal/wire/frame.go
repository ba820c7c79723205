package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// ClientFrame is any frame from a client.
type ClientFrame struct {
	Type         string           `json:"type"`
	ID           string           `json:"id,omitempty"`
	Token        string           `json:"token,omitempty"`
	Conversation string           `json:"conversation,omitempty"`
	ClientID     string           `json:"client_id,omitempty"`
	Body         string           `json:"body,omitempty"`
	Have         map[string]int64 `json:"have,omitempty"`
	ReplyTo      int64            `json:"reply_to,omitempty"`
	Mentions     []string         `json:"mentions,omitempty"`
	Seq          int64            `json:"seq,omitempty"`
	Emoji        string           `json:"emoji,omitempty"`
	On           bool             `json:"on,omitempty"`
	Away         bool             `json:"away,omitempty"`
	Again        bool             `json:"again,omitempty"`
}

// ErrField is a field that is wrong in a frame that is good otherwise.
var ErrField = errors.New("a field")

// DecodeFrame reads a client's frame. The error says, without a word of the frame's, why it is none. With ErrField comes what else is in the frame: a field
// has a wrong type, or encoding/json would take it by a name in another case, or the last of two with one name.
// An id that is too long is left out, as answers leave it out.
func DecodeFrame(data []byte) (f ClientFrame, err error) {
	switch {
	case len(data) > MaxFrame:
		return f, fmt.Errorf("a frame is larger than %d bytes", MaxFrame)
	case !utf8.Valid(data):
		return f, errors.New("a frame is not UTF-8")
	}
	deepest, misnamed := scan(data)
	if deepest > MaxDepth {
		return f, fmt.Errorf("a frame is nested deeper than %d", MaxDepth)
	}
	// A pointer, because null would leave a struct as it is.
	var p *ClientFrame
	err = json.Unmarshal(data, &p)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && p != nil {
		if field, _, _ := strings.Cut(wrong.Field, "."); field != "" {
			err = fmt.Errorf("%w has a wrong type: %s", ErrField, field) // the name is ours: json names fields that it knows
		}
	}
	if p == nil || (err != nil && !errors.Is(err, ErrField)) {
		return f, errors.New("a frame is not a JSON object as expected")
	}
	if err == nil && misnamed != "" {
		err = fmt.Errorf("%w comes twice, or its name is in another case: %s", ErrField, misnamed)
	}
	if len(p.ID) > MaxFrameID {
		p.ID = ""
	}
	switch p.Type {
	case FrameHello, FrameSend, FrameEdit, FrameDelete, FrameReact, FrameRead, FrameTyping, FrameResume, FramePing, FrameAway:
		return *p, err
	}
	return f, errors.New("a frame has no type or an unknown one")
}

// frameFields are the names of the fields of a ClientFrame.
var frameFields = [...]string{
	"type", "id", "token", "conversation", "client_id", "body", "have", "reply_to", "mentions", "seq", "emoji", "on", "away", "again",
}

// scan goes over a text that may be JSON, before a parser recurses into it. It gives how deep objects and lists are nested, and a field of a ClientFrame that
// comes twice or by a name in another case, if there is one.
func scan(data []byte) (deepest int, misnamed string) {
	depth, quoted, escaped := 0, false, false
	begin, end, escapes := 0, 0, false // of the last string
	var seen [len(frameFields)]bool
	for i, c := range data {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped, escapes = true, true
		case c == '"':
			if quoted = !quoted; quoted {
				begin, escapes = i, false
			} else {
				end = i + 1
			}
		case quoted:
		case c == ':' && depth == 1:
			if field, exact := fieldOf(data[begin:end], escapes); field >= 0 {
				if !exact || seen[field] {
					misnamed = frameFields[field]
				}
				seen[field] = true
			}
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest, misnamed
}

// fieldOf gives the field of a ClientFrame that encoding/json takes a quoted name for, -1 if it is none, and whether it is exactly the field's.
func fieldOf(quoted []byte, escapes bool) (field int, exact bool) {
	if len(quoted) < 2 {
		return -1, false
	}
	name := quoted[1 : len(quoted)-1]
	if escapes {
		var s string
		_ = json.Unmarshal(quoted, &s) // a name that is none is none of ours
		name = []byte(s)
	}
	for i, f := range frameFields {
		if string(name) == f {
			return i, true
		}
	}
	return slices.IndexFunc(frameFields[:], func(f string) bool { return strings.EqualFold(f, string(name)) }), false
}
