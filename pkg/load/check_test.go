package load

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	ann   = "01930000-0000-7000-8000-00000000000a"
	ben   = "01930000-0000-7000-8000-00000000000b"
	carol = "01930000-0000-7000-8000-00000000000c"
	group = "g:00000000-0000-4000-8000-000000000000"
)

// scene is a group of which all went well: ann made it with ben and carol, who was removed and came back.
type scene struct {
	Record
	all []Entry // of the group
}

func newScene() *scene {
	s := &scene{}
	n := s.Conversation(group)
	add := func(m Message) {
		m.Conversation = group
		s.all = append(s.all, Entry{Conversation: n, Message: s.Number(m), Seq: int64(len(s.all) + 1)})
	}
	say := func(sender, id string, guest bool) {
		seq := int64(len(s.all) + 1)
		add(Message{Sender: sender, ClientID: id, Body: "text of " + id})
		at := time.Duration(seq) * time.Second
		s.Said = append(s.Said, Said{Message: s.all[seq-1].Message, Outcome: Stored, Seq: seq, At: at, Answered: at + time.Second/2, Guest: guest})
	}
	change := func(version, kind, user string) {
		add(Message{Sender: ann, ClientID: version, Event: Event{Type: kind, Users: user}})
		s.Changes = append(s.Changes, Change{n, int64(len(s.Changes) + 2)})
	}
	add(Message{Sender: ann, ClientID: "1", Event: Event{Type: "created", Users: ann + "," + ben + "," + carol}}) // 1
	say(ann, "a-1", false)                                                                                        // 2
	say(carol, "c-1", true)                                                                                       // 3
	change("2", "member_removed", carol)                                                                          // 4
	say(ben, "b-1", false)                                                                                        // 5
	change("3", "member_added", carol)                                                                            // 6
	say(ann, "a-2", false)                                                                                        // 7
	s.Said = append(s.Said, Said{Message: s.Number(Message{Conversation: group, Sender: carol, ClientID: "c-2", Body: "x"}), Outcome: Refused, Guest: true})

	carols := append(append([]Entry{}, s.all[:4]...), s.all[5:]...)
	s.Devices = []Log{
		{"ann's", ann, append([]Entry{}, s.all...)}, {"ben's", ben, append([]Entry{}, s.all...)}, {"carol's", carol, carols},
	}
	s.Histories = []History{
		{Log{"ann", ann, append([]Entry{}, s.all...)}, n}, {Log{"ben", ben, append([]Entry{}, s.all...)}, n},
		{Log{"carol", carol, append([]Entry{}, s.all[5:]...)}, n},
	}
	s.Store = &Log{Name: "mongodb", Entries: append([]Entry{}, s.all...)}
	return s
}

func without(l []Entry, seqs ...int64) (out []Entry) {
	for _, e := range l {
		keep := true
		for _, s := range seqs {
			keep = keep && e.Seq != s
		}
		if keep {
			out = append(out, e)
		}
	}
	return out
}

