package messaging

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/wire"
)

// log is the topic messages as one cluster has it: a topic that is made anew, or that lost its end, is another log, whose offsets say
// nothing about those of the one before.
type log string

// source is where in a log a record stands.
type source struct {
	Log       log   `bson:"log"`
	Partition int32 `bson:"partition"`
	Offset    int64 `bson:"offset"`
}

// before says whether s comes before t, as all of another log does.
func (s source) before(t source) bool {
	return s.Log != t.Log || s.Partition != t.Partition || s.Offset < t.Offset
}

// input is a record of the topic messages.
type input struct {
	source  source
	record  wire.Record
	invalid error // why it can never be handled

	raw *kgo.Record // where it came from, for what it has to do with neither
}

// state is what the decisions about the records of a partition rest on: the fold of all of them so far. It has what the restorer has loaded and what is not
// stored yet.
type state struct {
	conversations map[string]*conversation
	keys          map[string]idempotencyKey // by their ids
	window        *window

	batch int64    // the number of the last batch that was applied
	held  []loaded // what can be loaded again once it is stored, the oldest first
}

func newState() *state {
	return &state{conversations: map[string]*conversation{}, keys: map[string]idempotencyKey{}, window: newWindow()}
}

// recognize says of a record whether the same was said before, as far as the window knows. It is called once for each record, in order.
func (s *state) recognize(in *input) {
	if in.invalid != nil || !hasKey(in.record) {
		return
	}
	id := keyID(in.record)
	in.record.Again = in.record.Again || s.window.has(id, in.source.Offset)
	s.window.add(id, in.source.Offset)
}

// outcome is what becomes of a record.
type outcome int

const (
	invalid  outcome = iota // it goes to the dead letters
	done                    // it was handled before: its effects are stored, and published before that
	repeated                // another record said the same before
	refused
	accepted    // it is a message now
	noted       // a read, or a block: it takes no seq
	quarantined // it is kept for later
	released    // it ended a quarantine
)

// effects are what follows from one record.
type effects struct {
	input   input
	outcome outcome

	message *message        // what it is stored as, now or, if it is repeated, earlier
	code    string          // of its refusal, now or earlier
	key     *idempotencyKey // to be stored
	cursor  readCursor      // how far its sender has read now, if a read is news
	consequences

	members *roster // who is in the conversation
	leaving []string
}

func (e effects) conversation() string {
	if e.message != nil {
		return e.message.Conversation
	}
	return e.input.record.Conversation
}

// origin is the record that e follows from, also where that was found in the database.
func (e effects) origin() source {
	if e.input.source.Log == "" && e.message != nil {
		return e.message.Source
	}
	return e.input.source
}

// writes says whether the database has something to do with e.
func (e effects) writes() bool {
	return e.key != nil || e.outcome == accepted || e.outcome == released || e.roster != nil || len(e.joined) > 0 || len(e.changed) > 0
}

// consequences are what else is different after a message: each is a value as it is from now on, so that writing it twice is writing it once.
type consequences struct {
	changed []message             // texts, and edits of deleted texts
	roster  *roster               // who is in the conversation
	joined  []string              // to whom the conversation is new
	cursors map[string]readCursor // who has read how far
}

// apply decides a record and takes it into the state. It does no I/O and asks no clock, and the restorer has loaded what it needs: so whoever
// applies the same records comes to the same effects.
func (s *state) apply(in input) effects {
	e := effects{input: in}
	if in.invalid != nil {
		return e
	}
	r := in.record
	c := s.conversations[r.Conversation]
	c.batch = s.batch
	e.members = c.roster
	switch r.Type {
	case wire.RecordRelease:
		e.outcome = released
		return e
	case wire.RecordBlock:
		e.outcome = noted
		if next, ok := c.roster.withBlock(c.id, r.Sender, r.ClientID, r.Event.Type == wire.Blocked, in.source); ok {
			c.roster, e.roster = next, next
		}
		return e
	case wire.RecordRead:
		e.outcome = noted
		if to, ok := c.read(r.Sender, r.Target, in.source); ok {
			e.cursor, e.cursors = to, map[string]readCursor{r.Sender: to}
		}
		return e
	case wire.RecordGroup:
		e.decideEvent(c)
	case wire.RecordErase:
		e.decideErase(c)
	default:
		s.decide(c, &e)
	}
	if e.outcome != accepted {
		return e
	}
	m := newMessage(r, c.next)
	m.Source, c.batch = in.source, s.batch
	m.Mentions = c.roster.mentioned(c.id, m.Mentions)
	before := c.roster
	e.consequences = c.take(&m)
	e.message = &m
	s.hold(loaded{conversation: c, seq: m.Seq})
	for _, t := range e.changed {
		s.hold(loaded{conversation: c, seq: t.Seq})
	}
	e.members, e.leaving = c.roster, left(before, c.roster)
	return e
}

