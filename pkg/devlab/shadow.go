package devlab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/atomicfile"
	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/shadow"
	"github.com/labctl/labctl/pkg/shadow/exchange"
	"github.com/labctl/labctl/pkg/shadow/replay"
	"github.com/labctl/labctl/pkg/shadow/side"
	"github.com/labctl/labctl/services/mirror"
)

// Shadow is a shadow of one service beside the chat.
type Shadow struct {
	shadow.Options
	// Commands run the candidate and the baseline: programs that are configured as the service is.
	Commands map[side.Side][]string
	// Ready is called once: with nil when results are compared, or with why they are not.
	Ready func(error)

	compared func(*shadow.Comparer) // of tests
}

// ShadowFile is where a run's directory says how its shadow is asked (shadow.Address).
const ShadowFile = "shadow.json"

// runShadow runs a shadow until ctx ends, and leaves no trace of it.
func (l *lab) runShadow(ctx context.Context, o Shadow, urls map[string]string, report event.Report) (err error) {
	ready := sync.OnceFunc(func() { o.Ready(err) })
	defer func() {
		if err != nil {
			err = fmt.Errorf("shadow of %s: %w", o.Service, err)
		}
		ready()
	}()
	if err := shadow.Check(o.Service); err != nil {
		return err
	}
	trial, err := l.users.Trial(o.Service, l.brokers(), l.db.Addr())
	if err != nil {
		return err
	}
	if trial.DB != nil {
		defer func() { err = errors.Join(err, trial.DB.Disconnect(context.WithoutCancel(ctx))) }()
	}
	comparer, err := shadow.New(o.Options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, comparer.Close()) }()
	var processes []*process
	addresses := map[side.Side]string{}
	for s, command := range o.Commands {
		own := l.users.SideVariables(o.Service, s, l.db.Addr())
		p, err := l.process(o.Service, side.NamesOf(o.Service)[s].Group, command, own, urls)
		if err != nil {
			return err
		}
		p.side = s
		defer p.release()
		trial.Processes[s], addresses[s] = p.health, p.url
		processes = append(processes, p)
	}
	mux := http.NewServeMux()
	if err := trial.Reach(comparer, addresses); err != nil {
		return err
	}
	if trial.Sockets != nil {
		mux.Handle("GET "+mirror.Path, trial.Sockets.Handler())
	}
	stop, err := l.serveEvidence(ctx, comparer, mux, strings.TrimPrefix(urls[comparerURL], "http://"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	defer func() { err = errors.Join(err, trial.Clean(context.WithoutCancel(ctx), o.Service)) }()
	var running sync.WaitGroup
	defer running.Wait()
	if trial.DB != nil {
		report.Doing("copying the database of %s", o.Service)
	}
	trial.Begun = func(ctx context.Context) {
		for _, p := range processes {
			running.Go(func() { p.keep(ctx, comparer) })
		}
		if trial.Requests != nil {
			running.Go(func() { l.copyRequests(ctx, o.Service, processes, trial.Requests) })
		}
		if o.compared != nil {
			o.compared(comparer)
		}
		ready()
	}
	return comparer.Run(ctx, trial)
}

// copyRequests has the mirror copy the service's requests until ctx ends, once the sides are ready. One that never is fails
// them.
func (l *lab) copyRequests(ctx context.Context, service string, sides []*process, to *replay.Replayer) {
	var all []*unit
	urls := map[string]string{}
	for _, p := range sides {
		all = append(all, &unit{name: p.name})
		urls[health(p.name)] = p.health
	}
	if err := ready(ctx, all, urls); err != nil && ctx.Err() == nil {
		l.log.Warn("a side of the shadow is not ready, and is asked all the same", "error", err)
	}
	l.mirror.copies.Store(&copies{routes: Routes()[service], excepted: exchange.ExceptedPaths(service), take: to.Take})
	<-ctx.Done()
	l.mirror.copies.Store(nil)
}

// comparerURL names the address of the comparer among the base addresses of services: of a shadow for which the live
// service has to know it.
const comparerURL = "comparer"

// serveEvidence serves what is found to the user, on an address that is noted in a file of theirs, and beside it what mux
// has. Without an address it takes a free one.
func (l *lab) serveEvidence(ctx context.Context, comparer *shadow.Comparer, mux *http.ServeMux, address string) (stop func() error, err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cmp.Or(address, anywhere))
	if err != nil {
		return nil, fmt.Errorf("listen for questions about the shadow: %w", err)
	}
	token, path := rand.Text(), filepath.Join(l.dir, ShadowFile)
	mux.Handle("/", comparer.Handler(token))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) }) // ends by Close only
	stop = func() error {
		err := errors.Join(srv.Close(), os.Remove(path))
		serving.Wait()
		return err
	}
	b, err := json.Marshal(shadow.Address{Service: comparer.Service(), URL: "http://" + ln.Addr().String(), Token: token})
	if err == nil {
		err = atomicfile.Write(path, b)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("note where the shadow is asked: %w", err), stop())
	}
	return stop, nil
}

// process is a side that runs as a process of its own.
type process struct {
	side        side.Side
	name        string
	url, health string
	command     []string
	env         []string
	log         io.Writer
	release     func()
}

// process makes a side. Its log is beside the chat's.
func (l *lab) process(service, name string, command []string, own, urls map[string]string) (*process, error) {
	p := &process{name: name, command: command, env: []string{"HOME=" + os.Getenv("HOME"), "PATH=" + os.Getenv("PATH")}}
	var addresses []string
	for range 2 {
		port, err := freeport.Reserve()
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, port.Addr())
		before := p.release
		p.release = func() {
			port.Release()
			if before != nil {
				before()
			}
		}
	}
	p.url, p.health = "http://"+addresses[0], "http://"+addresses[1]
	live := l.variables(service, l.brokers(), l.db.Addr(), urls)
	maps.Copy(live, own)
	live["LISTEN"], live["HEALTH"] = addresses[0], addresses[1]
	for _, k := range slices.Sorted(maps.Keys(live)) {
		p.env = append(p.env, k+"="+live[k])
	}
	file, err := os.OpenFile(filepath.Join(l.dir, name+".log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", name, err)
	}
	p.log = file
	return p, nil
}

const (
	// restartPause is the time after which a side that has ended is started again.
	restartPause = time.Second
	// stopTime is how long a side may take to end.
	stopTime = 10 * time.Second
)

// keep runs the side until ctx ends, and starts it again where it ends by itself, as the kubelet would.
func (p *process) keep(ctx context.Context, comparer *shadow.Comparer) {
	// Pdeathsig is tied to the thread that starts the process, so the thread must live as long as the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, p.command[0], p.command[1:]...) //nolint:gosec // the caller's own programs
		cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.env, p.log, p.log, endsWithUs()
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = stopTime
		held, err := cmd.StdinPipe() // `labctl part` ends when nobody holds its input
		if err == nil {
			err = cmd.Run()
			_ = held.Close()
		}
		if ctx.Err() != nil {
			break
		}
		comparer.Ended(p.side, err)
		select {
		case <-ctx.Done():
		case <-time.After(restartPause):
		}
	}
}
