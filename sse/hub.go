// Package sse is the event stream: the hub that hands committed events to open
// streams in the order of the log, and the streams themselves. It knows clients,
// stays and events, but none of the rules of conversations.
//
// One goroutine, Run, dispatches. An open stream in good health gets frames by its
// queue; one that falls behind loses the queue, reads the log from where it stands
// and joins the others again. Replay after a reconnect is that same path. Nothing
// durable is ever dropped.
//
// Methods of Hub are safe for concurrent use. Lock order: Hub.mu, then Stream.mu.
package sse

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"parley/model"
)

// Source is how the hub reads what it does not remember.
type Source struct {
	// Events returns the log behind a position, in order, at most limit entries.
	Events func(ctx context.Context, after int64, limit int) ([]model.Event, error)
	// ClientEvents returns what one client, and a chatroom's seat of one of its sessions, was to
	// hear in (after, upto], in order; a full page means there may be more.
	ClientEvents func(ctx context.Context, client string, seat *model.Seat, after, upto int64, limit int) ([]model.Event, error)
	// Belongings returns a client's stays, those that ended behind since included, and its seats, as of a position.
	Belongings func(ctx context.Context, client string, since int64) (asOf int64, found model.Belongings, err error)
}

// Config bounds what a hub keeps.
type Config struct {
	TailEntries int // events remembered; 0: 65,536
	TailBytes   int // bytes of frames remembered; 0: 64 MiB
	QueueFrames int // frames that wait for one stream before it counts as behind; 0: 256
	QueueBytes  int // the same in bytes; 0: 256 KiB
	KeepClients int // clients without a stream whose stays are remembered; 0: 50,000
	Streams     int // open streams of one client, the oldest is closed; 0: no limit
}

// Hub dispatches committed events to open streams.
type Hub struct {
	// OnNodeEvent is called by the dispatcher, in order, for events that are for nodes alone,
	// and for those by which somebody joins a conversation. It is done with one before that
	// counts as dispatched.
	OnNodeEvent func(model.Event)
	Stats       Stats

	cfg    Config
	log    *slog.Logger
	name   string
	source Source

	committed atomic.Int64 // the greatest position known to be committed
	bell      chan struct{}
	look      atomic.Bool // something may be in the log that is not known of
	offers    offers

	mu         sync.Mutex
	tail       *tail
	dispatched int64
	moved      *sync.Cond // on mu: dispatched grew, or the hub closed
	clients    map[string]*client
	rooms      map[string]*room
	partings   map[string][]parting // of late, by client
	ready      []*Stream            // streams that got something since the lock was taken
	closed     bool
	draining   bool // no stream may join

	runners    *runners
	beats      *beats
	departures *departures
	waves      waves
	fetches    chan struct{} // bounds how many streams read the database at once
}

// Stats counts what the hub did, for metrics.
type Stats struct {
	Streams    atomic.Int64 // open now
	Opened     atomic.Int64 // since the start
	Frames     atomic.Int64 // written to streams
	Writes     atomic.Int64 // system calls or flushes they took
	Overflows  atomic.Int64 // streams that fell behind
	FromMemory atomic.Int64 // refills served from the tail
	FromLog    atomic.Int64 // refills read from the database
	Holes      atomic.Int64 // times the dispatcher read the log
	ShedNormal atomic.Int64 // chatroom messages of normal priority not given to a stream that could not keep up
	ShedLow    atomic.Int64 // the same of low priority
}

// shed counts deliveries of a chatroom's messages that are not made.
func (s *Stats) shed(level model.Shed, n int64) {
	switch level {
	case model.ShedFirst:
		s.ShedLow.Add(n)
	case model.ShedSecond:
		s.ShedNormal.Add(n)
	}
}

// client is what the hub knows of one client; guarded by Hub.mu.
type client struct {
	id         string
	stays      map[string]*stay      // the present ones by conversation
	past       []model.Stay          // those that ended behind knownSince
	seats      map[string]model.Seat // by session; nil when there are none
	knownSince int64
	streams    []*Stream // oldest first
	idleSince  time.Time // when streams became empty
}

// stay is a client's place in a room.
type stay struct {
	client *client
	from   int64
	index  int // in room.stays
}

// room is a conversation as far as clients known here are in it: by their stays, or,
// in a chatroom, by the seats of streams open here.
type room struct {
	stays []*stay
	seats []*Stream
}

