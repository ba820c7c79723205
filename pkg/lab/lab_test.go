package lab_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/filelock"
	"github.com/labctl/labctl/pkg/iostreams"
	"github.com/labctl/labctl/pkg/lab"
	"github.com/labctl/labctl/pkg/provider"
	"github.com/labctl/labctl/pkg/terraform"
	"github.com/labctl/labctl/services/topics"
)

// The environment by which a test runs this binary as a labctl that is killed at a point.
const (
	childDir  = "LABCTL_TEST_DIR"
	childVerb = "LABCTL_TEST_VERB"
	childKill = "LABCTL_TEST_KILL_AT"
	childWait = "LABCTL_TEST_WAIT_IN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(child(dir))
	}
	if dir := os.Getenv(killChild); dir != "" {
		os.Exit(killed(dir))
	}
	os.Exit(m.Run())
}

func child(dir string) int {
	w := &world{dir: dir}
	w.killAt, _ = strconv.Atoi(os.Getenv(childKill))
	if what := os.Getenv(childWait); what != "" {
		w.before = func(_ context.Context, now string) error {
			if now == what {
				if err := os.WriteFile(filepath.Join(dir, "waiting"), nil, 0o600); err != nil {
					return err
				}
				select {} // until killed
			}
			return nil
		}
	}
	run := w.up
	if os.Getenv(childVerb) == "down" {
		run = w.down
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(w.points)
	return 0
}

// command is this binary as a labctl on w.
func command(w *world, verb string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(append(os.Environ(), childDir+"="+w.dir, childVerb+"="+verb, "TMPDIR="+w.dir), env...)
	return cmd
}

var all = []string{"0-foundation", "1-cluster", "5-release", "5-release/image auth", "5-release/image gateway", "5-release/release chat"}

func same(steps []string, kind event.Kind) map[string]event.Kind {
	out := map[string]event.Kind{}
	for _, s := range steps {
		out[s] = kind
	}
	return out
}

func TestUpAgainDown(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	require.Equal(t, same(all, event.Done), without(w.ends(), "5-release"), "5-release has outputs only")
	calls := w.took()
	require.Equal(t, []string{"apply 0-foundation", "cluster chat", "apply 1-cluster", "apply 5-release"}, calls[:4])
	require.ElementsMatch(t, []string{"image auth", "image gateway"}, calls[4:6])
	require.Equal(t, []string{"release chat"}, calls[6:])
	require.Equal(t, "http://127.0.0.1:8080", w.values["chat"]["url"])
	require.Regexp(t, `^localhost:5000/lab/auth@sha256:[0-9a-f]{64}$`, w.values["chat"]["images"].(map[string]any)["auth"])
	require.Equal(t, "hunter2-of-the-lab", w.values["chat"]["password"])
	info, err := os.Stat(filepath.Join(w.dir, ".lab", "local"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	l, err := w.lab()
	require.NoError(t, err)
	steps, err := l.Steps()
	require.NoError(t, err)
	var names []string
	for _, s := range steps {
		names = append(names, s.Name)
		require.Equal(t, lab.Done, s.State, s.Name)
	}
	require.Equal(t, all, names)
	url, err := l.Output(ctx, "release", "url")
	require.NoError(t, err)
	require.Equal(t, "http://127.0.0.1:8080", url)
	kubeconfig, err := l.Output(ctx, "cluster", "kubeconfig")
	require.NoError(t, err)
	require.Contains(t, kubeconfig, token)

	require.NoError(t, w.up(ctx))
	require.Equal(t, same(all, event.Skipped), w.ends(), "the second up has nothing to do")
	require.ElementsMatch(t, []string{"image auth", "image gateway"}, w.took(), "and runs no terraform and no Helm; builds are cached by their builder")

	require.NoError(t, w.down(ctx))
	require.Equal(t, []string{"no release chat", "destroy 5-release", "no cluster chat", "destroy 1-cluster", "destroy 0-foundation"}, w.took())
	require.Empty(t, w.there(t))
	require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
	w.ends()
	require.NoError(t, w.down(ctx), "down again")
	require.Equal(t, map[string]event.Kind{"down": event.Skipped}, w.ends())
	require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
	_, err = l.Output(ctx, "release", "url")
	require.ErrorIs(t, err, lab.ErrNotUp)
}

// without takes a skipped step for done, where a test does not care.
func without(ends map[string]event.Kind, step string) map[string]event.Kind {
	if ends[step] == event.Skipped {
		ends[step] = event.Done
	}
	return ends
}

func TestUpDoesWhatChanged(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	for _, tc := range []struct {
		name   string
		change func(t *testing.T)
		want   []string // beside the images, which are always asked for
	}{
		{"a service", func(t *testing.T) { w.write(t, "services/auth/main.go", "package main // 2\n") }, []string{"release chat"}},
		{"the chart", func(t *testing.T) { w.write(t, "charts/chat/templates/a.yaml", "a: 1\n") }, []string{"release chat"}},
		{"a variable of the environment", func(t *testing.T) { w.replace(t, "lab.hcl", "6443", "7443") }, []string{"cluster chat", "apply 1-cluster"}},
		{"what a cluster cannot change in place", func(t *testing.T) { w.replace(t, "stacks/local/1-cluster/stack.hcl", "/cluster\"", "/elsewhere\"") },
			[]string{"no cluster chat", "cluster chat", "apply 1-cluster", "release chat"}},
		{"a sensitive input", func(t *testing.T) { w.replace(t, "lab.hcl", "hunter2-of-the-lab", "hunter3-of-the-lab") }, []string{"apply 1-cluster", "release chat"}},
		{"a stack's file", func(t *testing.T) {
			w.write(t, "stacks/local/0-foundation/more.tf", "resource \"terraform_data\" \"a\" {}\n")
		}, []string{"apply 0-foundation"}},
		{"the workspace is gone", func(t *testing.T) { require.NoError(t, os.RemoveAll(filepath.Join(w.dir, ".lab/local/workspace"))) }, []string{"apply 0-foundation"}},
		{"the cluster is gone", func(t *testing.T) { require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "world"))) },
			[]string{"cluster chat", "apply 1-cluster", "release chat"}},
		{"the release is gone", func(t *testing.T) { require.NoError(t, os.RemoveAll(w.path("release", ""))) }, []string{"release chat"}},
		{"the journal is gone", func(t *testing.T) { require.NoError(t, os.Remove(filepath.Join(w.dir, ".lab/local/journal.json"))) },
			[]string{"apply 0-foundation", "apply 1-cluster", "apply 5-release", "release chat"}},
		{"somebody applied by hand", func(t *testing.T) {
			l, err := w.lab()
			require.NoError(t, err)
			var out bytes.Buffer
			code, err := l.Exec(ctx, "0-foundation", []string{"state", "rm", "terraform_data.a"}, &iostreams.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, w.options("labctl exec"))
			require.NoError(t, err)
			require.Zero(t, code, out.String())
		}, []string{"apply 0-foundation"}},
		{"nothing", func(*testing.T) {}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.change(t)
			w.took()
			require.NoError(t, w.up(ctx))
			var did []string
			for _, call := range w.took() {
				if !strings.HasPrefix(call, "image ") {
					did = append(did, call)
				}
			}
			require.Equal(t, tc.want, did)
		})
	}
}

