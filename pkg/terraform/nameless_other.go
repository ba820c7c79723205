//go:build !linux

package terraform

import (
	"errors"
	"os"
)

// nameless makes a file in dir and takes its name away.
func nameless(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".output-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
