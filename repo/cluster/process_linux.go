package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// dyingWithUs makes the kernel stop a child when the thread that started it ends,
// and with it we: in order, or in tests at once.
func dyingWithUs(user account, fast bool) *syscall.SysProcAttr {
	a := user.attributes()
	a.Pdeathsig = syscall.SIGINT
	if fast {
		a.Pdeathsig = syscall.SIGQUIT
	}
	return a
}

// serves reports whether a process is a PostgreSQL server on that database: it
// works in its folder.
func serves(pid int, data string) bool {
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || !strings.HasPrefix(string(name), "postgres") {
		return false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return err != nil || filepath.Clean(cwd) == data // unreadable: a stranger's, then better believed
}
