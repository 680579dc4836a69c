package sse

// Tell hands an ephemeral frame to one stream, which writes it once it is live. False
// when the stream is over, or has too much waiting: nothing is written then. What it
// has taken may still be dropped if the stream falls behind: see Stream.Dropped.
func (h *Hub) Tell(s *Stream, f *Frame) bool {
	s.mu.Lock()
	taken, wake := false, false
	switch {
	case s.state == behind && len(s.whispers) < maxWhispers:
		s.whispers = append(s.whispers, f)
		taken = true
	case s.state == live && (len(s.queue) == 0 || len(s.queue) < h.cfg.QueueFrames && s.bytes+len(f.Bytes) <= h.cfg.QueueBytes):
		s.queue = append(s.queue, f)
		s.bytes += len(f.Bytes)
		taken, wake = true, !s.scheduled
		s.scheduled = true
	}
	s.mu.Unlock()
	if wake {
		h.runners.add([]*Stream{s})
	}
	return taken
}

// Dropped counts how often the stream fell behind, dropping what it had been told.
func (s *Stream) Dropped() int64 { return s.dropped.Load() }

// Trim forgets what came up to a position, which the log does not have any more.
func (h *Hub) Trim(position int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for t := h.tail; t.first < t.next && t.first <= position; {
		t.drop()
	}
}
