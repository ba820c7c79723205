package gobuild_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/labctl/labctl/pkg/event"
	"github.com/labctl/labctl/pkg/freeport"
	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/stretchr/testify/require"
)

// module writes a module of the given files into a new directory.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if _, ok := files["go.mod"]; !ok {
		files["go.mod"] = "module example.test/tiny\n\ngo 1.26\n"
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

// recorder keeps the events of a build.
type recorder struct {
	mu     sync.Mutex
	events []event.Event
	on     func(event.Event)
}

func (r *recorder) report(e event.Event) {
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
	if r.on != nil {
		r.on(e)
	}
}

func TestBuildIsReproducible(t *testing.T) {
	var sums []string
	for range 2 {
		dir := module(t, map[string]string{"main.go": "package main\n\nfunc main() { println(tag) }\n", "tag.go": "//go:build marked\n\npackage main\n\nvar tag string\n"})
		out := filepath.Join(t.TempDir(), "bin", "tiny")
		err := gobuild.Build(context.Background(), gobuild.Options{
			Dir: dir, Out: out, Tags: []string{"marked"}, Ldflags: "-X main.tag=hello",
		}, nil)
		require.NoError(t, err)
		content, err := os.ReadFile(out)
		require.NoError(t, err)
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(content)))

		said, err := exec.Command(out).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "hello\n", string(said))
		entries, err := os.ReadDir(filepath.Dir(out))
		require.NoError(t, err)
		require.Len(t, entries, 1, "nothing but the program may be left")
	}
	require.Equal(t, sums[0], sums[1])
}

func TestProgramsBesideShareABuild(t *testing.T) {
	dir := module(t, map[string]string{
		"main.go":         "package main\n\nfunc main() { println(\"main\") }\n",
		"tools/one.go":    "package main\n\nfunc main() { println(\"one\") }\n",
		"tools/v2/two.go": "package main\n\nfunc main() { println(\"two\") }\n",
	})
	bin := filepath.Join(t.TempDir(), "bin")
	require.NoError(t, os.MkdirAll(filepath.Join(bin, "it.partial"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(bin, "it.partial/other"), nil, 0o600)) // what a killed build left
	o := gobuild.Options{Dir: dir, Out: filepath.Join(bin, "it"), Beside: []string{"example.test/tiny/tools/v2"}}
	require.NoError(t, gobuild.Build(context.Background(), o, nil))
	entries, err := os.ReadDir(bin)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing but the programs may be left")
	for program, want := range map[string]string{"it": "main\n", "tools": "two\n"} {
		said, err := exec.Command(filepath.Join(bin, program)).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, want, string(said))
	}
	o.Beside = append(o.Beside, "./tools")
	err = gobuild.Build(context.Background(), o, nil)
	require.Error(t, err, "two programs of one name")
}

func TestProgressReachesItsTotal(t *testing.T) {
	dir := module(t, map[string]string{
		"main.go": "package main\n\nimport (\n\t_ \"example.test/tiny/a\"\n\t_ \"example.test/tiny/b\"\n)\n\nfunc main() {}\n",
		"a/a.go":  "package a\n\nconst At = `" + t.TempDir() + "`\n", // never compiled before
		"b/b.go":  "package b\n\nconst At = `" + t.TempDir() + "`\n",
	})
	var seen recorder
	require.NoError(t, gobuild.Build(context.Background(), gobuild.Options{Dir: dir, Out: filepath.Join(t.TempDir(), "tiny")}, seen.report))

	var last event.Event
	compiled := map[string]bool{}
	for _, e := range seen.events {
		if e.Total > 0 {
			require.GreaterOrEqual(t, e.Done, last.Done)
			require.LessOrEqual(t, e.Done, e.Total)
			last = e
			compiled[strings.TrimPrefix(e.Message, "tiny: compiling ")] = true
		}
	}
	require.Equal(t, last.Total, last.Done)
	require.True(t, compiled["example.test/tiny/a"] && compiled["example.test/tiny/b"], "%v", compiled)
	require.GreaterOrEqual(t, last.Total, int64(4)) // a, b, main, link
}

func TestCompileErrorNamesFileAndLine(t *testing.T) {
	dir := module(t, map[string]string{"main.go": "package main\n\nfunc main() {\n\tmissing()\n}\n"})
	out := filepath.Join(t.TempDir(), "tiny")
	var seen recorder
	err := gobuild.Build(context.Background(), gobuild.Options{Dir: dir, Out: out}, seen.report)
	var failed *gobuild.Error
	require.ErrorAs(t, err, &failed)
	require.ErrorContains(t, err, "main.go:4:2: undefined: missing")
	require.ErrorContains(t, err, "build tiny")
	require.NoFileExists(t, out)

	var logged []string
	for _, e := range seen.events {
		if e.Kind == event.Log {
			logged = append(logged, e.Message)
		}
	}
	require.Contains(t, strings.Join(logged, "\n"), "undefined: missing")
}

