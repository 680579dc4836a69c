package chat

import (
	"context"
	"fmt"
	"slices"

	"parley/model"
	"parley/repo"
)

// Receipts of conversations of two. A message that wants one marks its receiver's row
// of members, and its frame. So a node knows which of its sessions were given such
// frames, and looks up, once a second and all together, those alone that have
// acknowledged something since. What a session acknowledges that no stream here has
// given to it, by the position that it starts from, is looked up as well.

// begin notes that a session starts a stream behind a position. Here and below the
// lock of the sessions is held.
func (e *session) begin(position int64) {
	if e.stream != nil { // it is replaced
		e.finish()
	}
	e.skip(position)
}

// finish keeps what the session's stream knows, and leaves the session without one.
func (e *session) finish() {
	e.acked, e.owed, e.reached = e.position(), e.owes(), max(e.reached, e.stream.Delivered())
	e.stream = nil
}

// receive notes that a session has everything up to a position.
func (e *session) receive(position int64) {
	e.acked = max(e.acked, position)
	if e.stream != nil {
		e.reached = max(e.reached, e.stream.Delivered())
	}
	e.skip(position)
}

// skip assumes that a receipt is owed for what the session was not given here, up to a position.
func (e *session) skip(position int64) {
	if position > e.reached {
		e.owed, e.reached = max(e.owed, position), position
	}
}

// owes is the position of the last message that may want a receipt of the session.
func (e *session) owes() int64 {
	if e.stream == nil {
		return e.owed
	}
	return max(e.owed, e.stream.Owed())
}

// part forgets a session, but for what it has received.
func (r *sessions) part(k sessionKey) {
	if e := r.known[k]; e != nil {
		r.parted = append(r.parted, repo.Received{ClientID: k.client, Position: e.position()})
		r.remember(k.client, e.position())
		delete(r.known, k)
	}
}

// receiver is a session that may owe receipts for what it has received.
type receiver struct {
	sessionKey
	repo.Received
}

// received returns what was received since the last call: by those that may owe a
// receipt for it, and by sessions that are forgotten.
func (r *sessions) received() (settling []receiver, parted []repo.Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, e := range r.known {
		if at := e.position(); at > e.settled && e.owes() > e.settled {
			e.settled = at
			settling = append(settling, receiver{k, repo.Received{ClientID: k.client, Position: at}})
		}
	}
	parted, r.parted = r.parted, nil
	return settling, parted
}

// unsettled takes back what received returned.
func (r *sessions) unsettled(settling []receiver, parted []repo.Received) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range settling {
		if e := r.known[v.sessionKey]; e != nil {
			e.settled = 0
		}
	}
	r.parted = append(r.parted, parted...)
}

// receiptsAtOnce is how many clients' receipts are settled in one transaction, which
// holds the locks of their conversations.
const receiptsAtOnce = 200

// settleReceipts gives the receipts that are due. What fails is tried again the next time.
func (s *Service) settleReceipts(ctx context.Context) {
	settling, parted := s.sessions.received()
	if len(settling)+len(parted) == 0 {
		return
	}
	positions := make(map[string]int64, len(settling)+len(parted))
	for _, v := range settling {
		positions[v.ClientID] = max(positions[v.ClientID], v.Position)
	}
	for _, v := range parted {
		positions[v.ClientID] = max(positions[v.ClientID], v.Position)
	}
	var err error
	if len(parted) > 0 {
		err = s.Store.KeepAcked(ctx, parted)
	}
	if err == nil {
		err = s.settle(ctx, positions)
	}
	if err != nil {
		s.sessions.unsettled(settling, parted)
		s.logUnlessOver(ctx, "receipts cannot be given just now", err)
	}
}

// settle gives the receipts that clients owe who have everything up to a position.
func (s *Service) settle(ctx context.Context, positions map[string]int64) error {
	clients := make([]string, 0, len(positions))
	for id := range positions {
		clients = append(clients, id)
	}
	due, err := s.Store.ReceiptsDue(ctx, clients)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(due, receiptsAtOnce) {
		at := make([]int64, len(batch))
		for i, d := range batch {
			at[i] = positions[d.ClientID]
		}
		err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
			moved, err := tx.MoveDelivered(ctx, batch, at)
			if err != nil {
				return nil, err
			}
			covered, err := tx.Covered(ctx, moved)
			events := make([]*model.Event, len(covered))
			for i, c := range covered {
				events[i] = deliveredEvent(moved[c.Span], c)
			}
			return events, err
		})
		if err != nil {
			return fmt.Errorf("settle receipts: %w", err)
		}
	}
	return nil
}

// readReceipts are the events for those whose messages were just read. Who has read a
// message has received it, whether his sessions say so or not.
func readReceipts(ctx context.Context, tx *repo.Store, moves []*move) ([]*model.Event, error) {
	var spans []repo.Span
	var of []*move
	for _, m := range moves {
		if m.Moved && m.Was.Receipt > m.Was.Read {
			spans = append(spans, repo.Span{
				Membership: repo.Membership{ConversationID: m.ConversationID, ClientID: m.ClientID}, After: m.Was.Read, Upto: m.Seq,
			})
			of = append(of, m)
		}
	}
	covered, err := tx.Covered(ctx, spans)
	var events []*model.Event
	for _, c := range covered {
		if c.Seq > of[c.Span].Was.Delivered {
			events = append(events, deliveredEvent(spans[c.Span], c))
		}
		events = append(events, readEvent(spans[c.Span], c))
	}
	return events, err
}

func deliveredEvent(sp repo.Span, c repo.Covered) *model.Event {
	return receiptEvent(model.EventLastDeliveredAt, sp, c, model.LastDeliveredAt{
		ConversationID: sp.ConversationID, ClientID: sp.ClientID, MessageID: model.MessageID(sp.ConversationID, c.Seq),
		LastDeliveredAt: c.At, At: c.Now,
	})
}

func readEvent(sp repo.Span, c repo.Covered) *model.Event {
	return receiptEvent(model.EventLastReadAt, sp, c, model.LastReadAt{
		ConversationID: sp.ConversationID, ClientID: sp.ClientID, MessageID: model.MessageID(sp.ConversationID, c.Seq),
		LastReadAt: c.At, At: c.Now,
	})
}

func receiptEvent(kind model.EventKind, sp repo.Span, c repo.Covered, data any) *model.Event {
	b, err := model.OneLine(data)
	if err != nil {
		panic("chat: " + err.Error()) // types of ours
	}
	return &model.Event{
		Kind: kind, Audience: model.ToClients, ConversationID: sp.ConversationID, Clients: []string{c.Sender}, Data: b, At: c.Now,
	}
}
