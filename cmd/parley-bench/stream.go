package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// stream is one client session and, while it is connected, its open event
// stream. What it knows outlives its connections, as a browser's does.
type stream struct {
	fleet  *fleet
	number int // place in the fleet
	// request opens the stream from its start; resuming adds Last-Event-ID.
	token, session string

	// The fields below belong to the reader while one runs.
	conn   *net.TCPConn
	lastID []byte
	ledger *ledger
	at     time.Time // when the piece came that is being booked
	parser sseParser
	chunks *dechunker // nil when the body is not chunked
}

// readBuffers are taken only for the moment in which there is something to
// read: a few hot buffers serve all streams.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// open connects, sends the request and leaves the rest to a reader of its own.
func (s *stream) open(ctx context.Context) error {
	conn, err := dialFrom(ctx, s.fleet.addr, s.number)
	if err != nil {
		return err
	}
	request := fmt.Sprintf("GET /v1/events?session=%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n",
		s.session, s.fleet.addr, s.token)
	if len(s.lastID) > 0 {
		request += "Last-Event-ID: " + string(s.lastID) + "\r\n"
	}
	if _, err := conn.Write([]byte(request + "\r\n")); err != nil {
		cut(conn)
		return err
	}
	s.conn, s.parser, s.chunks = conn, sseParser{}, nil
	s.fleet.readers.Add(1)
	go func() {
		defer s.fleet.readers.Done()
		s.fleet.ended(s, s.read())
	}()
	return nil
}

// read runs the stream until its connection ends.
func (s *stream) read() error {
	rest, err := s.readHead()
	if err != nil {
		return err
	}
	if err := s.take(rest); err != nil {
		return err
	}
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var failed error
		err := raw.Read(func(fd uintptr) bool {
			var again bool
			again, failed = s.readReady(int(fd))
			return !again
		})
		if err = errors.Join(failed, err); err != nil {
			return err
		}
	}
}

// readReady reads once without waiting and books what came. again: there was nothing yet.
func (s *stream) readReady(fd int) (again bool, err error) {
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	n, err := syscall.Read(fd, *buf)
	switch {
	case err == syscall.EAGAIN:
		return true, nil
	case err == syscall.EINTR:
		return false, nil
	case err != nil:
		return false, err
	case n == 0:
		return false, io.EOF
	}
	return false, s.take((*buf)[:n])
}

// readHead reads the answer's head and returns the bytes behind it.
func (s *stream) readHead() ([]byte, error) {
	var got []byte
	buf := make([]byte, 1024)
	for {
		n, err := s.conn.Read(buf)
		got = append(got, buf[:n]...)
		if head, rest, found := bytes.Cut(got, []byte("\r\n\r\n")); found {
			status, err := parseStatus(head)
			if err != nil {
				return nil, err
			}
			if status != 200 {
				return nil, fmt.Errorf("stream of session %s refused: %w", s.session, answer{status: status, body: rest}.failure())
			}
			if bytes.EqualFold(headerValue(append(head, "\r\n"...), "transfer-encoding"), []byte("chunked")) {
				s.chunks = &dechunker{}
			}
			return bytes.Clone(rest), nil
		}
		if err != nil {
			return nil, fmt.Errorf("stream of session %s: no answer: %w", s.session, err)
		}
	}
}

// take books a piece of the body. Counts go to the shared tallies once per
// piece, not once per frame.
func (s *stream) take(piece []byte) error {
	var messages, ready int64
	s.at = time.Now()
	emit := func(f frame) {
		switch string(f.event) {
		case "message":
			messages++
			s.message(f)
		case "ready":
			ready++
		case "reset", "conflict", "session_closed":
			s.ledger.bad("stream said %s: %.200s", f.event, f.data)
		default:
			if s.fleet.onEvent != nil {
				s.fleet.onEvent(s, f)
			}
		}
		if f.id != nil {
			s.lastID = append(s.lastID[:0], f.id...)
		}
	}
	err := s.body(piece, emit)
	s.fleet.messages.add(messages)
	s.fleet.ready.add(ready)
	return err
}

// body takes the transfer encoding off, if there is one; io.EOF at its end.
func (s *stream) body(piece []byte, emit func(frame)) error {
	if s.chunks == nil {
		s.parser.feed(piece, emit)
		return nil
	}
	_, done, err := s.chunks.feed(piece, func(p []byte) { s.parser.feed(p, emit) })
	if done && err == nil {
		err = io.EOF
	}
	return err
}

func (s *stream) message(f frame) {
	s.ledger.message(f.data)
	if s.fleet.onMessage != nil {
		s.fleet.onMessage(s, f)
	}
}
