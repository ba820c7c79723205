package gobuild

import "syscall"

// ownGroup starts a command in a process group of its own, so that it can be ended with all that it started. The
// kernel ends it when labctl is killed: a compiler that goes on alone would fight with the next labctl for the caches.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
