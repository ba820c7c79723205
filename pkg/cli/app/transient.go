package app

import (
	"errors"
	"net/http"
	"os/exec"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/labctl/labctl/pkg/gobuild"
	"github.com/labctl/labctl/pkg/image"
	"github.com/labctl/labctl/pkg/kube"
)

// judgedError is an error whose type says whether trying again can help. The engine asks it, and reads no words.
type judgedError struct {
	error
	transient bool
}

func (e *judgedError) Unwrap() error { return e.error }

// Transient says whether trying again can help.
func (e *judgedError) Transient() bool { return e.transient }

// judge marks an error of an image or a release by the type that its source gave it. An error without such a type stays
// as it is.
func judge(err error) error {
	var (
		notReady *kube.NotReadyError
		build    *gobuild.Error
		ended    *exec.ExitError
		status   apierrors.APIStatus
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &notReady): // it was waited for, and its text quotes the pod's log
		return &judgedError{err, false}
	case errors.Is(err, gobuild.ErrNetwork): // its words tell a server that is busy from a machine that is offline
		return err
	case errors.As(err, &build), errors.As(err, &ended): // the rest of its text quotes a compiler
		return &judgedError{err, false}
	case image.RegistryStatus(err) != 0:
		return &judgedError{err, isTransientStatus(image.RegistryStatus(err))}
	case errors.As(err, &status):
		return &judgedError{err, isTransientStatus(int(status.Status().Code)) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err)}
	}
	return err
}

// isTransientStatus says whether a server may answer the same request otherwise in a while (RFC 9110 and 6585).
func isTransientStatus(code int) bool {
	switch code {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
