package sse

import (
	"context"
	"sync"
	"time"

	"parley/model"
)

// beats sends each stream a ping every so many seconds: a wheel with a slot for
// each second, since heartbeats are whole seconds from 5 to 60.
type beats struct {
	hub   *Hub
	mu    sync.Mutex
	slots [64][]*Stream
	now   int
}

func newBeats(h *Hub) *beats { return &beats{hub: h} }

func (b *beats) add(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := (b.now + s.heartbeat) % len(b.slots)
	b.slots[i] = append(b.slots[i], s)
}

func (b *beats) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case at := <-tick.C:
			b.beat(at)
		case <-ctx.Done():
			return
		}
	}
}

// beat pings the streams whose time has come. They share one frame: a live stream
// has been given everything that is dispatched.
func (b *beats) beat(at time.Time) {
	b.mu.Lock()
	b.now = (b.now + 1) % len(b.slots)
	due := b.slots[b.now]
	b.slots[b.now] = nil
	b.mu.Unlock()
	if len(due) == 0 {
		return
	}
	h := b.hub
	h.mu.Lock()
	ping := h.Placed("ping", h.dispatched, struct {
		At model.Time `json:"at"`
	}{model.At(at)})
	var ready []*Stream
	kept := due[:0]
	for _, s := range due {
		schedule, alive := s.ping(ping)
		if schedule {
			ready = append(ready, s)
		}
		if alive {
			kept = append(kept, s)
		}
	}
	h.mu.Unlock()
	h.runners.add(ready)
	for _, s := range kept {
		b.add(s)
	}
}

// ping queues a ping. A stream that is behind has bytes on their way, or a socket
// that takes none: neither needs one.
func (s *Stream) ping(f *Frame) (schedule, alive bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == ending || s.state == ended {
		return false, false
	}
	if s.state == behind {
		return false, true
	}
	if s.taken > f.Position { // it began ahead of this node
		f = s.hub.Placed("ping", s.taken, struct {
			At model.Time `json:"at"`
		}{model.At(time.Now())})
	}
	if len(s.queue) >= s.hub.cfg.QueueFrames {
		return false, true
	}
	s.queue = append(s.queue, f)
	s.bytes += len(f.Bytes)
	schedule = !s.scheduled
	s.scheduled = true
	return schedule, true
}
