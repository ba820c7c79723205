package messaging

import (
	"slices"
	"strconv"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/wire"
)

// message is a stored message: what was said, which stays (but for a deleted text), and in a text what became of it.
type message struct {
	ID           string           `bson:"_id"`
	Conversation string           `bson:"conversation"`
	Seq          int64            `bson:"seq"`
	Kind         string           `bson:"kind"`
	Sender       string           `bson:"sender"`
	ClientID     string           `bson:"client_id"`
	Body         string           `bson:"body"`
	Event        *wire.GroupEvent `bson:"event,omitempty"`
	ReplyTo      int64            `bson:"reply_to,omitempty"`
	Mentions     []string         `bson:"mentions,omitempty"`
	At           time.Time        `bson:"at"`

	// Of a change.
	Target int64  `bson:"target,omitempty"`
	Emoji  string `bson:"emoji,omitempty"`
	On     bool   `bson:"on,omitempty"`

	// Of an event: its version in the group's service, and the seq of the event before it.
	Version   int64 `bson:"version,omitempty"`
	LastEvent int64 `bson:"last_event,omitempty"`

	// Where the conversation stands with this message: how many texts it has, the seq of its last text or event, and that of its last event.
	Texts    int64 `bson:"texts"`
	Shown    int64 `bson:"shown,omitempty"`
	EventSeq int64 `bson:"event_seq,omitempty"`

	Source source `bson:"source"` // its record

	batch     int64  // in which the sequencer touched it last
	changedBy source // the record that has made it what it is

	Changed int64    `bson:"changed"` // the seq of the last change in Present; 0: none is
	Present *present `bson:"present,omitempty"`

	Latest *latest `bson:"latest,omitempty"` // what has become of it since it was inserted; of the document alone
}

// latest is what a text has become with a change. Of two, the later one is the greater: Changed comes first.
type latest struct {
	Changed int64    `bson:"changed"`
	Present *present `bson:"present"`
}

// UnmarshalBSON reads a document, and what has become of the text since.
func (m *message) UnmarshalBSON(data []byte) error {
	type document message
	if err := bson.Unmarshal(data, (*document)(m)); err != nil {
		return err
	}
	if l := m.Latest; l != nil && l.Changed > m.Changed {
		m.Changed, m.Present = l.Changed, l.Present
	}
	m.Latest = nil
	return nil
}

// entry is a message in a bucket: without what the bucket's id and the key say, and what is of use in the message's document only. Each
// field counts, since the embedded store reads and writes a bucket as a whole.
type entry struct {
	Kind     string           `bson:"kind,omitempty"` // empty: a text
	Sender   string           `bson:"sender"`
	ClientID string           `bson:"client_id"`
	Body     string           `bson:"body,omitempty"`
	Event    *wire.GroupEvent `bson:"event,omitempty"`
	ReplyTo  int64            `bson:"reply_to,omitempty"`
	Mentions []string         `bson:"mentions,omitempty"`
	At       time.Time        `bson:"at"`
	Target   int64            `bson:"target,omitempty"`
	Emoji    string           `bson:"emoji,omitempty"`
	On       bool             `bson:"on,omitempty"`
	Changed  int64            `bson:"changed,omitempty"`
	Present  *present         `bson:"present,omitempty"`
}

func (m message) entry() entry {
	e := entry{
		Kind: m.Kind, Sender: m.Sender, ClientID: m.ClientID, Body: m.Body, Event: m.Event, ReplyTo: m.ReplyTo, Mentions: m.Mentions,
		At: m.At, Target: m.Target, Emoji: m.Emoji, On: m.On, Changed: m.Changed, Present: m.Present,
	}
	if e.Kind == wire.Text {
		e.Kind = ""
	}
	return e
}

func (e entry) message(conversation string, seq int64) message {
	m := message{
		ID: messageID(conversation, seq), Conversation: conversation, Seq: seq, Kind: e.Kind, Sender: e.Sender, ClientID: e.ClientID,
		Body: e.Body, Event: e.Event, ReplyTo: e.ReplyTo, Mentions: e.Mentions, At: e.At, Target: e.Target, Emoji: e.Emoji, On: e.On,
		Changed: e.Changed, Present: e.Present,
	}
	if m.Kind == "" {
		m.Kind = wire.Text
	}
	return m
}

// present is what became of a message.
type present struct {
	Body      string     `bson:"body,omitempty"`
	Edited    time.Time  `bson:"edited,omitempty"`
	Edits     []int64    `bson:"edits,omitempty"` // their seqs
	Deleted   time.Time  `bson:"deleted,omitempty"`
	Reactions []reaction `bson:"reactions,omitempty"`
}

// reaction is an emoji and who has set it. An emoji is no name of a field: it may be a dot or begin with a dollar.
type reaction struct {
	Emoji string   `bson:"emoji"`
	Users []string `bson:"users"`
}

func messageID(conversation string, seq int64) string {
	return conversation + "/" + strconv.FormatInt(seq, 10)
}

