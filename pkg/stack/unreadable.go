package stack

import (
	"errors"
	"io/fs"
	"syscall"
)

// Unreadable says whether an error comes from the file that was read: a link that leads nowhere, around in a circle or through a file, a
// file that went meanwhile or that this user must not read. Terraform runs beside such a file and speaks up if it needs it, so nothing else
// stops for it. Any other error, such as one of the disk, is none of the file's.
func Unreadable(err error) bool {
	for _, target := range []error{fs.ErrNotExist, fs.ErrPermission, syscall.ELOOP, syscall.ENOTDIR, syscall.ENAMETOOLONG} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
