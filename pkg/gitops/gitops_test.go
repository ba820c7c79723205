package gitops_test

import (
	"errors"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/gitops"
)

var author = gitops.Author{Name: "ada", Email: "ada@lab.test"}

// server is git's own, behind a log-in.
func server(t *testing.T) (gitops.Remote, string) {
	t.Helper()
	program, err := exec.LookPath("git")
	require.NoError(t, err)
	root := t.TempDir()
	run(t, root, "init", "--quiet", "--bare", "--initial-branch=main", "lab.git")
	backend := &cgi.Handler{Path: program, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER=ada"}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "ada" || password != "secret" {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return gitops.Remote{URL: s.URL + "/lab.git", Branch: "main", User: "ada", Password: "secret"}, filepath.Join(root, "lab.git")
}

func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=eve", "-c", "user.email=eve@lab.test"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// byHand changes a file of the repository as somebody with a clone does.
func byHand(t *testing.T, bare, file, content string) {
	t.Helper()
	clone := t.TempDir()
	run(t, clone, "clone", "--quiet", bare, ".")
	require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(clone, file)), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(clone, file), []byte(content), 0o600))
	run(t, clone, "add", "--all")
	run(t, clone, "commit", "--quiet", "--message", "by hand: "+file)
	run(t, clone, "push", "--quiet", "origin", "HEAD:main")
}

func set(files gitops.Files, message string) func(*gitops.Repository) (gitops.Files, string, error) {
	return func(*gitops.Repository) (gitops.Files, string, error) { return files, message, nil }
}

func TestUpdate(t *testing.T) {
	remote, bare := server(t)
	r, err := gitops.Open(t.Context(), remote)
	require.NoError(t, err)
	require.Empty(t, r.Head(), "there is nothing yet")

	r, changed, err := gitops.Update(t.Context(), remote, author, set(gitops.Files{"a/one": []byte("1"), "b": []byte("2")}, "first\n\nwith a reason"))
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, r.Head(), strings.TrimSpace(run(t, bare, "rev-parse", "main")))
	require.Equal(t, "ada first", strings.TrimSpace(run(t, bare, "log", "-1", "--format=%an %s")))

	_, changed, err = gitops.Update(t.Context(), remote, author, set(gitops.Files{"b": []byte("2"), "c": nil}, "nothing"))
	require.NoError(t, err)
	require.False(t, changed, "what is so already is no commit")

	r, changed, err = gitops.Update(t.Context(), remote, author, set(gitops.Files{"a/one": nil}, "second"))
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, "b", strings.TrimSpace(run(t, bare, "ls-tree", "-r", "--name-only", "main")))
	log, err := r.Log("a", 10)
	require.NoError(t, err)
	require.Len(t, log, 2)
	require.Equal(t, "second", log[0].Subject())
	require.Equal(t, "first\n\nwith a reason", log[1].Message)
	_, files, err := r.FilesAt(log[1].Short(), "a")
	require.NoError(t, err)
	require.Equal(t, gitops.Files{"a/one": []byte("1")}, files)
	_, _, err = r.FilesAt("0badc0de", "a")
	require.ErrorContains(t, err, `no revision "0badc0de"`)
}

// What somebody else pushes while a change is made is not lost, and the change is made on top of it.
func TestUpdateIsMadeAgainOnWhatOthersPushed(t *testing.T) {
	remote, bare := server(t)
	byHand(t, bare, "list", "one\n")
	calls := 0
	_, changed, err := gitops.Update(t.Context(), remote, author, func(r *gitops.Repository) (gitops.Files, string, error) {
		files, err := r.Files("")
		require.NoError(t, err)
		if calls++; calls == 1 {
			byHand(t, bare, "list", "one\ntwo\n")
		}
		return gitops.Files{"list": append(files["list"], "mine\n"...)}, "mine", nil
	})
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, 2, calls)
	require.Equal(t, "one\ntwo\nmine\n", run(t, bare, "show", "main:list"))
}

