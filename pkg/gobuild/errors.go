//go:build unix

package gobuild

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What can be wrong with the machine rather than with the program. Callers compare with errors.Is.
var (
	ErrNoGo     = errors.New("the go command was not found")
	ErrNetwork  = errors.New("the network is needed")
	ErrDiskFull = errors.New("the disk is full")
)

// Error is a build that failed. Its text names the program, the cause, what to do where that is known, and the lines
// that the go command printed.
type Error struct {
	Name  string
	Lines []string // the go command's, the last ones if there were many
	Cause error    // ErrNetwork, ErrDiskFull, or the command's own exit error
	Hint  string
}

func (e *Error) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "build %s: %v", e.Name, e.Cause)
	if e.Hint != "" {
		text.WriteString(": " + e.Hint)
	}
	for _, line := range e.Lines {
		text.WriteString("\n  " + line)
	}
	return text.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// explain makes an Error of what a failed command said.
func explain(o Options, said []string, err error) error {
	e := &Error{Name: o.name(), Lines: said, Cause: err}
	text := strings.Join(said, "\n")
	switch {
	case errors.Is(err, syscall.ENOSPC), IsDiskFull(text):
		e.Cause = ErrDiskFull
		where := o.CacheDir
		if where == "" {
			where = "the Go caches' disk"
		}
		e.Hint = fmt.Sprintf("building it writes to %s%s; free some space there, or set LABCTL_CACHE to a directory on a larger disk, and run the command again",
			where, free(o.CacheDir))
	case IsNetwork(text):
		e.Cause = ErrNetwork
		e.Hint = fmt.Sprintf("%s is built from Go modules that are not on this machine, and the module proxy did not answer. "+
			"Connect the machine, or set GOPROXY to a proxy it can reach (`go env GOPROXY` shows the one in use), and run the command again", o.name())
	}
	return e
}

func free(dir string) string {
	var stat unix.Statfs_t
	if dir == "" || unix.Statfs(dir, &stat) != nil {
		return ""
	}
	return fmt.Sprintf(" (%d MB free)", stat.Bavail*uint64(stat.Bsize)/1_000_000) //nolint:gosec // a block size is positive
}

// IsDiskFull says whether what a tool printed means that a disk is full.
func IsDiskFull(text string) bool {
	return containsAny(text, "no space left on device", "disk quota exceeded", "ENOSPC")
}

// IsNetwork says whether what a tool (go, npm, apt-get) printed means that a server could not be reached.
func IsNetwork(text string) bool {
	return containsAny(text,
		"connection refused", "no such host", "network is unreachable", "no route to host", "i/o timeout", "TLS handshake timeout",
		"connection reset by peer", "server misbehaving", "proxyconnect tcp", "module lookup disabled by GOPROXY=off",
		"Client.Timeout exceeded", "unexpected EOF", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout",
		"ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ETIMEDOUT", "ECONNRESET", "ENETUNREACH", "EHOSTUNREACH", "ERR_SOCKET_TIMEOUT",
		"Temporary failure resolving", "Could not resolve", "Could not connect to")
}

func containsAny(text string, parts ...string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