func TestUpRepairsAStoppedCluster(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	w.took()
	var mu sync.Mutex
	stopped := true
	w.read = func(provider.ClusterSpec) string {
		mu.Lock()
		defer mu.Unlock()
		if stopped {
			return "the kubelet does not run"
		}
		return ""
	}
	w.before = func(_ context.Context, what string) error {
		if what == "cluster chat" {
			mu.Lock()
			stopped = false
			mu.Unlock()
		}
		return nil
	}
	w.ends()
	require.NoError(t, w.up(ctx))
	require.Contains(t, w.said(), "repairing: lab_cluster.this: the kubelet does not run")
	require.Equal(t, []string{"cluster chat", "apply 1-cluster"}, w.took()[:2])
}

func TestInterruptAndResume(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"apply 0-foundation", "cluster chat", "image auth", "release chat"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			w.before = func(ctx context.Context, what string) error {
				if what != at {
					return nil
				}
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
			err := w.up(ctx)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorContains(t, err, "`labctl up` resumes")
			w.before = nil
			before := w.took()
			require.NoError(t, w.up(context.Background()))
			for _, call := range w.took() {
				if strings.HasPrefix(call, "apply ") {
					require.NotContains(t, before, call, "what was done before is not done again")
				}
			}
			require.Len(t, w.there(t), 4)
		})
	}
}

