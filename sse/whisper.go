package sse

// WhisperTo hands an ephemeral frame to the open streams of some clients on this node,
// but not to one session of a client (none of its when the session is empty).
func (h *Hub) WhisperTo(clients []string, exceptClient, exceptSession string, f *Frame) {
	h.mu.Lock()
	for _, id := range clients {
		if c := h.clients[id]; c != nil {
			h.give(c, exceptClient, exceptSession, f)
		}
	}
	h.whispered()
}

// WhisperAll is WhisperTo for every client.
func (h *Hub) WhisperAll(exceptClient, exceptSession string, f *Frame) {
	h.mu.Lock()
	for _, c := range h.clients {
		h.give(c, exceptClient, exceptSession, f)
	}
	h.whispered()
}

// whispered has those who got something write it, and gives the lock back.
func (h *Hub) whispered() {
	ready := h.ready
	h.ready = nil
	h.mu.Unlock()
	h.runners.add(ready)
}

// OpenSessions are the sessions of a client that have an open stream on this node.
func (h *Hub) OpenSessions(client string) []string {
	streams := h.streamsOf(client, nil)
	ids := make([]string, len(streams))
	for i, s := range streams {
		ids[i] = s.Session
	}
	return ids
}
