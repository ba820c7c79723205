package sockets

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/mirror"
)

// fake is a Sockets with a clock of its own, and what it has handed over.
type fake struct {
	*Sockets
	t      *testing.T
	now    time.Time
	handed []string
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)}
	var err error
	f.Sockets, err = New(Options{
		Copies: map[side.Side]string{side.Candidate: "http://candidate", side.Baseline: "http://baseline"},
		Now:    func() time.Time { return f.now },
		Result: func(label string, results [side.Count]*Result) {
			f.handed = append(f.handed, label+": "+describe(results))
		},
	})
	require.NoError(t, err)
	return f
}

// describe says what each side made of it: same, or its body, or nothing.
func describe(results [side.Count]*Result) string {
	var all []string
	for _, r := range results {
		switch {
		case r == nil:
			all = append(all, "-")
		case r.Body == nil:
			all = append(all, "same")
		case results[side.Live] != nil && string(r.Body) == string(results[side.Live].Body):
			all = append(all, "same")
		default:
			all = append(all, string(r.Body))
		}
	}
	return strings.Join(all, " ")
}

// socket gives a mirrored socket whose copies say only what the test has them say.
func (f *fake) socket() *socket {
	m := &socket{s: f.Sockets, name: "socket", table: newTable()}
	for _, of := range copies() {
		m.copies[of] = newCopied(f.o.Copies[of], of, "request", m)
	}
	f.open[m] = struct{}{}
	return m
}

// greeted gives one on which all sides have said their hello, for so long that all counts.
func (f *fake) greeted() *socket {
	m := f.socket()
	m.take(mirror.Text, []byte(`{"type":"hello","token":"the token"}`))
	for _, of := range side.All() {
		m.told(of, []byte(`{"type":"hello","user":"ann"}`))
	}
	f.pass(edge)
	f.handed = nil
	return m
}

func (f *fake) pass(d time.Duration) {
	f.now = f.now.Add(d)
	f.sweep()
}

// message is a frame of a message that was stored now.
func (f *fake) message(seq int) []byte {
	return fmt.Appendf(nil, `{"type":"message","message":{"conversation":"g:1","seq":%d,"at":%q}}`, seq, f.now.Format(time.RFC3339Nano))
}

func (f *fake) say(m *socket, data []byte, sides ...side.Side) {
	for _, of := range sides {
		m.told(of, data)
	}
}

var all = []side.Side{side.Live, side.Candidate, side.Baseline}

// without gives the sides but one.
func without(of side.Side) []side.Side {
	return slices.DeleteFunc(slices.Clone(all), func(s side.Side) bool { return s == of })
}

func closeFrame(code ws.StatusCode) []byte {
	return ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, "")))
}

// What all sides say is handed over at once, whoever says it first. What a side lacks or says otherwise is found.
func TestFrames(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	f.say(m, f.message(1), side.Candidate, side.Live, side.Baseline)
	require.Equal(t, []string{"socket message/g:1/1: same same same"}, f.handed)

	f.say(m, f.message(2), without(side.Candidate)...)
	f.say(m, []byte(`{"type":"pong","id":"p"}`), side.Live, side.Baseline)
	f.say(m, []byte(`{"type":"pong","id":"p","more":1}`), side.Candidate)
	f.say(m, f.message(3), side.Candidate)
	f.say(m, []byte(`no frame`), all...)
	f.pass(10 * time.Second)
	require.ElementsMatch(t, []string{
		"socket message/g:1/1: same same same",
		"socket message/g:1/2: same - same",
		`socket pong/p: same {"type":"pong","id":"p","more":1} same`,
		"socket message/g:1/3: - " + string(messageAt(f, 3, -10*time.Second)) + " -",
		"socket unknown/: same same same",
	}, f.handed)
}

func messageAt(f *fake, seq int, ago time.Duration) []byte {
	f.now = f.now.Add(ago)
	defer func() { f.now = f.now.Add(-ago) }()
	return f.message(seq)
}

