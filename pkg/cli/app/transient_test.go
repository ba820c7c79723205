package app

import (
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/kube"
)

func TestErrorsAreJudgedByTheirType(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	for name, tc := range map[string]struct {
		err       error
		judged    bool
		transient bool
	}{
		"busy API":         {apierrors.NewTooManyRequests("wait", 1), true, true},
		"API without etcd": {apierrors.NewInternalError(errors.New("etcdserver: leader changed")), true, true},
		"missing secret":   {apierrors.NewNotFound(secrets, "429"), true, false},
		"conflict":         {apierrors.NewConflict(secrets, "a", errors.New("connection refused")), true, false},
		"pod's log":        {&kube.NotReadyError{Workload: "deployment/auth", LastLines: []string{"dial tcp: connection refused"}}, true, false},
		"compiler":         {&gobuild.Error{Name: "auth", Cause: &exec.ExitError{}, Lines: []string{"main.go:429: undefined: x"}}, true, false},
		"bundler":          {fmt.Errorf("build the web pages: npm run: %w\n  %s", &exec.ExitError{}, "502 Bad Gateway"), true, false},
		"module proxy":     {&gobuild.Error{Name: "auth", Cause: gobuild.ErrNetwork}, false, false},
		"anything":         {errors.New("connection refused"), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := judge(fmt.Errorf("outer: %w", tc.err))
			require.ErrorIs(t, err, tc.err)
			var got interface{ Transient() bool }
			require.Equal(t, tc.judged, errors.As(err, &got))
			if tc.judged {
				require.Equal(t, tc.transient, got.Transient())
			}
		})
	}
	require.NoError(t, judge(nil))
}
