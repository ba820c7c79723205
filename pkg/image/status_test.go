package image_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/stretchr/testify/require"

	"github.com/labctl/labctl/pkg/image"
)

func TestRegistryStatus(t *testing.T) {
	busy := &transport.Error{StatusCode: http.StatusTooManyRequests, Errors: []transport.Diagnostic{{Message: "403 Forbidden"}}}
	require.Equal(t, http.StatusTooManyRequests, image.RegistryStatus(fmt.Errorf("push: %w", busy)))
	require.Zero(t, image.RegistryStatus(errors.New("429 Too Many Requests")), "words are no status")
	require.Zero(t, image.RegistryStatus(nil))
}