func TestInterruptBeforeTheFirstStep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, w.up(ctx), context.Canceled)
	require.Empty(t, w.took())
}

// TestKillAtEveryPoint kills labctl with SIGKILL at every step boundary and around everything that it does, in up and in
// down; what comes after must always end well, and nothing may be made twice or be left.
func TestKillAtEveryPoint(t *testing.T) {
	t.Parallel()
	points := func(verb string, prepare func(w *world)) int {
		w := newWorld(t)
		if prepare != nil {
			prepare(w)
		}
		out, err := command(w, verb).Output()
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(out)))
		require.NoError(t, err)
		return n
	}
	stand := func(w *world) { require.NoError(t, w.up(context.Background())) }
	ups, downs := points("up", nil), points("down", stand)
	require.Greater(t, ups, 20)
	require.Greater(t, downs, 15)

	kill := func(t *testing.T, w *world, verb string, at int) {
		t.Helper()
		err := command(w, verb, childKill+"="+strconv.Itoa(at)).Run()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
	}
	for at := 1; at <= ups; at++ {
		t.Run(fmt.Sprintf("up %d", at), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			kill(t, w, "up", at)
			if at%2 == 0 { // half of them are given up instead
				require.NoError(t, w.down(context.Background()))
				require.Empty(t, w.there(t))
				require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
				return
			}
			require.NoError(t, w.up(context.Background()))
			made, err := os.ReadFile(w.path("cluster", "chat"))
			require.NoError(t, err)
			require.Equal(t, "1", string(made), "the cluster was made once")
			require.Len(t, w.there(t), 4)
			w.ends()
			require.NoError(t, w.up(context.Background()))
			require.Equal(t, same(all, event.Skipped), w.ends(), "state and journal agree")
		})
	}
	for at := 1; at <= downs; at++ {
		t.Run(fmt.Sprintf("down %d", at), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			require.NoError(t, w.up(context.Background()))
			kill(t, w, "down", at)
			if at%3 == 0 { // some want it back
				require.NoError(t, w.up(context.Background()))
				require.Len(t, w.there(t), 4)
			}
			require.NoError(t, w.down(context.Background()))
			require.Empty(t, w.there(t))
			require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
		})
	}
}

