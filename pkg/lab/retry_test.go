package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// diagnosed is an error that quotes a file beside its message, as terraform's do.
type diagnosed struct{ text, message string }

func (d diagnosed) Error() string      { return d.text }
func (d diagnosed) Messages() []string { return []string{d.message} }

type judged struct {
	error
	transient bool
}

func (j judged) Transient() bool { return j.transient }

func TestWhatIsTriedAgain(t *testing.T) {
	t.Parallel()
	say := errors.New
	get := func(err error) error {
		return fmt.Errorf("push: %w", &url.Error{Op: "Get", URL: "https://r.example", Err: err})
	}
	tcp := func(errno syscall.Errno) error {
		return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", errno)}
	}
	for name, tc := range map[string]struct {
		err  error
		want bool
	}{
		// Types.
		"refused":                  {get(tcp(syscall.ECONNREFUSED)), true},
		"reset":                    {fmt.Errorf("x: %w", tcp(syscall.ECONNRESET)), true},
		"no route":                 {get(tcp(syscall.EACCES)), false},
		"name server is busy":      {get(&net.DNSError{Err: "server misbehaving", Name: "a", IsTemporary: true}), true},
		"name does not exist":      {get(&net.DNSError{Err: "no such host", Name: "a", IsNotFound: true}), false},
		"answer breaks off":        {get(io.ErrUnexpectedEOF), true},
		"file breaks off":          {fmt.Errorf("read lab.hcl: %w", io.ErrUnexpectedEOF), false},
		"network timeout":          {get(os.ErrDeadlineExceeded), true},
		"our own deadline":         {get(context.DeadlineExceeded), false},
		"canceled":                 {get(context.Canceled), false},
		"judged transient":         {fmt.Errorf("x: %w", judged{say("busy"), true}), true},
		"judged final, bad words":  {fmt.Errorf("x: %w", judged{say("connection refused"), false}), false},
		"judged final, lab's word": {fmt.Errorf("x: %w", judged{say("the name is taken"), false}), true},

		// Messages that pass.
		"status":             {say("performing Get: unexpected status 503 (503 Service Unavailable) with error: x"), true},
		"status code":        {say("StatusCode=429, Message=slow down"), true},
		"HTTP response":      {say("HTTP response status: 502"), true},
		"AWS code":           {say("https response error StatusCode: 400, RequestID: x, api error ThrottlingException: Rate exceeded"), true},
		"azure code":         {say(`Code="AnotherOperationInProgress" Message="Another operation"`), true},
		"azure sdk":          {say("unexpected status 409 (409 Conflict) with error: AnotherOperationInProgress: Another"), true},
		"azure polling":      {say("the Azure API returned the following error:\n\nStatus: \"ReferencedResourceNotProvisioned\""), true},
		"new identity":       {say("with error: PrincipalNotFound: Principal 0af does not exist in the directory 1be"), true},
		"EOF of a request":   {say(`Get "https://management.example/x": EOF`), true},
		"EOF of an answer":   {say("error reading response body: unexpected EOF"), true},
		"resolver":           {say("dial tcp: lookup a.example on 127.0.0.53:53: server misbehaving"), true},
		"TLS":                {say("net/http: TLS handshake timeout"), true},
		"i/o":                {say("read udp 10.0.0.2:53: i/o timeout"), true},
		"goaway":             {say("http2: server sent GOAWAY and closed the connection"), true},
		"etcd":               {say("rpc error: etcdserver: leader changed"), true},
		"lab's own":          {say("the name is taken"), true},
		"terraform: message": {diagnosed{"main.tf:1:1: x", "read tcp: connection reset by peer"}, true},

		// Look-alikes.
		"line 429":               {say("main.go:429: undefined: x"), false},
		"line 503":               {say("main.tf:503:12: Unsupported argument"), false},
		"port 429":               {say("address 10.0.0.1:429 is invalid"), false},
		"an amount":              {say("expected 429 items, got 500"), false},
		"a resource's name":      {say(`resource "SlowDown" is not declared`), false},
		"a module called so":     {say("module.RetryableError: Unsupported attribute"), false},
		"a page called so":       {say(`the page "Service Unavailable" has no template`), false},
		"EOF in a file":          {say("main.tf: Invalid expression: unexpected EOF in Post block"), false},
		"EOF marker":             {say("unterminated template: heredoc EOF not found, Get it back"), false},
		"timeout's own name":     {say("variable i/o_timeout_minutes: a number is required"), false},
		"Throttling as a word":   {say("attribute Throttling is deprecated"), false},
		"directory":              {say(`the module "x" does not exist in the directory modules`), false},
		"not found":              {say("unexpected status 404 (404 Not Found)"), false},
		"terraform: quoted code": {diagnosed{"main.tf:429:1: Invalid\n  429 | status = \"503 Service Unavailable\" # connection refused", "Invalid reference"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			own := []*regexp.Regexp{regexp.MustCompile("name is taken")}
			a := attempts{own: own, on: own}
			for _, pattern := range transient {
				a.on = append(a.on, regexp.MustCompile(pattern))
			}
			require.Equal(t, tc.want, a.isTransient(tc.err))
		})
	}
}
