package lab

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/labctl/labctl/pkg/event"
)

// transient are the texts of errors that go away by themselves: of networks, of clouds that are busy, and of rights and
// names that take a while to reach every server. lab.hcl's retry block adds to them. Whatever else fails would fail again.
var transient = []string{
	`connection (reset by peer|refused)`,
	`(TLS handshake|i/o|Client\.Timeout|net/http: request).*(timeout|timed out|canceled)`,
	`\b(unexpected )?EOF\b.*(connection|response|request|Get|Post|Put)|(Get|Post|Put|Patch|Delete) "?https?://[^ ]+: (unexpected )?EOF`,
	`(Temporary failure in name resolution|server misbehaving)`,
	`http2: (server sent GOAWAY|client connection lost)`,
	`\b(429|too many requests|TooManyRequests|Throttl(ed|ing)|rate limit exceeded|SlowDown|RequestLimitExceeded)\b`,
	`(StatusCode|status code|HTTP status|unexpected status)[=: ]*(500|502|503|504)\b`,
	`\b(Bad Gateway|Service Unavailable|ServiceUnavailable|Gateway Time-?out)\b`,
	`\b(RetryableError|AnotherOperationInProgress|OperationPreempted|ReferencedResourceNotProvisioned)\b`,
	`PrincipalNotFound|does not exist in the directory|AuthorizationPermissionMismatch`, // a new identity or role is not everywhere yet
	`etcdserver: (request timed out|leader changed)`,
}

// attempts says how often and how to try again.
type attempts struct {
	max   int
	wait  time.Duration // before the second try; doubled each time
	on    []*regexp.Regexp
	pause func(ctx context.Context, d time.Duration) error
}

// maxWait bounds a single wait, however often it was doubled.
const maxWait = 2 * time.Minute

func (a attempts) passing(text string) bool {
	for _, on := range a.on {
		if on.MatchString(text) {
			return true
		}
	}
	return false
}

// try calls do until it succeeds, fails with what does not pass, or was tried often enough.
func (a attempts) try(ctx context.Context, report event.Report, do func() error) error {
	wait := a.wait
	for n := 1; ; n++ {
		err := do()
		if err == nil || ctx.Err() != nil || !a.passing(err.Error()) {
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
