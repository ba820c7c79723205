// The git image: a Git server over HTTP, by git's own http-backend.
//
//	LISTEN        address to bind (:8080)
//	DATA_DIR      where the repositories lie (/data)
//	REPOSITORIES  their names, with commas between; one that is missing is made, empty, with the branch main (lab)
//	USERS_DIR     a directory with a file for each user, named like the user, with the password in it. The user writer may
//	              push, all others may read. It is read at each request, so that a password can be changed
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cgi" //nolint:gosec // G504: a fault of Go before 1.6.3
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/labctl/labctl/images/internal/part"
)

func main() { os.Exit(part.Main("git", os.Args[1:], start)) }

// writer is the user who may push.
const writer = "writer"

// maxBody bounds a request: charts and values are small, and a disk is finite.
const maxBody = 256 << 20

// repositoryName is what may stand in a path: no separator, and no dot in the beginning.
var repositoryName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

type server struct {
	git, data, users string
	known            map[string]bool // the repositories' directories
	log              *slog.Logger
}

func start(getenv func(string) string, log *slog.Logger) (part.Server, error) {
	s := &server{data: cmp.Or(getenv("DATA_DIR"), "/data"), users: getenv("USERS_DIR"), known: map[string]bool{}, log: log}
	if s.users == "" {
		return part.Server{}, errors.New("USERS_DIR is not set: nobody could log in")
	}
	var err error
	if s.git, err = exec.LookPath("git"); err != nil {
		return part.Server{}, err
	}
	for name := range strings.SplitSeq(cmp.Or(getenv("REPOSITORIES"), "lab"), ",") {
		if !repositoryName.MatchString(name) {
			return part.Server{}, fmt.Errorf("REPOSITORIES has %q, which is no name of a repository", name)
		}
		dir := name + ".git"
		// A second init of a repository that is there changes nothing in it.
		init := exec.Command(s.git, "init", "--quiet", "--bare", "--initial-branch=main", filepath.Join(s.data, dir)) //nolint:gosec // G204: checked above
		init.Env = s.environment()
		if out, err := init.CombinedOutput(); err != nil {
			return part.Server{}, fmt.Errorf("make the repository %s: %w: %s", name, err, strings.TrimSpace(string(out)))
		}
		s.known[dir] = true
	}
	listener, err := net.Listen("tcp", cmp.Or(getenv("LISTEN"), ":8080"))
	if err != nil {
		return part.Server{}, err
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("no longer serves", "error", err)
		}
	}()
	return part.Server{
		Addr:  listener.Addr().String(),
		Ready: func(context.Context) error { _, err := os.ReadDir(s.users); return err },
		Close: func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // for pushes under way
			defer cancel()
			return web.Shutdown(ctx)
		},
	}, nil
}

// environment is git's: nothing of this process's but the path, and a configuration that no file changes.
func (s *server) environment() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_COUNT=2",
		// A volume may belong to another user than this process.
		"GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
		// A repository that was pushed to has hooks of nobody's.
		"GIT_CONFIG_KEY_1=core.hooksPath", "GIT_CONFIG_VALUE_1=/dev/null",
	}
}

// ServeHTTP lets git answer to who may ask. Only the protocol of gitprotocol-http(5) is served, no file of a repository.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, ok := s.login(r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="git", charset="UTF-8"`)
		http.Error(w, "log in", http.StatusUnauthorized)
		return
	}
	repository, service, ok := s.asked(r)
	switch {
	case !ok:
		http.NotFound(w, r)
		return
	case service == "git-receive-pack" && user != writer:
		http.Error(w, "user "+user+" may not push", http.StatusForbidden)
		return
	}
	body, err := spool(w, r)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			http.Error(w, fmt.Sprintf("a request is at most %d MiB", maxBody>>20), http.StatusRequestEntityTooLarge)
			return
		}
		s.log.Warn("a request was not read", "error", err)
		http.Error(w, "the request was not read", http.StatusBadRequest)
		return
	}
	defer body.Close()
	r.Header.Del("Authorization") // CGI gives a program all headers
	backend := cgi.Handler{
		Path: s.git, Args: []string{"http-backend"}, Dir: s.data, Logger: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		Env: append(s.environment(), "GIT_PROJECT_ROOT="+s.data, "GIT_HTTP_EXPORT_ALL=1", "REMOTE_USER="+user),
	}
	backend.ServeHTTP(w, r)
	if service == "git-receive-pack" && r.Method == http.MethodPost {
		s.log.Info("pushed", "repository", repository, "user", user)
	}
}

// login checks a request's user by the files of USERS_DIR.
func (s *server) login(r *http.Request) (user string, ok bool) {
	user, password, ok := r.BasicAuth()
	if !ok || !repositoryName.MatchString(user) {
		return "", false
	}
	want, err := os.ReadFile(filepath.Join(s.users, user))
	if err != nil {
		return "", false
	}
	wanted, given := sha256.Sum256([]byte(strings.TrimSpace(string(want)))), sha256.Sum256([]byte(password))
	return user, subtle.ConstantTimeCompare(wanted[:], given[:]) == 1
}

// asked gives the repository and the service of a request, if both are known.
func (s *server) asked(r *http.Request) (repository, service string, ok bool) {
	repository, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodGet && rest == "info/refs":
		service = r.URL.Query().Get("service")
	case r.Method == http.MethodPost:
		service = rest
	}
	return repository, service, s.known[repository] && (service == "git-upload-pack" || service == "git-receive-pack")
}

// spool reads a request's body into a file, whose length is then known: a large push comes in chunks, which CGI has no way to
// tell (RFC 3875, section 4.1.2).
func spool(w http.ResponseWriter, r *http.Request) (io.Closer, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if r.ContentLength >= 0 {
		return r.Body, nil
	}
	file, err := os.CreateTemp("", "push-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(file.Name()) // its content goes with the descriptor
	if err == nil {
		r.ContentLength, err = io.Copy(file, r.Body)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = file.Close() // the other error says why
		return nil, err
	}
	r.Body, r.TransferEncoding = file, nil
	return file, nil
}