func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := command(w, "up", childWait+"=cluster chat")
	require.NoError(t, first.Start())
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(w.dir, "waiting"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)

	for _, verb := range []func(context.Context) error{w.up, w.down} {
		err := verb(context.Background())
		var locked *lab.LockedError
		require.ErrorAs(t, err, &locked)
		require.Equal(t, first.Process.Pid, locked.PID)
		require.Equal(t, "labctl up", locked.Command)
		require.Equal(t, "ada", locked.User)
		require.WithinDuration(t, time.Now(), locked.Since, time.Minute)
	}
	require.NoError(t, first.Process.Kill())
	_ = first.Wait()
	require.NoError(t, w.up(context.Background()), "a dead holder's lock is free at once")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	broken := errors.New("it broke; the kubeconfig had " + token + " and the password hunter2-of-the-lab")
	for _, tc := range []struct {
		at   string
		step string
		want string
	}{
		{"cluster chat", "1-cluster", "apply stack \"1-cluster\": terraform apply"},
		{"image auth", "5-release/image auth", `build image "auth" from services/auth: it broke`},
		{"release chat", "5-release/release chat", `deploy release "chat" into namespace "chat": it broke`},
	} {
		t.Run(tc.at, func(t *testing.T) {
			w := newWorld(t)
			w.before = func(_ context.Context, what string) error {
				if what == tc.at {
					return broken
				}
				return nil
			}
			err := w.up(context.Background())
			require.ErrorContains(t, err, tc.want)
			if tc.at != "cluster chat" { // the cluster's error went through terraform, as text
				require.ErrorIs(t, err, broken)
				require.NotContains(t, err.Error(), token)
			}
			require.NotContains(t, err.Error(), "hunter2")
			require.Equal(t, event.Failed, w.ends()[tc.step])
			l, err := w.lab()
			require.NoError(t, err)
			steps, err := l.Steps()
			require.NoError(t, err)
			for _, s := range steps {
				if s.Name == tc.step {
					require.Equal(t, lab.Failed, s.State)
					require.NotEmpty(t, s.Detail)
				}
			}
			w.before = nil
			require.NoError(t, w.up(context.Background()), "up again")
		})
	}
}

// TestNothingSensitiveIsSaid runs everything, with releases that print their values, and looks through every event, log,
// report and the journal.
func TestNothingSensitiveIsSaid(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	w.replace(t, "stacks/local/1-cluster/stack.hcl", "/cluster\"", "/elsewhere\"")
	w.before = func(_ context.Context, what string) error {
		if what == "release chat" {
			return fmt.Errorf("values %v: %s", w.values, token)
		}
		return nil
	}
	err := w.up(ctx)
	require.Error(t, err)
	require.NotContains(t, err.Error(), token)
	require.NotContains(t, err.Error(), "hunter2-of-the-lab")
	said := w.said()
	require.Contains(t, said, "(sensitive)")
	require.NotContains(t, said, token)
	require.NotContains(t, said, "hunter2-of-the-lab")
	for _, place := range []string{"logs", "journal.json", "lock"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(w.dir, ".lab", "local", place), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			require.NotContains(t, string(data), token, path)
			require.NotContains(t, string(data), "hunter2-of-the-lab", path)
			return err
		}))
	}
}

func TestDownWithoutItsCluster(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	require.NoError(t, os.RemoveAll(filepath.Join(w.dir, "world")))
	w.took()
	w.ends()
	require.NoError(t, w.down(ctx))
	require.NotContains(t, w.took(), "no release chat")
	require.Equal(t, event.Skipped, w.ends()["5-release/release chat"])
	require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
}

func TestDownStopsAtAReleaseThatStays(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	require.NoError(t, w.up(ctx))
	stuck := errors.New("a finalizer waits")
	w.before = func(_ context.Context, what string) error {
		if what == "no release chat" {
			return stuck
		}
		return nil
	}
	require.ErrorIs(t, w.down(ctx), stuck)
	w.before = nil
	require.NoError(t, w.down(ctx))
	require.Empty(t, w.there(t))
}

// An image that is shipped stays when another service is, and up builds the service from its source again.
func TestShipImage(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	l, err := w.lab()
	require.NoError(t, err)
	shipImage := func(ref string) error { return l.ShipImage(ctx, "auth", ref, w.options("labctl shadow promote auth")) }
	require.ErrorIs(t, shipImage("r/auth@sha256:1"), lab.ErrNotUp)
	require.NoError(t, w.up(ctx))
	images := func() map[string]any { return w.values["chat"]["images"].(map[string]any) }
	before := images()
	w.took()

	require.NoError(t, shipImage("r/auth@sha256:1"))
	require.Equal(t, []string{"release chat"}, w.took(), "nothing is built")
	require.Equal(t, map[string]any{"auth": "r/auth@sha256:1", "gateway": before["gateway"]}, images())
	w.write(t, "services/gateway/main.go", "package main // 2\n")
	require.NoError(t, l.Ship(ctx, "gateway", w.options("labctl ship gateway")))
	require.Equal(t, "r/auth@sha256:1", images()["auth"])
	require.NotEqual(t, before["gateway"], images()["gateway"])

	require.NoError(t, shipImage(before["auth"].(string)))
	require.Equal(t, before["auth"], images()["auth"])
	require.NoError(t, shipImage("r/auth@sha256:1"))
	require.NoError(t, w.up(ctx))
	require.Equal(t, before["auth"], images()["auth"])
}

