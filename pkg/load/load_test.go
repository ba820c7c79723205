package load

import (
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/services/client"
)

func TestHistogram(t *testing.T) {
	var h, other Histogram
	require.Zero(t, h.Quantile(0.5), "nothing was added")
	rng := rand.New(rand.NewPCG(1, 2))
	var all []time.Duration
	for i := range 50_000 {
		d := time.Duration(rng.ExpFloat64() * float64(20*time.Millisecond))
		if i%1000 == 0 {
			d = time.Duration(i) * time.Millisecond
		}
		all = append(all, d)
		if i%2 == 0 {
			h.Add(d)
		} else {
			other.Add(d)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	require.EqualValues(t, len(all), h.Count())
	require.Equal(t, all[len(all)-1], h.Max())
	for _, q := range []float64{0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(int(q*float64(len(all)))-1, 0)]
		require.GreaterOrEqual(t, h.Quantile(q), exact.Truncate(time.Microsecond), q)
		require.LessOrEqual(t, h.Quantile(q), exact+exact/20+2*time.Microsecond, q)
	}
	var one Histogram
	one.Add(-time.Second)
	require.Equal(t, Latency{Count: 1}, one.Latency(), "below zero counts as zero")
}

// Each value lies in its bucket, and buckets follow each other without a hole.
func TestBuckets(t *testing.T) {
	before := -1
	for v := uint64(0); v < 1<<20; v++ {
		i := bucket(v)
		require.True(t, i == before || i == before+1, v)
		require.LessOrEqual(t, v, top(i), v)
		if i != before && i > 0 {
			require.Equal(t, v-1, top(i-1), v)
		}
		before = i
	}
}

func TestShapes(t *testing.T) {
	for text, want := range map[string]Shape{"pairs": {"pairs", 2}, "rooms:10": {"rooms", 10}, "zipf:50": {"zipf", 50}} {
		s, err := ParseShape(text)
		require.NoError(t, err)
		require.Equal(t, want, s)
		require.Equal(t, text, s.String())
	}
	for _, bad := range []string{"", "pairs:3", "rooms", "rooms:1", "rooms:1001", "rooms:x", "zipf:0", "triangles:3"} {
		_, err := ParseShape(bad)
		require.Error(t, err, bad)
	}
	sizes := func(text string, users int) (l []int) {
		s, err := ParseShape(text)
		require.NoError(t, err)
		for _, r := range s.rooms(users, rand.New(rand.NewPCG(3, 0))) {
			distinct := map[int]bool{}
			for _, m := range r.members {
				require.Less(t, m, users)
				distinct[m] = true
			}
			require.Len(t, distinct, len(r.members), "nobody is in a room twice")
			l = append(l, len(r.members))
		}
		return l
	}
	require.Equal(t, []int{2, 2}, sizes("pairs", 5), "one is left over")
	require.Equal(t, []int{10, 11}, sizes("rooms:10", 21))
	require.Equal(t, []int{10, 10, 5}, sizes("rooms:10", 25))
	require.Equal(t, []int{12, 6, 4, 3, 2, 2}, sizes("zipf:12", 30))
}

func TestArrivals(t *testing.T) {
	s := Shape{"zipf", 20}
	make := func(seed uint64) ([]room, []arrival) {
		rng := rand.New(rand.NewPCG(seed, 0))
		rooms := s.rooms(40, rng)
		return rooms, arrivals(rng, s, Chat, rooms, 3, 200, 30*time.Second)
	}
	rooms, all := make(7)
	_, again := make(7)
	require.Equal(t, all, again, "a seed gives the same again")
	_, other := make(8)
	require.NotEqual(t, all, other)
	require.InDelta(t, 6000, len(all), 300, "as many as the rate says")
	require.True(t, slices.IsSortedFunc(all, func(a, b arrival) int { return int(a.at - b.at) }))
	count := map[int]int{}
	for _, a := range all {
		require.Less(t, a.at, 30*time.Second)
		require.Less(t, a.sender, len(rooms[a.room].members))
		require.Less(t, a.device, 3)
		count[a.room]++
	}
	require.InDelta(t, 2, float64(count[0])/float64(count[1]), 0.3, "the second room is half as busy as the first")

	kinds := map[Kind]int{}
	for _, a := range all {
		kinds[a.kind]++
		switch a.kind {
		case Reply, Edit, Reaction:
			text := all[a.target]
			require.Contains(t, []Kind{Text, Reply}, text.kind)
			require.Equal(t, a.room, text.room)
			require.LessOrEqual(t, text.at, a.at-settled)
			if a.kind == Edit {
				require.Equal(t, a.sender, text.sender, "an edit is of one's own")
			}
		}
	}
	n := float64(len(all))
	require.InDelta(t, 0.10, float64(kinds[Read])/n, 0.02)
	require.InDelta(t, 0.05, float64(kinds[Reaction])/n, 0.02)
	require.InDelta(t, 0.03, float64(kinds[Edit])/n, 0.02)
	require.InDelta(t, 0.02, float64(kinds[Reply])/n, 0.01)
}

func TestOptions(t *testing.T) {
	good := Options{Address: "http://127.0.0.1:1", Users: 2, Devices: 1, Shape: Shape{"pairs", 2}, Rate: 1, Duration: time.Second, Key: []byte("0123456789abcdef")}
	require.NoError(t, good.check())
	for name, change := range map[string]func(*Options){
		"one user":       func(o *Options) { o.Users = 1 },
		"no device":      func(o *Options) { o.Devices = 0 },
		"a rate below 0": func(o *Options) { o.Rate = -1 },
		"no time":        func(o *Options) { o.Duration = 0 },
		"too many":       func(o *Options) { o.Rate, o.Duration = 1e6, time.Hour },
		"no rooms":       func(o *Options) { o.Shape = Shape{} },
		"no key":         func(o *Options) { o.Key = nil },
	} {
		o := good
		change(&o)
		require.Error(t, o.check(), name)
	}
	for _, address := range []string{"", "127.0.0.1:8090", "ftp://x", "http://"} {
		o := good
		o.Address = address
		_, err := Run(t.Context(), o)
		require.ErrorContains(t, err, "no address", address)
	}
}

// What a message waits begins when it is due, and its due time when sending begins: the clock runs from before the sockets.
func TestLatencyBeginsWhenAMessageIsDue(t *testing.T) {
	r := &runner{Options: Options{Devices: 1}, rooms: []room{{members: []int{0}}}, said: []said{{arrival: arrival{at: time.Second}}}, top: make([]atomic.Int64, 1)}
	r.began.Store(int64(time.Minute))
	d := &device{r: r, last: map[int]int64{}}
	r.devices = []*device{d}
	d.show(0, 1, 0, time.Minute+time.Second+5*time.Millisecond)
	require.Equal(t, 5*time.Millisecond, d.stored.Max())
	require.Equal(t, 5*time.Millisecond, d.shown.Max())
}

// The longest gap is between two deliveries, on whatever devices.
func TestLongestGap(t *testing.T) {
	r := &runner{}
	for _, at := range []time.Duration{5 * time.Second, 6 * time.Second, 9 * time.Second, 8 * time.Second, 10 * time.Second} {
		r.delivered(at)
	}
	var res Result
	r.sum(&res)
	require.InDelta(t, 3000, res.LongestGap, 0.1, "nothing comes before the first one")
}

// What a device fetches because it was not shown it is shown when it has come. Taken for shown before, it would stand before what was sent
// meanwhile, and the checker would find an order that never was.
func TestWhatIsFetchedIsShownWhenItHasCome(t *testing.T) {
	r := &runner{
		Options: Options{Devices: 1}, name: "run", top: make([]atomic.Int64, 1), rooms: []room{{members: []int{0}}}, conversations: []string{"c"}, begin: time.Now(),
		said: []said{{body: "one"}, {body: "two"}}, other: map[int32]Message{},
	}
	var asked time.Duration
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodPost {
			_, _ = w.Write([]byte(`{"user":{"id":"u"},"session":"s","access_token":"a","access_expires_in":600,"refresh_token":"r"}`))
			return
		}
		asked = time.Since(r.begin)
		_, _ = w.Write([]byte(`{"messages":[{"conversation":"c","seq":1,"kind":"text","sender":"u","client_id":"run-0","body":"one"},` +
			`{"conversation":"c","seq":2,"kind":"text","sender":"u","client_id":"run-1","body":"two"}]}`))
	}))
	t.Cleanup(srv.Close)
	c := client.New(srv.URL)
	t.Cleanup(c.Close)
	session, err := c.Login(t.Context(), "ada", "a password", "phone")
	require.NoError(t, err)
	r.sessions = []*client.Session{session}
	d := &device{r: r, last: map[int]int64{}}
	r.devices = []*device{d}
	require.NoError(t, d.handle(t.Context(), []byte(`{"type":"message","message":{"conversation":"c","seq":2,"client_id":"run-1","body":"two"}}`)))
	require.Equal(t, []Entry{{Message: 0, Seq: 1}, {Message: 1, Seq: 2}}, d.log)
	for i := range r.said {
		require.Equal(t, Stored, r.said[i].outcome)
		require.Greater(t, r.said[i].answered, asked)
	}
}

