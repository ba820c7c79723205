package load

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Message is what was said, without its place.
type Message struct {
	Conversation, Sender, ClientID, Body string

	Kind   Kind   // of an edit or a reaction, else empty
	Target int64  // the seq of the text that a reply, an edit or a reaction points to
	Emoji  string // of a reaction
	Event  Event  // its Type is empty unless it is a change of a group
}

// Event is a change of a group.
type Event struct {
	Type, Title string
	Users       string // ids with commas
	Owner       string
}

// Entry is a message at its place in a conversation, as a device showed it or history gave it. Message and Conversation are
// numbers in the Record: a log may hold millions.
type Entry struct {
	Conversation, Message int32
	Seq                   int64
}

// Log is what one reader has got, in the order in which they got it.
type Log struct {
	Name    string // for people
	User    string
	Entries []Entry
}

// History is what a member was given of one conversation at the end.
type History struct {
	Log
	Conversation int32
}

// Outcome is what a sender was told.
type Outcome int

// The outcomes.
const (
	Unanswered Outcome = iota // neither stored nor refused: nobody may be left like that
	Stored
	Refused
)

// Said is one message that a client was asked to send, however often it did.
type Said struct {
	Message  int32
	Outcome  Outcome
	Seq      int64         // where it is, if stored
	At       time.Duration // when it was sent first
	Answered time.Duration
	// Guest says that the sender may have been no member then, so that a refusal is an answer.
	Guest bool
}

// Change is a version of a group that its service has confirmed: the events of all versions up to it must stand among the messages.
type Change struct {
	Conversation int32
	Version      int64
}

// Record is all that a run has seen.
type Record struct {
	Conversations []string
	// Base is the last seq that conversations held before the run, where they did. What is up to there is not looked at.
	Base      map[int32]int64
	Messages  []Message
	Said      []Said
	Changes   []Change
	Devices   []Log // of each device, since before anything was said
	Histories []History
	// Store is what the database holds, where one can look.
	Store *Log

	numbers map[string]int32
	known   map[Message]int32
}

// Conversation gives the number of a conversation.
func (r *Record) Conversation(id string) int32 {
	if n, ok := r.numbers[id]; ok {
		return n
	}
	if r.numbers == nil {
		r.numbers = map[string]int32{}
	}
	n := int32(len(r.Conversations))
	r.numbers[id] = n
	r.Conversations = append(r.Conversations, id)
	return n
}

// Number gives the number of a message. The same message has the same number.
func (r *Record) Number(m Message) int32 {
	if n, ok := r.known[m]; ok {
		return n
	}
	if r.known == nil {
		r.known = map[Message]int32{}
	}
	n := int32(len(r.Messages))
	r.known[m] = n
	r.Messages = append(r.Messages, m)
	return n
}

// Verdict counts how the promise was kept. All but the first three must be 0.
type Verdict struct {
	Acked     int64 `json:"acked"`     // messages and changes of groups that were acknowledged as stored
	Refused   int64 `json:"refused"`   // messages of those who were no members
	Delivered int64 `json:"delivered"` // messages shown on devices

	Lost       int64 `json:"lost"`         // acknowledged and not stored, or stored and not shown on a member's device
	Unanswered int64 `json:"unanswered"`   // neither acknowledged nor refused
	Duplicated int64 `json:"duplicated"`   // stored twice, or shown twice
	OutOfOrder int64 `json:"out_of_order"` // shown in another order than on others, or stored in another order than said
	Leaked     int64 `json:"leaked"`       // shown to who was no member then
	Different  int64 `json:"different"`    // not as it was said, or refused and stored

	// Examples are the first few findings in words.
	Examples []string `json:"examples,omitempty"`
}

// Kept says whether the promise was.
func (v Verdict) Kept() bool {
	return v.Lost+v.Unanswered+v.Duplicated+v.OutOfOrder+v.Leaked+v.Different == 0
}