func TestShip(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	ship := func(service string) error {
		l, err := w.lab()
		require.NoError(t, err)
		return l.Ship(ctx, service, w.options("labctl ship "+service))
	}
	require.ErrorIs(t, ship("auth"), lab.ErrNotUp)
	require.NoDirExists(t, filepath.Join(w.dir, ".lab"))
	require.ErrorContains(t, ship("oauth"), "there are: auth, gateway")
	require.NoError(t, w.up(ctx))
	w.took()

	w.write(t, "services/auth/main.go", "package main // 2\n")
	before := w.values["chat"]["images"].(map[string]any)
	require.NoError(t, ship("auth"))
	require.Equal(t, []string{"image auth", "release chat"}, w.took())
	after := w.values["chat"]["images"].(map[string]any)
	require.NotEqual(t, before["auth"], after["auth"])
	require.Equal(t, before["gateway"], after["gateway"])

	// What ship did, up does not do again.
	w.ends()
	require.NoError(t, w.up(ctx))
	require.Equal(t, same(all, event.Skipped), w.ends())

	// A build that fails leaves the last good image known to the others.
	w.before = func(_ context.Context, what string) error {
		if what == "image auth" {
			return errors.New("syntax error")
		}
		return nil
	}
	require.ErrorContains(t, ship("auth"), "syntax error")
	w.before = nil
	require.NoError(t, ship("gateway"))

	w.read = func(provider.ClusterSpec) string { return "the kubelet does not run" }
	require.ErrorContains(t, ship("auth"), "the kubelet does not run. Run `labctl up`")
}