func TestUpdateSaysWhyItCannot(t *testing.T) {
	remote, bare := server(t)
	byHand(t, bare, "a", "1")
	hook := filepath.Join(bare, "hooks/pre-receive")
	require.NoError(t, os.WriteFile(hook, []byte("#!/bin/sh\nexit 1\n"), 0o700)) //nolint:gosec // a hook is a program
	calls := 0
	_, _, err := gitops.Update(t.Context(), remote, author, func(*gitops.Repository) (gitops.Files, string, error) {
		calls++
		return gitops.Files{"a": []byte("2")}, "x", nil
	})
	require.ErrorContains(t, err, "pre-receive hook declined")
	require.Equal(t, 1, calls, "it is no use to try again")

	wrong := remote
	wrong.Password = "guessed"
	_, err = gitops.Open(t.Context(), wrong)
	require.ErrorContains(t, err, "authentication required")
	require.NotContains(t, err.Error(), "guessed")
	wrong = remote
	wrong.Branch = "other"
	_, err = gitops.Open(t.Context(), wrong)
	require.ErrorContains(t, err, "read branch other")
}

func release(chart, value, image string) gitops.Release {
	return gitops.Release{
		Name: "shop", Chart: map[string][]byte{"Chart.yaml": []byte(chart)}, Values: map[string]any{"value": value},
		Images: map[string]any{"images": map[string]any{"web": image}}, Apps: map[string][]byte{"web.yaml": []byte("kind: Application\n")},
	}
}

var staging = gitops.Environment{Name: "staging", Dir: "environments/staging"}

// lab is what labctl would do with a release.
func merge(t *testing.T, remote gitops.Remote, e gitops.Environment, r gitops.Release, overwrite bool) (bool, error) {
	t.Helper()
	_, changed, err := gitops.Update(t.Context(), remote, author, func(repo *gitops.Repository) (gitops.Files, string, error) {
		files, err := e.Merge(repo, r, overwrite)
		return files, "labctl", err
	})
	return changed, err
}

func show(t *testing.T, bare, file string) string { return run(t, bare, "show", "main:"+file) }

func TestMergeKeepsWhatGitAloneChanged(t *testing.T) {
	remote, bare := server(t)
	must := func(want bool, r gitops.Release) {
		t.Helper()
		changed, err := merge(t, remote, staging, r, false)
		require.NoError(t, err)
		require.Equal(t, want, changed)
	}
	must(true, release("one", "a", "web@1"))
	must(false, release("one", "a", "web@1"))
	require.Equal(t, "value: a\n", show(t, bare, "environments/staging/shop/values.yaml"))

	byHand(t, bare, "environments/staging/shop/chart/Chart.yaml", "by hand")
	byHand(t, bare, "environments/staging/shop/chart/templates/new.yaml", "new")
	must(false, release("one", "a", "web@1"))
	must(true, release("one", "a", "web@2"))
	require.Equal(t, "by hand", show(t, bare, "environments/staging/shop/chart/Chart.yaml"), "the lab did not change it")
	require.Equal(t, "new", show(t, bare, "environments/staging/shop/chart/templates/new.yaml"))
	require.Contains(t, show(t, bare, "environments/staging/shop/images.yaml"), "web@2")

	_, err := merge(t, remote, staging, release("two", "b", "web@2"), false)
	var conflict *gitops.ConflictError
	require.ErrorAs(t, err, &conflict)
	require.Equal(t, []string{"environments/staging/shop/chart/Chart.yaml"}, conflict.Files)
	require.ErrorContains(t, err, `in Git by eve`)
	require.ErrorContains(t, err, `"by hand: environments/staging/shop/chart/Chart.yaml"`)
	require.Equal(t, "value: a\n", show(t, bare, "environments/staging/shop/values.yaml"), "nothing is changed then")

	changed, err := merge(t, remote, staging, release("two", "b", "web@2"), true)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, "two", show(t, bare, "environments/staging/shop/chart/Chart.yaml"))

	gone := release("two", "b", "web@2")
	gone.Apps = nil
	must(true, gone)
	require.NotContains(t, run(t, bare, "ls-tree", "-r", "--name-only", "main"), "web.yaml")

	_, _, err = gitops.Update(t.Context(), remote, author, func(r *gitops.Repository) (gitops.Files, string, error) {
		files, err := staging.Remove(r, "shop")
		return files, "down", err
	})
	require.NoError(t, err)
	require.Empty(t, run(t, bare, "ls-tree", "-r", "--name-only", "main"))
}

