//go:build !linux

package sse

import (
	"syscall"
	"time"
)

// setUserTimeout does nothing here: the write deadline alone finds a dead connection.
func setUserTimeout(syscall.RawConn, time.Duration) {}