// TestTheLabsOwnStacks runs the repository's stacks/local with real terraform, over a cluster, images and releases that
// are files, as a second lab beside the repository's own.
func TestTheLabsOwnStacks(t *testing.T) {
	t.Parallel()
	repository, err := filepath.Abs("../..")
	require.NoError(t, err)
	w, ctx := newWorld(t), context.Background()
	w.write(t, "lab.hcl", `lab "other" {
  source = "`+repository+`"
}
environment "local" {
  target = "local"
  vars   = { location = "here", api_port = 7443, http_port = 9080, registry_port = 6050 }
}
`)
	require.NoError(t, w.up(ctx))
	images := func(names ...string) map[string]any {
		out := map[string]any{}
		for _, n := range names {
			digest, err := os.ReadFile(w.path("image", "127.0.0.1:5050/lab/"+n))
			require.NoError(t, err)
			out[n] = "localhost:5000/lab/" + n + "@" + string(digest)
		}
		return out
	}
	users, ok := w.values["databases"]["kafka"].(map[string]any)["users"].(map[string]any)
	require.True(t, ok)
	require.Contains(t, users, "admin")
	passwords, shadowPasswords := map[string]any{}, map[string]any{} // of Kafka's users
	for _, u := range topics.AllUsers() {
		require.Contains(t, users, u.Name)
		if slices.Contains(topics.Services(), u.Name) {
			passwords[u.Name] = users[u.Name]
		} else {
			shadowPasswords[u.Name] = users[u.Name]
		}
	}
	require.Len(t, users, len(topics.AllUsers())+1)
	different := map[any]bool{}
	for _, p := range users {
		require.Len(t, p, 36)
		different[p] = true
	}
	require.Len(t, different, len(users))
	dbUsers, ok := w.values["databases"]["mongodb"].(map[string]any)["users"].(map[string]any)
	require.True(t, ok)
	require.Contains(t, dbUsers, "admin")
	uris, shadowURIs := map[string]map[string]any{}, map[string]any{}
	for _, u := range topics.AllUsers() {
		if u.MongoDB.Empty() {
			require.NotContains(t, dbUsers, u.Name)
			continue
		}
		require.False(t, different[dbUsers[u.Name]], "not a password of Kafka")
		uri := fmt.Sprintf("mongodb://%s:%s@mongodb.data.svc.cluster.local:27017/?authMechanism=SCRAM-SHA-256&tls=true&tlsCAFile=/mongodb/ca.crt", u.Name, dbUsers[u.Name])
		if slices.Contains(topics.Services(), u.Name) {
			uris[u.Name] = map[string]any{"uri": uri}
		} else {
			shadowURIs[u.Name] = uri
		}
	}
	require.Len(t, dbUsers, len(uris)+len(shadowURIs)+1)
	authority, ok := w.values["chat"]["kafka"].(map[string]any)["caCerts"].(string)
	require.True(t, ok)
	// certificate is what a server shows, which its clients trust under its name alone.
	certificate := func(server string) map[string]any {
		shown, ok := w.values["databases"][server].(map[string]any)["tls"].(map[string]any)
		require.True(t, ok)
		pair, err := tls.X509KeyPair([]byte(shown["certificate"].(string)), []byte(shown["key"].(string)))
		require.NoError(t, err)
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM([]byte(authority)))
		for host, known := range map[string]bool{server + ".data.svc.cluster.local": true, "localhost": true, "auth.chat.svc.cluster.local": false} {
			_, err = pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host})
			require.Equal(t, known, err == nil, host)
		}
		return shown
	}
	version, ok := w.values["chat"]["secretsVersion"].(string)
	require.True(t, ok)
	require.Len(t, version, 16)
	key, ok := w.values["secrets"]["auth"].(map[string]any)["keyEncryption"].(string)
	require.True(t, ok)
	require.Len(t, key, 36)
	require.Equal(t, map[string]map[string]any{
		"databases": {"images": images("kafka", "mongodb"), "storageClass": "local", "kafka": map[string]any{"users": users, "tls": certificate("kafka")}, "mongodb": map[string]any{"users": dbUsers, "tls": certificate("mongodb")},
			"networkPolicies": map[string]any{"clientNamespace": "chat"}},
		"chat": {
			"images": images("auth", "gateway", "messaging", "presence", "groups", "frontend"),
			"kafka": map[string]any{
				"brokers": []any{"kafka.data.svc.cluster.local:9092"}, "partitions": int64(3), "sasl": "SCRAM-SHA-512", "tls": "ca", "caCerts": authority, "existingSecret": "kafka",
			},
			"identities":    map[string]any{},
			"mongodb":       map[string]any{"existingSecret": "mongodb", "caCerts": authority},
			"keyEncryption": map[string]any{"existingSecret": "auth"},
			"ingress": map[string]any{"className": "lab", "host": "", "annotations": map[string]any{
				"zalando.org/skipper-filter": "copyRequestHeader(`X-Request-Id`, `X-Flow-Id`) -> flowId(`reuse`) -> copyRequestHeader(`X-Flow-Id`, `X-Request-Id`) -> readTimeout(`40s`)",
			}},
			"trustedProxies":   []any{"10.42.0.0/16"},
			"registrationRate": "off",
			"url":              "http://127.0.0.1:8080",
			"networkPolicies":  map[string]any{"ingressNamespace": "ingress", "apiNetworks": []any{"10.40.0.2/32"}, "databaseNamespace": "data"},
			"secretsVersion":   version,
		},
		"secrets": {"auth": map[string]any{"keyEncryption": key}, "kafka": passwords,
			"mongodb-auth": uris["auth"], "mongodb-groups": uris["groups"], "mongodb-messaging": uris["messaging"], "mongodb-presence": uris["presence"],
			"shadow-kafka": shadowPasswords, "shadow-mongodb": shadowURIs},
	}, w.values)
	require.FileExists(t, w.path("cluster", "other"))
	l, err := w.lab()
	require.NoError(t, err)
	for _, tc := range []struct{ stack, output, want string }{
		{"foundation", "name", "other"},
		{"foundation", "location", "here"},
		{"foundation", "workspace", filepath.Join(w.dir, ".lab", "local", "workspace")},
		{"foundation", "suffix", ""},
		{"foundation", "operators", "[]"},
		{"foundation", "tags", "{}"},
		{"cluster", "registry", `{"pull":"localhost:5000","push":"127.0.0.1:5050"}`},
		{"cluster", "storage_class", "local"},
		{"databases", "kafka_brokers", `["kafka.data.svc.cluster.local:9092"]`},
		{"databases", "event_hubs", ""},
		{"release", "url", "http://127.0.0.1:8080"},
		{"release", "identities", "{}"},
	} {
		got, err := l.Output(ctx, tc.stack, tc.output)
		require.NoError(t, err)
		require.Equal(t, tc.want, got)
	}
	steps, err := l.Steps()
	require.NoError(t, err)
	w.ends()
	require.NoError(t, w.up(ctx))
	for step, kind := range w.ends() {
		require.Equal(t, event.Skipped, kind, step)
	}
	require.Len(t, steps, 16)
	require.NoError(t, w.down(ctx))
	require.Empty(t, w.there(t))
}