// Add adds another run's verdict.
func (v *Verdict) Add(o Verdict) {
	v.Acked, v.Refused, v.Delivered = v.Acked+o.Acked, v.Refused+o.Refused, v.Delivered+o.Delivered
	v.Lost, v.Unanswered, v.Duplicated = v.Lost+o.Lost, v.Unanswered+o.Unanswered, v.Duplicated+o.Duplicated
	v.OutOfOrder, v.Leaked, v.Different = v.OutOfOrder+o.OutOfOrder, v.Leaked+o.Leaked, v.Different+o.Different
	v.Examples = append(v.Examples, o.Examples...)
}

const maxExamples = 20

// checker compares a record with itself.
type checker struct {
	*Record
	Verdict
	truth map[int32]map[int64]int32 // by conversation and seq
	last  map[int32]int64
	stays map[int32]map[string][]stay // of groups, by user
}

// stay is from the event that added a user to the one that removed them, both seen. last 0: to the end.
type stay struct{ first, last int64 }

// Check judges a record.
func Check(r *Record) Verdict {
	c := &checker{Record: r, truth: map[int32]map[int64]int32{}, last: map[int32]int64{}, stays: map[int32]map[string][]stay{}}
	c.establish()
	c.members()
	c.stored()
	c.answers()
	for i := range r.Devices {
		c.device(&r.Devices[i])
	}
	for i := range r.Histories {
		c.history(&r.Histories[i])
	}
	return c.Verdict
}

func (c *checker) find(count *int64, format string, a ...any) {
	*count++
	if len(c.Examples) < maxExamples {
		c.Examples = append(c.Examples, fmt.Sprintf(format, a...))
	}
}

// place names an entry.
func (c *checker) place(conversation int32, seq int64) string {
	return fmt.Sprintf("%s/%d", c.Conversations[conversation], seq)
}

func (c *checker) name(m int32) string {
	msg := c.Messages[m]
	if msg.Event.Type != "" {
		return fmt.Sprintf("%s %s by %s", msg.Event.Type, msg.Event.Users, msg.Sender)
	}
	return fmt.Sprintf("%s of %s", msg.ClientID, msg.Sender)
}

// establish finds what stands where: the union of all that anyone was given. At one place there is one message.
func (c *checker) establish() {
	take := func(l *Log, where string) {
		for _, e := range l.Entries {
			if e.Seq <= c.Base[e.Conversation] {
				continue
			}
			t := c.truth[e.Conversation]
			if t == nil {
				t = map[int64]int32{}
				c.truth[e.Conversation] = t
			}
			c.last[e.Conversation] = max(c.last[e.Conversation], e.Seq)
			if m, ok := t[e.Seq]; !ok {
				t[e.Seq] = e.Message
			} else if m != e.Message {
				c.find(&c.OutOfOrder, "%s is %s to others and %s in %s of %s", c.place(e.Conversation, e.Seq), c.name(m), c.name(e.Message), where, l.Name)
			}
		}
	}
	if c.Store != nil {
		take(c.Store, "the database")
	}
	for i := range c.Histories {
		take(&c.Histories[i].Log, "the history")
	}
	for i := range c.Devices {
		take(&c.Devices[i], "the log")
	}
}

// members follows the events of the groups.
func (c *checker) members() {
	for n, t := range c.truth {
		stays := map[string][]stay{}
		for _, seq := range slices.Sorted(maps.Keys(t)) {
			e := c.Messages[t[seq]].Event
			if e.Users == "" {
				continue
			}
			for u := range strings.SplitSeq(e.Users, ",") {
				l := stays[u]
				here := len(l) > 0 && l[len(l)-1].last == 0
				switch e.Type {
				case "created", "member_added":
					if !here {
						stays[u] = append(l, stay{first: seq})
					}
				case "member_removed", "member_left":
					if here {
						l[len(l)-1].last = seq
					}
				}
			}
		}
		c.stays[n] = stays
	}
}

// of gives the stays of a user. In a direct conversation its two users always are.
func (c *checker) of(conversation int32, user string) []stay {
	if id, direct := strings.CutPrefix(c.Conversations[conversation], "dm:"); direct {
		a, b, _ := strings.Cut(id, ":")
		if user == a || user == b {
			return []stay{{first: 1}}
		}
		return nil
	}
	return c.stays[conversation][user]
}

