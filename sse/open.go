package sse

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"parley/model"
)

// Opening is what it takes to open a stream.
type Opening struct {
	Client    string
	Session   string
	Heartbeat int   // seconds, 5 to 60
	After     int64 // the position that the client has reached
	// AsOf is the position of the log at which the session was found good. What ends it behind
	// that ends the stream, even if it was dispatched before the stream joined.
	AsOf int64
	// Intro is written first, before anything of the log.
	Intro []*Frame
	// OnEnd is called once, when the stream is over; it must not block.
	OnEnd func(*Stream, End)
	// Opened is called before anything is written, once the stream can no longer fail to open.
	Opened func(*Stream)
}

// Serve answers a request with a stream. It returns an error only when nothing was
// written. Over HTTP/1.1 in clear it takes the connection over and returns at once;
// else it returns when the stream is over.
func (h *Hub) Serve(ctx context.Context, w http.ResponseWriter, r *http.Request, o Opening) error {
	head := w.Header()
	head.Set("Content-Type", "text/event-stream")
	head.Set("Cache-Control", "no-store")
	head.Set("X-Accel-Buffering", "no")
	s := &Stream{
		Session: o.Session, hub: h, heartbeat: o.Heartbeat, opened: time.Now().UnixMilli(), onEnd: o.OnEnd, taken: o.After, scheduled: true,
	}
	var intro []byte
	for _, f := range o.Intro {
		intro = append(intro, f.Bytes...)
	}
	if r.ProtoMajor == 1 && r.TLS == nil {
		return h.serveWire(ctx, w, s, o, intro)
	}
	return h.servePlain(w, r, s, o, intro)
}

func (h *Hub) serveWire(ctx context.Context, w http.ResponseWriter, s *Stream, o Opening, intro []byte) error {
	if err := h.join(ctx, s, o); err != nil {
		return err
	}
	out, err := h.hijack(w, s, intro)
	if err != nil {
		s.out = discard{}
		s.stop(Lost)
		return err
	}
	if !h.begin(s, out) {
		return nil
	}
	h.departures.watch(out)
	out.wake(s)
	return nil
}

func (h *Hub) servePlain(w http.ResponseWriter, r *http.Request, s *Stream, o Opening, intro []byte) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if err := h.join(ctx, s, o); err != nil {
		return err
	}
	out := &plain{
		bell: make(chan struct{}, 1), cancel: cancel, w: w, rc: http.NewResponseController(w),
		stalls: 2 * time.Duration(s.heartbeat) * time.Second,
	}
	if !h.begin(s, out) {
		return nil
	}
	w.WriteHeader(http.StatusOK)
	if err := out.send(intro); err != nil {
		s.stop(Lost)
		return nil
	}
	out.serve(ctx, s)
	return nil
}

// discard is the output of a stream that never got one.
type discard struct{}

func (discard) wake(*Stream) {}
func (discard) abort()       {}

// join makes the stream one of its client's. An older stream of the same session is
// replaced, and the oldest ends when there are too many.
func (h *Hub) join(ctx context.Context, s *Stream, o Opening) error {
	// What was said to this session before is not for this stream, and what is known to
	// be deleted must not be replayed from memory.
	if until := max(o.AsOf, h.Position()); h.at() < until {
		h.reach(until)
		if err := h.await(ctx, until); err != nil {
			return err
		}
		h.mu.Unlock()
	}
	c, err := h.know(ctx, o.Client)
	if err != nil {
		return err
	}
	if h.closed || h.draining {
		h.mu.Unlock()
		return errClosed
	}
	parting := h.partingOf(o)
	var replaced, oldest *Stream
	for _, other := range c.streams {
		if other.Session == s.Session {
			replaced = other
		}
	}
	if n := h.cfg.Streams; n > 0 && replaced == nil && len(c.streams) >= n {
		oldest = c.streams[0]
	}
	s.client = c
	s.out = discard{}
	c.streams = append(c.streams, s)
	h.sit(s)
	h.mu.Unlock()
	h.Stats.Streams.Add(1)
	h.Stats.Opened.Add(1)
	if parting != nil {
		s.finish(parting.final, parting.end)
		return nil
	}
	if o.Opened != nil {
		o.Opened(s)
	}
	if replaced != nil {
		replaced.finish(Ephemeral("session_closed", SessionClosed{Code: "replaced", At: model.At(time.Now())}), Replaced)
	}
	if oldest != nil {
		oldest.finish(Ephemeral("session_closed", SessionClosed{Code: "too_many_streams", At: model.At(time.Now())}), Lost)
	}
	return nil
}

