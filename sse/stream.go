package sse

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"parley/model"
)

// End says why a stream ended.
type End int

// The ways a stream ends.
const (
	Lost     End = iota // the reader went away, or the network did
	Replaced            // the same session opened another stream
	Told                // we said goodbye: its session is over, or was
	Drained             // the server is stopping
)

// Stream is one open event stream of one client. It is fed by the hub and written
// by one goroutine at a time: a runner's, or its request's.
type Stream struct {
	Session string

	hub       *Hub
	client    *client
	heartbeat int   // seconds
	opened    int64 // Unix time, ms
	onEnd     func(*Stream, End)
	out       output

	// Where the stream sits, and at which place of the room; guarded by Hub.mu.
	room  string // empty: nowhere
	place int

	// delivered is the position up to which everything was written to the socket.
	delivered atomic.Int64
	// owed is the position of the last message given to the stream that its client owes a receipt.
	owed atomic.Int64

	dropped atomic.Int64 // times that the queue was

	mu        sync.Mutex
	state     state
	queue     []*Frame
	bytes     int
	whispers  []*Frame // ephemeral ones that came while behind
	taken     int64    // everything for this client up to here was written, or is being written
	shedUpto  int64    // of what a chatroom sheds everything up to here was written, or shed for good; 0: the queue never overflowed
	scheduled bool     // somebody is writing, or will
	final     *Frame   // the last frame, once the stream is to end
	end       End
	finished  bool // finish was called: end is settled
	stopped   bool // onEnd was called
}

type state int8

const (
	behind state = iota // reads what it lacks by itself
	live                // gets frames from the dispatcher
	ending              // writes its final frame
	ended
)

// output is where a stream's bytes go: a hijacked connection or a response writer.
type output interface {
	// wake has the stream's writer call Stream.next soon. It must not block.
	wake(*Stream)
	// abort ends the writing, and frees what is held.
	abort()
}

// maxWhispers bounds what a stream that is behind keeps of what may be lost.
const maxWhispers = 64

// push queues a frame for a stream. It reports whether the stream must be scheduled.
// The hub's lock is held.
func (s *Stream) push(f *Frame) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == behind && f.Position == 0:
		if len(s.whispers) < maxWhispers {
			s.whispers = append(s.whispers, f)
		}
		return false
	case s.state != live:
		return false
	case f.Position != 0 && f.Position <= s.taken:
		return false // it began ahead of this node
	case f.Shed != model.ShedNever && s.sheds(f.Shed):
		return false
	case len(s.queue) >= s.hub.cfg.QueueFrames || s.bytes+len(f.Bytes) > s.hub.cfg.QueueBytes && len(s.queue) > 0:
		if f.Position == 0 {
			return false // ephemeral: may be lost
		}
		s.hub.Stats.Overflows.Add(1)
		s.dropped.Add(1)
		s.shedQueue(f)
		s.queue, s.bytes, s.state = nil, 0, behind
	default:
		s.queue = append(s.queue, f)
		s.bytes += len(f.Bytes)
	}
	if s.scheduled {
		return false
	}
	s.scheduled = true
	return true
}

// sheds reports whether a stream does without a chatroom's message because it cannot
// keep up: from half a queue on those of low priority, from three quarters the normal ones too.
func (s *Stream) sheds(level model.Shed) bool {
	frames, bytes := s.hub.cfg.QueueFrames, s.hub.cfg.QueueBytes
	switch {
	case level == model.ShedFirst && (len(s.queue) >= frames/2 || s.bytes >= bytes/2),
		level == model.ShedSecond && (len(s.queue) >= frames*3/4 || s.bytes >= bytes*3/4):
		s.hub.Stats.shed(level, 1)
		return true
	}
	return false
}

// shedQueue sheds what may be of a queue that is dropped because f does not fit into it.
// The rest is read again.
func (s *Stream) shedQueue(f *Frame) {
	for _, f := range append(s.queue, f) {
		s.hub.Stats.shed(f.Shed, 1)
	}
	s.shedUpto = f.Position
}

// step is what the writer of a stream does next.
type step int8

const (
	write step = iota // write the bytes, then call next again
	fetch             // call Stream.fetch, which may block, then next again
	idle              // nothing to do until wake
	done              // write the bytes; the stream is over
)

