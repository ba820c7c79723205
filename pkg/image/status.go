package image

import (
	"errors"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// RegistryStatus gives the HTTP status with which a registry refused, or 0 where err is none of a registry's.
func RegistryStatus(err error) int {
	var refused *transport.Error
	if !errors.As(err, &refused) {
		return 0
	}
	return refused.StatusCode
}
