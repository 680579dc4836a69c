//go:build !linux

package main

import (
	"errors"
	"runtime"
	"syscall"
	"time"
)

// Elsewhere the bench runs with what is portable: one source address, no
// memory and no processor figures.
const manySources = false

func bindWithoutPort(_, _ string, _ syscall.RawConn) error { return nil }

func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func residentKB(int) (int64, error) {
	return 0, errors.New("resident memory is only read on Linux")
}

func cpuTime(int) time.Duration           { return 0 }
func cpuTimeOfChildren(int) time.Duration { return 0 }
func cpuModel() string                    { return "unknown" }
func kernel() string                      { return runtime.GOOS }
