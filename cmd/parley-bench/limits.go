package main

import (
	"fmt"
	"syscall"
)

// raiseOpenFiles allows as many open files as this process may have, for
// itself and for the server it starts, and returns that number.
func raiseOpenFiles() (uint64, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, err
	}
	if wanted := (syscall.Rlimit{Cur: 65536, Max: 65536}); l.Max < wanted.Max && syscall.Setrlimit(syscall.RLIMIT_NOFILE, &wanted) == nil {
		return wanted.Cur, nil // root may
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raise the limit of open files: %w", err)
	}
	return l.Cur, nil
}
