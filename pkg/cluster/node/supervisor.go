package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	restartFirst = time.Second      // before a component that ended is started again
	restartMost  = 15 * time.Second // the delay doubles up to this
	steadyAfter  = time.Minute      // having run this long, a component starts at restartFirst again
	readyEvery   = 50 * time.Millisecond
	stopWithin   = 8 * time.Second // what is left then is killed with the namespace
	unlessEvery  = 200 * time.Millisecond
	logLimit     = 32 << 20 // bytes of a component's log that are kept, twice at most
)

// supervisor starts the components in order and starts again whichever ends. Everything happens on one goroutine:
// it alone reaps children, because process 1 also inherits those that its components left behind.
type supervisor struct {
	options
	components []*component
	started    time.Time
	byPID      map[int]*component
	ready      chan readiness
	due        chan *component
	stopping   bool
	pollers    sync.WaitGroup // one for each process whose readiness is awaited
}

// options are what differs between a node and a test.
type options struct {
	dir        string // of the node's own files, as the supervisor sees it
	components []Component
	// signalOthers sends a signal to every process of the node but the supervisor. Its error says that there is none.
	signalOthers func(unix.Signal) error
	failed       <-chan error                       // the end of something that the node cannot do without
	prepare      func(Other) error                  // before another node is started
	join         func(device string, pid int) error // links another node to this one's bridge
	namespaces   []uintptr                          // the descriptors of components with AcrossNamespaces
	// namespaceFlags are those of clone(2) with which other nodes are started.
	namespaceFlags uintptr
	// Zero means the constant of that name.
	restartFirst, stopWithin time.Duration
	logLimit                 int64
}

// readiness says that a process of a component is ready.
type readiness struct {
	component *component
	pid       int
}

type component struct {
	Component
	pid      int // 0: does not run
	isReady  bool
	asked    bool // is being started, waits for its delay, or runs
	ended    bool // was killed because it is held
	restarts int
	delay    time.Duration
	since    time.Time
	lastExit string
	// stopPolling ends the poller of the process that runs. It may be called at any time, also twice.
	stopPolling context.CancelFunc
}

func newSupervisor(o options) *supervisor {
	if o.restartFirst == 0 {
		o.restartFirst = restartFirst
	}
	if o.stopWithin == 0 {
		o.stopWithin = stopWithin
	}
	if o.logLimit == 0 {
		o.logLimit = logLimit
	}
	s := &supervisor{options: o, started: time.Now(), byPID: map[int]*component{}, ready: make(chan readiness), due: make(chan *component)}
	for _, c := range o.components {
		s.components = append(s.components, &component{Component: c, delay: o.restartFirst, stopPolling: func() {}})
	}
	return s
}

// run returns nil once the node was told to stop, and the error of something that it cannot do without.
func (s *supervisor) run(signals <-chan os.Signal) error {
	logs := time.NewTicker(time.Minute)
	defer logs.Stop()
	var unless <-chan time.Time
	for _, c := range s.components {
		if c.Unless != "" && unless == nil {
			t := time.NewTicker(unlessEvery)
			defer t.Stop()
			unless = t.C
		}
	}
	s.startWhatCan()
	s.writeState()
	var deadline <-chan time.Time
	for {
		select {
		case sig := <-signals:
			switch sig {
			case unix.SIGCHLD:
				s.reap()
				if s.stopping && !s.othersAlive() {
					return nil
				}
			default:
				if !s.stopping {
					s.stopping = true
					deadline = time.After(s.stopWithin)
					// To every process of the node: the components, and the containers, which end as a pod's do.
					_ = s.signalOthers(unix.SIGTERM) // fails only when there is none left
					if !s.othersAlive() {
						return nil
					}
				}
			}
		case r := <-s.ready:
			if r.component.pid == r.pid {
				r.component.isReady = true
				s.startWhatCan()
			}
		case err := <-s.failed:
			return err
		case c := <-s.due:
			c.asked = false
			s.startWhatCan()
		case <-unless:
			if !s.heed() {
				continue
			}
		case <-logs.C:
			s.trimLogs()
			continue
		case <-deadline:
			return nil
		}
		s.writeState()
	}
}

// startWhatCan starts the components whose predecessors are ready. It tells whether there were any.
func (s *supervisor) startWhatCan() (any bool) {
	if s.stopping {
		return false
	}
	ready := map[string]bool{}
	for _, c := range s.components {
		// One that has been ready once does not hold others back while it restarts: they all retry by themselves.
		ready[c.Name] = c.isReady
	}
	for _, c := range s.components {
		if c.asked || c.held() {
			continue
		}
		waits := false
		for _, name := range c.After {
			waits = waits || !ready[name]
		}
		if !waits {
			s.start(c)
			any = true
		}
	}
	return any
}

// held tells whether the component is not to run.
func (c *component) held() bool {
	if c.Unless == "" {
		return false
	}
	_, err := os.Lstat(c.Unless)
	return err == nil
}

// heed kills the components that are not to run any more, and starts those that are to run again. It tells whether there
// were any.
func (s *supervisor) heed() bool {
	killed := false
	for _, c := range s.components {
		if c.pid != 0 && c.held() {
			_ = unix.Kill(c.pid, unix.SIGKILL) // it is our child and not waited for yet, so it is there
			c.ended, killed = true, true
		}
	}
	return s.startWhatCan() || killed
}

