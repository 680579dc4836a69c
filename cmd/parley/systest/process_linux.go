package systest

import "syscall"

// dieWithParent: should the test process be killed, nothing stays behind. A signal
// from the terminal is ours alone.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
