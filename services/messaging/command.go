package messaging

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/services/internal/bus"
	"github.com/labctl/labctl/services/internal/service"
	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// Commands are what the program does for whoever runs messaging, with messaging's own configuration.
func Commands() []service.Command[Config] {
	return []service.Command[Config]{
		{Name: "replay", Run: func(ctx context.Context, c Config, args []string) (string, error) {
			dry := len(args) == 1 && args[0] == "--dry-run"
			if len(args) > 0 && !dry {
				return "", errors.New("usage: messaging replay [--dry-run]")
			}
			r, err := Replay(ctx, c, dry)
			if err != nil {
				return "", err
			}
			return r.text(dry), nil
		}},
		{Name: "quarantine", Run: func(ctx context.Context, c Config, args []string) (string, error) {
			if len(args) > 0 {
				return "", errors.New("usage: messaging quarantine")
			}
			return Quarantine(ctx, c)
		}},
		{Name: "release", Run: func(ctx context.Context, c Config, args []string) (string, error) {
			if len(args) != 1 {
				return "", errors.New("usage: messaging release CONVERSATION; `messaging quarantine` lists them")
			}
			if err := Release(ctx, c, args[0]); err != nil {
				return "", err
			}
			return "released: all that was kept is stored", nil
		}},
		{Name: "rebuild", Run: func(ctx context.Context, c Config, args []string) (string, error) {
			if slices.ContainsFunc(args, func(id string) bool { return !wire.ValidConversation(id) }) {
				return "", errors.New("usage: messaging rebuild [CONVERSATION...]")
			}
			n, err := Rebuild(ctx, c, args)
			return fmt.Sprintf("rebuilt the projections of %d conversations", n), err
		}},
	}
}

// withDatabase opens the database for a command.
func withDatabase(ctx context.Context, c Config, f func(context.Context, *database) error) error {
	db, err := store.Open(c.MongoDBURI, c.Database, "messaging")
	if err != nil {
		return err
	}
	defer db.Close()
	return f(ctx, newDatabase(db))
}

// Quarantine lists the conversations in quarantine, each with its reason.
func Quarantine(ctx context.Context, c Config) (text string, err error) {
	err = withDatabase(ctx, c, func(ctx context.Context, d *database) error {
		all, err := d.listQuarantine(ctx)
		for _, h := range all {
			reason, _, _ := strings.Cut(h.Reason, "\n")
			text += fmt.Sprintf("%s  since %s, from offset %d of partition %d: %s\n", h.Conversation, h.Since.UTC().Format(time.RFC3339), h.From.Offset, h.From.Partition, reason)
		}
		text += fmt.Sprintf("%d conversations in quarantine", len(all))
		return err
	})
	return text, err
}

// releaseTime is how long Release waits until the conversation is released.
const releaseTime = 10 * time.Minute

// Release has messaging handle what it keeps of a conversation, and waits until that is done. To do it again is safe.
func Release(ctx context.Context, c Config, conversation string) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTime)
	defer cancel()
	err := withDatabase(ctx, c, func(ctx context.Context, d *database) error {
		_, ok, err := store.Get[hold](ctx, d.quarantines, conversation)
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("it is not in quarantine; `messaging quarantine` lists those that are")
		}
		at, err := putRelease(ctx, c, conversation)
		if err != nil {
			return err
		}
		switch err := d.awaitStored(ctx, at); {
		case ctx.Err() != nil:
			return fmt.Errorf("no instance has come to it yet; once one runs, look at `messaging quarantine`: %w", err)
		case err != nil:
			return err
		}
		h, ok, err := store.Get[hold](ctx, d.quarantines, conversation)
		if ok {
			return fmt.Errorf("it stays in quarantine, and nothing is lost; mend this first: %s", h.Reason)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("release %s: %w", conversation, err)
	}
	return nil
}

// putRelease writes the record that releases a conversation, behind all that was said so far, and gives where it
// stands.
func putRelease(ctx context.Context, c Config, conversation string) (source, error) {
	topic, err := ownTopic(c)
	if err != nil {
		return source{}, err
	}
	kafka, err := bus.Open(c.Kafka, "messaging", c.Log)
	if err != nil {
		return source{}, err
	}
	defer kafka.Close()
	id, err := bus.TopicID(ctx, kafka, topic)
	if err != nil {
		return source{}, err
	}
	r := wire.Record{Type: wire.RecordRelease, Conversation: conversation, Sender: wire.NewID(), ClientID: wire.NewID(), At: wire.At(c.Now())}
	put, err := kafka.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(conversation), Value: wire.Encode(r)}).First()
	if err != nil {
		return source{}, fmt.Errorf("write to the topic %s: %w", topic, err)
	}
	return source{Log: log(id), Partition: put.Partition, Offset: put.Offset}, nil
}

// ownTopic gives the whole name of the topic messages, for who writes to it what messaging is to handle. A shadow has none: it does not read what it
// writes.
func ownTopic(c Config) (string, error) {
	reads, writes := c.Kafka.Reads(bus.Messages), c.Kafka.Writes(bus.Messages)
	if reads != writes {
		return "", fmt.Errorf("messaging would write to the topic %s, and reads %s; do this with the configuration of the messaging that writes to that", writes, reads)
	}
	return reads, nil
}