// The n-th frame of a side meets the n-th of the others, where the same may be said again.
func TestFramesThatComeAgain(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	on, off := []byte(`{"type":"typing","conversation":"g:1","user":"bob","on":true}`), []byte(`{"type":"typing","conversation":"g:1","user":"bob","on":false}`)
	for _, of := range all {
		f.say(m, on, of)
		f.say(m, off, of)
	}
	require.Equal(t, []string{"socket typing/g:1/bob: same same same", "socket typing/g:1/bob: same same same"}, f.handed)

	f.handed = nil
	f.say(m, f.message(1), all...)
	f.say(m, f.message(1), side.Live)
	f.pass(10 * time.Second)
	require.Len(t, f.handed, 1, "a message may come twice")
	require.EqualValues(t, [side.Count]int64{1, 0, 0}, f.Counts().Repeated)
	require.Zero(t, f.Counts().Late)
}

// What is said after the wait is late, and not one frame more.
func TestLateFrames(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	said := f.message(1)
	f.say(m, said, without(side.Candidate)...)
	f.pass(10*time.Second - 1)
	require.Empty(t, f.handed)
	f.pass(1)
	f.say(m, said, side.Candidate)
	f.pass(time.Hour)
	require.Equal(t, []string{"socket message/g:1/1: same - same"}, f.handed)
	require.EqualValues(t, [side.Count]int64{0, 1, 0}, f.Counts().Late)
	require.Zero(t, f.size, "nothing is kept")
}

// A copy's socket opens later than the live one. What was before does not count, and is not missing.
func TestBeforeTheCopies(t *testing.T) {
	f := newFake(t)
	m := f.socket()
	typing := []byte(`{"type":"typing","conversation":"g:1","user":"bob","on":true}`)
	hello := []byte(`{"type":"hello","user":"ann"}`)
	m.take(mirror.Text, []byte(`{"type":"hello"}`))
	f.say(m, hello, side.Live)
	f.say(m, f.message(1), side.Live)
	f.say(m, typing, side.Live)
	f.pass(time.Second)
	f.say(m, hello, side.Candidate)
	f.say(m, f.message(2), side.Live, side.Candidate)
	f.pass(time.Second)
	f.say(m, hello, side.Baseline)
	early := f.message(3)
	f.say(m, early, side.Live)
	f.pass(edge)
	f.say(m, early, side.Candidate) // it was stored before, so that it counts on no side
	f.say(m, typing, all...)        // the copies' first is live's second
	f.say(m, f.message(4), all...)
	f.say(m, messageAt(f, 5, -1), copies()...) // live's was before them
	f.pass(10 * time.Second)
	require.Equal(t, []string{
		"socket hello/: same same same", "socket typing/g:1/bob: same same same", "socket message/g:1/4: same same same",
	}, f.handed)
	require.EqualValues(t, 5, f.Counts().Before)
}

// How the gateway closes a socket is compared. How a client does is not, nor how a gateway that stops.
func TestClosing(t *testing.T) {
	for name, tc := range map[string]struct {
		live, candidate, baseline ws.StatusCode // 0: it does not
		gone                      bool
		want                      []string
	}{
		"all the same":               {live: 4401, candidate: 4401, baseline: 4401, want: []string{"socket close/: same same same"}},
		"the candidate does not":     {live: 4401, baseline: 4401, want: []string{"socket close/: same - same"}},
		"the candidate otherwise":    {live: 4401, candidate: 4400, baseline: 4401, want: []string{`socket close/: same {"code":4400} same`}},
		"the candidate alone":        {candidate: 4400, want: []string{`socket close/: - {"code":4400} -`}},
		"the client":                 {gone: true, live: 1000},
		"a gateway that stops":       {live: 1012},
		"a client that is slow":      {live: 4409},
		"limits":                     {candidate: 4429, live: 4429},
		"the client, as a copy does": {candidate: 4401, gone: true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			m := f.greeted()
			for of, code := range map[side.Side]ws.StatusCode{side.Candidate: tc.candidate, side.Baseline: tc.baseline} {
				if code != 0 {
					m.closed(of, code, "")
				}
			}
			if tc.gone {
				m.take(mirror.Gone, nil)
			}
			if tc.live != 0 {
				m.take(mirror.Told, closeFrame(tc.live))
			}
			f.pass(10 * time.Second)
			require.Equal(t, tc.want, f.handed)
			require.Empty(t, f.open, "it is shut")
		})
	}
}

