package load

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/labctl/labctl/services/client"
)

// MessageOf gives a message without its place.
func MessageOf(m client.Message) Message {
	out := Message{Conversation: m.Conversation, Sender: m.Sender, ClientID: m.ClientID, Body: m.Body, Target: m.ReplyTo}
	if k := Kind(m.Kind); k == Edit || k == Reaction {
		out.Kind, out.Target, out.Emoji = k, m.Target, m.Emoji
	}
	if m.Event != nil {
		users := slices.Sorted(slices.Values(m.Event.Users))
		out.Event = Event{Type: m.Event.Type, Title: m.Event.Title, Users: strings.Join(users, ","), Owner: m.Event.Owner}
	}
	return out
}

// own gives the i-th message as it was said.
func (r *runner) own(i int) Message {
	s := &r.said[i]
	sender := r.sessions[r.rooms[s.room].members[s.sender]].User.ID
	m := Message{Conversation: r.conversations[s.room], Sender: sender, ClientID: r.name + "-" + strconv.Itoa(i), Body: s.body}
	return m.As(s.does(), s.seqOf.Load())
}

// number gives the number of a message: its own, or a negative one if it is not exactly one that was said.
func (r *runner) number(m client.Message) int32 {
	if rest, ours := strings.CutPrefix(m.ClientID, r.name+"-"); ours {
		if i, err := strconv.ParseInt(rest, 10, 32); err == nil && i >= 0 && int(i) < len(r.said) {
			if own := r.own(int(i)); own == Recognize(m, own, r.said[i].edits, false) {
				return int32(i)
			}
		}
	}
	return r.foreign(m)
}

// foreign gives a message a negative number.
func (r *runner) foreign(m client.Message) int32 {
	msg := MessageOf(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	for n, o := range r.other {
		if o == msg {
			return n
		}
	}
	n := -1 - int32(len(r.other))
	r.other[n] = msg
	return n
}

// Takeover is how long it takes at most until an instance of messaging has in its place another that died.
const Takeover = 15 * time.Second

// HistoryWith reads the messages of a conversation after a seq, until acked is among them, and what the session's devices were told of, or within ends:
// an instance of messaging may have acknowledged what it has not written yet, and if it died, who takes its place finds it in Kafka. What is missing
// for longer is missing.
func HistoryWith(ctx, within context.Context, s *client.Session, conversation string, after, acked int64) (all []client.Message, err error) {
	read := func(ctx context.Context, acked int64) error {
		return Patiently(ctx, func() (err error) {
			all, err = s.HistoryAfter(ctx, conversation, after, acked)
			return err
		})
	}
	if err = read(within, acked); err != nil && within.Err() != nil {
		s.Forget()
		err = read(ctx, 0)
	}
	return all, err
}

// histories reads what each room holds now, as one of its members sees it.
func (r *runner) histories(ctx context.Context) ([]History, error) {
	if r.NoHistory || r.Rate == 0 {
		return nil, nil
	}
	within, cancel := context.WithTimeout(ctx, max(Takeover, r.Settle))
	defer cancel()
	acked := make([]int64, len(r.rooms))
	if r.answered.Load() == r.messages { // else the devices may still write their answers
		for i := range r.said {
			s := &r.said[i]
			acked[s.room] = max(acked[s.room], s.seq)
		}
	}
	logs := make([]History, len(r.rooms))
	var mu sync.Mutex
	done := 0
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for i, room := range r.rooms {
		g.Go(func() error {
			s := r.sessions[room.members[len(room.members)-1]]
			logs[i] = History{Log: Log{Name: s.User.Name, User: s.User.ID}, Conversation: int32(i)}
			all, err := HistoryWith(ctx, within, s, r.conversations[i], r.base[i], acked[i])
			if err != nil {
				return fmt.Errorf("read the history of %s: %w", r.conversations[i], err)
			}
			for _, m := range all {
				logs[i].Entries = append(logs[i].Entries, Entry{Conversation: int32(i), Message: r.number(m), Seq: m.Seq})
			}
			mu.Lock()
			defer mu.Unlock()
			if done++; done%50 == 0 || done == len(r.rooms) {
				r.Report.At(int64(done), int64(len(r.rooms)), "reading histories")
			}
			return nil
		})
	}
	return logs, g.Wait()
}

// record puts together what the checker looks at. The numbers of messages that were said stay; the others follow them.
func (r *runner) record(histories []History) *Record {
	rec := &Record{Base: map[int32]int64{}}
	for i, id := range r.conversations {
		if id != "" {
			rec.Base[rec.Conversation(id)] = r.base[i]
		}
	}
	for i := range r.said {
		s := &r.said[i]
		n := rec.Number(r.own(i))
		if s.kind != Read {
			rec.Said = append(rec.Said, Said{Message: n, Outcome: s.outcome, Seq: s.seq, At: s.sent, Answered: s.answered})
		}
	}
	for n := range int32(len(r.other)) {
		rec.Number(r.other[-1-n])
	}
	take := func(l Log) Log {
		for k := range l.Entries {
			if n := l.Entries[k].Message; n < 0 {
				l.Entries[k].Message = int32(len(r.said)) - 1 - n
			}
		}
		return l
	}
	for i, d := range r.devices {
		s := r.sessions[d.user]
		rec.Devices = append(rec.Devices, take(Log{Name: fmt.Sprintf("device %d of %s", i%r.Devices, s.User.Name), User: s.User.ID, Entries: d.log}))
	}
	for _, h := range histories {
		h.Log = take(h.Log)
		rec.Histories = append(rec.Histories, h)
	}
	return rec
}
