package messaging

import (
	"context"

	"github.com/labctl/labctl/services/internal/export"
	"github.com/labctl/labctl/services/internal/service"
)

// exportOf writes the conversations that a user is or was in, each with the user's own texts as they are now. It reads a bucket at a time.
func (s *messaging) exportOf(ctx context.Context, user string, lines *export.Lines) error {
	ids, err := s.database.inbox(ctx, user)
	if err != nil {
		return service.Unavailable("the database", err)
	}
	for _, id := range ids {
		h, err := s.database.end(ctx, id)
		if err != nil {
			return service.Unavailable("the database", err)
		}
		if err := lines.Put("conversation", id); err != nil {
			return err
		}
		for from := int64(1); from <= h.Seq; from += bucketSize {
			page, err := s.exporting.do(ctx, user, func() (any, error) {
				return s.database.page(ctx, id, from, min(h.Seq, from+bucketSize-1))
			})
			if err != nil {
				return service.Unavailable("the database", err)
			}
			for _, m := range page.([]message) { //nolint:errcheck,forcetypeassert // it is what page gives
				if m.Sender == user && m.alive() {
					if err := lines.Put("message", m.wire()); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
