package messaging

import (
	"context"
	"net/http"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// typing tells the other members of a conversation that one of them writes, or does no more. The database is asked who they are, and
// nothing is written to it; a frame that is lost costs nothing, so nobody waits for Kafka.
func (s *messaging) typing(w http.ResponseWriter, r *http.Request) error {
	var req wire.Typing
	if err := service.Decode(w, r, &req); err != nil {
		return err
	}
	if !wire.ValidID(req.User) || !wire.ValidConversation(req.Conversation) {
		return service.BadRequest("a user and a conversation are needed")
	}
	c := &conversation{id: req.Conversation}
	var err error
	if c.group, err = s.archive.roster(r.Context(), req.Conversation); err != nil {
		return service.Unavailable("the database", err)
	}
	if c.member(req.User) && !c.group.Large && !c.group.blocked(c.id, req.User) {
		value := wire.Encode(wire.TypingFrame{Type: wire.FrameTyping, Conversation: req.Conversation, User: req.User, On: req.On})
		var others []string
		for _, m := range c.members() {
			if m.User != req.User {
				others = append(others, m.User)
			}
		}
		if len(others) > 0 {
			s.kafka.TryProduce(context.WithoutCancel(r.Context()), bus.For(c.id, others, value), nil)
		}
	}
	return service.Write(w, http.StatusOK, struct{}{})
}