func may(stays []stay, seq int64) bool {
	return slices.ContainsFunc(stays, func(s stay) bool { return s.first <= seq && (s.last == 0 || seq <= s.last) })
}

// stored looks at what is stored: without holes, each message once, in the database what history says.
func (c *checker) stored() {
	type identity struct {
		conversation     int32
		sender, clientID string
		event            bool
	}
	seen := map[identity]int64{}
	for n, t := range c.truth {
		for seq := c.Base[n] + 1; seq <= c.last[n]; seq++ {
			m, ok := t[seq]
			if !ok {
				c.find(&c.Lost, "%s is a hole: %d stand after it", c.place(n, seq), c.last[n]-seq)
				continue
			}
			msg := c.Messages[m]
			id := identity{n, msg.Sender, msg.ClientID, msg.Event.Type != ""}
			if id.event {
				id.sender = "" // the version of the group is the identity of an event
			}
			if first, twice := seen[id]; twice {
				c.find(&c.Duplicated, "%s is stored at %d and at %s", c.name(m), first, c.place(n, seq))
			}
			seen[id] = seq
		}
	}
	if c.Store == nil {
		return
	}
	have := map[Entry]bool{}
	for _, e := range c.Store.Entries {
		have[e] = true
	}
	for n, t := range c.truth {
		for seq, m := range t {
			if !have[Entry{n, m, seq}] {
				c.find(&c.Lost, "%s, %s, was given and is not in the database", c.place(n, seq), c.name(m))
			}
		}
	}
}

// answers holds what senders were told against what is stored.
func (c *checker) answers() {
	said := map[Message]*Said{} // by who said it, and where
	key := func(m Message) Message {
		return Message{Conversation: m.Conversation, Sender: m.Sender, ClientID: m.ClientID}
	}
	for i := range c.Said {
		s := &c.Said[i]
		m := c.Messages[s.Message]
		n := c.Conversation(m.Conversation)
		said[key(m)] = s
		switch s.Outcome {
		case Unanswered:
			c.find(&c.Unanswered, "%s was neither acknowledged nor refused", c.name(s.Message))
		case Refused:
			c.Refused++
			if !s.Guest {
				c.find(&c.Different, "%s was refused, and the sender was a member", c.name(s.Message))
			}
		case Stored:
			c.Acked++
			if at, ok := c.truth[n][s.Seq]; !ok {
				c.find(&c.Lost, "%s was acknowledged at %s, which is not there", c.name(s.Message), c.place(n, s.Seq))
			} else if at != s.Message {
				c.find(&c.Lost, "%s was acknowledged at %s, where %s is", c.name(s.Message), c.place(n, s.Seq), c.name(at))
			}
		}
	}
	for n, t := range c.truth {
		for seq, m := range t {
			msg := c.Messages[m]
			if msg.Event.Type != "" {
				continue
			}
			switch s := said[key(msg)]; {
			case s == nil:
				c.find(&c.Different, "%s, %s, was never said", c.place(n, seq), c.name(m))
			case s.Message != m:
				c.find(&c.Different, "%s, %s, is not what was said", c.place(n, seq), c.name(m))
			case s.Outcome == Refused:
				c.find(&c.Different, "%s, %s, was refused and is stored", c.place(n, seq), c.name(m))
			}
		}
	}
	c.order()
	c.changes()
}

// order wants what was said after another's acknowledgement to stand after it.
func (c *checker) order() {
	rooms := map[string][]*Said{}
	for i := range c.Said {
		if s := &c.Said[i]; s.Outcome == Stored {
			id := c.Messages[s.Message].Conversation
			rooms[id] = append(rooms[id], s)
		}
	}
	for _, sent := range rooms {
		answered := slices.Clone(sent)
		slices.SortFunc(sent, func(a, b *Said) int { return cmp.Compare(a.At, b.At) })
		slices.SortFunc(answered, func(a, b *Said) int { return cmp.Compare(a.Answered, b.Answered) })
		var highest *Said
		next := 0
		for _, s := range sent {
			for ; next < len(answered) && answered[next].Answered < s.At; next++ {
				if highest == nil || answered[next].Seq > highest.Seq {
					highest = answered[next]
				}
			}
			if highest != nil && s.Seq < highest.Seq {
				c.find(&c.OutOfOrder, "%s stands at %d, before %s at %d, which was acknowledged before it was said",
					c.name(s.Message), s.Seq, c.name(highest.Message), highest.Seq)
			}
		}
	}
}