// The sides do not end at once. What came about then is not missing; what came before is.
func TestAroundTheEnd(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	f.say(m, f.message(1), side.Live)
	f.pass(edge)
	f.say(m, f.message(2), side.Live, side.Candidate)
	f.say(m, f.message(3), side.Candidate)
	m.take(mirror.Told, closeFrame(4401))
	f.say(m, f.message(4), side.Candidate)
	for _, of := range copies() {
		m.closed(of, 4401, "")
	}
	f.pass(10 * time.Second)
	require.Equal(t, []string{"socket message/g:1/1: same - -", "socket close/: same same same"}, f.handed)
	require.EqualValues(t, 3, f.Counts().After)
}

// A client that leaves ends the copies' sockets as soon as they have said what live has said.
func TestTheEnd(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	said := f.message(1)
	f.say(m, said, without(side.Baseline)...)
	m.take(mirror.Gone, nil)
	f.pass(time.Second)
	require.Len(t, f.open, 1, "the baseline has to say it yet")
	f.say(m, said, side.Baseline)
	f.say(m, f.message(2), copies()...) // which live has not told any more
	f.pass(time.Second)
	require.Empty(t, f.open)
	require.Empty(t, f.users)
	for _, of := range copies() {
		<-m.copies[of].done
	}
	require.Equal(t, []string{"socket message/g:1/1: same same same"}, f.handed)
}

// A client that leaves before it is greeted has no hello to compare.
func TestAClientThatDoesNotWait(t *testing.T) {
	f := newFake(t)
	m := f.socket()
	m.take(mirror.Text, []byte(`{"type":"hello"}`))
	f.say(m, []byte(`{"type":"hello","user":"ann"}`), side.Candidate)
	m.take(mirror.Gone, nil)
	f.say(m, []byte(`{"type":"hello","user":"ann"}`), side.Baseline)
	f.pass(time.Second)
	require.Empty(t, f.open)
	require.Empty(t, f.handed)
}

// given is a record of the topic messages.
func given(value, request string) *kgo.Record {
	return &kgo.Record{Key: []byte("g:1"), Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "request", Value: []byte(request)}}}
}

// What a mirrored client sends must be given to Kafka by all sides. What others send is nothing to the copies.
func TestRecords(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	send := func(id, body string) string {
		return fmt.Sprintf(`{"type":"send","conversation":"g:1","sender":"ann","client_id":%q,"body":%q}`, id, body)
	}
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		m.take(mirror.Text, fmt.Appendf(nil, `{"type":"send","conversation":"g:1","client_id":%q,"body":"x"}`, id))
	}
	m.take(mirror.Text, []byte(`{"type":"read","conversation":"g:1","seq":7}`))
	for _, of := range all {
		f.record(of, given(send("1", "x"), "r-1"))
	}
	f.record(side.Live, given(send("2", "x"), "r-2"))
	f.record(side.Baseline, given(send("2", "x"), "r-2"))
	for _, of := range all {
		f.record(of, given(send("3", of.String()), "r-3"))
	}
	for _, of := range without(side.Candidate) {
		f.record(of, given(`{"type":"read","conversation":"g:1","sender":"ann","target":7}`, "r-5"))
	}
	f.record(side.Live, given(send("5", "x"), "r-4"))
	f.record(side.Live, given(send("of another device", "x"), "r-6"))
	waiting := f.Counts().Waiting
	f.record(side.Live, given(`{"type":"send","conversation":"g:1","sender":"bob","client_id":"1"}`, "r-7"))
	require.Equal(t, waiting, f.Counts().Waiting, "bob is not mirrored")
	f.record(side.Live, given(`{"type":"group","conversation":"g:1"}`, ""))
	f.record(side.Candidate, given(send("of nobody", "x"), "r-8"))
	f.pass(10 * time.Second) // nobody has the fourth: all refuse it
	value := func(id, body, request string) string {
		return fmt.Sprintf(`{"key":"g:1","request":%q,"value":%s}`, request, send(id, body))
	}
	require.ElementsMatch(t, []string{
		"record/g:1/ann/1: same same same",
		"record/g:1/ann/2: same - same",
		"record/g:1/ann/3: same " + value("3", "candidate", "r-3") + " " + value("3", "baseline", "r-3"),
		"record/g:1/ann/5: same - -",
		"record/g:1/ann/read-7: same - same",
		"record/g:1/ann/of nobody: - " + value("of nobody", "x", "r-8") + " -",
	}, f.handed)
}