func TestPrivateCacheIsRemoved(t *testing.T) {
	tests := map[string]struct {
		main   string
		cancel bool
	}{
		"after a build":            {main: "package main\n\nfunc main() {}\n"},
		"after a failed build":     {main: "package main\n\nfunc main() { missing() }\n"},
		"after a cancelled build":  {main: "package main\n\nimport _ \"net/http\"\n\nfunc main() {}\n", cancel: true},
		"after a build that never": {main: "package nothing\n\n!\n"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cache := t.TempDir()
			dir := module(t, map[string]string{"main.go": test.main})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			private := 0
			seen := recorder{on: func(e event.Event) {
				// Before the compiler starts: later it may be done before it hears of the end.
				if !strings.HasPrefix(e.Message, "compiling ") {
					return
				}
				entries, _ := filepath.Glob(filepath.Join(cache, "build", "*", "go-build"))
				private = max(private, len(entries))
				if test.cancel {
					cancel()
				}
			}}
			err := gobuild.Build(ctx, gobuild.Options{Dir: dir, Out: filepath.Join(t.TempDir(), "tiny"), PrivateCache: true, CacheDir: cache}, seen.report)
			if test.cancel {
				require.ErrorIs(t, err, context.Canceled)
				require.Equal(t, 1, private)
			}
			entries, err := os.ReadDir(filepath.Join(cache, "build"))
			require.NoError(t, err)
			for _, entry := range entries {
				require.False(t, entry.IsDir(), "%s is left", entry.Name())
			}
		})
	}
}

func TestCancelEndsEveryProcess(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// The grandchild holds the pipe's write end; the read below ends only when it is gone too.
	err := gobuild.Command{
		Dir: dir, Env: os.Environ(), Name: "sh", Args: []string{"-c", "sh -c 'exec 9<>fifo; echo ready; sleep 600' & wait"},
		Stdout: func(line string) {
			if line == "ready" {
				cancel()
			}
		},
	}.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	// Opening for writing without waiting tells whether a reader is left: the grandchild had it open for both.
	require.Eventually(t, func() bool {
		file, err := os.OpenFile(fifo, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		if err == nil {
			_ = file.Close()
		}
		return err != nil
	}, waitLimit, waitPoll, "a process that the command started is still there")
}

func TestSweepRemovesWhatKilledBuildsLeft(t *testing.T) {
	cache := t.TempDir()
	left := filepath.Join(cache, "build", "abandoned", "mod")
	require.NoError(t, os.MkdirAll(left, 0o755))
	gobuild.Sweep(cache)
	require.NoDirExists(t, filepath.Dir(left))
}

func TestNoNetworkSaysWhatToDo(t *testing.T) {
	closed := freeport.Of(t).Addr()

	dir := module(t, map[string]string{
		"go.mod":  "module example.test/tiny\n\ngo 1.26\n\nrequire example.test/never/had v1.2.3\n",
		"go.sum":  "example.test/never/had v1.2.3 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nexample.test/never/had v1.2.3/go.mod h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
		"main.go": "package main\n\nimport _ \"example.test/never/had\"\n\nfunc main() {}\n",
	})
	for name, private := range map[string]bool{"shared caches": false, "private caches": true} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("GOPROXY", "http://"+closed)
			err := gobuild.Build(context.Background(), gobuild.Options{
				Dir: dir, Out: filepath.Join(t.TempDir(), "tiny"), PrivateCache: private, CacheDir: t.TempDir(),
			}, nil)
			require.ErrorIs(t, err, gobuild.ErrNetwork)
			require.ErrorContains(t, err, "build tiny: the network is needed")
			require.ErrorContains(t, err, "GOPROXY")
			require.ErrorContains(t, err, "example.test/never/had") // the module that was wanted
		})
	}
}

func TestFullDiskSaysSo(t *testing.T) {
	cache := t.TempDir()
	if err := syscall.Mount("tmpfs", cache, "tmpfs", 0, "size=4m"); err != nil {
		t.Skip("needs the right to mount a small file system: ", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(cache, 0)) })
	dir := module(t, map[string]string{"main.go": "package main\n\nimport _ \"net/http\"\n\nfunc main() {}\n"})
	err := gobuild.Build(context.Background(), gobuild.Options{
		Dir: dir, Out: filepath.Join(t.TempDir(), "tiny"), PrivateCache: true, CacheDir: cache,
	}, nil)
	require.ErrorIs(t, err, gobuild.ErrDiskFull)
	require.ErrorContains(t, err, cache)
	require.ErrorContains(t, err, "LABCTL_CACHE")
}

func TestCausesAreToldApart(t *testing.T) {
	tests := map[string]struct {
		text          string
		network, full bool
	}{
		"a compiler error":     {text: "./main.go:3:1: syntax error"},
		"a closed proxy":       {text: "go: x@v1: Get \"http://h/x\": dial tcp 127.0.0.1:1: connect: connection refused", network: true},
		"a missing name":       {text: "dial tcp: lookup proxy.example: no such host", network: true},
		"npm without network":  {text: "npm error code ENOTFOUND", network: true},
		"apt without network":  {text: "Err:1 Temporary failure resolving 'deb.example'", network: true},
		"a full disk":          {text: "write $WORK/b001/_pkg_.a: no space left on device", full: true},
		"npm with a full disk": {text: "npm error code ENOSPC", full: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.network, gobuild.IsNetwork(test.text))
			require.Equal(t, test.full, gobuild.IsDiskFull(test.text))
		})
	}
}
