package node

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// helperEnv makes the test binary a component: "exit", "listen FIFO SOCKET", "sleep", "stubborn" or "gate".
const helperEnv = "LABCTL_TEST_COMPONENT"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "exit":
		os.Exit(3)
	case "listen": // once the test has closed the FIFO, of which the read waits for the end
		if _, err := os.ReadFile(os.Args[1]); err != nil {
			os.Exit(4)
		}
		if _, err := net.Listen("unix", os.Args[2]); err != nil {
			os.Exit(5)
		}
		signals := make(chan os.Signal, 1) // Go takes an empty select for a deadlock
		signal.Notify(signals, unix.SIGINT)
		<-signals
	case "gate":
		if err := AwaitStart(os.NewFile(3, "gate")); err != nil {
			os.Exit(6)
		}
		_, _ = os.Stdout.WriteString("let in\n")
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, unix.SIGINT)
		<-signals
	case "stubborn":
		signal.Ignore(unix.SIGTERM)
		fallthrough
	case "sleep":
		// The state file says that a component runs before it can ignore a signal; the log says that it does.
		_, _ = os.Stdout.WriteString("ready\n")
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, unix.SIGINT)
		<-signals
	}
}

// helper is a component that is this test binary.
func helper(name, what string, args ...string) Component {
	return Component{Name: name, Args: append([]string{os.Args[0]}, args...), Env: []string{helperEnv + "=" + what}}
}

// running is a supervisor at work.
type running struct {
	*supervisor
	t       *testing.T
	signals chan os.Signal
	failed  chan error
	ended   chan error
	over    bool // the test took what run returned
}

// supervise runs a supervisor of the components. Signals to all go to its components alone: a test is no process 1.
func supervise(t *testing.T, o options) *running {
	t.Helper()
	o.dir = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(o.dir, LogDir), 0o700))
	r := &running{t: t, signals: make(chan os.Signal, 64), failed: make(chan error, 1), ended: make(chan error, 1)}
	o.failed = r.failed
	o.signalOthers = func(sig unix.Signal) error { // called on the supervisor's goroutine only
		err := error(unix.ESRCH)
		for pid := range r.byPID {
			if unix.Kill(pid, sig) == nil {
				err = nil
			}
		}
		return err
	}
	r.supervisor = newSupervisor(o)
	signal.Notify(r.signals, unix.SIGCHLD)
	go func() { r.ended <- r.run(r.signals) }()
	t.Cleanup(func() {
		signal.Stop(r.signals)
		if !r.over {
			r.failed <- errors.New("the test is over")
			_ = <-r.ended //nolint:staticcheck // that it ended is all that counts
		}
		for pid := range r.byPID {
			_ = unix.Kill(pid, unix.SIGKILL)
			_, _ = unix.Wait4(pid, nil, 0, nil)
		}
	})
	return r
}

func (r *running) state(name string) ComponentState {
	s, err := ReadState(r.dir)
	if err != nil {
		return ComponentState{} // not written yet
	}
	for _, c := range s.Components {
		if c.Name == name {
			return c
		}
	}
	return ComponentState{}
}

func (r *running) until(what string, is func() bool) {
	r.t.Helper()
	require.Eventually(r.t, is, time.Minute, 5*time.Millisecond, what)
}

// result gives what run returned.
func (r *running) result() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.over = true
		return err
	case <-time.After(time.Minute):
		require.FailNow(r.t, "the supervisor goes on")
		return nil
	}
}

func TestAComponentWaitsForThoseThatItNeeds(t *testing.T) {
	dir := t.TempDir()
	fifo, socket := filepath.Join(dir, "fifo"), filepath.Join(dir, "socket")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	first := helper("first", "listen", fifo, socket)
	first.Ready = socket
	second := helper("second", "sleep")
	second.After = []string{"first"}
	r := supervise(t, options{components: []Component{first, second}})
	r.until("first runs", func() bool { return r.state("first").Running })
	gate, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits until first reads it: it runs for a while by now
	require.NoError(t, err)
	require.False(t, r.state("second").Running, "first is not ready")
	require.NoError(t, gate.Close())
	r.until("second runs", func() bool { return r.state("second").Running })
	require.Zero(t, r.state("first").Restarts)
}

func TestAComponentThatEndsIsStartedAgain(t *testing.T) {
	ends := helper("ends", "exit")
	ends.Ready = filepath.Join(t.TempDir(), "never")
	missing := Component{Name: "missing", Args: []string{"/no/such/program"}}
	r := supervise(t, options{components: []Component{ends, missing}, restartFirst: time.Millisecond})
	r.until("three restarts", func() bool { return r.state("ends").Restarts >= 3 && r.state("missing").Restarts >= 2 })
	require.Equal(t, "exit code 3", r.state("ends").LastExit)
	require.Contains(t, r.state("missing").LastExit, "no such file")
}

