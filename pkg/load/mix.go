package load

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/labctl/labctl/services/client"
)

// Kind is what somebody does in a conversation.
type Kind string

// The kinds. All but Read are messages.
const (
	Text     Kind = "text"
	Reply    Kind = "reply"
	Edit     Kind = "edit"
	Reaction Kind = "reaction"
	Read     Kind = "read"
)

// Emoji is the reaction of all.
const Emoji = "👍"

// Mix is how many of a hundred things that people do are of a kind. The rest are texts.
type Mix struct {
	name                             string
	reads, reactions, edits, replies int
}

// Chat is what people do in a chat. Texts alone is what shows a service from its best side.
var (
	Chat  = Mix{name: "chat", reads: 10, reactions: 5, edits: 3, replies: 2}
	Texts = Mix{name: "texts"}
)

// ParseMix reads the name of a mix.
func ParseMix(s string) (Mix, error) {
	for _, m := range []Mix{Chat, Texts} {
		if m.name == s {
			return m, nil
		}
	}
	return Mix{}, fmt.Errorf("the mix %q is neither chat nor texts", s)
}

func (m Mix) String() string { return cmp.Or(m.name, Texts.name) }

// Draw draws a kind.
func (m Mix) Draw(rng *rand.Rand) Kind {
	n := rng.IntN(100)
	for _, k := range []struct {
		kind  Kind
		share int
	}{{Read, m.reads}, {Reaction, m.reactions}, {Edit, m.edits}, {Reply, m.replies}} {
		if n < k.share {
			return k.kind
		}
		n -= k.share
	}
	return Text
}

// settled is how old a text should be that others point to: it has a seq by then.
const settled = time.Second

// point gives each of arrivals that needs one the text that it points to: the last one of its room, or of its sender for an edit, that is
// older than settled. What finds none is a text.
func point(all []arrival) {
	type who struct{ room, sender int }
	byRoom, bySender := map[int]int{}, map[who]int{}
	next := 0 // of the arrivals that are not old enough
	for i := range all {
		a := &all[i]
		for ; all[next].at <= a.at-settled; next++ {
			if t := all[next]; t.kind == Text || t.kind == Reply {
				byRoom[t.room], bySender[who{t.room, t.sender}] = next, next
			}
		}
		var ok bool
		switch a.kind {
		case Edit:
			a.target, ok = bySender[who{a.room, a.sender}]
		case Reply, Reaction:
			a.target, ok = byRoom[a.room]
		default:
			continue
		}
		if !ok {
			a.kind, a.target = Text, 0
		}
	}
}

// As gives a text as something of another kind that points to a text.
func (m Message) As(kind Kind, target int64) Message {
	m.Target = target
	switch kind {
	case Edit:
		m.Kind = Edit
	case Reaction:
		m.Kind, m.Body, m.Emoji = Reaction, "", Emoji
	}
	return m
}

// Recognize gives a message as the one that was said, if it may be that: a text may have been edited since to one of edits, and hidden says that
// the reader may be one who does not see what is in a change of an older text.
func Recognize(m client.Message, said Message, edits []string, hidden bool) Message {
	got := MessageOf(m)
	if !m.Edited.IsZero() && slices.Contains(edits, m.Body) {
		got.Body = said.Body
	}
	if hidden && got.Kind != "" && got.Body == "" && got.Emoji == "" {
		got.Body, got.Emoji = said.Body, said.Emoji
	}
	return got
}