// begin gives a joined stream its output; false when it was ended meanwhile, and nothing is written.
func (h *Hub) begin(s *Stream, out output) bool {
	s.mu.Lock()
	over := s.state == ended
	s.out = out
	s.mu.Unlock()
	if over {
		out.abort()
		return false
	}
	s.delivered.Store(s.taken)
	h.beats.add(s)
	return true
}

// SessionClosed is the data of the event session_closed.
type SessionClosed struct {
	Code       string     `json:"code"` // logged_out, kicked, banned, replaced or too_many_streams
	LegacyCode int        `json:"legacyCode,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	At         model.Time `json:"at"`
}

// EndSessions ends the streams of some sessions of a client, or of all when sessions
// is nil, with one last frame, because of an event at a position. It reports those that had one.
func (h *Hub) EndSessions(client string, sessions []string, position int64, final *Frame, end End) (told []string) {
	for _, s := range h.part(client, parting{sessions, position, final, end, time.Now()}) {
		s.finish(final, end)
		told = append(told, s.Session)
	}
	return told
}

// SessionMoved ends the stream of a session of which another server has opened one at a
// time, because of the event at a position that says so. It is replaced; but one that was
// opened here since is the newer, by memory alone: its client is made to come again.
func (h *Hub) SessionMoved(client, session string, position int64, at model.Time) {
	replaced := Ephemeral("session_closed", SessionClosed{Code: "replaced", At: at})
	for _, s := range h.part(client, parting{[]string{session}, position, replaced, Replaced, time.Now()}) {
		if s.opened > at.UnixMilli() {
			s.finish(Retry(1000+rand.IntN(1000)), Lost)
		} else {
			s.finish(replaced, Replaced)
		}
	}
}

// part notes the end of sessions, and returns the streams that they have.
func (h *Hub) part(client string, p parting) []*Stream {
	h.mu.Lock()
	h.partings[client] = append(h.partings[client], p)
	h.mu.Unlock()
	return h.streamsOf(client, p.sessions)
}

// parting is the end of sessions, remembered for streams that were about to open then.
type parting struct {
	sessions []string // nil: all
	position int64
	final    *Frame
	end      End
	at       time.Time
}

// partingOf is what has ended the session since it was found good; nil if nothing has. The lock is held.
func (h *Hub) partingOf(o Opening) *parting {
	for i, p := range h.partings[o.Client] {
		if p.position > o.AsOf && (p.sessions == nil || slices.Contains(p.sessions, o.Session)) {
			return &h.partings[o.Client][i]
		}
	}
	return nil
}

// forgetPartings: no stream takes a minute to open. The lock is held.
func (h *Hub) forgetPartings(now time.Time) {
	for client, all := range h.partings {
		if now.Sub(all[len(all)-1].at) > time.Minute {
			delete(h.partings, client)
		}
	}
}

func (h *Hub) streamsOf(client string, sessions []string) []*Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clients[client]
	if c == nil {
		return nil
	}
	var found []*Stream
	for _, s := range c.streams {
		if sessions == nil {
			found = append(found, s)
			continue
		}
		for _, id := range sessions {
			if s.Session == id {
				found = append(found, s)
			}
		}
	}
	return found
}

// Connected reports whether a session has an open stream on this node.
func (h *Hub) Connected(client, session string) bool {
	return len(h.streamsOf(client, []string{session})) > 0
}

// EndAll ends every stream, and has the clients come back spread over a few seconds.
func (h *Hub) EndAll() {
	h.mu.Lock()
	var all []*Stream
	for _, c := range h.clients {
		all = append(all, c.streams...)
	}
	h.mu.Unlock()
	for _, s := range all {
		s.finish(Retry(1000+rand.IntN(4000)), Drained)
	}
}

// ErrClosed reports whether an error of Serve says that the hub is closed.
func ErrClosed(err error) bool { return errors.Is(err, errClosed) }

// Drain ends every stream because the server stops, and waits until all have been
// told, or ctx ends. Their clients are asked to come back over a few seconds, not all at once.
func (h *Hub) Drain(ctx context.Context) {
	h.mu.Lock()
	h.draining = true // none can join from now on
	h.mu.Unlock()
	h.EndAll()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for h.Stats.Streams.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Draining reports whether the server is stopping.
func (h *Hub) Draining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// Remembers reports whether what came behind a position can be told from memory.
func (h *Hub) Remembers(position int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return position >= h.tail.start()
}
