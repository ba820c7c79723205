package terraform

import (
	"os"

	"golang.org/x/sys/unix"
)

// nameless makes a file that has no name, in memory: what terraform says may be confidential, and most of it is read at once.
func nameless(string) (*os.File, error) {
	fd, err := unix.MemfdCreate("terraform", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "terraform's output"), nil
}
