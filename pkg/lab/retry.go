package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"syscall"
	"time"

	"github.com/labctl/labctl/pkg/event"
)

// codePrefix comes before an error's code in the messages of clouds and their SDKs. Without it the code may be any word.
const codePrefix = `(?:\b(?:[Cc]ode|Status)[=:]\s*"?|with error: |with |api error )`

// statusPrefix comes before an HTTP status. Without it the number may be a line's, a port's, an amount.
const statusPrefix = `(?i:\b(?:status ?code|(?:http|unexpected|response) status)[=: ]+"?)`

// transient matches the messages of errors that go away by themselves: of networks, of clouds that are busy, and of rights
// and names that take a while to reach every server. lab.hcl's retry block adds to them. Errors with a type of their own are
// judged by it (see isTransient).
var transient = []string{
	`\bconnection (?:reset by peer|refused)\b|\bconnection may have been reset\b`,
	`\b(?:TLS handshake|i/o) timeout\b|\bClient\.Timeout exceeded\b|\bnet/http: timeout awaiting\b`,
	`\b(?:Get|Post|Put|Patch|Delete|Head) "?https?://[^\s"]+"?: (?:unexpected )?EOF\b`,
	`\b(?:read|reading|send|sending|await|awaiting) (?:the )?(?:request|response|body)\b[^\n:]*: (?:unexpected )?EOF\b`,
	`\blookup [^\s:]+(?: on [^\s]+)?: (?:Temporary failure in name resolution|server misbehaving)`,
	`\bhttp2: (?:server sent GOAWAY|client connection lost)\b`,
	statusPrefix + `(?:429|500|502|503|504)\b`,
	`\b(?:429 Too Many Requests|502 Bad Gateway|503 Service Unavailable|504 Gateway Time-?out)\b`,
	codePrefix + `(?:TooManyRequests|Throttl(?:ed|ing)|ThrottlingException|SlowDown|RequestLimitExceeded|ServiceUnavailable)\b|\bThrottling: Rate exceeded\b|\bAPI rate limit exceeded\b`,
	codePrefix + `(?:RetryableError|AnotherOperationInProgress|OperationPreempted|ReferencedResourceNotProvisioned)\b`,
	codePrefix + `(?:PrincipalNotFound|AuthorizationPermissionMismatch)\b|\b[Pp]rincipal \S+ does not exist in the directory\b`, // a new identity or role is not everywhere yet
	`\betcdserver: (?:request timed out|leader changed)\b`,
}

// attempts says how often and how to try again.
type attempts struct {
	max   int
	wait  time.Duration    // before the second try; doubled each time
	own   []*regexp.Regexp // of lab.hcl
	on    []*regexp.Regexp // own and those of labctl
	pause func(ctx context.Context, d time.Duration) error
}

// maxWait bounds a single wait, however often it was doubled.
const maxWait = 2 * time.Minute

// isTransient says whether trying again can help. It asks the error itself, then the types of package net. Text decides
// only where no type does, and of an error that quotes files and code only its messages count.
func (a attempts) isTransient(err error) bool {
	var judged interface{ Transient() bool }
	if errors.As(err, &judged) {
		return judged.Transient() || a.matches(messages(err), a.own)
	}
	return isNetworkError(err) || a.matches(messages(err), a.on)
}

func (a attempts) matches(messages []string, patterns []*regexp.Regexp) bool {
	for _, message := range messages {
		for _, pattern := range patterns {
			if pattern.MatchString(message) {
				return true
			}
		}
	}
	return false
}

// messages gives what an error says in its own words. Terraform's diagnostics also quote files, lines and code.
func messages(err error) []string {
	var quoting interface{ Messages() []string }
	if errors.As(err, &quoting) {
		return quoting.Messages()
	}
	return []string{err.Error()}
}

// isNetworkError says whether err is one of a connection that may work the next time. A name that does not exist and the
// end of a context are not.
func isNetworkError(err error) bool {
	for _, errno := range []error{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.ETIMEDOUT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	var name *net.DNSError
	if errors.As(err, &name) {
		return name.IsTemporary || name.IsTimeout
	}
	var request *url.Error
	if errors.As(err, &request) && (errors.Is(request.Err, io.EOF) || errors.Is(request.Err, io.ErrUnexpectedEOF)) {
		return true
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() && !errors.Is(err, context.DeadlineExceeded)
}

// try calls do until it succeeds, fails with what does not pass, or was tried often enough.
func (a attempts) try(ctx context.Context, report event.Report, do func() error) error {
	wait := a.wait
	for n := 1; ; n++ {
		err := do()
		if err == nil || ctx.Err() != nil || !a.isTransient(err) {
			return err
		}
		if n >= a.max {
			if n > 1 {
				return fmt.Errorf("tried %d times: %w", n, err)
			}
			return err
		}
		report.Warn("%s; this can pass: again in %s (try %d of %d)", firstLine(err.Error()), wait, n+1, a.max)
		if a.pause(ctx, wait) != nil {
			return err
		}
		wait = min(2*wait, maxWait)
	}
}

// pause waits for d, or ends early with the context's error.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
