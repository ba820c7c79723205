package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/services/internal/store"
)

// Rebuild makes the projections of conversations anew from their messages: buckets, the words that searches look for,
// heads, and, as far as messages say so, read cursors. Without conversations it does so for all. Instances may run
// meanwhile, and it may be ended and begun again: nothing it writes hides what they write, since buckets note the
// changes that they lack, and a head is only written if it is as it was read.
func Rebuild(ctx context.Context, c Config, conversations []string) (n int, err error) {
	err = withDatabase(ctx, c, func(ctx context.Context, d *database) error {
		if len(conversations) == 0 {
			if conversations, err = d.allConversations(ctx); err != nil {
				return err
			}
		}
		for i, id := range conversations {
			if err := d.rebuild(ctx, c.Log, id); err != nil {
				return fmt.Errorf("rebuild %s, after %d of %d: %w", id, i, len(conversations), err)
			}
			n++
			c.Log.Info("rebuilt", "conversation", id, "number", n, "of", len(conversations))
		}
		return nil
	})
	return n, err
}

// allConversations gives the conversations that have a message. It reads all messages, since only a rebuild asks for
// that.
func (d *database) allConversations(ctx context.Context) (ids []string, err error) {
	cursor, err := d.messages.Find(ctx, bson.D{{Key: "seq", Value: 1}}, options.Find().SetProjection(bson.D{{Key: "conversation", Value: 1}}))
	if err != nil {
		return nil, fmt.Errorf("find conversations: %w", err)
	}
	var docs []struct {
		Conversation string `bson:"conversation"`
	}
	if err := cursor.All(ctx, &docs); err != nil {
		return nil, fmt.Errorf("find conversations: %w", err)
	}
	for _, doc := range docs {
		ids = append(ids, doc.Conversation)
	}
	slices.Sort(ids)
	return ids, nil
}

// rebuilder is a rebuild of one conversation: the fold of its messages.
type rebuilder struct {
	*database
	c       *conversation
	cursors map[string]readCursor
	last    message
}

func (d *database) rebuild(ctx context.Context, log *slog.Logger, id string) error {
	r := &rebuilder{database: d, c: newConversation(id), cursors: map[string]readCursor{}}
	for {
		end, err := d.lastSeq(ctx, id, r.last.Seq)
		if err != nil {
			return err
		}
		if end == 0 {
			return errors.New("it has no message")
		}
		for r.last.Seq < end {
			if err := r.bucket(ctx, min(end, (bucketOf(r.last.Seq+1)+1)*bucketSize)); err != nil {
				return err
			}
			log.Debug("rebuilding", "conversation", id, "seq", r.last.Seq, "of", end)
		}
		if done, err := r.head(ctx); err != nil || done {
			return err
		}
	}
}

// bucket takes the messages up to one in, which are all of the rest of a bucket or the last, and writes their bucket.
func (r *rebuilder) bucket(ctx context.Context, to int64) error {
	n := bucketOf(to)
	// A document that cannot be read goes before the messages are read: so what changes from now on is noted in the
	// next.
	if _, err := r.readBucket(ctx, r.c.id, n); err != nil {
		if err := remove(ctx, r.buckets, bucketID(r.c.id, n), err); err != nil {
			return err
		}
	}
	if _, _, err := store.Get[filters](ctx, r.words, filtersID(r.c.id, n)); err != nil {
		if err := remove(ctx, r.words, filtersID(r.c.id, n), err); err != nil {
			return err
		}
	}
	messages, err := r.readMessages(ctx, r.c.id, n*bucketSize+1, to)
	if err != nil {
		return err
	}
	var set, changed bson.D
	var from []source
	for _, m := range messages {
		key := strconv.FormatInt(m.Seq, 10)
		set = append(set, bson.E{Key: "messages." + key, Value: m.entry()})
		from = append(from, m.Source)
		if m.Changed > 0 {
			changed = append(changed, bson.E{Key: "changed." + key, Value: m.Changed})
			by, err := r.readMessage(ctx, r.c.id, m.Changed)
			if err != nil {
				return err
			}
			from = append(from, by.Source)
		}
		if m.Seq <= r.last.Seq {
			continue
		}
		for user, to := range r.c.take(&m).cursors {
			r.cursors[user] = to
		}
		r.last = m
	}
	clear(r.c.messages)
	update := bson.D{{Key: "$set", Value: set}}
	if changed = append(changed, upTo(from...)...); len(changed) > 0 {
		update = append(update, bson.E{Key: "$max", Value: changed})
	}
	if err := store.Upsert(ctx, r.buckets, bucketID(r.c.id, n), update); err != nil {
		return err
	}
	if to != (n+1)*bucketSize {
		return nil
	}
	return r.indexWords(ctx, full{r.c.id, n, n})
}

// head writes the head. It is not done if the conversation has gone further meanwhile.
func (r *rebuilder) head(ctx context.Context) (done bool, err error) {
	h, found, err := store.Get[head](ctx, r.heads, r.c.id)
	if err != nil {
		return false, remove(ctx, r.heads, r.c.id, err)
	}
	if h.Seq > r.last.Seq { // it is wrong, or there is more now
		if end, err := r.lastSeq(ctx, r.c.id, r.last.Seq); err != nil || end > r.last.Seq {
			return false, err
		}
	}
	if found && h.Seq > 0 {
		change := bson.D{{Key: "$set", Value: headOf(r.last)}}
		if from := upTo(r.last.Source); len(from) > 0 {
			change = append(change, bson.E{Key: "$max", Value: from})
		}
		matched, err := store.Update(ctx, r.heads, r.c.id, change, bson.E{Key: "seq", Value: h.Seq})
		if err != nil || !matched {
			return false, err
		}
	} else if err := store.Upsert(ctx, r.heads, r.c.id, bson.D{{Key: "$max", Value: append(headOf(r.last), upTo(r.last.Source)...)}}); err != nil {
		return false, err
	}
	for user, c := range r.cursors {
		if r.c.roster.Large {
			err = r.putCursor(ctx, r.c.id, user, c)
		} else {
			err = store.Upsert(ctx, r.heads, r.c.id, bson.D{{Key: "$max", Value: append(bson.D{
				{Key: "reads." + user + ".seq", Value: c.Seq}, {Key: "reads." + user + ".texts", Value: c.Texts},
			}, upTo(c.source)...)}})
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// remove deletes a document that could not be read, if that is its own fault.
func remove(ctx context.Context, c *mongo.Collection, id string, cause error) error {
	if !isOwn(cause) {
		return cause
	}
	return store.Delete(ctx, c, id)
}
