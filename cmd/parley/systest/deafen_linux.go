package systest

import (
	"net"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Deafen has the kernel throw away every packet that comes for a connection, before
// it could be acknowledged: the other side sees a machine that is asleep, or unplugged.
func Deafen(t testing.TB, c net.Conn) {
	t.Helper()
	control(t, c, func(fd int) error {
		drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop[0]})
	})
}

func control(t testing.TB, c net.Conn, f func(fd int) error) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		t.Fatal(err)
	}
	if inner != nil {
		t.Fatal(inner)
	}
}
