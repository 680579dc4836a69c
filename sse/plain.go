package sse

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// plain is the output of a stream that lives on its request's goroutine: HTTP/2, or TLS.
type plain struct {
	bell   chan struct{} // capacity 1
	cancel context.CancelFunc
	w      http.ResponseWriter
	rc     *http.ResponseController
	stalls time.Duration
	gone   atomic.Bool
}

func (o *plain) wake(*Stream) {
	select {
	case o.bell <- struct{}{}:
	default:
	}
}

func (o *plain) abort() {
	o.gone.Store(true)
	o.cancel()
}

// send writes past every buffer. The deadline is lifted again because HTTP/2 resets
// a stream whose deadline passes even while nothing is being written.
func (o *plain) send(b []byte) error {
	if err := o.rc.SetWriteDeadline(time.Now().Add(o.stalls)); err != nil {
		return err
	}
	if _, err := o.w.Write(b); err != nil {
		return err
	}
	if err := o.rc.Flush(); err != nil {
		return err
	}
	return o.rc.SetWriteDeadline(time.Time{})
}

// serve writes until the stream or the request ends.
func (o *plain) serve(ctx context.Context, s *Stream) {
	var buf []byte
	for {
		out, todo := s.next(buf[:0])
		if len(out) > 0 {
			if err := o.send(out); err != nil {
				s.stop(Lost)
				return
			}
		}
		if cap(out) <= 4<<10 {
			buf = out // keep what an idle stream needs, no more
		} else {
			buf = nil
		}
		switch todo {
		case write:
			s.wrote()
		case fetch:
			s.fetch(ctx)
		case done:
			s.stop(Told)
			return
		case idle:
			select {
			case <-o.bell:
			case <-ctx.Done():
				s.stop(Lost)
				return
			}
		}
	}
}