// A client that sends and leaves has its copies send before they end.
func TestTheLastSend(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	m.take(mirror.Text, []byte(`{"type":"send","conversation":"g:1","client_id":"1","body":"x"}`))
	m.take(mirror.Gone, nil)
	f.pass(time.Second)
	require.Len(t, f.open, 1)
	for _, of := range all {
		f.record(of, given(`{"type":"send","conversation":"g:1","sender":"ann","client_id":"1"}`, ""))
	}
	f.pass(time.Second)
	require.Empty(t, f.open)
	require.Equal(t, []string{"record/g:1/ann/1: same same same"}, f.handed)
}

// A copy that does not read is one that has ended: neither the mirror nor the other copy waits for it.
func TestACopyThatDoesNotRead(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	for i := range copiedQueue {
		m.take(mirror.Text, []byte(`{"type":"ping"}`))
		if i > 0 {
			<-m.copies[side.Baseline].queue
		}
	}
	f.pass(10 * time.Second)
	require.Equal(t, []string{`socket close/: - {"error":"it does not read"} -`}, f.handed)
}

// Where there is no room, what is left out is counted.
func TestNoRoom(t *testing.T) {
	f := newFake(t)
	m := f.greeted()
	f.o.Bytes = f.size
	f.say(m, f.message(1), side.Live)
	require.EqualValues(t, 1, f.Counts().Dropped)
}

// What lacks a side holds back what came later, so that what is missing is not known last.
func TestOrder(t *testing.T) {
	f := newFake(t)
	one, other := f.greeted(), f.greeted()
	f.say(one, f.message(1), without(side.Candidate)...)
	f.pass(time.Second)
	f.say(other, f.message(2), all...)
	f.pass(9*time.Second - 1)
	require.Empty(t, f.handed)
	f.pass(1)
	require.Equal(t, []string{"socket message/g:1/1: same - same", "socket message/g:1/2: same same same"}, f.handed)
}

// The latency of a copy is from what a frame tells to the frame, or from one hello to the other.
func TestLatency(t *testing.T) {
	f := newFake(t)
	latencies := map[string][side.Count]time.Duration{}
	f.o.Result = func(label string, results [side.Count]*Result) {
		latencies[label] = [side.Count]time.Duration{results[0].Latency, results[1].Latency, results[2].Latency}
	}
	m := f.socket()
	m.take(mirror.Text, []byte(`{"type":"hello"}`))
	for _, of := range all {
		f.now = f.now.Add(time.Millisecond)
		f.say(m, []byte(`{"type":"hello","user":"ann"}`), of)
	}
	f.pass(edge)
	said := f.message(1)
	for _, of := range all {
		f.now = f.now.Add(time.Second)
		f.say(m, said, of)
	}
	require.Equal(t, map[string][side.Count]time.Duration{
		"socket hello/":        {0, 2 * time.Millisecond, 3 * time.Millisecond},
		"socket message/g:1/1": {0, 2 * time.Second, 3 * time.Second},
	}, latencies)
}

func TestAddresses(t *testing.T) {
	_, err := New(Options{Copies: map[side.Side]string{side.Candidate: "http://a:1", side.Baseline: "b:1"}})
	require.ErrorContains(t, err, `the address of the baseline is "b:1"; it must be like http://host:port`)
}
