package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/labctl/labctl/pkg/devlab"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/kafka"
	"github.com/labctl/labctl/services/client"
)

// ProcessesOptions are the options of StartProcesses.
type ProcessesOptions struct {
	// Dir keeps the data of the broker and the database, and a log of each part.
	Dir string
	// Command runs a part when the part's name is added to it: labctl itself, so that no compiler is needed.
	Command []string
	// Instances says how many of each service run.
	Instances map[string]int
	// Direct lets the services reach the broker and the database without a link, to be measured: their network has no faults then.
	Direct bool
	// Kafka is the address of a broker that is there, used instead of one of its own. The services log in there as Env says.
	Kafka string
	// Killers are parts that are not its own, such as that broker, and what kills each. They come back by themselves.
	Killers map[string]func(context.Context) error
	// Shadow has a shadow of messaging beside the chat, of the same version. The broker and the database know users with rights then, and are the
	// chat's own. Its sides are parts that Strike knows; StrikeShadow has Parts name them, too.
	Shadow, StrikeShadow bool
	// Env is added to the environment of each part.
	Env    []string
	Report event.Report

	tamper func(part string, l *link) // in tests: makes a service's work broken from outside
}

// Many is how many instances chaos needs of each service: of each one that can be away, and of gateways so many that a
// user's devices sit on different ones.
func Many() map[string]int {
	return map[string]int{"auth": 2, "messaging": 2, "groups": 2, "presence": 2, "gateway": 3}
}

// One is the smallest chat.
func One() map[string]int {
	return map[string]int{"auth": 1, "messaging": 1, "groups": 1, "presence": 1, "gateway": 1}
}

// Processes is the chat on this machine, each part a process of its own. Each instance reaches the broker and the database through a
// link of its own, unless it is to be measured.
type Processes struct {
	o        ProcessesOptions
	parts    map[string]*process
	services map[string]*link // by name: what Kubernetes calls a Service
	clients  *link
	front    *http.Server
	serving  sync.WaitGroup
	issuer   *devlab.Issuer

	users     devlab.Users
	companion *companion // nil: there is no shadow

	mu      sync.Mutex
	crashes []string
}

// process is one part.
type process struct {
	all     *Processes
	name    string // "messaging/1", "kafka"
	part    string // "messaging"
	address string
	health  string // the address of a service's health
	env     []string
	links   map[string]*link // to kafka and to mongodb
	gone    func(error)      // hears how a process has ended; may be nil

	mu      sync.Mutex
	cmd     *exec.Cmd
	pipe    io.Closer // the process ends when it is closed
	ended   chan struct{}
	wanted  bool // it is to run; if it ends by itself it is started again
	waiting sync.WaitGroup
}

// StartProcesses starts all parts and waits until they are ready.
func StartProcesses(ctx context.Context, o ProcessesOptions) (_ *Processes, err error) {
	p := &Processes{o: o, parts: map[string]*process{}, services: map[string]*link{}}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	o.Report.Doing("starting the parts")
	if err := p.layOut(ctx); err != nil {
		return nil, fmt.Errorf("start the chat's processes: %w", err)
	}
	for _, name := range p.own() {
		if err := p.parts[name].start(); err != nil {
			return nil, fmt.Errorf("start the chat's processes: %w", err)
		}
	}
	if err := p.serve(ctx); err != nil {
		return nil, fmt.Errorf("start the chat's processes: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := p.Ready(within); err != nil {
		return nil, fmt.Errorf("start the chat's processes: %w", err)
	}
	if p.companion != nil {
		if err := p.startShadow(within); err != nil {
			return nil, fmt.Errorf("start the shadow of %s: %w", shadowed, err)
		}
	}
	return p, nil
}

// loopback gives an address of this machine. A part that was killed must get its port again, so where all of 127/8 is loopback each chat
// has an address of its own, on which nobody else listens and from which nobody connects.
func loopback() string {
	if runtime.GOOS != "linux" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(128), rand.IntN(256), 1+rand.IntN(254)) //nolint:gosec // no secret
}