func TestCheck(t *testing.T) {
	everywhere := func(s *scene, change func([]Entry) []Entry) {
		for i := range s.Devices {
			s.Devices[i].Entries = change(s.Devices[i].Entries)
		}
		for i := range s.Histories {
			s.Histories[i].Entries = change(s.Histories[i].Entries)
		}
		s.Store.Entries = change(s.Store.Entries)
	}
	for name, tc := range map[string]struct {
		change func(*scene)
		want   Verdict // only what must be found
	}{
		"all is well": {func(*scene) {}, Verdict{}},
		"who was removed while away need not have all": {func(s *scene) { s.Devices[2].Entries = without(s.Devices[2].Entries, 3, 4) }, Verdict{}},
		"a message that was acknowledged is gone": {func(s *scene) {
			everywhere(s, func(l []Entry) []Entry { return without(l, 7) })
		}, Verdict{Lost: 1}},
		"one is gone, and others moved up": {func(s *scene) {
			everywhere(s, func(l []Entry) []Entry { return without(l, 5) })
		}, Verdict{Lost: 2}}, // a hole and an acknowledgement
		"another stands where one was acknowledged": {func(s *scene) { s.Said[0].Seq = 3 }, Verdict{Lost: 1}},
		"the database lacks one":                    {func(s *scene) { s.Store.Entries = without(s.Store.Entries, 5) }, Verdict{Lost: 1}},
		"a device lacks one":                        {func(s *scene) { s.Devices[1].Entries = without(s.Devices[1].Entries, 5) }, Verdict{Lost: 1}},
		"who came back lacks one":                   {func(s *scene) { s.Devices[2].Entries = without(s.Devices[2].Entries, 7) }, Verdict{Lost: 1}},
		"history lacks one":                         {func(s *scene) { s.Histories[0].Entries = without(s.Histories[0].Entries, 5) }, Verdict{Lost: 1}},
		"a change that was confirmed is gone": {func(s *scene) {
			s.Changes = append(s.Changes, Change{0, 4})
		}, Verdict{Lost: 1}},
		"no answer": {func(s *scene) { s.Said[1].Outcome = Unanswered }, Verdict{Unanswered: 1}},
		"stored twice": {func(s *scene) {
			everywhere(s, func(l []Entry) []Entry { return append(l, Entry{0, s.all[6].Message, 8}) })
		}, Verdict{Duplicated: 1}},
		"a change stored twice": {func(s *scene) {
			everywhere(s, func(l []Entry) []Entry { return append(l, Entry{0, s.all[5].Message, 8}) })
		}, Verdict{Duplicated: 1}},
		"shown twice": {func(s *scene) { s.Devices[0].Entries = append(s.Devices[0].Entries, s.all[6]) }, Verdict{Duplicated: 1}},
		"shown in turned order": {func(s *scene) {
			e := s.Devices[1].Entries
			e[1], e[2] = e[2], e[1]
		}, Verdict{OutOfOrder: 1}},
		"two devices show different messages at a place": {func(s *scene) { s.Devices[1].Entries[4].Message = s.all[6].Message }, Verdict{OutOfOrder: 1}},
		"stored before what was acknowledged before it was said": {func(s *scene) {
			s.Said[3].At, s.Said[3].Answered = 0, time.Millisecond // a-2, which stands last
		}, Verdict{OutOfOrder: 3}},
		"shown after the removal": {func(s *scene) {
			s.Devices[2].Entries = append([]Entry{}, s.all...)
		}, Verdict{Leaked: 1}},
		"shown to a stranger": {func(s *scene) {
			s.Devices = append(s.Devices, Log{"eve's", "01930000-0000-7000-8000-00000000000e", s.all[1:2]})
		}, Verdict{Leaked: 1}},
		"history gives what was said before the return": {func(s *scene) {
			s.Histories[2].Entries = append([]Entry{}, s.all[4:]...)
		}, Verdict{Leaked: 1}},
		"another text": {func(s *scene) {
			n := s.Number(Message{Conversation: group, Sender: ben, ClientID: "b-1", Body: "changed"})
			everywhere(s, func(l []Entry) []Entry {
				l = append([]Entry{}, l...)
				for i := range l {
					if l[i].Seq == 5 {
						l[i].Message = n
					}
				}
				return l
			})
		}, Verdict{Different: 1, Lost: 1}},
		"what nobody said": {func(s *scene) {
			n := s.Number(Message{Conversation: group, Sender: ben, ClientID: "b-9", Body: "ghost"})
			everywhere(s, func(l []Entry) []Entry { return append(l, Entry{0, n, 8}) })
		}, Verdict{Different: 1}},
		"refused and stored": {func(s *scene) {
			everywhere(s, func(l []Entry) []Entry { return append(l, Entry{0, s.Said[4].Message, 8}) })
		}, Verdict{Different: 1}},
		"a member was refused": {func(s *scene) {
			s.Said = append(s.Said, Said{Message: s.Number(Message{Conversation: group, Sender: ben, ClientID: "b-2"}), Outcome: Refused})
		}, Verdict{Different: 1}},
	} {
		s := newScene()
		tc.change(s)
		got := Check(&s.Record)
		require.Equal(t, tc.want.Kept(), got.Kept(), "%s: %v", name, got.Examples)
		got.Acked, got.Refused, got.Delivered, got.Examples = 0, 0, 0, nil
		require.Equal(t, tc.want, got, name)
	}
}

func TestCheckOfDirectConversations(t *testing.T) {
	var r Record
	id := "dm:" + ann + ":" + ben
	n := r.Conversation(id)
	old := Entry{n, r.Number(Message{Conversation: id, Sender: ann, ClientID: "old"}), 1}
	m := r.Number(Message{Conversation: id, Sender: ann, ClientID: "1"})
	e := Entry{n, m, 2}
	r.Base = map[int32]int64{n: 1}
	r.Said = []Said{{Message: m, Outcome: Stored, Seq: 2}}
	r.Devices = []Log{{"ann's", ann, []Entry{old, e}}, {"ben's", ben, []Entry{e}}}
	v := Check(&r)
	require.True(t, v.Kept(), v.Examples)
	require.EqualValues(t, 2, v.Delivered, "what was there before the run does not count")

	r.Devices = append(r.Devices, Log{"carol's", carol, []Entry{e}})
	v = Check(&r)
	require.EqualValues(t, 1, v.Leaked)
	v.Add(v)
	require.EqualValues(t, 2, v.Leaked)
	require.EqualValues(t, 4+2, v.Delivered)
}
