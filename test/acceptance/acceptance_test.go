// Package acceptance runs the real labctl through scripts (testdata/*.txtar). Nothing in them needs a cluster.
//
// `go test ./test/acceptance -update` writes the golden parts of the scripts anew.
package acceptance

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/gobuild"
)

var update = flag.Bool("update", false, "write the golden parts of the scripts anew")

func TestScripts(t *testing.T) {
	repository, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	root := sharedDir(t)
	bin := build(t, repository, root)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		WorkdirRoot:         root,
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("USER", "tester")
			env.Setenv("SUDO_USER", "")
			env.Setenv("REPOSITORY", repository)
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
			env.Setenv("BIN", bin)
			// The go command must not fill a cache anew for every script.
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS"} {
				env.Setenv(name, goEnv(name))
			}
			env.Setenv("LABCTL_CACHE", filepath.Join(env.WorkDir, "cache"))
			return os.Mkdir(home, 0o777)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":       code,
			"lab":        writeLab,
			"listen":     listen,
			"hold":       hold,
			"mask":       mask,
			"kubernetes": (&clusters{servers: map[string]*httptest.Server{}}).command,
		},
	})
}

// sharedDir makes a directory that another user can reach, as scripts also run labctl without rights.
func sharedDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "labctl-acceptance-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// build builds labctl as a user would get it, and gives its directory.
func build(t *testing.T, repository, root string) string {
	bin := filepath.Join(root, "bin")
	cmd := exec.CommandContext(t.Context(), "go", append(append([]string{"build", "-o", filepath.Join(bin, "labctl"),
		"-ldflags", "-s -w -X main.version=v0.0.0-test -X main.commit=0123456 -X main.date=2026-11-21"}, gobuild.Flags()...), "./cmd/labctl")...)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build labctl: %v\n%s", err, out)
	}
	return bin
}

func goEnv(name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		return os.Getenv(name)
	}
	return strings.TrimSpace(string(out))
}

// code runs a command and wants an exact exit code: code 3 labctl up. With "as nobody" after the code it runs without
// any right.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N [nobody] command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	args = args[1:]
	if args[0] == "nobody" {
		args = args[1:]
		if os.Geteuid() == 0 {
			args = append([]string{"/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, args...)
		}
	}
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[0], args[1:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Fatalf("%s: %v", strings.Join(args, " "), err)
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args, " "), got, want)
	}
}

// lab writes a lab.hcl of its own name and ports over the repository's stacks, or those of a directory: lab demo [DIR].
func writeLab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: lab NAME [SOURCE]")
	}
	source := ts.Getenv("REPOSITORY")
	if len(args) == 2 {
		source = args[1]
	}
	var ports []int
	for range 3 {
		port, err := freeport.Reserve()
		ts.Check(err)
		ts.Defer(port.Release)
		ports = append(ports, port.Port)
	}
	ts.Setenv("API_PORT", strconv.Itoa(ports[0]))
	ts.Check(os.WriteFile(ts.MkAbs("lab.hcl"), fmt.Appendf(nil, `lab %q {
  source = %q
}

environment "local" {
  target = "local"
  vars   = { location = "test", api_port = %d, http_port = %d, registry_port = %d }
}
`, args[0], source, ports[0], ports[1], ports[2]), 0o644))
}

// listen takes a port until the script ends.
func listen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listen PORT")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	ts.Check(err)
	ts.Defer(func() { _ = listener.Close() })
	ts.Setenv("LISTENER", fmt.Sprintf(`%s \(process %d\)`, filepath.Base(os.Args[0]), os.Getpid()))
}

// hold takes the lock of the lab in the working directory, as a `labctl up` that runs would, until the script ends.
func hold(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hold ENVIRONMENT")
	}
	dir := ts.MkAbs(filepath.Join(".lab", args[0]))
	ts.Check(os.MkdirAll(dir, 0o700))
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	ts.Check(err)
	ts.Defer(func() { _ = file.Close() })
	ts.Check(unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB))
	ts.Check(json.NewEncoder(file).Encode(map[string]any{
		"pid": 4711, "command": "labctl up", "user": "ada", "since": time.Date(2026, 11, 21, 10, 30, 0, 0, time.UTC),
	}))
}

// clusters are the servers that answer like an empty Kubernetes, by the working directory of their scripts.
type clusters struct {
	mu      sync.Mutex
	servers map[string]*httptest.Server
}

// command starts such a server and writes its kubeconfig, or stops it: kubernetes start FILE, kubernetes stop.
func (c *clusters) command(ts *testscript.TestScript, neg bool, args []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	script := ts.Getenv("WORK")
	switch {
	case !neg && len(args) == 2 && args[0] == "start" && c.servers[script] == nil:
		server := httptest.NewServer(http.HandlerFunc(emptyKubernetes))
		c.servers[script] = server
		ts.Defer(server.Close)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: %q}}]
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
users: [{name: lab, user: {}}]
`, server.URL), 0o600))
	case !neg && len(args) == 1 && args[0] == "stop" && c.servers[script] != nil:
		c.servers[script].Close()
		delete(c.servers, script)
	default:
		ts.Fatalf("usage: kubernetes start FILE, kubernetes stop")
	}
}

// emptyKubernetes knows its version, and lists nothing of any kind.
func emptyKubernetes(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"gitVersion": "v1.34.3"}
	if list, ok := map[string]string{
		"/api/v1/nodes": "NodeList", "/api/v1/pods": "PodList", "/apis/apps/v1/deployments": "DeploymentList",
		"/apis/apps/v1/statefulsets": "StatefulSetList", "/apis/apps/v1/daemonsets": "DaemonSetList",
	}[r.URL.Path]; ok {
		version := strings.TrimPrefix(strings.TrimPrefix(path.Dir(r.URL.Path), "/apis/"), "/api/")
		answer = map[string]any{"kind": list, "apiVersion": version, "items": []any{}}
	} else if r.URL.Path != "/version" {
		w.WriteHeader(http.StatusNotFound)
	}
	_ = json.NewEncoder(w).Encode(answer) // a client that is gone needs no answer
}

// mask replaces in a file what differs between machines: mask FILE TEXT NAME...
func mask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args)%2 != 1 {
		ts.Fatalf("usage: mask FILE TEXT NAME...")
	}
	content := ts.ReadFile(args[0])
	for i := 1; i < len(args); i += 2 {
		content = strings.ReplaceAll(content, args[i], args[i+1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(content), 0o644))
}