// layOut gives each part its address and its links.
func (p *Processes) layOut(ctx context.Context) error {
	host := loopback()
	var reserved []net.Listener // until each has its own
	defer func() {
		for _, ln := range reserved {
			_ = ln.Close() // a part that is killed takes the same address again
		}
	}()
	add := func(name, part string) (*process, error) {
		var addresses [2]string
		for i := range addresses {
			ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				return nil, err
			}
			reserved = append(reserved, ln)
			addresses[i] = ln.Addr().String()
		}
		q := &process{all: p, name: name, part: part, address: addresses[0], health: addresses[1], links: map[string]*link{}}
		p.parts[name] = q
		q.env = append(slices.Clone(p.o.Env), "LISTEN="+q.address, "HEALTH="+q.health, "DATA_DIR="+p.o.Dir)
		return q, nil
	}
	secret, err := devlab.KeyEncryptionSecret(p.o.Dir)
	if err != nil {
		return err
	}
	if p.o.Shadow {
		if p.o.Kafka != "" {
			return errors.New("a shadow needs a broker of the chat's own, whose users are known")
		}
		p.users = devlab.NewUsers()
		if err := p.users.Save(p.o.Dir); err != nil {
			return err
		}
	}
	if p.issuer, err = devlab.NewIssuer(ctx, p.o.Dir, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	base := map[string]string{devlab.Broker: p.o.Kafka}
	for _, name := range []string{devlab.Broker, devlab.Database} {
		if base[name] != "" {
			continue
		}
		q, err := add(name, name)
		if err != nil {
			return err
		}
		base[name] = q.address
	}
	// connect gives an instance of a service its ways to the broker and the database, and what it is told.
	connect := func(q *process) (database string, err error) {
		ways := maps.Clone(base)
		for to, kind := range map[string]protocol{devlab.Broker: kafkaProtocol, devlab.Database: mongoProtocol} {
			if p.o.Direct {
				break
			}
			l, err := listen(ctx, kind, base[to])
			if err != nil {
				return "", err
			}
			q.links[to], ways[to] = l, l.addr()
			if p.o.tamper != nil {
				p.o.tamper(q.name, l)
			}
			l.open()
		}
		q.env = append(q.env, "KAFKA_BROKERS="+ways[devlab.Broker], "KAFKA_PARTITIONS="+strconv.Itoa(devlab.Partitions), "MONGODB_URI=mongodb://"+ways[devlab.Database], "ADDRESS_RATE=off", "REGISTRATION_RATE=off", "KEY_ENCRYPTION_SECRET="+secret)
		if p.o.Shadow { // the last value of a variable counts
			q.env = append(q.env, "KAFKA_SASL="+kafka.Mechanism, "KAFKA_PASSWORD="+p.users.Password(q.part), "MONGODB_URI="+p.users.DatabaseURI(ways[devlab.Database], q.part))
		}
		for name, value := range p.issuer.Environment(q.part) {
			q.env = append(q.env, name+"="+value)
		}
		return ways[devlab.Database], nil
	}
	for _, service := range slices.Sorted(maps.Keys(p.o.Instances)) {
		var targets []string
		for i := range p.o.Instances[service] {
			q, err := add(service+"/"+strconv.Itoa(i), service)
			if err != nil {
				return err
			}
			targets = append(targets, q.address)
			if _, err := connect(q); err != nil {
				return err
			}
		}
		var err error
		if p.services[service], err = newLink(ctx, anyProtocol, targets...); err != nil {
			return err
		}
	}
	if p.o.Shadow {
		if err := p.layOutSides(add, connect); err != nil {
			return err
		}
	}
	for _, q := range p.all() {
		for name, l := range p.services {
			q.env = append(q.env, strings.ToUpper(name)+"_URL=http://"+l.addr())
		}
	}
	return nil
}

