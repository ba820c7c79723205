// Package atomicfile replaces files in one step.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write makes data the content of the file at path, readable by its owner only. Others see the old content or the new, never a part, whatever
// becomes of this process. It is not forced to the disk. The directory has to be there.
func Write(path string, data []byte) error {
	part, err := os.CreateTemp(filepath.Dir(path), ".labctl-*") // CreateTemp makes it 0600
	if err != nil {
		return err
	}
	_, err = part.Write(data)
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(part.Name(), path)
	}
	if err != nil {
		_ = os.Remove(part.Name())
	}
	return err
}

// Symlink makes path a symbolic link to target, in one step where a link or a file is there. Two callers at once for one path need a lock
// around it: what a caller that was killed left is in the way of the next under a fixed name, which removes it.
func Symlink(target, path string) error {
	part := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, part); err != nil {
		return err
	}
	return os.Rename(part, path)
}