func (s *supervisor) start(c *component) {
	c.asked = true
	pid, err := s.spawn(c.Component)
	if err != nil {
		c.lastExit = err.Error()
		s.again(c)
		return
	}
	c.pid, c.since = pid, time.Now()
	s.byPID[pid] = c
	if c.isReady {
		return // it has been ready before, and nobody waits for it any more
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.stopPolling = cancel
	s.pollers.Go(func() { s.poll(ctx, readiness{c, pid}) })
}

// poll tells the supervisor once a process accepts connections. It ends with ctx, which ends with the process.
func (s *supervisor) poll(ctx context.Context, r readiness) {
	every := time.NewTicker(readyEvery)
	defer every.Stop()
	for !accepts(ctx, r.component.Ready) {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
	select {
	case <-ctx.Done():
	case s.ready <- r:
	}
}

func (s *supervisor) again(c *component) {
	if time.Since(c.since) > steadyAfter {
		c.delay = s.restartFirst
	}
	delay := c.delay
	c.delay = min(2*c.delay, restartMost)
	c.restarts++
	time.AfterFunc(delay, func() { s.due <- c })
}

// reap collects every child that ended; of those that are components it starts the next run.
func (s *supervisor) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		c, ok := s.byPID[pid]
		if !ok {
			continue
		}
		delete(s.byPID, pid)
		c.stopPolling()
		c.pid = 0
		c.lastExit = describe(status)
		switch {
		case c.ended: // as it should: that is no failure to count or to be slow after, and heed starts it again
			c.ended, c.asked, c.delay = false, false, s.restartFirst
		case !s.stopping:
			s.again(c)
		}
	}
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "killed by " + unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// searchPath is where the node's programs find others, as the machine has them.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (s *supervisor) spawn(c Component) (int, error) {
	var more []uintptr
	if c.AcrossNamespaces {
		more = s.namespaces
	}
	if c.Node == nil {
		return spawn(c, LogPath(s.dir, c.Name), more, 0)
	}
	if err := s.prepare(*c.Node); err != nil {
		return 0, err
	}
	// It waits until it is joined, and ends where this node does before.
	gate, open, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer open.Close()
	pid, err := spawn(c, LogPath(s.dir, c.Name), []uintptr{gate.Fd()}, s.namespaceFlags)
	_ = gate.Close() // the node has its own
	if err != nil {
		return 0, err
	}
	err = s.join(c.Node.Device, pid)
	if err == nil {
		_, err = open.Write([]byte{StartByte})
	}
	if err != nil {
		// It ends at its gate, and is started again as one that ended.
		_, _ = fmt.Fprintf(os.Stderr, "node: %s: %v\n", c.Name, err)
	}
	return pid, nil
}

// spawn starts a component, in namespaces of its own where there are flags of clone(2).
func spawn(c Component, logPath string, more []uintptr, namespaces uintptr) (int, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	env := append([]string{
		"PATH=" + filepath.Join(Base, "bin") + ":" + searchPath,
		"HOME=/run/labctl",
	}, c.Env...)
	// Not os/exec: its Wait and the reaper would take each other's children.
	return syscall.ForkExec(c.Args[0], c.Args, &syscall.ProcAttr{
		Dir: "/", Env: env, Files: append([]uintptr{null.Fd(), log.Fd(), log.Fd()}, more...),
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: namespaces},
	})
}

func accepts(ctx context.Context, address string) bool {
	if address == "" {
		return true
	}
	if strings.HasPrefix(address, "https://") {
		return answers(ctx, address)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, networkOf(address), address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// local asks servers of this node. Whose certificate they show does not matter: no secret is sent, and whoever can
// listen on the node's loopback in their place owns the node already.
var local = &http.Client{
	Timeout:   2 * time.Second,
	Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}, //nolint:gosec // G402: see above
}

func answers(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := local.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close() // only the status counts
	return response.StatusCode == http.StatusOK
}

// othersAlive tells whether the node has any process but this one.
func (s *supervisor) othersAlive() bool { return s.signalOthers(0) == nil }

// trimLogs keeps a log from filling the disk: what is over the limit moves to .1 and the writers, which append, go on
// in the emptied file.
func (s *supervisor) trimLogs() {
	for _, c := range s.components {
		path := LogPath(s.dir, c.Name)
		if info, err := os.Stat(path); err != nil || info.Size() < s.logLimit {
			continue
		}
		b, err := os.ReadFile(path) //nolint:gosec // G304: the node's own log
		if err == nil && os.WriteFile(path+".1", b, 0o600) == nil {
			_ = os.Truncate(path, 0) // tried again in a minute
		}
	}
}

func (s *supervisor) writeState() {
	state := State{Started: s.started}
	for _, c := range s.components {
		state.Components = append(state.Components, ComponentState{
			Name: c.Name, Node: c.Node != nil, Running: c.pid != 0, Restarts: c.restarts, Since: c.since, LastExit: c.lastExit,
		})
	}
	// A full disk must not end the node; `labctl cluster status` shows the older state until there is room.
	_ = writeJSON(filepath.Join(s.dir, StateFile), state)
}