// serve is the ingress.
func (p *Processes) serve(ctx context.Context) error {
	mux := http.NewServeMux()
	for service, routes := range devlab.Routes() {
		target := &url.URL{Scheme: "http", Host: p.services[service].addr()}
		proxy := &httputil.ReverseProxy{
			Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host; r.SetXForwarded() },
			FlushInterval: -1,
			Transport:     &http.Transport{ResponseHeaderTimeout: 10 * time.Second, MaxIdleConnsPerHost: 256, IdleConnTimeout: 10 * time.Second},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = fmt.Fprintf(w, `{"error":{"code":"unavailable","message":"%s is not available; try again"}}`+"\n", service)
			},
		}
		for _, route := range routes {
			mux.Handle(route, proxy)
			mux.Handle(route+"/", proxy)
		}
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	p.front = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	p.serving.Go(func() { _ = p.front.Serve(ln) }) // ends by Close only
	p.clients, err = newLink(ctx, anyProtocol, ln.Addr().String())
	return err
}

// Address is the chat's.
func (p *Processes) Address() string { return "http://" + p.clients.addr() }

// Gateway gives the address and the process id of a gateway, for whoever measures it alone.
func (p *Processes) Gateway(i int) (address string, pid int) {
	q := p.parts["gateway/"+strconv.Itoa(i)]
	q.mu.Lock()
	defer q.mu.Unlock()
	return "http://" + q.address, q.cmd.Process.Pid
}

// PIDs gives the process ids of all parts that run, for whoever measures them.
func (p *Processes) PIDs() map[string]int {
	all := map[string]int{}
	for name, q := range p.parts {
		q.mu.Lock()
		if q.cmd != nil {
			all[name] = q.cmd.Process.Pid
		}
		q.mu.Unlock()
	}
	return all
}

// Restart kills a part and waits until the chat is well again.
func (p *Processes) Restart(ctx context.Context, part string) error {
	if _, err := p.Strike(ctx, Fault{Kind: Kill, Part: part}); err != nil {
		return err
	}
	return p.Ready(ctx)
}

// Broker is the address of Kafka itself, without a link.
func (p *Processes) Broker() string { return p.parts[devlab.Broker].address }

// databaseAddress is the address of the database itself, without a link.
func (p *Processes) databaseAddress() string { return p.parts[devlab.Database].address }

// Parts gives the names of all parts, the broker and the database first.
func (p *Processes) Parts() []string {
	names := append(slices.Sorted(maps.Keys(p.o.Killers)), p.own()...)
	if p.o.StrikeShadow && p.companion != nil {
		names = append(names, CandidatePart(), BaselinePart())
	}
	return names
}

// all gives the processes, also those of the shadow.
func (p *Processes) all() []*process {
	l := slices.Collect(maps.Values(p.parts))
	if p.companion != nil {
		l = append(l, slices.Collect(maps.Values(p.companion.sides))...)
	}
	return l
}

// find gives the process of a part, also of one of the shadow; nil if there is none.
func (p *Processes) find(name string) *process {
	all := p.all()
	if i := slices.IndexFunc(all, func(q *process) bool { return q.name == name }); i >= 0 {
		return all[i]
	}
	return nil
}

// own gives the names of the parts that are its processes, the broker and the database first.
func (p *Processes) own() []string {
	names := slices.Sorted(maps.Keys(p.parts))
	slices.SortStableFunc(names, func(a, b string) int {
		base := func(s string) int {
			if strings.Contains(s, "/") {
				return 1
			}
			return 0
		}
		return base(a) - base(b)
	})
	return names
}

// Crashes names the parts that ended by themselves, and how.
func (p *Processes) Crashes() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.crashes)
}

// Ready waits until all services say that they are.
func (p *Processes) Ready(ctx context.Context) error {
	var services []*process
	for _, name := range p.own() {
		if q := p.parts[name]; q.part != devlab.Broker && q.part != devlab.Database { // of these the services say so
			services = append(services, q)
		}
	}
	return p.await(ctx, services...)
}

// await waits until services say that they are ready.
func (p *Processes) await(ctx context.Context, services ...*process) error {
	c := &http.Client{Timeout: 5 * time.Second}
	defer c.CloseIdleConnections()
	for _, q := range services {
		for {
			last := ask(ctx, c, "http://"+q.health+"/readyz")
			if last == nil {
				break
			}
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return fmt.Errorf("wait for %s to be ready: %w (last: %w; its log is %s)", q.name, err, last, q.log())
			}
		}
	}
	return nil
}

