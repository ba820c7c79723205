package lease

import (
	"context"
	"errors"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBeside(t *testing.T) {
	for _, tc := range []struct{ address, of, want string }{
		{"https://h/states/a", "https://h/states/a", "https://h/states/a.labctl-lock"},
		{"https://h/states/a", "https://h/states/a/lock", "https://h/states/a.labctl-lock/lock"},
		{"https://h/states/a?team=x", "https://h/states/a?team=x", "https://h/states/a.labctl-lock?team=x"},
		{"https://h/states/a", "https://h/locks/a", "https://h/locks/a.labctl-lock"},
		{"https://h/states/a", "https://h/states/ab", "https://h/states/ab.labctl-lock"},
		{"https://h/a", "https://other/a/lock", "https://other/a/lock.labctl-lock"},
	} {
		t.Run(tc.of, func(t *testing.T) {
			got, err := beside(tc.address, tc.of)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

type names map[string]error

func (n names) LookupHost(_ context.Context, host string) ([]string, error) { return nil, n[host] }

func TestIsUnknownAccount(t *testing.T) {
	unknown := &url.Error{Err: &net.OpError{Err: &net.DNSError{Name: "stlab.blob.core.windows.net", IsNotFound: true}}}
	for _, tc := range []struct {
		name  string
		err   error
		names names
		want  bool
	}{
		{"no such account", unknown, names{}, true},
		{"no name server", unknown, names{"azure.microsoft.com": errors.New("no answer")}, false},
		{"a slow name server", &net.DNSError{IsTimeout: true}, names{}, false},
		{"anything else", errors.New("x"), names{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.Equal(t, tc.want, isUnknownAccount(context.Background(), tc.names, tc.err))
		})
	}
}
