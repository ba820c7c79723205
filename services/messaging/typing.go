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
	id := req.Conversation
	members, err := s.database.readRoster(r.Context(), id)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	if members.member(id, req.User) && !members.Large && !members.blocked(id, req.User) {
		value := wire.Encode(wire.TypingFrame{Type: wire.FrameTyping, Conversation: req.Conversation, User: req.User, On: req.On})
		var others []string
		for _, u := range members.users(id) {
			if u != req.User {
				others = append(others, u)
			}
		}
		if len(others) > 0 {
			record := bus.For(id, others, value)
			record.Topic = s.Kafka.Writes(record.Topic)
			s.kafka.TryProduce(context.WithoutCancel(r.Context()), record, nil)
		}
	}
	return service.Write(w, http.StatusOK, struct{}{})
}