func ask(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(strings.TrimSpace(string(b)))
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Close ends all.
func (p *Processes) Close() {
	for _, q := range p.all() {
		q.kill()
	}
	for _, q := range p.all() {
		q.waiting.Wait()
		for _, l := range q.links {
			l.close()
		}
	}
	if p.companion != nil {
		p.companion.close()
	}
	if p.clients != nil {
		p.clients.close()
	}
	for _, l := range p.services {
		if l != nil {
			l.close()
		}
	}
	if p.front != nil {
		_ = p.front.Close()
		p.serving.Wait()
	}
	if p.issuer != nil {
		p.issuer.Close()
	}
}

func (q *process) log() string {
	return filepath.Join(q.all.o.Dir, strings.ReplaceAll(q.name, "/", "-")+".log")
}

// start runs the part. It goes on in its log.
func (q *process) start() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cmd != nil {
		return nil
	}
	log, err := os.OpenFile(q.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	args := append(slices.Clone(q.all.o.Command[1:]), q.part)
	cmd := exec.Command(q.all.o.Command[0], args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.Getenv("TMPDIR"), "LOG_LEVEL=info"}, q.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for labctl, which ends the parts
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", q.name, err)
	}
	ended := make(chan struct{})
	q.cmd, q.pipe, q.ended, q.wanted = cmd, pipe, ended, true
	q.waiting.Go(func() {
		err := cmd.Wait()
		q.mu.Lock()
		crashed := q.wanted && q.cmd == cmd
		if q.cmd == cmd {
			q.cmd = nil
		}
		q.mu.Unlock()
		if q.gone != nil {
			q.gone(err)
		}
		close(ended)
		if crashed {
			q.all.mu.Lock()
			q.all.crashes = append(q.all.crashes, fmt.Sprintf("%s ended by itself (%v); its log is %s", q.name, err, q.log()))
			q.all.mu.Unlock()
			time.Sleep(500 * time.Millisecond) // as the kubelet does
			q.mu.Lock()
			again := q.wanted
			q.mu.Unlock()
			if again {
				_ = q.start() // it has started before
			}
		}
	})
	return nil
}

// kill ends the part as kill -9 does, and waits until it is gone.
func (q *process) kill() {
	if ended := q.shoot(); ended != nil {
		<-ended
	}
}

// shoot kills the part. What it gives is closed when the part is gone; it is nil if there was none.
func (q *process) shoot() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.wanted = false
	if q.cmd == nil {
		return nil
	}
	_, _ = q.cmd.Process.Kill(), q.pipe.Close() // it may be gone already
	return q.ended
}

func (q *process) signal(s syscall.Signal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.cmd == nil {
		return nil // another fault has it
	}
	if err := q.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", q.name, err)
	}
	return nil
}

// Stored gives what the database holds.
func (p *Processes) Stored(ctx context.Context) ([]client.Message, error) {
	uri := "mongodb://" + p.databaseAddress()
	if p.o.Shadow {
		uri = p.users.DatabaseURI(p.databaseAddress(), shadowed)
	}
	c, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	defer func() { _ = c.Disconnect(context.WithoutCancel(ctx)) }()
	cursor, err := c.Database("messaging").Collection("messages").Find(ctx, bson.D{})
	if err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	var stored []struct {
		Conversation string             `bson:"conversation"`
		Seq          int64              `bson:"seq"`
		Sender       string             `bson:"sender"`
		ClientID     string             `bson:"client_id"`
		Body         string             `bson:"body"`
		Event        *client.GroupEvent `bson:"event"`
		Kind         string             `bson:"kind"`
		ReplyTo      int64              `bson:"reply_to"`
		Target       int64              `bson:"target"`
		Emoji        string             `bson:"emoji"`
	}
	if err := cursor.All(ctx, &stored); err != nil {
		return nil, fmt.Errorf("read the database: %w", err)
	}
	var all []client.Message
	for _, m := range stored {
		all = append(all, client.Message{
			Conversation: m.Conversation, Seq: m.Seq, Sender: m.Sender, ClientID: m.ClientID, Body: m.Body, Event: m.Event,
			Kind: m.Kind, ReplyTo: m.ReplyTo, Target: m.Target, Emoji: m.Emoji,
		})
	}
	return all, nil
}
