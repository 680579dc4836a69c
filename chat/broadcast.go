package chat

import (
	"context"
	"time"

	"parley/model"
	"parley/repo"
	"parley/sse"
)

// ended is what a client had acknowledged when one of its streams ended here.
type ended struct {
	position int64
	at       time.Time
}

// endedKept is for longer than it takes until the database knows.
const endedKept = time.Minute

// remember notes what a client has acknowledged whose stream ended. r.mu is held.
func (r *sessions) remember(client string, position int64) {
	r.ended[client] = ended{max(position, r.ended[client].position), time.Now()}
}

// forgetEnded drops what the database knows by now. r.mu is held.
func (r *sessions) forgetEnded(now time.Time) {
	for client, e := range r.ended {
		if now.Sub(e.at) > endedKept {
			delete(r.ended, client)
		}
	}
}

// acknowledged is the greatest position that a client has acknowledged, as far as this
// node knows of its sessions: those named, and those that ended lately.
func (r *sessions) acknowledged(client string, ids []string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	position := r.ended[client].position
	for _, id := range ids {
		if e := r.known[sessionKey{client, id}]; e != nil {
			position = max(position, e.position())
		}
	}
	return position
}

// heard is what it takes to tell a client of the broadcasts that it missed.
type heard struct {
	position   int64 // stored: up to here it has them
	broadcasts []repo.NewBroadcast
}

// readHeard answers a batch: all who come at once may be told the same broadcasts.
func (s *Service) readHeard(clients []string) []Answer[heard] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	answers := make([]Answer[heard], len(clients))
	broadcasts, err := s.Store.NewBroadcasts(ctx, model.BroadcastsAtStart)
	if err != nil {
		return failAll[heard](len(clients), err)
	}
	if len(broadcasts) == 0 {
		return answers
	}
	positions, err := s.Store.BroadcastsHeard(ctx, clients)
	if err != nil {
		return failAll[heard](len(clients), err)
	}
	for i, id := range clients {
		answers[i].Value = heard{positions[id], broadcasts}
	}
	return answers
}

// broadcastFrames are the valid broadcasts that a client which starts afresh at a
// position has missed, oldest first, but for those told already. What it has not
// acknowledged it gets again.
func (s *Service) broadcastFrames(ctx context.Context, key sessionKey, at int64, told []*model.Message) ([]*sse.Frame, error) {
	// Before the database is asked: what is saved meanwhile is in one of the two.
	known := s.sessions.acknowledged(key.client, append(s.Hub.OpenSessions(key.client), key.id))
	h, err := s.news.Do(ctx, key.client)
	if err != nil {
		return nil, err
	}
	skip := make(map[string]bool, len(told))
	for _, m := range told {
		skip[model.MessageID(m.ConversationID, m.Seq)] = true
	}
	after := max(known, h.position)
	var frames []*sse.Frame
	for _, b := range h.broadcasts {
		m := b.Message
		// Those behind where the stream begins come by themselves.
		if b.Position > after && b.Position <= at && !skip[model.MessageID(m.ConversationID, m.Seq)] {
			frames = append(frames, sse.EphemeralJSON("message", model.MessageEventData(m, nil, m.SentAt)))
		}
	}
	return frames, nil
}
