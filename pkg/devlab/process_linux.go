package devlab

import "syscall"

// endsWithUs has a child killed where this process is.
func endsWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
