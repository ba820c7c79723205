package secret_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/secret"
)

func TestRedact(t *testing.T) {
	kubeconfig := "apiVersion: v1\nserver: https://127.0.0.1:6443\ntoken: abcdefghijklmnopqrstuvwxyz\n"
	for _, tc := range []struct{ name, secret, text, want string }{
		{"plain", "hunter2", "password hunter2 refused", "password (sensitive) refused"},
		{"too short to hide", "no", "no such file", "no such file"},
		{"JSON", `a"b\c`, `{"p":"a\"b\\c"}`, `{"p":"(sensitive)"}`},
		{"URL-escaped", "p@ss word", "http://u:p%40ss+word@h", "http://u:(sensitive)@h"},
		{"password of a URL", "mongodb://u:hunter2@h/db", "login with hunter2 failed", "login with (sensitive) failed"},
		{"base64", "hunter2", "data: " + base64.StdEncoding.EncodeToString([]byte("hunter2")), "data: (sensitive)"},
		{"a word of a long secret", kubeconfig, "token abcdefghijklmnopqrstuvwxyz at https://127.0.0.1:6443", "token (sensitive) at https://127.0.0.1:6443"},
		{"whitespace around", "hunter2\n", "hunter2!", "(sensitive)!"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var s secret.Set
			s.Add(tc.secret)
			require.Equal(t, tc.want, s.Redact(tc.text))
		})
	}
}

func TestLongestFirst(t *testing.T) {
	var s secret.Set
	s.Add("hunter")
	s.Add("hunter2-extended")
	require.Equal(t, "(sensitive)", s.Redact("hunter2-extended"))
}

func TestError(t *testing.T) {
	var s secret.Set
	s.Add("hunter2")
	err := s.Error(fmt.Errorf("login hunter2: %w", context.Canceled))
	require.EqualError(t, err, "login (sensitive): context canceled")
	require.ErrorIs(t, err, context.Canceled)
	plain := errors.New("nothing here")
	require.Equal(t, plain, s.Error(plain))
	require.NoError(t, s.Error(nil))
	var none *secret.Set
	require.Equal(t, "hunter2", none.Redact("hunter2"))
}