// NewHub returns a hub of the log with that name that stands at a position: nothing at or before
// it is dispatched. Run must be called. It fails when the system has no file descriptor left.
func NewHub(cfg Config, logName string, at int64, source Source, log *slog.Logger) (*Hub, error) {
	departures, err := newDepartures()
	if err != nil {
		return nil, err
	}
	setDefault(&cfg.TailEntries, 65536)
	setDefault(&cfg.TailBytes, 64<<20)
	setDefault(&cfg.QueueFrames, 256)
	setDefault(&cfg.QueueBytes, 256<<10)
	setDefault(&cfg.KeepClients, 50000)
	h := &Hub{
		cfg: cfg, log: log, name: logName, source: source, bell: make(chan struct{}, 1),
		tail: newTail(cfg.TailEntries, cfg.TailBytes, at), dispatched: at,
		clients: map[string]*client{}, rooms: map[string]*room{}, partings: map[string][]parting{},
		departures: departures, fetches: make(chan struct{}, 8),
	}
	h.committed.Store(at)
	h.moved = sync.NewCond(&h.mu)
	h.runners = newRunners(h)
	h.beats = newBeats(h)
	return h, nil
}

func setDefault(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// Name is the name of the log.
func (h *Hub) Name() string { return h.name }

// Position is a position such that all events up to it are committed: what is read
// from the database after asking has them.
func (h *Hub) Position() int64 { return h.committed.Load() }

// Dispatched is the position up to which events were handed to the streams.
func (h *Hub) Dispatched() int64 { return h.at() }

// Committed tells the hub that the log reaches at least to a position, and to come and get it.
func (h *Hub) Committed(position int64) {
	h.reach(position)
	h.Ring()
}

func (h *Hub) reach(position int64) {
	for {
		was := h.committed.Load()
		if was >= position || h.committed.CompareAndSwap(was, position) {
			return
		}
	}
}

// Look has the dispatcher read the log, whether or not anything new is known of.
func (h *Hub) Look() {
	h.look.Store(true)
	h.Ring()
}

// Ring wakes the dispatcher.
func (h *Hub) Ring() {
	select {
	case h.bell <- struct{}{}:
	default: // rung already
	}
}

// offers are committed events that wait for the dispatcher, which saves it from reading them.
type offers struct {
	mu      sync.Mutex
	waiting []model.Event
}

// Offer hands the dispatcher events that this node has just committed: a run of
// consecutive positions, in order. They are in the log, so nothing is lost if
// the hub does not take them.
func (h *Hub) Offer(events []model.Event) {
	if len(events) == 0 {
		return
	}
	h.offers.mu.Lock()
	if len(h.offers.waiting) < 16384 { // else the dispatcher is stuck, and will read the log
		h.offers.waiting = append(h.offers.waiting, events...)
	}
	h.offers.mu.Unlock()
	h.Committed(events[len(events)-1].Position)
}

func (h *Hub) takeOffers() []model.Event {
	h.offers.mu.Lock()
	defer h.offers.mu.Unlock()
	w := h.offers.waiting
	h.offers.waiting = nil
	return w
}

const page = 1000 // entries read from the log at once

// Run dispatches until ctx ends. It looks at the log at least once a second even
// when nobody rings, since another node's ring may be lost.
func (h *Hub) Run(ctx context.Context) {
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	h.runners.start(ctx)
	go h.beats.run(ctx)
	go h.departures.run(ctx)
	for ctx.Err() == nil {
		if err := h.advance(ctx, h.look.Swap(false)); err != nil {
			h.look.Store(true)
			h.pause(ctx, err)
			continue
		}
		select {
		case <-h.bell:
		case <-poll.C:
			h.look.Store(true)
			h.sweep(time.Now())
			h.waves.calm(h.Stats.Opened.Load())
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	h.closed = true
	h.moved.Broadcast()
	h.mu.Unlock()
}

// pause waits a little after the log could not be read: its reader has the error in its log.
func (h *Hub) pause(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	h.log.Warn("the event log cannot be read; trying again", "err", err)
	select {
	case <-time.After(200 * time.Millisecond):
	case <-ctx.Done():
	}
}

// advance dispatches what was offered, and what is between: another node's, or what
// committed here without an offer. With poll it looks for more even when nothing is known of.
func (h *Hub) advance(ctx context.Context, poll bool) error {
	for {
		offered := h.takeOffers()
		for len(offered) > 0 {
			at := h.at()
			switch first := offered[0].Position; {
			case first <= at:
				offered = offered[1:] // read from the log before the offer came
			case first == at+1:
				n := run(offered)
				h.dispatch(offered[:n])
				offered = offered[n:]
			default:
				if err := h.readLog(ctx, min(page, int(first-at-1))); err != nil {
					return err
				}
			}
		}
		if h.at() >= h.committed.Load() && !poll {
			return nil
		}
		poll = false
		n := h.at()
		if err := h.readLog(ctx, page); err != nil {
			return err
		}
		if h.at()-n >= page {
			poll = true
		}
	}
}

// run is how many events at the beginning have consecutive positions.
func run(events []model.Event) int {
	n := 1
	for n < len(events) && events[n].Position == events[n-1].Position+1 {
		n++
	}
	return n
}

func (h *Hub) at() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dispatched
}

var errGap = errors.New("the log has a gap")

// readLog dispatches up to limit entries read from the log.
func (h *Hub) readLog(ctx context.Context, limit int) error {
	h.Stats.Holes.Add(1)
	at := h.at()
	events, err := h.source.Events(ctx, at, limit)
	if err != nil || len(events) == 0 {
		return err
	}
	if events[0].Position != at+1 {
		return h.skipTrimmed(events[0].Position)
	}
	if n := run(events); n < len(events) {
		h.dispatch(events[:n])
		return errGap // positions are gapless: never seen but in a damaged database
	}
	h.dispatch(events)
	return nil
}

// skipTrimmed is for a node that slept longer than the log keeps: what it has of
// the past is worthless, so every stream ends, and begins anew when it reconnects.
func (h *Hub) skipTrimmed(first int64) error {
	h.log.Warn("the log was trimmed beyond this node's position", "first", first)
	h.EndAll()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dispatched = first - 1
	h.tail = newTail(h.cfg.TailEntries, h.cfg.TailBytes, first-1)
	h.clients, h.rooms = map[string]*client{}, map[string]*room{}
	return nil
}

// Warm fills the memory of the log from its end, so that streams which reconnect
// after a restart need not read the database one by one. Call it before Run.
func (h *Hub) Warm(ctx context.Context, trimmed int64) error {
	h.mu.Lock()
	head := h.dispatched
	h.dispatched = max(trimmed, head-int64(h.cfg.TailEntries)/2)
	h.tail = newTail(h.cfg.TailEntries, h.cfg.TailBytes, h.dispatched)
	h.mu.Unlock()
	for h.at() < head {
		was := h.at()
		if err := h.readLog(ctx, min(page, int(head-was))); err != nil {
			return err
		}
		if h.at() == was {
			return errGap
		}
	}
	return nil
}

// dispatch hands events to the streams they are for. They follow the last dispatched one.
func (h *Hub) dispatch(events []model.Event) {
	h.mu.Lock()
	for i := range events {
		e := &events[i]
		if (e.Audience == model.ToNobody || len(e.Joined) > 0) && h.OnNodeEvent != nil {
			h.mu.Unlock()
			h.OnNodeEvent(*e)
			h.mu.Lock()
		}
		en := h.tail.add(e, h.durable(e))
		h.deliver(e, en.frame)
		h.dispatched = e.Position
	}
	h.reach(h.dispatched)
	ready := h.ready
	h.ready = nil
	h.moved.Broadcast()
	h.mu.Unlock()
	h.runners.add(ready)
}

// deliver keeps the stays and queues a frame, in the order that a stay covers the
// event that begins it and the one that ends it.
func (h *Hub) deliver(e *model.Event, f *Frame) {
	for _, id := range e.Joined {
		if c := h.clients[id]; c != nil {
			h.enter(c, e.ConversationID, e.Position-1)
		}
	}
	if f != nil {
		switch e.Audience {
		case model.ToMembers:
			if r := h.rooms[e.ConversationID]; r != nil {
				for _, s := range r.stays {
					if e.Position > s.from {
						h.give(s.client, e.ExceptClient, e.ExceptSession, f)
					}
				}
				h.giveSeats(r, e.ExceptClient, e.ExceptSession, f)
			}
		case model.ToClients:
			for _, id := range e.Clients {
				if c := h.clients[id]; c != nil {
					h.give(c, e.ExceptClient, e.ExceptSession, f)
				}
			}
		case model.ToEveryone:
			for _, c := range h.clients {
				h.give(c, e.ExceptClient, e.ExceptSession, f)
			}
		}
	}
	for _, id := range e.Departed {
		if c := h.clients[id]; c != nil {
			h.leave(c, e.ConversationID, e.Position)
		}
	}
	if e.Seat != nil {
		if c := h.clients[e.Seat.ClientID]; c != nil {
			h.seat(c, *e.Seat, e.Position)
		}
	}
}

func (h *Hub) give(c *client, exceptClient, exceptSession string, f *Frame) {
	for _, s := range c.streams {
		if exceptClient == c.id && (exceptSession == "" || exceptSession == s.Session) && exceptClient != "" {
			continue
		}
		if s.push(f) {
			h.ready = append(h.ready, s)
		}
	}
}

func (h *Hub) giveSeats(r *room, exceptClient, exceptSession string, f *Frame) {
	for _, s := range r.seats {
		if exceptClient != "" && exceptClient == s.client.id && (exceptSession == "" || exceptSession == s.Session) {
			continue
		}
		if s.push(f) {
			h.ready = append(h.ready, s)
		}
	}
}

// Whisper hands an ephemeral frame to the open streams of a conversation's members
// on this node, but not to one session of a client (none of its when the session is empty).
func (h *Hub) Whisper(conversation, exceptClient, exceptSession string, f *Frame) {
	h.mu.Lock()
	if r := h.rooms[conversation]; r != nil {
		for _, s := range r.stays {
			h.give(s.client, exceptClient, exceptSession, f)
		}
		h.giveSeats(r, exceptClient, exceptSession, f)
	}
	ready := h.ready
	h.ready = nil
	h.mu.Unlock()
	h.runners.add(ready)
}
