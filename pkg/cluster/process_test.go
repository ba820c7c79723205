package cluster

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/cluster/node"
)

// dyingEnv makes the test binary a labctl that is killed while it starts a node in the directory that it names.
const dyingEnv = "LABCTL_TEST_DYING"

// leaderlessEnv makes the test binary a process whose first thread has ended, as a node's does first where its
// namespace is not empty yet. It ends when its standard input does.
const leaderlessEnv = "LABCTL_TEST_LEADERLESS"

func init() {
	if os.Getenv(leaderlessEnv) == "" {
		return
	}
	runtime.LockOSThread() // what init locks, main keeps: this is the first thread
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// The thread ends, not the process; to the runtime it is in a call that does not return.
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// TestMain makes the test binary what a test needs. Called with a node's configuration it is a supervisor.
func TestMain(m *testing.M) {
	switch dir := os.Getenv(dyingEnv); {
	case dir != "":
		dieStarting(dir)
	case len(os.Args) == 2 && filepath.Base(os.Args[1]) == node.ConfigFile:
		supervise(filepath.Dir(os.Args[1]))
	default:
		os.Exit(m.Run())
	}
}

// supervise is a supervisor with one listener, which says when it passed the gate.
func supervise(dir string) {
	if err := node.AwaitStart(os.NewFile(4, "gate")); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		os.Exit(2)
	}
	conn, err := l.Accept()
	if err != nil {
		os.Exit(3)
	}
	_, _ = fmt.Fprint(conn, "supervising ", dir)
	_ = conn.Close()
	_, _ = l.Accept() // until it is killed
}

func dieStarting(dir string) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		os.Exit(1)
	}
	cmd, _, err := spawnNode(dir, os.Args[0], []*net.TCPListener{l}, nil, 0)
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	_ = unix.Kill(os.Getpid(), unix.SIGKILL) // between the start and the record
}

func nodeDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, node.LogDir), 0o700))
	return dir
}

// awaitEnd waits until a process that is no child of ours has ended.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return
	}
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }() // a look, no more
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Minute.Milliseconds()))
	for err == unix.EINTR {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Minute.Milliseconds()))
	}
	require.NoError(t, err)
	if n == 0 {
		_ = unix.Kill(pid, unix.SIGKILL)
		require.FailNow(t, "the node goes on, and no file tells of it")
	}
}

func TestANodeWhoseLabctlDiesBeforeItsRecordEnds(t *testing.T) {
	dir := nodeDir(t)
	labctl := exec.Command(os.Args[0])
	labctl.Env = append(os.Environ(), dyingEnv+"="+dir)
	out, err := labctl.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, labctl.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	require.ErrorContains(t, labctl.Wait(), "killed")
	awaitEnd(t, pid)
	log, err := os.ReadFile(node.LogPath(dir, "node"))
	require.NoError(t, err)
	require.Contains(t, string(log), node.ErrAbandoned.Error())
	_, running := runningNode(dir)
	require.False(t, running)
}

func TestARecordedNodeIsFoundWithWhatItWasStartedWith(t *testing.T) {
	dir := nodeDir(t)
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	address := l.Addr().String()
	cmd, gate, err := spawnNode(dir, os.Args[0], []*net.TCPListener{l}, nil, 0)
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	p, err := identify(cmd.Process.Pid)
	require.NoError(t, err)
	require.NoError(t, recordNode(dir, p, "digest"))
	_, err = gate.Write([]byte{node.StartByte})
	require.NoError(t, err)
	require.NoError(t, gate.Close())

	conn, err := net.Dial("tcp4", address)
	require.NoError(t, err)
	said, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "supervising "+dir, string(said))
	require.NoError(t, conn.Close())

	found, running := runningNode(dir)
	require.True(t, running)
	require.Equal(t, p, found)
	require.Equal(t, "digest", startedWith(dir))
	s, err := Inspect(dir)
	require.NoError(t, err)
	require.False(t, s.Exists, "it has no kubeconfig yet")

	require.NoError(t, stopNode(t.Context(), dir, atOnce))
	require.ErrorContains(t, <-ended, "killed")
	require.NoFileExists(t, filepath.Join(dir, pidFile))
	require.Empty(t, startedWith(dir))
}

func TestTheRecordOfAnOlderLabctlIsRead(t *testing.T) {
	dir := t.TempDir()
	self, err := identify(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, pidFile), fmt.Appendf(nil, "%d %s %s\n", self.pid, self.start, self.boot), 0o600))
	_, running := runningNode(dir)
	require.True(t, running)
	require.Empty(t, startedWith(dir), "so it is restarted once")
}

func TestAProcessWhoseFirstThreadEndedHasNot(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), leaderlessEnv+"=1")
	until, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(stat)
		return err == nil && strings.Contains(string(b), ") Z ")
	}, 10*time.Second, time.Millisecond)
	_, err = identify(cmd.Process.Pid)
	require.NoError(t, err)

	require.NoError(t, until.Close())
	awaitEnd(t, cmd.Process.Pid) // it is not waited for yet
	_, err = identify(cmd.Process.Pid)
	require.ErrorContains(t, err, "has ended")
	require.NoError(t, cmd.Wait())
}
