package sse

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// departures notices readers that go away: one goroutine and one epoll set for all
// hijacked connections, where a goroutine for each would cost a stack of 2 to 4 KB.
//
// The set is itself a file that Go's own poller waits for, so no thread blocks in it.
// A connection is in both; the kernel takes it out of both when it is closed.
type departures struct {
	file  *os.File
	set   syscall.RawConn
	buf   [512]byte // of run
	mu    sync.Mutex
	wires map[int32]*wire // by file descriptor, of open connections
}

func newDepartures() (*departures, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make an epoll set: %w", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or os.NewFile would not hand it to the poller
		return nil, fmt.Errorf("make an epoll set: %w", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	set, err := file.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("make an epoll set: %w", err)
	}
	return &departures{file: file, set: set, wires: map[int32]*wire{}}, nil
}

// run looks after the connections until ctx ends.
func (d *departures) run(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { d.file.Close() })()
	var events [128]syscall.EpollEvent
	for {
		var n int
		var failed error
		err := d.set.Read(func(fd uintptr) bool {
			for {
				n, failed = syscall.EpollWait(int(fd), events[:], 0)
				if failed != syscall.EINTR {
					return n != 0 // with none ready it waits
				}
			}
		})
		if err != nil || failed != nil {
			return // closed
		}
		for _, e := range events[:n] {
			d.look(e.Fd)
		}
	}
}

// watch has a wire's stream stopped when its reader goes away.
func (d *departures) watch(w *wire) {
	_ = w.raw.Control(func(fd uintptr) { // it fails when the connection is closed already
		d.mu.Lock()
		if !w.forgotten {
			d.wires[int32(fd)] = w
		}
		d.mu.Unlock()
		d.control(syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{
			Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: int32(fd),
		})
	})
}

// forget is called before the connection is closed: after that its number is another's.
func (d *departures) forget(w *wire) {
	_ = w.raw.Control(func(fd uintptr) {
		d.mu.Lock()
		defer d.mu.Unlock()
		w.forgotten = true
		if d.wires[int32(fd)] == w {
			delete(d.wires, int32(fd))
		}
	})
}

// look reads what came on a connection; that it has been asked for something is not ours.
func (d *departures) look(fd int32) {
	d.mu.Lock()
	w := d.wires[fd]
	d.mu.Unlock()
	if w == nil {
		return // it is being closed
	}
	gone := false
	_ = w.raw.Control(func(fd uintptr) {
		n, err := syscall.Read(int(fd), d.buf[:])
		if n > 0 || err == syscall.EAGAIN || err == syscall.EINTR {
			return
		}
		gone = true
		d.control(syscall.EPOLL_CTL_DEL, int(fd), nil)
	})
	if gone {
		go w.stream.stop(Lost) // it waits for locks
	}
}

func (d *departures) control(op, fd int, event *syscall.EpollEvent) {
	_ = d.set.Control(func(set uintptr) { // after the end it does nothing
		_ = syscall.EpollCtl(int(set), op, fd, event)
	})
}