// changes wants the event of each version that was confirmed. Its client id is the version.
func (c *checker) changes() {
	found, highest := map[int32]map[string]bool{}, map[int32]int64{}
	for n, t := range c.truth {
		found[n] = map[string]bool{}
		for _, m := range t {
			if msg := c.Messages[m]; msg.Event.Type != "" {
				found[n][msg.ClientID] = true
			}
		}
	}
	for _, ch := range c.Changes {
		c.Acked++
		highest[ch.Conversation] = max(highest[ch.Conversation], ch.Version)
	}
	for n, v := range highest {
		for i := int64(1); i <= v; i++ {
			if !found[n][strconv.FormatInt(i, 10)] {
				c.find(&c.Lost, "version %d of %s was confirmed, and its event is not among the messages", i, c.Conversations[n])
			}
		}
	}
}

// device looks at what one device showed.
func (c *checker) device(l *Log) {
	type place struct {
		conversation int32
		seq          int64
	}
	shown := map[place]bool{}
	last := map[int32]int64{}
	for _, e := range l.Entries {
		if e.Seq <= c.Base[e.Conversation] {
			continue
		}
		c.Delivered++
		if !may(c.of(e.Conversation, l.User), e.Seq) {
			c.find(&c.Leaked, "%s showed %s, %s, which was not for its user", l.Name, c.place(e.Conversation, e.Seq), c.name(e.Message))
		}
		p := place{e.Conversation, e.Seq}
		switch {
		case shown[p]:
			c.find(&c.Duplicated, "%s showed %s twice", l.Name, c.place(e.Conversation, e.Seq))
		case e.Seq < last[e.Conversation]:
			c.find(&c.OutOfOrder, "%s showed %s after %d", l.Name, c.place(e.Conversation, e.Seq), last[e.Conversation])
		}
		shown[p] = true
		last[e.Conversation] = max(last[e.Conversation], e.Seq)
	}
	for n := range c.truth {
		c.complete(n, l.User, func(seq int64) {
			if !shown[place{n, seq}] {
				c.find(&c.Lost, "%s never showed %s, %s", l.Name, c.place(n, seq), c.name(c.truth[n][seq]))
			}
		})
	}
}

// complete calls f for each seq that a user must have of a conversation: all of a stay that lasts. Who has been removed may have
// been away then, and history is closed to them.
func (c *checker) complete(n int32, user string, f func(seq int64)) {
	for _, s := range c.of(n, user) {
		if s.last == 0 {
			for seq := max(s.first, c.Base[n]+1); seq <= c.last[n]; seq++ {
				if _, ok := c.truth[n][seq]; ok { // a hole was found already
					f(seq)
				}
			}
		}
	}
}

// history looks at what history gave a user at the end: all of the stay that lasts, and nothing else.
func (c *checker) history(h *History) {
	n := h.Conversation
	have := map[int64]bool{}
	stays := c.of(n, h.User)
	var last int64
	for _, e := range h.Entries {
		if e.Seq <= c.Base[n] {
			continue
		}
		if len(stays) == 0 || stays[len(stays)-1].last != 0 || e.Seq < stays[len(stays)-1].first {
			c.find(&c.Leaked, "history gave %s %s, %s", h.Name, c.place(n, e.Seq), c.name(e.Message))
		}
		if e.Seq <= last {
			c.find(&c.OutOfOrder, "history gave %s %s after %d", h.Name, c.place(n, e.Seq), last)
		}
		last = max(last, e.Seq)
		have[e.Seq] = true
	}
	c.complete(n, h.User, func(seq int64) {
		if !have[seq] {
			c.find(&c.Lost, "history did not give %s %s, %s", h.Name, c.place(n, seq), c.name(c.truth[n][seq]))
		}
	})
}
