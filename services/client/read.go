package client

import "github.com/labctl/labctl/services/internal/wire"

// What a client that holds a conversation makes of what it is told: how far its user has read, and how many texts come after. Marks only grow.

// AfterMessage gives a conversation after a message was told. A text of another is unread. One of the user's own has read what was before it.
func AfterMessage(c Conversation, m Message, user string) Conversation {
	if m.Seq <= c.LastSeq {
		return c
	}
	switch {
	case m.Kind == wire.Text && m.Sender == user:
		c.Read, c.Unread = m.Seq, 0
	case m.Kind == wire.Text:
		c.Unread++
	case c.Read == c.LastSeq: // what is no text counts for nothing
		c.Read = m.Seq
	}
	c.LastSeq = m.Seq
	return c
}

// AfterRead gives a conversation after its user has read up to a seq. Of what comes after that, Unread is the most that it can be.
func AfterRead(c Conversation, seq int64) Conversation {
	if seq = min(seq, c.LastSeq); seq > c.Read {
		c.Read, c.Unread = seq, min(c.Unread, c.LastSeq-seq)
	}
	return c
}

// AfterAnswer gives a conversation after the server said how it is. That may be older than what was told, or newer, or both.
func AfterAnswer(c, said Conversation) Conversation {
	if c.LastSeq > said.LastSeq {
		return AfterRead(c, said.Read)
	}
	if c.Read > said.Read {
		said.Read, said.Unread = c.Read, min(said.Unread, c.Unread+said.LastSeq-c.LastSeq, said.LastSeq-c.Read)
	}
	return said
}