// decideEvent accepts a group's event, unless one as new is in the roster. The group's service has decided about it; versions keep an old event that
// comes again from undoing a newer one.
func (e *effects) decideEvent(c *conversation) {
	switch {
	case c.isDone(e.input.source):
		e.outcome = done
	case eventVersion(e.input.record) <= c.roster.Version:
		e.outcome = repeated
	default:
		e.outcome = accepted
	}
}

// decideErase deletes a text of a deleted user, if it is there. It needs no idempotency key: a text that is deleted stays so.
func (e *effects) decideErase(c *conversation) {
	t := c.messages[e.input.record.Target]
	switch {
	case c.isDone(e.input.source):
		e.outcome = done
	case t == nil || t.Sender != e.input.record.Sender || !t.alive():
		e.outcome = repeated
	default:
		e.outcome = accepted
	}
}

// decide decides what a user says.
func (s *state) decide(c *conversation, e *effects) {
	r, at := e.input.record, e.input.source
	id := keyID(r)
	if c.isDone(at) {
		e.outcome = done
		return
	}
	k, ok := s.keys[id]
	if ok && k.Source.before(at) && r.Again {
		m := c.messages[k.Seq].of(r)
		if k.Refused != "" || m != nil {
			e.outcome, e.code, e.message = repeated, k.Refused, m
			return
		}
	}
	e.key = &idempotencyKey{ID: id, At: r.At.Time, Source: at}
	if ok && k.Source == at && k.Refused != "" {
		e.code = k.Refused // as another instance decided: the stored documents may be of a later time, at which it would be accepted
	} else {
		e.code = c.judge(r)
	}
	if e.code != "" {
		e.outcome, e.key.Refused = refused, e.code
	} else {
		e.outcome, e.key.Seq = accepted, c.next
	}
	k = *e.key
	k.batch = s.batch
	s.keys[id] = k
	s.hold(loaded{key: id})
}

// take takes a message into the conversation, whose next one it is, and gives what follows from it.
func (c *conversation) take(m *message) (follows consequences) {
	c.next, c.source = m.Seq+1, m.Source
	switch m.Kind {
	case wire.Text:
		c.texts, c.shown = c.texts+1, m.Seq
	case wire.Event:
		c.shown = m.Seq
	}
	follows.cursors = map[string]readCursor{}
	here := readCursor{Seq: m.Seq, Texts: c.texts, source: m.Source}
	switch {
	case m.Kind == wire.Event:
		if m.Seq > c.roster.Seq {
			c.roster = c.roster.with(c.id, m)
			follows.roster = c.roster
		}
		m.LastEvent, c.event = c.event, m.Seq
		if m.Event.Type == wire.Created || m.Event.Type == wire.MemberAdded { // what was said before is not for them
			follows.joined = m.Event.Users
			for _, u := range m.Event.Users {
				c.advance(follows.cursors, u, here)
			}
		}
	case m.Kind == wire.Text:
		c.advance(follows.cursors, m.Sender, here)
	case wire.Changes(m.Kind):
		follows.changed = c.change(m)
	}
	if a, b, direct := wire.Direct(c.id); direct && m.Seq == 1 {
		follows.joined = []string{a, b}
	}
	m.Texts, m.EventSeq, m.batch, m.changedBy = c.texts, c.event, c.batch, m.Source
	if c.shown != m.Seq {
		m.Shown = c.shown
	}
	c.messages[m.Seq] = m
	return follows
}

