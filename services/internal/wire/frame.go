package wire

import (
	"encoding/json"
	"errors"
	"fmt"
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

// ErrField is a field of a wrong type in a frame that is good otherwise.
var ErrField = errors.New("a field has a wrong type")

// DecodeFrame reads a client's frame. The error says, without a word of the frame's, why it is none. With ErrField comes what else is in the frame.
// An id that is too long is left out, as answers leave it out.
func DecodeFrame(data []byte) (f ClientFrame, err error) {
	switch {
	case len(data) > MaxFrame:
		return f, fmt.Errorf("a frame is larger than %d bytes", MaxFrame)
	case !utf8.Valid(data):
		return f, errors.New("a frame is not UTF-8")
	case depth(data) > MaxDepth:
		return f, fmt.Errorf("a frame is nested deeper than %d", MaxDepth)
	}
	// A pointer, because null would leave a struct as it is.
	var p *ClientFrame
	err = json.Unmarshal(data, &p)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && p != nil {
		if field, _, _ := strings.Cut(wrong.Field, "."); field != "" {
			err = fmt.Errorf("%w: %s", ErrField, field) // the name is ours: json names fields that it knows
		}
	}
	if p == nil || (err != nil && !errors.Is(err, ErrField)) {
		return f, errors.New("a frame is not a JSON object as expected")
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

// depth gives how deep objects and lists are nested in a text that may be JSON, before a parser recurses into it.
func depth(data []byte) (deepest int) {
	now, quoted, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}
