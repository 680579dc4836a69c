package sse

import (
	"context"
	"errors"
	"time"

	"parley/model"
)

// errClosed is the end of a hub.
var errClosed = errors.New("the hub is closed")

// know returns the client, whose belongings it loads when they are not known here.
// The hub's lock is held when it returns without an error, so that a stream can join
// before anything more is dispatched.
func (h *Hub) know(ctx context.Context, id string) (*client, error) {
	for {
		h.mu.Lock()
		if c := h.clients[id]; c != nil {
			return c, nil
		}
		h.mu.Unlock()
		err := h.Admit(ctx, []string{id}, func(since int64) (int64, map[string]model.Belongings, error) {
			asOf, found, err := h.source.Belongings(ctx, id, since)
			return asOf, map[string]model.Belongings{id: found}, err
		})
		if err != nil {
			return nil, err
		}
	}
}

// Admit makes clients known, with what load reads of them: their stays, those that
// ended behind since included, and seats, as of a position. Those known are left alone.
func (h *Hub) Admit(ctx context.Context, clients []string, load func(since int64) (asOf int64, found map[string]model.Belongings, err error)) error {
	for {
		h.mu.Lock()
		since := h.tail.start()
		h.mu.Unlock()
		asOf, found, err := load(since)
		if err != nil {
			return err
		}
		h.reach(asOf)
		if err := h.await(ctx, asOf); err != nil {
			return err
		}
		// The lock is held, and dispatched is at least asOf. Should the tail have moved on
		// while we asked, what happened since is not in it.
		if asOf >= h.tail.start() {
			for _, id := range clients {
				if h.clients[id] == nil {
					h.admit(id, since, asOf, found[id])
				}
			}
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock()
	}
}

// Await returns when everything up to a position is dispatched.
func (h *Hub) Await(ctx context.Context, position int64) error {
	err := h.await(ctx, position)
	if err == nil {
		h.mu.Unlock()
	}
	return err
}

// await returns, with the lock held, when everything up to a position is dispatched.
func (h *Hub) await(ctx context.Context, position int64) error {
	h.Ring()
	stop := context.AfterFunc(ctx, func() {
		h.mu.Lock()
		h.moved.Broadcast()
		h.mu.Unlock()
	})
	defer stop()
	h.mu.Lock()
	for h.dispatched < position && !h.closed && ctx.Err() == nil {
		h.moved.Wait()
	}
	var err error
	if h.closed {
		err = errClosed
	} else if h.dispatched < position {
		err = ctx.Err()
	}
	if err != nil {
		h.mu.Unlock()
	}
	return err
}

// admit makes a client known: its stays and seats as of a position, and what was dispatched since.
func (h *Hub) admit(id string, since, asOf int64, has model.Belongings) {
	c := &client{id: id, stays: map[string]*stay{}, knownSince: since, idleSince: time.Now()}
	h.clients[id] = c
	for _, s := range has.Stays {
		if s.To == model.Forever {
			h.enter(c, s.ConversationID, s.From)
		} else {
			c.past = append(c.past, s)
		}
	}
	for _, seat := range has.Seats {
		h.seat(c, model.SeatTaken{ClientID: id, Session: seat.Session, ConversationID: seat.ConversationID}, seat.From)
	}
	for p := asOf + 1; p <= h.dispatched; p++ {
		en := h.tail.at(p)
		if en == nil || en.details == nil {
			continue
		}
		if seat := en.details.seat; seat != nil && seat.ClientID == id {
			h.seat(c, *seat, p)
		}
		for _, j := range en.details.joined {
			if j == id {
				h.enter(c, en.conversation, p-1)
			}
		}
		for _, d := range en.details.departed {
			if d == id {
				h.leave(c, en.conversation, p)
			}
		}
	}
}

// enter begins a stay; one that is known already goes on.
func (h *Hub) enter(c *client, conversation string, from int64) {
	if c.stays[conversation] != nil {
		return
	}
	r := h.rooms[conversation]
	if r == nil {
		r = &room{}
		h.rooms[conversation] = r
	}
	s := &stay{client: c, from: from, index: len(r.stays)}
	r.stays = append(r.stays, s)
	c.stays[conversation] = s
}

// leave ends a stay that covered events up to a position.
func (h *Hub) leave(c *client, conversation string, to int64) {
	s := c.stays[conversation]
	if s == nil {
		return
	}
	h.vacate(conversation, s)
	delete(c.stays, conversation)
	if len(c.past) > 64 {
		c.past = recent(c.past, h.tail.start())
		c.knownSince = max(c.knownSince, h.tail.start())
	}
	c.past = append(c.past, model.Stay{ConversationID: conversation, From: s.from, To: to})
}

func recent(stays []model.Stay, since int64) []model.Stay {
	kept := stays[:0]
	for _, s := range stays {
		if s.To > since {
			kept = append(kept, s)
		}
	}
	return kept
}

// vacate takes a stay out of its room.
func (h *Hub) vacate(conversation string, s *stay) {
	r := h.rooms[conversation]
	last := r.stays[len(r.stays)-1]
	r.stays[s.index] = last
	last.index = s.index
	r.stays[len(r.stays)-1] = nil
	r.stays = r.stays[:len(r.stays)-1]
	h.close(conversation, r)
}

// close forgets a room that nobody here is in.
func (h *Hub) close(conversation string, r *room) {
	if len(r.stays) == 0 && len(r.seats) == 0 {
		delete(h.rooms, conversation)
	}
}

// seat notes where a session sits from now on, and moves its open stream.
func (h *Hub) seat(c *client, taken model.SeatTaken, from int64) {
	if taken.ConversationID == "" {
		delete(c.seats, taken.Session)
	} else {
		if c.seats == nil {
			c.seats = make(map[string]model.Seat)
		}
		c.seats[taken.Session] = model.Seat{Session: taken.Session, ConversationID: taken.ConversationID, From: from}
	}
	for _, s := range c.streams {
		if s.Session == taken.Session {
			h.stand(s)
			h.sit(s)
		}
	}
}

// sit gives a stream the seat of its session.
func (h *Hub) sit(s *Stream) {
	seat, ok := s.client.seats[s.Session]
	if !ok {
		return
	}
	r := h.rooms[seat.ConversationID]
	if r == nil {
		r = &room{}
		h.rooms[seat.ConversationID] = r
	}
	s.room, s.place = seat.ConversationID, len(r.seats)
	r.seats = append(r.seats, s)
}

// seatOf is the chatroom's seat of a stream's session, nil when it has none.
func (h *Hub) seatOf(s *Stream) *model.Seat {
	h.mu.Lock()
	defer h.mu.Unlock()
	if seat, ok := s.client.seats[s.Session]; ok {
		return &seat
	}
	return nil
}

// stand takes a stream off its seat, which its session keeps.
func (h *Hub) stand(s *Stream) {
	if s.room == "" {
		return
	}
	r := h.rooms[s.room]
	last := r.seats[len(r.seats)-1]
	r.seats[s.place] = last
	last.place = s.place
	r.seats[len(r.seats)-1] = nil
	r.seats = r.seats[:len(r.seats)-1]
	h.close(s.room, r)
	s.room = ""
}

// recall returns the frames that a stream has not got yet, from memory, and the
// position up to which they are complete. It fails when memory does not reach.
func (h *Hub) recall(s *Stream, after int64) ([]*Frame, bool) {
	c := s.client
	if after >= h.dispatched {
		return nil, true
	}
	if after < c.knownSince {
		return nil, false
	}
	stays := make([]model.Stay, 0, len(c.stays)+len(c.past))
	for id, st := range c.stays {
		stays = append(stays, model.Stay{ConversationID: id, From: st.from, To: model.Forever})
	}
	stays = append(stays, c.past...)
	var seat *seatView
	if own, sits := c.seats[s.Session]; sits {
		seat = &seatView{Seat: own, shedUpto: s.shedUpto}
	}
	entries, ok := h.tail.collect(c.id, stays, seat, after)
	if !ok {
		return nil, false
	}
	if seat != nil && s.shedUpto > 0 { // what a stream misses that was away was not shed
		for level, n := range seat.shed {
			h.Stats.shed(model.Shed(level), n)
		}
	}
	frames := make([]*Frame, 0, len(entries))
	for _, en := range entries {
		if en.frame == nil || (en.exceptClient != "" && en.exceptClient == c.id && (en.exceptSession == "" || en.exceptSession == s.Session)) {
			continue
		}
		frames = append(frames, en.frame)
	}
	return frames, true
}

// sweep forgets clients that have had no stream for long, so that memory stays bounded.
func (h *Hub) sweep(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	keep := 10 * time.Minute
	if len(h.clients) > h.cfg.KeepClients {
		keep = 30 * time.Second
	}
	if now.Unix()%10 != 0 {
		return
	}
	h.forgetPartings(now)
	for id, c := range h.clients {
		if len(c.streams) == 0 && now.Sub(c.idleSince) > keep {
			for conversation, s := range c.stays {
				h.vacate(conversation, s)
			}
			delete(h.clients, id)
		}
	}
}