func newMessage(r wire.Record, seq int64) message {
	m := message{
		ID: messageID(r.Conversation, seq), Conversation: r.Conversation, Seq: seq, Kind: wire.Text,
		Sender: r.Sender, ClientID: r.ClientID, Body: r.Body, ReplyTo: r.ReplyTo, Mentions: r.Mentions, At: r.At.Time,
	}
	switch r.Type {
	case wire.RecordGroup:
		m.Kind, m.Body, m.Event, m.Version = wire.Event, "", r.Event, eventVersion(r)
	case wire.RecordEdit:
		m.Kind, m.Target = wire.Edit, r.Target
	case wire.RecordDelete, wire.RecordErase:
		m.Kind, m.Target, m.Body = wire.Delete, r.Target, ""
	case wire.RecordReact:
		m.Kind, m.Target, m.Body, m.Emoji, m.On = wire.Reaction, r.Target, "", r.Emoji, r.On
	}
	return m
}

// wire gives a message as it is now.
func (m message) wire() wire.Message {
	w := m.said()
	p := m.Present
	if p == nil {
		return w
	}
	w.Changed = m.Changed
	if !p.Edited.IsZero() {
		w.Edited, w.Body = wire.At(p.Edited), p.Body
	}
	for _, r := range p.Reactions {
		if w.Reactions == nil {
			w.Reactions = map[string][]string{}
		}
		w.Reactions[r.Emoji] = r.Users
	}
	return w
}

// said gives a message as it was said, but for what was deleted. Who has left since must not get more than that.
func (m message) said() wire.Message {
	w := wire.Message{
		Conversation: m.Conversation, Seq: m.Seq, Kind: m.Kind, Sender: m.Sender, ClientID: m.ClientID,
		Body: m.Body, Event: m.Event, ReplyTo: m.ReplyTo, Mentions: m.Mentions, At: wire.At(m.At), Target: m.Target, Emoji: m.Emoji,
	}
	if m.Kind == wire.Reaction {
		w.On = &m.On
	}
	if p := m.Present; p != nil && !p.Deleted.IsZero() {
		w.Deleted, w.Changed = wire.At(p.Deleted), m.Changed
	}
	return w
}

// seenFrom gives a message for who may see what is said from first on: of a change of something before that, only that it was.
func seenFrom(w wire.Message, first int64) wire.Message {
	if w.Target > 0 && w.Target < first {
		w.Body, w.Emoji = "", ""
	}
	return w
}

// of gives m if a record says what it says, as far as the record's client id tells; else nil.
func (m *message) of(r wire.Record) *message {
	if m == nil || m.Kind == wire.Event || m.Sender != r.Sender || m.ClientID != r.ClientID {
		return nil
	}
	return m
}

// alive says whether m is a text that is not deleted.
func (m *message) alive() bool { return m.Kind == wire.Text && m.now().Deleted.IsZero() }

// now is what became of m.
func (m *message) now() present {
	if m.Present == nil {
		return present{}
	}
	return *m.Present
}

// erase takes away what a deleted text, or an edit of one, said.
func (m *message) erase(seq int64, at time.Time) {
	m.Body, m.Mentions = "", nil
	m.Changed = seq
	m.Present = &present{Edited: m.now().Edited, Edits: m.now().Edits, Deleted: at}
}

// apply takes a change into a text. Changes come in order; one that is in it already does nothing.
func (m *message) apply(c message) {
	if c.Seq <= m.Changed {
		return
	}
	m.Changed = c.Seq
	p := m.now() // a copy: another message may have the same
	m.Present = &p
	switch {
	case !p.Deleted.IsZero():
	case c.Kind == wire.Edit:
		p.Body, p.Edited, p.Edits = c.Body, c.At, append(slices.Clone(p.Edits), c.Seq)
	case c.Kind == wire.Delete:
		m.erase(c.Seq, c.At)
	case c.Kind == wire.Reaction:
		p.Reactions = react(p.Reactions, c.Emoji, c.Sender, c.On)
	}
}

// react gives the reactions with that one set or taken back. It leaves the given list as it is.
func react(list []reaction, emoji, user string, on bool) []reaction {
	list = slices.Clone(list)
	i := slices.IndexFunc(list, func(r reaction) bool { return r.Emoji == emoji })
	if i < 0 {
		if on {
			list = append(list, reaction{Emoji: emoji, Users: []string{user}})
		}
		return list
	}
	users := slices.DeleteFunc(slices.Clone(list[i].Users), func(u string) bool { return u == user })
	if on {
		if len(users) < len(list[i].Users) {
			return list // set before, and stays in its place
		}
		users = append(users, user)
	}
	list[i].Users = users
	if len(users) == 0 {
		list = slices.Delete(list, i, i+1)
	}
	return list
}

// reacted counts the reactions of a message.
func (p present) reacted() (n int) {
	for _, r := range p.Reactions {
		n += len(r.Users)
	}
	return n
}

// lastShown is the seq of the last text or event up to this message.
func (m message) lastShown() int64 {
	if m.Shown == 0 {
		return m.Seq // of before others were kept
	}
	return m.Shown
}

// heldBy is the batch in which a message was touched last.
func (m *message) heldBy() int64 {
	if m == nil {
		return 0
	}
	return m.batch
}
