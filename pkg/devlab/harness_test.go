package devlab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/mongodb"
	"github.com/labctl/labctl/services/client"
	"github.com/labctl/labctl/services/topics"
	"github.com/labctl/labctl/test/kafka/apache"
)

// TestMain lets the test binary be a service that a test can kill.
func TestMain(m *testing.M) {
	if name := os.Getenv("LABCTL_TEST_SERVICE"); name != "" {
		if err := runService(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runService(name string) error {
	ln, err := net.Listen("tcp", os.Getenv("LISTEN"))
	if err != nil {
		return err
	}
	for _, u := range units() {
		if u.name == name {
			return u.run(context.Background(), os.Getenv, listeners{service: ln}, slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
		}
	}
	return fmt.Errorf("no service %q", name)
}

// world is a chat whose parts can be stopped, killed and started again at the same addresses.
type world struct {
	t     *testing.T
	lab   *lab
	url   string // of the proxy before the services
	urls  map[string]string
	parts map[string]*part
	ends  *kadm.Client // nil until it is needed

	device func(*client.Session) *device // connects one
}

type part struct {
	unit    *unit
	addr    string
	stop    func()
	process *os.Process // of one that was spawned
}

// newWorld starts all parts but those named, which a test starts its own way.
func newWorld(t *testing.T, but ...string) *world {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() && os.Getenv("LABCTL_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w := &world{t: t, lab: &lab{dir: t.TempDir(), users: NewUsers(), log: log}, urls: map[string]string{}, parts: map[string]*part{}}
	w.device = func(s *client.Session) *device { w.t.Helper(); return w.deviceOf(s, client.DeviceOptions{}) }
	w.lab.brokerAddr, w.lab.dbAddr = freeport.Of(t).Addr(), freeport.Of(t).Addr()
	require.NoError(t, w.lab.startData())
	if apache.There() {
		w.lab.brokerAddr = useApache(t, w.lab)
	}
	t.Cleanup(func() { require.NoError(t, w.lab.stopData()) })
	var err error
	w.lab.issuer, err = NewIssuer(t.Context(), w.lab.dir, log)
	require.NoError(t, err)
	t.Cleanup(w.lab.issuer.Close)
	all := units()
	for _, u := range all {
		w.place(u)
	}
	for _, u := range all {
		if !slices.Contains(but, u.name) {
			w.start(u.name)
		}
	}
	front, err := newFront(all, w.urls, nil)
	require.NoError(t, err)
	srv := httptest.NewServer(w.lab.mirror.before(front))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	t.Cleanup(func() {
		for _, p := range w.parts {
			if p.stop != nil {
				p.stop()
			}
		}
	})
	w.ready(but...)
	return w
}

// token gives what a service shows to another.
func (w *world) token(caller, asked string) string {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join(w.lab.issuer.Environment(caller)["IDENTITY_DIR"], asked))
	require.NoError(w.t, err)
	return string(b)
}

// place gives a service an address, which it has each time that it is started.
func (w *world) place(u *unit) {
	w.t.Helper()
	addr := freeport.Of(w.t).Addr()
	w.urls[u.name] = "http://" + addr
	w.urls[health(u.name)] = "http://" + freeport.Of(w.t).Addr()
	w.parts[u.name] = &part{unit: u, addr: addr}
}

func (w *world) env(name string) func(string) string {
	service, _, _ := strings.Cut(name, "-") // gateway-2 is a gateway
	urls := maps.Clone(w.urls)
	urls[health(service)] = w.urls[health(name)]
	return w.lab.environment(service, w.lab.brokerAddr, w.lab.dbAddr, urls)
}

// start runs a service in this process.
func (w *world) start(name string) {
	w.t.Helper()
	p := w.parts[name]
	ln, err := net.Listen("tcp", p.addr)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended, env := make(chan error, 1), w.env(name)
	go func() { ended <- p.unit.run(ctx, env, listeners{service: ln}, w.lab.log.With("service", name)) }()
	p.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("%s ends: %v", name, err)
		}
		p.stop = nil
	}
}

// spawn runs a service in a process of its own and gives the function that kills it as kill -9 does.
func (w *world) spawn(name string) (kill func()) {
	w.t.Helper()
	p := w.parts[name]
	cmd := exec.Command(os.Args[0]) //nolint:gosec // the test binary itself
	cmd.Env = append(os.Environ(), "LABCTL_TEST_SERVICE="+name, "LISTEN="+p.addr)
	for _, k := range []string{"HEALTH", "KAFKA_BROKERS", "KAFKA_SASL", "KAFKA_PASSWORD", "MONGODB_URI", "KEY_ENCRYPTION_SECRET", "AUTH_URL", "GROUPS_URL", "MESSAGING_URL", "TRUSTED_PROXIES", "IDENTITY_DIR", "IDENTITY_ISSUER"} {
		cmd.Env = append(cmd.Env, k+"="+w.env(name)(k))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	errs, err := cmd.StderrPipe()
	require.NoError(w.t, err)
	require.NoError(w.t, cmd.Start())
	var reading sync.WaitGroup
	reading.Go(func() {
		for s := bufio.NewScanner(errs); s.Scan(); {
			w.lab.log.Error(name + ": " + s.Text())
		}
	})
	p.process = cmd.Process
	p.stop = func() {
		_ = cmd.Process.Kill()
		reading.Wait()
		_ = cmd.Wait()
		p.stop = nil
	}
	return p.stop
}

// startDB starts the database again.
func (w *world) startDB() {
	w.t.Helper()
	var err error
	w.lab.db, err = mongodb.Start(mongodb.Options{DataDir: w.lab.dir + "/mongodb", Listen: w.lab.dbAddr, Users: w.lab.users.MongoDB})
	require.NoError(w.t, err)
}

// metric waits until a service's metrics have that text.
func (w *world) metric(name, text string) {
	w.t.Helper()
	for {
		_, body := get(w.t, w.urls[health(name)]+"/metrics")
		if strings.Contains(body, text) {
			return
		}
		select {
		case <-w.t.Context().Done():
			w.t.Fatalf("the metrics of %s never had %s", name, text)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ready waits until all services but those named say so.
func (w *world) ready(but ...string) {
	w.t.Helper()
	var list []*unit
	for name, p := range w.parts {
		if !slices.Contains(but, name) {
			list = append(list, p.unit)
		}
	}
	require.NoError(w.t, ready(w.t.Context(), list, w.urls))
}

func (w *world) user(name string) *client.Session {
	w.t.Helper()
	c := client.New(w.url)
	w.t.Cleanup(c.Close)
	s, err := c.Register(w.t.Context(), name, "correct horse", "test")
	require.NoError(w.t, err)
	return s
}

// again logs a user in from another device.
func (w *world) again(s *client.Session) *client.Session {
	w.t.Helper()
	c := client.New(w.url)
	w.t.Cleanup(c.Close)
	n, err := c.Login(w.t.Context(), s.User.Name, "correct horse", "another")
	require.NoError(w.t, err)
	return n
}

// device is a connected device and what it was told.
type device struct {
	*client.Device
	t    *testing.T
	s    *client.Session
	mu   sync.Mutex
	got  []client.Message
	seen map[string]bool // who is online
	news chan struct{}
}

func (w *world) deviceOf(s *client.Session, o client.DeviceOptions) *device {
	w.t.Helper()
	d := &device{t: w.t, s: s, seen: map[string]bool{}, news: make(chan struct{}, 1)}
	tell := func() {
		select {
		case d.news <- struct{}{}:
		default:
		}
	}
	o.Message = func(m client.Message) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got = append(d.got, m)
		tell()
	}
	o.Presence = func(user string, online bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.seen[user] = online
		tell()
	}
	var err error
	d.Device, err = s.Connect(w.t.Context(), o)
	require.NoError(w.t, err)
	w.t.Cleanup(d.Close)
	return d
}

func (d *device) messages(conversation string) (l []client.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.got {
		if m.Conversation == conversation {
			l = append(l, m)
		}
	}
	return l
}

// until waits until what holds, for as long as a test may last.
func (d *device) until(what string, holds func() bool) {
	d.t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !holds() {
		select {
		case <-d.news:
		case <-limit.C:
			d.t.Fatalf("%s waits in vain for: %s; it has %s", d.s.User.Name, what, texts(d.got))
		}
	}
}

// has waits until the device has n messages of a conversation, and gives them.
func (d *device) has(conversation string, n int) []client.Message {
	d.t.Helper()
	d.until(fmt.Sprintf("%d messages", n), func() bool { return len(d.messages(conversation)) >= n })
	return d.messages(conversation)
}

func (d *device) send(conversation, body string) client.Message {
	d.t.Helper()
	m, err := d.Send(d.t.Context(), conversation, body)
	require.NoError(d.t, err)
	return m
}

func texts(messages []client.Message) (l []string) {
	for _, m := range messages {
		body := m.Body
		if m.Event != nil {
			body = "(" + m.Event.Type + ")"
		}
		l = append(l, fmt.Sprintf("%d %s", m.Seq, body))
	}
	return l
}

// position is up to where something was said until now.
func (w *world) position() string {
	w.t.Helper()
	if w.ends == nil {
		w.ends = kadm.NewClient(w.kafka())
	}
	ends, err := w.ends.ListEndOffsets(w.t.Context(), topics.Messages)
	require.NoError(w.t, err)
	var at []string
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			at = append(at, fmt.Sprintf("%d:%d", o.Partition, o.Offset-1))
		}
	})
	return strings.Join(at, ",")
}

// stored waits until all is stored that was said until now. A device need not: it knows what to wait for.
func (w *world) stored() {
	w.t.Helper()
	position := w.position()
	eventually(w.t, "all to be stored", func() bool {
		// As gateways ask for a socket: where it takes long, they are to ask again.
		status, body := call(w.t, http.MethodPost, w.urls["messaging"]+"/internal/resume", w.token("gateway", "messaging"), fmt.Sprintf(`{"user":"","have":{},"position":%q}`, position))
		require.Contains(w.t, []int{http.StatusOK, http.StatusServiceUnavailable}, status, body)
		return status == http.StatusOK
	})
}

// history gives all that a session can read of a conversation, page by page backwards.
func (w *world) history(s *client.Session, conversation string) (all []client.Message) {
	w.t.Helper()
	w.stored()
	p := client.Page{Limit: 7}
	for {
		page, more, err := s.History(w.t.Context(), conversation, p)
		require.NoError(w.t, err)
		all = append(page, all...)
		if !more {
			return all
		}
		p.Before = page[0].Seq
	}
}

// call makes a bare request and gives its status and answer. A body is sent as JSON.
func call(t *testing.T, method, url, bearer, body string) (int, string) {
	t.Helper()
	return callAs(t, method, url, bearer, "application/json", body)
}

// callAs is call with a body of another kind.
func callAs(t *testing.T, method, url, bearer, kind, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		req.Header.Set("Content-Type", kind)
	}
	res, err := http.DefaultTransport.RoundTrip(req) // no redirect is followed
	require.NoError(t, err)
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res.StatusCode, string(b)
}
