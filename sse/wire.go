package sse

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// wire is the output of a hijacked HTTP/1.1 connection in clear: no buffers and no
// goroutine. Runners write to it without blocking; while a socket is full, a goroutine
// of its own does.
type wire struct {
	hub       *Hub
	stream    *Stream
	conn      net.Conn
	raw       syscall.RawConn
	deadline  time.Duration // how long one write may stall
	forgotten bool          // by the hub's departures, whose lock guards it
}

// hijack takes the connection over and writes the head of the response: what the
// middleware has set, and ours. It fails with http.ErrNotSupported where there is
// no bare connection: TLS, HTTP/2, a wrapper that hides it.
func (h *Hub) hijack(w http.ResponseWriter, s *Stream, intro []byte) (*wire, error) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	tcp, ok := conn.(syscall.Conn)
	if !ok {
		conn.Close()
		return nil, errors.New("a hijacked connection that is no socket")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	deadline := 2 * time.Duration(s.heartbeat) * time.Second
	setUserTimeout(raw, deadline)
	out := &wire{hub: h, stream: s, conn: conn, raw: raw, deadline: deadline}
	head := append(responseHead(w.Header()), intro...)
	_ = conn.SetWriteDeadline(time.Now().Add(deadline))
	if _, err := conn.Write(head); err != nil {
		conn.Close()
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Time{})
	return out, nil
}

// responseHead is a status line and headers. The body ends with the connection, as
// HTTP/1.1 allows where no length is given.
func responseHead(header http.Header) []byte {
	var b headWriter
	b = append(b, "HTTP/1.1 200 OK\r\n"...)
	header.Set("Connection", "close")
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	_ = header.Write(&b) // never fails: it is memory
	return append(b, "\r\n"...)
}

type headWriter []byte

func (b *headWriter) Write(p []byte) (int, error) {
	*b = append(*b, p...)
	return len(p), nil
}

func (o *wire) wake(s *Stream) { o.hub.runners.push(s) }

func (o *wire) abort() {
	o.hub.departures.forget(o)
	o.conn.Close()
}

// serve writes what a stream has, until there is no more or the socket is full.
func (o *wire) serve(ctx context.Context, s *Stream, buf []byte) {
	// A few turns, then the others': one busy stream must not starve them.
	for range 4 {
		out, todo := s.next(buf[:0])
		if len(out) > 0 {
			n, err := o.try(out)
			if err != nil {
				s.stop(Lost)
				return
			}
			if n < len(out) {
				rest := append([]byte(nil), out[n:]...)
				go o.stall(ctx, s, rest, todo)
				return
			}
		}
		switch todo {
		case write:
			s.wrote()
		case fetch:
			go func() {
				s.fetch(ctx)
				o.wake(s)
			}()
			return
		case done:
			o.hangUp(s)
			return
		case idle:
			return
		}
	}
	o.wake(s)
}

// try writes as much as the socket takes at once.
func (o *wire) try(b []byte) (n int, err error) {
	rawErr := o.raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			var m int
			m, err = syscall.Write(int(fd), b[n:])
			if m > 0 {
				n += m
			}
			if err == syscall.EINTR {
				continue
			}
			if err == syscall.EAGAIN {
				err = nil
				return true // full: do not wait here
			}
			if err != nil {
				return true
			}
		}
		return true
	})
	if err == nil {
		err = rawErr
	}
	return n, err
}

// stall writes the rest to a full socket, and cuts a reader that takes too long.
func (o *wire) stall(ctx context.Context, s *Stream, rest []byte, todo step) {
	_ = o.conn.SetWriteDeadline(time.Now().Add(o.deadline))
	if _, err := o.conn.Write(rest); err != nil {
		s.stop(Lost)
		return
	}
	_ = o.conn.SetWriteDeadline(time.Time{})
	s.wrote()
	if todo == done {
		o.hangUp(s)
		return
	}
	o.wake(s)
}

// hangUp closes after the final frame. The half-close first lets it arrive even if
// the reader has sent something that we never read.
func (o *wire) hangUp(s *Stream) {
	if c, ok := o.conn.(interface{ CloseWrite() error }); ok {
		if c.CloseWrite() == nil {
			_ = o.conn.SetReadDeadline(time.Now().Add(time.Second))
			go func() {
				_, _ = io.Copy(io.Discard, o.conn)
				s.stop(Told)
			}()
			return
		}
	}
	s.stop(Told)
}