func TestRollbackHolds(t *testing.T) {
	remote, bare := server(t)
	for _, image := range []string{"web@1", "web@2"} {
		_, err := merge(t, remote, staging, release("one", "a", image), false)
		require.NoError(t, err)
	}
	before := run(t, bare, "ls-tree", "-r", "main")
	first := strings.TrimSpace(run(t, bare, "rev-parse", "main~1"))
	back := func(revision string) error {
		_, _, err := gitops.Update(t.Context(), remote, author, func(r *gitops.Repository) (gitops.Files, string, error) {
			files, err := staging.Rollback(r, gitops.Pin{Revision: revision, By: "ada", Reason: "it crashes"})
			return files, "back", err
		})
		return err
	}
	previous := func() (string, error) {
		r, err := gitops.Open(t.Context(), remote)
		require.NoError(t, err)
		return staging.Previous(r)
	}
	earlier, err := previous()
	require.NoError(t, err)
	require.Equal(t, first, earlier)
	require.NoError(t, back(first[:8]))
	require.Contains(t, show(t, bare, "environments/staging/shop/images.yaml"), "web@1")

	changed, err := merge(t, remote, staging, release("one", "a", "web@2"), false)
	require.NoError(t, err)
	require.False(t, changed, "what the lab wrote before does not come back")
	_, err = merge(t, remote, staging, release("one", "a", "web@3"), false)
	var pinned *gitops.PinnedError
	require.True(t, errors.As(err, &pinned), "%v", err)
	require.EqualError(t, err, "ada rolled back to "+first[:8]+": it crashes")
	require.NoError(t, back(first), "twice is as once")
	_, err = previous()
	require.ErrorContains(t, err, "no earlier revision", "the rollback's own commit is none")

	_, _, err = gitops.Update(t.Context(), remote, author, func(r *gitops.Repository) (gitops.Files, string, error) {
		pin, ok, err := staging.Pinned(r)
		require.NoError(t, err)
		require.True(t, ok)
		files, err := staging.Unpin(r, pin)
		return files, "forward", err
	})
	require.NoError(t, err)
	require.Equal(t, before, run(t, bare, "ls-tree", "-r", "main"))
	require.ErrorContains(t, back("0badc0de"), "no revision")
}

func TestPromote(t *testing.T) {
	remote, bare := server(t)
	prod := gitops.Environment{Name: "prod", Dir: "environments/prod"}
	promote := func() (string, error) {
		var diff string
		_, _, err := gitops.Update(t.Context(), remote, author, func(r *gitops.Repository) (gitops.Files, string, error) {
			files, err := gitops.Promote(r, staging, prod)
			if err != nil {
				return nil, "", err
			}
			have, err := r.Files(prod.Dir)
			require.NoError(t, err)
			diff, err = gitops.Diff(have, files)
			return files, "promote", err
		})
		return diff, err
	}
	_, err := merge(t, remote, staging, release("two", "of staging", "web@2"), false)
	require.NoError(t, err)
	_, err = promote()
	require.ErrorContains(t, err, "environment prod has nothing")
	_, err = merge(t, remote, prod, release("one", "of prod", "web@1"), false)
	require.NoError(t, err)

	diff, err := promote()
	require.NoError(t, err)
	require.Contains(t, diff, "-  web: web@1\n+  web: web@2\n")
	require.NotContains(t, diff, "of staging")
	require.Equal(t, "two", show(t, bare, "environments/prod/shop/chart/Chart.yaml"))
	require.Equal(t, "value: of prod\n", show(t, bare, "environments/prod/shop/values.yaml"))
	diff, err = promote()
	require.NoError(t, err)
	require.Empty(t, diff)

	changed, err := merge(t, remote, prod, release("one", "of prod", "web@1"), false)
	require.NoError(t, err)
	require.False(t, changed, "up does not undo a promotion")
}
