package messaging

import (
	"context"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode"

	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/labctl/labctl/services/internal/store"
	"github.com/labctl/labctl/services/internal/wire"
)

// How words are found. A document for each word, of which each message would change some ten, would cost ten times what the
// message itself does. So there is one small set of bits (a Bloom filter) for the words of each bucket, written when the bucket is full
// and nobody waits for it: it says that a word is not there, or may be. A search reads the filters of 64 buckets (3200 messages) at
// once, and then the buckets that may have all the words, with whatever changes of them there are. A bucket without a filter is read
// always (the last ones, and what a crash has left, for which the search asks for a filter). So is one of which a text was edited, since
// whoever writes a filter may have read the bucket before.
//
// A filter keeps no text, and a deleted one's words in it lead to a message that has none.

// filtersTogether is how many full buckets of a busy conversation wait for each other's filters, since the embedded store writes all of a
// document for each. A search in one that waits asks for its filter.
const filtersTogether = 8

// filtersEach is how many buckets' filters are in a document.
const filtersEach = 64

// maxFilter is the largest filter in bytes: enough for a bucket of the longest texts; more words make it less sharp.
const maxFilter = 16 << 10

// words gives the words of a text as they are compared: without regard to case, accents and other spellings of the same letters.
func words(text string) map[string]bool {
	found := map[string]bool{}
	text = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(cases.Fold().String(text)))
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsNumber(r) }) {
		found[w] = true
	}
	return found
}

// filter is a Bloom filter.
type filter []byte

// newFilter makes the filter of some words: ten bits a word and five of them set, so that one in a hundred others seems to be in it.
func newFilter(words map[string]bool) filter {
	f := make(filter, min(max(len(words)*10/8, 16), maxFilter))
	for w := range words {
		for _, bit := range f.bits(w) {
			f[bit/8] |= 1 << (bit % 8)
		}
	}
	return f
}

func (f filter) bits(word string) (bits [5]uint64) {
	h := fnv.New64a()
	_, _ = h.Write([]byte(word)) // a hash takes all
	sum := h.Sum64()
	a, b := sum&0xffffffff, sum>>32|1
	for i := range bits {
		bits[i] = (a + uint64(i)*b) % uint64(len(f)*8)
	}
	return bits
}

// may says whether all words may be in it.
func (f filter) may(words map[string]bool) bool {
	for w := range words {
		for _, bit := range f.bits(w) {
			if f[bit/8]&(1<<(bit%8)) == 0 {
				return false
			}
		}
	}
	return true
}

// filters are those of some buckets, by number.
type filters struct {
	Filters map[string][]byte `bson:"filters"`
	Edited  map[string]bool   `bson:"edited"` // of these a text was edited, so they may hold any word
}

func filtersID(conversation string, n int64) string { return bucketID(conversation, n/filtersEach) }

// may says whether all words may be in bucket n, and whether it has a filter.
func (f filters) may(n int64, words map[string]bool) (may, known bool) {
	key := strconv.FormatInt(n, 10)
	bits := f.Filters[key]
	return len(bits) == 0 || f.Edited[key] || filter(bits).may(words), len(bits) > 0
}

// full are buckets that are full, from the first to the last of them.
type full struct {
	conversation string
	from, to     int64
}

// filled is told of each bucket that has become full.
func (s *messaging) filled(conversation string, n int64) {
	if (n+1)%filtersTogether == 0 {
		s.filterSoon(conversation, n+1-filtersTogether, n)
	}
}

// filterSoon asks for the filters of full buckets. If there is too much to do already, the next search in one asks again.
func (s *messaging) filterSoon(conversation string, from, to int64) {
	select {
	case s.fulls <- full{conversation, from, to}:
	default:
	}
}

// fullQueue is how many such requests may wait.
const fullQueue = 1000

// filterAll writes the filters that are asked for, until ctx ends.
func (s *messaging) filterAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-s.fulls:
			if err := s.database.indexWords(ctx, f); err != nil && ctx.Err() == nil {
				s.Log.Warn("searches read a bucket whose words are not indexed", "error", err)
			}
		}
	}
}

// indexWords writes the filters of full buckets that are in one document.
func (d *database) indexWords(ctx context.Context, f full) error {
	var set bson.D
	for n := f.from; n <= f.to; n++ {
		messages, err := d.bucket(ctx, f.conversation, n, n*bucketSize+1, (n+1)*bucketSize)
		if err != nil {
			return err
		}
		all := map[string]bool{}
		for _, m := range messages {
			if m.Kind == wire.Text {
				for w := range words(m.wire().Body) {
					all[w] = true
				}
			}
		}
		set = append(set, bson.E{Key: "filters." + strconv.FormatInt(n, 10), Value: []byte(newFilter(all))})
	}
	return store.Upsert(ctx, d.words, filtersID(f.conversation, f.from), bson.D{{Key: "$set", Value: set}})
}

// distrustWords says that there are words in a bucket that its filter may not have.
func (d *database) distrustWords(ctx context.Context, conversation string, n int64) error {
	return store.Upsert(ctx, d.words, filtersID(conversation, n), bson.D{{Key: "$set", Value: bson.D{
		{Key: "edited." + strconv.FormatInt(n, 10), Value: true},
	}}})
}