// change takes a change into its text, and gives what is otherwise now: the text, and, once it is deleted, what its edits said.
func (c *conversation) change(m *message) (changed []message) {
	t := c.messages[m.Target]
	if t == nil {
		return nil
	}
	now := *t
	now.batch, now.changedBy = c.batch, m.Source
	now.apply(*m) // which does nothing if it is in it: an instance that was killed may have come so far, and no further
	c.messages[now.Seq] = &now
	changed = append(changed, now)
	if m.Kind == wire.Delete {
		for _, seq := range now.now().Edits {
			known := c.messages[seq]
			if known == nil {
				continue // of before edits were noted
			}
			e := *known
			e.batch, e.changedBy = c.batch, m.Source
			e.erase(m.Seq, m.At)
			c.messages[seq] = &e
			changed = append(changed, e)
		}
	}
	return changed
}

// loaded is a message or an idempotency key in the state.
type loaded struct {
	conversation *conversation
	seq          int64
	key          string
}

func (s *state) hold(l loaded) { s.held = append(s.held, l) }

const (
	// keepHeld is how many messages and keys stay in the states of all partitions though they could be loaded: most changes and reads are of what was
	// said lately.
	keepHeld = 20_000
	// keepConversations is as much for conversations.
	keepConversations = 50_000
)

// forget makes room, where the state is of one of so many partitions: what is of no batch later than stored can be loaded again, and a conversation that is of
// none later than projected.
func (s *state) forget(stored, projected int64, partitions int) {
	for range max(0, len(s.held)-keepHeld/partitions) {
		h := s.held[0]
		s.held = s.held[1:]
		switch {
		case h.conversation == nil && s.keys[h.key].batch <= stored:
			delete(s.keys, h.key)
		case h.conversation != nil && h.conversation.messages[h.seq].heldBy() <= stored:
			delete(h.conversation.messages, h.seq)
		default:
			s.hold(h)
		}
	}
	if len(s.conversations) <= keepConversations/partitions {
		return
	}
	maps.DeleteFunc(s.conversations, func(_ string, c *conversation) bool { return c.batch <= projected })
}

// discard forgets a conversation, which has to be loaded then.
func (s *state) discard(conversation string) {
	delete(s.conversations, conversation)
	maps.DeleteFunc(s.keys, func(id string, _ idempotencyKey) bool { return strings.HasPrefix(id, conversation+"/") })
}

// window knows what was said in the last records of a partition.
type window struct {
	last    map[string]int64 // the offsets of the last records, by their idempotency keys
	ids     []string         // in order
	offsets []int64
}

// windowSize is how far back in its partition a record is recognized that comes again and does not say so (wire.Record.Again), in offsets.
const windowSize = 5000

func newWindow() *window { return &window{last: map[string]int64{}} }

// has says whether the same was said in the records before offset.
func (w *window) has(id string, offset int64) bool {
	at, ok := w.last[id]
	return ok && at < offset && offset-at < windowSize
}

func (w *window) add(id string, offset int64) {
	w.last[id] = offset
	w.ids, w.offsets = append(w.ids, id), append(w.offsets, offset)
	n := 0
	for ; offset-w.offsets[n] >= windowSize; n++ {
		if w.last[w.ids[n]] == w.offsets[n] {
			delete(w.last, w.ids[n])
		}
	}
	w.ids, w.offsets = w.ids[n:], w.offsets[n:]
}

// keyID is the id of a record's idempotency key.
func keyID(r wire.Record) string { return r.Conversation + "/" + r.Sender + "/" + r.ClientID }

// eventVersion is the version of a group's event. The group's service counts them.
func eventVersion(r wire.Record) int64 {
	v, _ := strconv.ParseInt(r.ClientID, 10, 64) // Check has seen that it is one
	return v
}

// hasKey says whether a record has an idempotency key: whoever sent it may send it again.
func hasKey(r wire.Record) bool {
	return !slices.Contains([]string{wire.RecordGroup, wire.RecordRead, wire.RecordBlock, wire.RecordRelease, wire.RecordErase}, r.Type)
}