// next moves what waits into buf. Only the one writer calls it.
func (s *Stream) next(buf []byte) ([]byte, step) {
	s.mu.Lock()
	if s.state == behind && len(s.queue) == 0 {
		s.mu.Unlock()
		if !s.refill() {
			return buf, fetch
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if len(s.queue) > 0 && s.state != ended {
		return s.take(buf), write
	}
	switch s.state {
	case ending:
		s.state = ended
		if s.final != nil {
			buf = append(buf, s.final.Bytes...)
		}
		return buf, done
	case ended:
		return buf, done
	case behind:
		return buf, write // overtaken while the lock was free: come again
	default:
		s.scheduled = false
		return buf, idle
	}
}

// maxWrite is how many bytes go into one write, a frame that is longer apart.
const maxWrite = 48 << 10

// take moves frames from the queue into buf. s.mu is held.
func (s *Stream) take(buf []byte) []byte {
	n := 0
	for _, f := range s.queue {
		if n > 0 && len(buf)+len(f.Bytes) > maxWrite {
			break
		}
		buf = append(buf, f.Bytes...)
		s.bytes -= len(f.Bytes)
		s.taken = max(s.taken, f.Position)
		if f.Receiver != "" && f.Receiver == s.client.id {
			s.owed.Store(f.Position)
		}
		n++
	}
	s.hub.Stats.Frames.Add(int64(n))
	s.hub.Stats.Writes.Add(1)
	if n == len(s.queue) {
		clear(s.queue)
		if s.queue = s.queue[:0]; cap(s.queue) > 32 {
			s.queue = nil // an idle stream should cost little
		}
		return buf
	}
	rest := copy(s.queue, s.queue[n:])
	clear(s.queue[rest:])
	s.queue = s.queue[:rest]
	return buf
}

// wrote notes that everything taken so far reached the socket.
func (s *Stream) wrote() {
	s.mu.Lock()
	s.delivered.Store(s.taken)
	s.mu.Unlock()
}

// refill gives a stream that is behind what it lacks from memory and makes it live
// again; false when the database must be asked.
func (s *Stream) refill() bool {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != behind {
		return true
	}
	frames, ok := h.recall(s, s.taken)
	if !ok {
		return false
	}
	h.Stats.FromMemory.Add(1)
	// More than a queue may hold is fine here: it is memory that the tail holds anyway.
	s.queue = append(s.queue, frames...)
	s.queue = append(s.queue, s.whispers...)
	for _, f := range s.queue {
		s.bytes += len(f.Bytes)
	}
	s.whispers, s.state = nil, live
	return true
}

// fetch reads a page of what the stream lacks from the database. On failure the
// stream ends: its client comes back with the position it has reached.
func (s *Stream) fetch(ctx context.Context) {
	h := s.hub
	select {
	case h.fetches <- struct{}{}:
		defer func() { <-h.fetches }()
	case <-ctx.Done():
		s.stop(Lost)
		return
	}
	h.Stats.FromLog.Add(1)
	upto := h.at()
	s.mu.Lock()
	after, shedUpto := s.taken, s.shedUpto
	s.mu.Unlock()
	events, err := h.source.ClientEvents(ctx, s.client.id, h.seatOf(s), after, upto, page)
	if err != nil {
		h.log.Warn("a stream ends because the log cannot be read", "client", s.client.id, "err", err)
		s.stop(Drained)
		return
	}
	var frames []*Frame
	for i := range events {
		if events[i].Shed != model.ShedNever && events[i].Position <= shedUpto {
			continue
		}
		if f := h.durable(&events[i]); f != nil && !events[i].Excludes(s.client.id, s.Session) {
			frames = append(frames, f)
		}
	}
	if len(events) == page {
		upto = events[page-1].Position
	}
	// A last frame without bytes carries the position that the page reaches to.
	frames = append(frames, &Frame{Position: upto})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == behind {
		for _, f := range frames {
			s.bytes += len(f.Bytes)
		}
		s.queue = append(s.queue, frames...)
	}
}

// finish has a stream write what it has queued, then one last frame, and end.
func (s *Stream) finish(final *Frame, end End) {
	s.mu.Lock()
	if s.state == ending || s.state == ended {
		s.mu.Unlock()
		return
	}
	if s.state == behind {
		s.queue, s.bytes = nil, 0
	}
	s.state, s.final, s.end, s.finished = ending, final, end, true
	wake := !s.scheduled
	s.scheduled = true
	out := s.out
	s.mu.Unlock()
	s.detach()
	if wake {
		out.wake(s)
	}
}

// stop ends a stream at once.
func (s *Stream) stop(end End) {
	s.mu.Lock()
	if !s.finished {
		s.end = end
	}
	s.state, s.queue, s.whispers, s.bytes = ended, nil, nil, 0
	first := !s.stopped
	s.stopped = true
	end, out := s.end, s.out
	s.mu.Unlock()
	out.abort()
	if first {
		s.detach()
		s.hub.Stats.Streams.Add(-1)
		s.onEnd(s, end)
	}
}

// detach takes the stream off its client, so that nothing more is queued for it.
func (s *Stream) detach() {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	c := s.client
	for i, o := range c.streams {
		if o == s {
			c.streams = append(c.streams[:i:i], c.streams[i+1:]...)
			if len(c.streams) == 0 {
				c.streams, c.idleSince = nil, time.Now()
			}
			h.stand(s)
			return
		}
	}
}

// Owed is the position of the last message that its client owes a receipt, among those
// that were given to the stream.
func (s *Stream) Owed() int64 { return s.owed.Load() }

// Delivered is the position up to which everything was written to the socket.
func (s *Stream) Delivered() int64 { return s.delivered.Load() }