func TestAPollerEndsWithItsProcess(t *testing.T) {
	ends := helper("ends", "exit")
	ends.Ready = filepath.Join(t.TempDir(), "never")
	r := supervise(t, options{components: []Component{ends}, restartFirst: time.Hour})
	r.until("it ended", func() bool { return r.state("ends").Restarts == 1 })
	over := make(chan struct{})
	go func() { r.pollers.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(time.Minute):
		require.FailNow(t, "the process has ended, and its poller goes on")
	}
}

func TestStopEndsEveryComponent(t *testing.T) {
	r := supervise(t, options{components: []Component{helper("a", "sleep"), helper("b", "sleep")}})
	r.until("both run", func() bool { return r.state("a").Running && r.state("b").Running })
	r.signals <- unix.SIGTERM
	require.NoError(t, r.result())
	require.Equal(t, "killed by SIGTERM", r.lastExitOf("a"))
	require.Equal(t, "killed by SIGTERM", r.lastExitOf("b"))
	require.Empty(t, r.byPID)
}

func (r *running) lastExitOf(name string) string {
	for _, c := range r.components {
		if c.Name == name {
			return c.lastExit
		}
	}
	return ""
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	r := supervise(t, options{components: []Component{helper("a", "stubborn")}, stopWithin: 10 * time.Millisecond})
	r.until("it ignores the signal", func() bool {
		log, err := os.ReadFile(LogPath(r.dir, "a"))
		return err == nil && bytes.Contains(log, []byte("ready"))
	})
	r.signals <- unix.SIGTERM
	require.NoError(t, r.result())
	require.Len(t, r.byPID, 1, "in a node, the kernel ends it with process 1")
}

func TestTheNodeEndsWithWhatItCannotDoWithout(t *testing.T) {
	r := supervise(t, options{components: []Component{helper("a", "sleep")}})
	r.until("it runs", func() bool { return r.state("a").Running })
	r.failed <- net.ErrWriteToConnected
	require.ErrorIs(t, r.result(), net.ErrWriteToConnected)
}

func TestALogThatGrowsIsMovedAside(t *testing.T) {
	s := newSupervisor(options{dir: t.TempDir(), components: []Component{{Name: "a"}, {Name: "b"}}, logLimit: 10})
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, LogDir), 0o700))
	require.NoError(t, os.WriteFile(LogPath(s.dir, "a"), []byte("0123456789"), 0o600))
	require.NoError(t, os.WriteFile(LogPath(s.dir, "b"), []byte("short"), 0o600))
	s.trimLogs()
	for name, want := range map[string]string{"a": "", "a.log.1": "0123456789", "b": "short"} {
		path := LogPath(s.dir, name)
		if name == "a.log.1" {
			path = filepath.Join(s.dir, LogDir, name)
		}
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, want, string(got), name)
	}
}

func TestRunIsForProcess1Alone(t *testing.T) {
	require.ErrorContains(t, Run("/no/such/node.json"), "must be process 1 of its own PID namespace")
}

func TestAComponentThatIsHeldDoesNotRun(t *testing.T) {
	held := helper("held", "sleep")
	held.Unless = filepath.Join(t.TempDir(), "stopped")
	r := supervise(t, options{components: []Component{held, helper("other", "sleep")}, restartFirst: time.Millisecond})
	r.until("both run", func() bool { return r.state("held").Running && r.state("other").Running })
	require.NoError(t, os.WriteFile(held.Unless, nil, 0o600))
	r.until("it was killed", func() bool { return !r.state("held").Running })
	require.Equal(t, "killed by SIGKILL", r.state("held").LastExit)
	require.True(t, r.state("other").Running)
	require.NoError(t, os.Remove(held.Unless))
	r.until("it runs again", func() bool { return r.state("held").Running })
	require.Zero(t, r.state("held").Restarts, "it was told to end")
	require.Zero(t, r.state("other").Restarts)
}

func TestAnotherNodeWaitsUntilItIsJoined(t *testing.T) {
	// In the test's own namespaces: the gate is the fourth descriptor, as a node without proxies has it.
	other := helper("other", "gate")
	other.Node = &Other{Device: "node2", Cgroup: "/labctl/x/other"}
	var calls []string
	joined := errors.New("there is no bridge")
	r := supervise(t, options{
		components: []Component{other}, restartFirst: time.Millisecond,
		prepare: func(o Other) error { calls = append(calls, "prepare "+o.Cgroup); return nil },
		join: func(device string, pid int) error {
			if calls = append(calls, "join "+device); len(calls) > 2 {
				joined = nil
			}
			return joined
		},
	})
	r.until("it runs", func() bool {
		log, err := os.ReadFile(LogPath(r.dir, "other"))
		return err == nil && bytes.Contains(log, []byte("let in"))
	})
	require.True(t, r.state("other").Node)
	require.Equal(t, 1, r.state("other").Restarts, "the first was not joined, and ended at its gate")
	require.Equal(t, "exit code 6", r.state("other").LastExit)
	r.signals <- unix.SIGTERM
	require.NoError(t, r.result())
	require.Equal(t, []string{"prepare /labctl/x/other", "join node2", "prepare /labctl/x/other", "join node2"}, calls)
}
