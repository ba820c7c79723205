package messaging

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// How far the members of a conversation have read stands in its head, so that a send, which reads up to itself, costs no further
// write. Of a large group it would make the head a large document; there each member has one of their own.

func readID(conversation, user string) string { return conversation + "/" + user }

// putRead notes how far a member of a large group has read.
func (a *archive) putRead(ctx context.Context, conversation, user string, m mark) error {
	return store.Upsert(ctx, a.reads, readID(conversation, user), bson.D{{Key: "$max", Value: bson.D{
		{Key: "seq", Value: m.Seq}, {Key: "texts", Value: m.Texts},
	}}})
}

// read gives how far a user has read, with the head and roster of the conversation.
func (a *archive) read(ctx context.Context, user string, h head, c *conversation) (mark, error) {
	m := h.Reads[user]
	if !c.group.Large {
		return m, nil
	}
	own, _, err := store.Get[mark](ctx, a.reads, readID(c.id, user))
	if own.Seq > m.Seq {
		m = own
	}
	return m, err
}

// told makes the records that tell how far someone has read: to all members, or to the one who has read if those are too many.
func (p *worker) told(pl *plan, it *item) []*kgo.Record {
	value := wire.Encode(wire.ReadFrame{
		Type: wire.FrameRead, Conversation: it.record.Conversation, User: it.record.Sender, Seq: it.mark.Seq, At: it.record.At,
	})
	c := pl.conversations[it.record.Conversation]
	to := []string{it.record.Sender}
	if !c.group.Large {
		to = to[:0]
		for _, m := range c.members() {
			to = append(to, m.User)
		}
	}
	return []*kgo.Record{bus.For(c.id, to, value)}
}