func TestRecognize(t *testing.T) {
	now := client.Message{}.Edited
	now.Time = time.Now()
	text := Message{Conversation: "c", Sender: "ann", ClientID: "1", Body: "one"}
	edit := Message{Conversation: "c", Sender: "ann", ClientID: "2", Kind: Edit, Target: 7, Body: "two"}
	for name, tc := range map[string]struct {
		got    client.Message
		said   Message
		hidden bool
		is     bool
	}{
		"as it was said":              {client.Message{Kind: "text", Body: "one"}, text, false, true},
		"another text":                {client.Message{Kind: "text", Body: "two"}, text, false, false},
		"edited":                      {client.Message{Kind: "text", Body: "two", Edited: now}, text, false, true},
		"edited as nobody has":        {client.Message{Kind: "text", Body: "three", Edited: now}, text, false, false},
		"an answer to nothing":        {client.Message{Kind: "text", Body: "one", ReplyTo: 3}, text, false, false},
		"an edit":                     {client.Message{Kind: "edit", Body: "two", Target: 7}, edit, false, true},
		"an edit of another":          {client.Message{Kind: "edit", Body: "two", Target: 8}, edit, false, false},
		"an edit that lost its text":  {client.Message{Kind: "edit", Target: 7}, edit, false, false},
		"an edit of before they came": {client.Message{Kind: "edit", Target: 7}, edit, true, true},
	} {
		tc.got.Conversation, tc.got.Sender, tc.got.ClientID = tc.said.Conversation, tc.said.Sender, tc.said.ClientID
		require.Equal(t, tc.is, Recognize(tc.got, tc.said, []string{"two"}, tc.hidden) == tc.said, name)
	}
}
