//go:build unix && !linux

package gobuild

import "syscall"

// ownGroup starts a command in a process group of its own, so that it can be ended with all that it started.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
