package acceptance

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/stack"
	"github.com/labctl/labctl/test/scope"
)

// numbered is a stack of resources that each leave their number in a file outside of the state, some at a time.
const numbered = `variable "made" { type = string }
resource "terraform_data" "n" {
  count = 24
  input = "${var.made} ${count.index}"
  provisioner "local-exec" {
    command = "set -- ${self.input}; echo $2 >>$1; sleep 0.1"
  }
}
`

// However labctl ends in the middle of an apply, what terraform has made is in a state: nothing is lost, and nothing is made twice by
// the next labctl.
func TestAnAbruptEndLosesNothing(t *testing.T) {
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	require.NoError(t, err)
	labctl := filepath.Join(build(t, repository, sharedDir(t)), "labctl")
	for seed := range scope.Of(10, 100) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { endAbruptly(t, labctl, uint64(seed)) })
	}
}

func endAbruptly(t *testing.T, labctl string, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	made := filepath.Join(dir, "made")
	for name, content := range map[string]string{
		"lab.hcl":                    "lab \"abrupt\" {}\nenvironment \"local\" { target = \"local\" }\n",
		"stacks/local/0-n/main.tf":   numbered,
		"stacks/local/0-n/stack.hcl": "inputs = { made = \"${lab.dir}/../../made\" }\n",
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	}
	command := func(args ...string) *exec.Cmd {
		cmd := exec.Command(labctl, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "LABCTL_CACHE="+filepath.Join(dir, "cache"), "HOME="+dir)
		return cmd
	}
	ends := []struct {
		name string
		up   func(t *testing.T, cmd *exec.Cmd, moment func())
	}{
		{"kill -9", signalled(syscall.SIGKILL)},
		{"Ctrl-C twice", signalled(syscall.SIGINT, syscall.SIGINT)},
		{"SIGHUP twice", signalled(syscall.SIGHUP, syscall.SIGHUP)},
		{"a reader that goes", unread},
		{"a terminal that closes", closedTerminal},
	}
	end := ends[int(seed)%len(ends)]
	after := random.IntN(20) // lines that are there when it ends
	end.up(t, command("up"), func() {
		require.Eventually(t, func() bool { return len(numbers(t, made)) > after }, time.Minute, time.Millisecond, "the apply does not begin")
	})

	// The next labctl waits until terraform has saved its state.
	out, err := command("plan").CombinedOutput()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 2, exit.ExitCode(), "%s: %s", end.name, out)
	}
	st, err := stack.ReadState(filepath.Join(dir, ".lab/local/stacks/0-n/terraform.tfstate"))
	require.NoError(t, err, "%s after %d: %s", end.name, after, out)
	recorded := map[string]bool{}
	for _, r := range st.Resources {
		recorded[strings.TrimSuffix(strings.TrimPrefix(r.Address, "terraform_data.n["), "]")] = r.Tainted
	}
	for _, n := range numbers(t, made) {
		require.Contains(t, recorded, n, "%s after %d lines: what was made is in no state", end.name, after)
	}
	before := numbers(t, made)
	if out, err := command("up").CombinedOutput(); err != nil {
		t.Fatalf("up after %s: %v\n%s", end.name, err, out)
	}
	counts := map[string]int{}
	for _, n := range numbers(t, made) {
		counts[n]++
	}
	require.Len(t, counts, 24)
	for _, n := range before {
		want := 1
		if recorded[n] { // terraform stopped its provisioner, and does not count it as made
			want = 2
		}
		require.Equal(t, want, counts[n], "%s after %d lines: number %s", end.name, after, n)
	}
}

// signalled ends labctl by signals, one after the other.
func signalled(signals ...syscall.Signal) func(*testing.T, *exec.Cmd, func()) {
	return func(t *testing.T, cmd *exec.Cmd, moment func()) {
		require.NoError(t, cmd.Start())
		moment()
		for _, s := range signals {
			require.NoError(t, cmd.Process.Signal(s))
		}
		_ = cmd.Wait() // it ends by a signal, or with 130
	}
}

// unread takes the reader of labctl's output away. labctl goes on.
func unread(t *testing.T, cmd *exec.Cmd, moment func()) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = write, write
	require.NoError(t, cmd.Start())
	require.NoError(t, write.Close())
	_, err = bufio.NewReader(read).ReadString('\n')
	require.NoError(t, err)
	moment()
	require.NoError(t, read.Close())
	require.NoError(t, cmd.Wait())
}

// closedTerminal closes the terminal that labctl runs on.
func closedTerminal(t *testing.T, cmd *exec.Cmd, moment func()) {
	primary, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(primary.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(primary.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	require.NoError(t, terminal.Close())
	go func() { // a terminal that nobody reads would stop who writes
		buffer := make([]byte, 4096)
		for {
			if _, err := primary.Read(buffer); err != nil {
				return
			}
		}
	}()
	moment()
	require.NoError(t, primary.Close())
	_ = cmd.Wait() // it ends as after an interrupt
}

// numbers gives the lines of the file.
func numbers(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return strings.Fields(string(data))
}
