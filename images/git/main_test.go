package main

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// lab is a running server and a place to work in.
type lab struct {
	t               *testing.T
	url, work, data string
	users           string
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, work: t.TempDir(), data: t.TempDir(), users: t.TempDir()}
	for user, password := range map[string]string{"writer": "w\n", "reader": "r"} {
		require.NoError(t, os.WriteFile(filepath.Join(l.users, user), []byte(password), 0o600))
	}
	l.url = l.serve()
	return l
}

func (l *lab) serve() string {
	l.t.Helper()
	env := map[string]string{"LISTEN": "127.0.0.1:0", "DATA_DIR": l.data, "USERS_DIR": l.users, "REPOSITORIES": "lab,other"}
	server, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, server.Close()) })
	require.NoError(l.t, server.Ready(l.t.Context()))
	return server.Addr
}

// git runs git as a user, with no configuration but its own, and gives what it printed.
func (l *lab) git(args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-c", "user.name=test", "-c", "user.email=test@labctl.test", "-c", "credential.helper="}, args...)...)
	cmd.Dir = l.work
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.work, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "no_proxy=*"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lab) must(args ...string) string {
	l.t.Helper()
	out, err := l.git(args...)
	require.NoError(l.t, err, "git %s\n%s", strings.Join(args, " "), out)
	return out
}

func (l *lab) repository(login, name string) string {
	return "http://" + login + "@" + l.url + "/" + name + ".git"
}

func TestPushAndClone(t *testing.T) {
	l := newLab(t)
	l.must("clone", "--quiet", l.repository("writer:w", "lab"), "mine")
	// More than git sends in one piece, of what no compression makes smaller.
	large := make([]byte, 3<<20)
	_, _ = rand.Read(large)
	for _, content := range [][]byte{[]byte("first"), large} {
		require.NoError(t, os.WriteFile(filepath.Join(l.work, "mine/file"), content, 0o600))
		l.must("-C", "mine", "add", "file")
		l.must("-C", "mine", "commit", "--quiet", "--message", "a change")
		l.must("-C", "mine", "push", "--quiet", "origin", "main")
	}
	l.must("clone", "--quiet", "--depth", "1", l.repository("reader:r", "lab"), "theirs")
	got, err := os.ReadFile(filepath.Join(l.work, "theirs/file"))
	require.NoError(t, err)
	require.Equal(t, large, got)
	require.Equal(t, "1\n", l.must("-C", "theirs", "rev-list", "--count", "HEAD"), "a shallow clone")
	l.must("-C", "theirs", "fetch", "--quiet", "--unshallow")
	require.Equal(t, "2\n", l.must("-C", "theirs", "rev-list", "--count", "HEAD"))

	l.url = l.serve() // again, on the same data
	require.Contains(t, l.must("ls-remote", l.repository("reader:r", "lab")), "refs/heads/main")
	require.Empty(t, l.must("ls-remote", l.repository("reader:r", "other")))
}

func TestWhoMayNot(t *testing.T) {
	l := newLab(t)
	l.must("init", "--quiet", "--initial-branch=main", "mine")
	l.must("-C", "mine", "commit", "--quiet", "--allow-empty", "--message", "a change")
	l.must("init", "--quiet", "--bare", filepath.Join(l.data, "private.git"))
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"a reader who pushes":    {[]string{"-C", "mine", "push", l.repository("reader:r", "lab"), "main"}, "403"},
		"a wrong password":       {[]string{"ls-remote", l.repository("writer:r", "lab")}, "Authentication failed"},
		"an unknown user":        {[]string{"ls-remote", l.repository("nobody:w", "lab")}, "Authentication failed"},
		"a user above the users": {[]string{"ls-remote", l.repository("..%2Fwriter:w", "lab")}, "Authentication failed"},
		"nobody":                 {[]string{"ls-remote", "http://" + l.url + "/lab.git"}, "could not read Username"},
		"one that is not named":  {[]string{"ls-remote", l.repository("writer:w", "private")}, "not found"},
		"an unknown repository":  {[]string{"ls-remote", l.repository("writer:w", "none")}, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := l.git(tt.args...)
			require.Error(t, err)
			require.Contains(t, out, tt.want)
		})
	}
	// A new password counts at once.
	require.NoError(t, os.WriteFile(filepath.Join(l.users, "reader"), []byte("new"), 0o600))
	_, err := l.git("ls-remote", l.repository("reader:r", "lab"))
	require.Error(t, err)
	l.must("ls-remote", l.repository("reader:new", "lab"))
}

func TestNoFileOfARepositoryIsServed(t *testing.T) {
	l := newLab(t)
	for _, path := range []string{"/lab.git/HEAD", "/lab.git/config", "/lab.git/objects/info/packs", "/lab.git/info/refs", "/", "/../users/writer", "/lab.git/../../etc/passwd"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.url+path, nil)
		require.NoError(t, err)
		r.SetBasicAuth("writer", "w")
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusNotFound, answer.StatusCode, path)
	}
}

func TestBadSettings(t *testing.T) {
	for name, env := range map[string]map[string]string{
		"USERS_DIR is not set": {},
		"no name of a repository": {
			"USERS_DIR": t.TempDir(), "DATA_DIR": t.TempDir(), "REPOSITORIES": "../x",
		},
		"make the repository lab": {"USERS_DIR": t.TempDir(), "DATA_DIR": "/dev/null"},
	} {
		_, err := start(func(k string) string { return env[k] }, slog.New(slog.DiscardHandler))
		require.ErrorContains(t, err, name)
	}
}
