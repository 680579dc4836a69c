package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// manySources: all of 127.0.0.0/8 is the loopback interface's.
const manySources = true

// bindWithoutPort lets the kernel choose the port when it connects, so that
// two connections to different targets may share one.
func bindWithoutPort(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		// Only costs ports when refused, so the error does not matter.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}

// childAttr puts a child in a process group of its own, so that a Ctrl-C ends
// it in the order we want, and has it killed should we die without a chance to.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// residentKB is the resident memory of a process.
func residentKB(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("no VmRSS for process %d", pid)
}

// clockTick is what /proc counts in; 100 a second on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime is what a process has used so far.
func cpuTime(pid int) time.Duration {
	fields := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	return ticks(fields, 11) + ticks(fields, 12) // utime, stime
}

// cpuTimeOfChildren is what the living and the gone children of a process have
// used, and the process itself: PostgreSQL's backends are the postmaster's children.
func cpuTimeOfChildren(pid int) time.Duration {
	own := statFields(fmt.Sprintf("/proc/%d/stat", pid))
	sum := ticks(own, 11) + ticks(own, 12) + ticks(own, 13) + ticks(own, 14)
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		if f := statFields(path); len(f) > 12 && f[1] == strconv.Itoa(pid) {
			sum += ticks(f, 11) + ticks(f, 12)
		}
	}
	return sum
}

// statFields are the fields of a stat file behind the command's name: state
// is 0, ppid 1, utime 11, stime 12, cutime 13, cstime 14.
func statFields(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

func ticks(fields []string, i int) time.Duration {
	if i >= len(fields) {
		return 0
	}
	n, _ := strconv.ParseInt(fields[i], 10, 64)
	return time.Duration(n) * clockTick
}

// cpuModel names the processor.
func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// kernel names the operating system's version.
func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(text))
}
