//go:build !linux

package cluster

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// dyingWithUs promises too much here: a child outlives us when we are killed. The
// next Start then stops it.
func dyingWithUs(user account, _ bool) *syscall.SysProcAttr { return user.attributes() }

// serves reports whether a process is a PostgreSQL server on that database, by its command line.
func serves(pid int, data string) bool {
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(out), "postgres") && strings.Contains(string(out), data)
}
