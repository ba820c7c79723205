// Package deletion is how services hear of deleted accounts: they ask auth, do their part, and confirm it (docs/adr/0024-deleting-accounts.md).
package deletion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/labctl/labctl/services/internal/peer"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/wire"
)

// Every is the time between two looks.
const Every = 5 * time.Second

// Follower does a service's part of deletions.
type Follower struct {
	Auth  peer.Auth
	Every time.Duration
	Log   *slog.Logger
	// Shadow: the live service does it. What it writes of it, a shadow reads.
	Shadow bool
	// Erase does the service's part. It may be called again, and by several instances at once. Only once the deletion is final is it called for the
	// last time.
	Erase func(context.Context, wire.Deletion) error
}

// Follow does so until ctx ends.
func (f Follower) Follow(ctx context.Context) {
	if f.Shadow {
		return
	}
	last := ""
	for service.Sleep(ctx, f.Every) == nil {
		err := f.look(ctx)
		if err == nil {
			last = ""
			continue
		}
		if text := err.Error(); text != last && ctx.Err() == nil {
			f.Log.Warn("a deleted account waits for the next look", "error", err)
			last = text
		}
	}
}

func (f Follower) look(ctx context.Context) error {
	all, err := f.Auth.Deletions(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range all {
		err := f.Erase(ctx, d)
		if err == nil && d.Final {
			err = f.Auth.ConfirmDeletion(ctx, d.User)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("erase user %s: %w", d.User, err))
		}
	}
	return errors.Join(errs...)
}