func TestExec(t *testing.T) {
	t.Parallel()
	w, ctx := newWorld(t), context.Background()
	run := func(stack string, args ...string) (int, string, error) {
		l, err := w.lab()
		require.NoError(t, err)
		var out bytes.Buffer
		code, err := l.Exec(ctx, stack, args, &iostreams.Streams{In: strings.NewReader(""), Out: &out, Err: &out}, w.options("labctl exec"))
		return code, out.String(), err
	}
	_, _, err := run("1-cluster", "plan")
	require.ErrorContains(t, err, "labctl up", "its inputs come from a stack that was not applied")
	require.NoError(t, w.up(ctx))
	code, out, err := run("cluster", "plan", "-no-color", "-detailed-exitcode")
	require.NoError(t, err)
	require.Zero(t, code, out)
	require.Contains(t, out, "No changes")
	code, out, err = run("1", "state", "list")
	require.NoError(t, err)
	require.Zero(t, code)
	require.Contains(t, out, "lab_cluster.this")
	_, _, err = run("nine", "plan")
	require.ErrorContains(t, err, `no stack "nine"`)

	// Beside a run, what reads changes nothing; alone, it makes the directory ready.
	state := filepath.Join(w.dir, ".lab", "local")
	other, err := filelock.Try(filepath.Join(state, "lock"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(state, "lock"), []byte(`{"pid": 42, "command": "labctl up"}`), 0o600))
	w.write(t, "stacks/local/1-cluster/more.tf", "output \"more\" { value = 1 }\n")
	linked := filepath.Join(terraform.WorkDir(state, "1-cluster"), "more.tf")
	code, out, err = run("cluster", "state", "list")
	require.NoError(t, err)
	require.Zero(t, code, out)
	require.NoFileExists(t, linked)
	_, _, err = run("cluster", "refresh")
	require.ErrorContains(t, err, "process 42")
	require.NoError(t, os.WriteFile(filepath.Join(state, "lock"), nil, 0o600))
	other.Unlock()
	_, _, err = run("cluster", "state", "list")
	require.NoError(t, err)
	require.FileExists(t, linked)
	free, err := filelock.Try(filepath.Join(state, "lock"))
	require.NoError(t, err, "it was given back")
	free.Unlock()
}
