package chat

import (
	"context"
	"encoding/json"
	"fmt"

	"parley/model"
	"parley/repo"
)

// reading is one read on its way through the group commit.
type reading struct {
	repo.Reading
	last    bool   // up to the last message, whatever Seq says
	unknown bool   // what was named cannot be a message
	session string // the acting one; empty: none
}

// MarkRead notes that the caller has read a conversation up to a message, or up to
// the last one when messageID is empty. The position never moves backwards. It fails
// with acting_client_required, conversation_not_found, not_a_member and message_not_found.
func (s *Service) MarkRead(ctx context.Context, caller model.Caller, conversationID, messageID string) (model.ReadState, error) {
	if err := caller.NeedClient(); err != nil {
		return model.ReadState{}, err
	}
	session, err := s.acting(ctx, caller)
	if err != nil {
		return model.ReadState{}, err
	}
	seq, ok := model.ParseMessageID(conversationID, messageID)
	return s.reads.Do(ctx, reading{
		Reading: repo.Reading{Caller: caller, ConversationID: conversationID, Seq: seq},
		last:    messageID == "", unknown: !ok, session: session,
	})
}

// storeReads commits a batch of reads; what may not be fails alone.
func (s *Service) storeReads(batch []reading) []Answer[model.ReadState] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	var answers []Answer[model.ReadState]
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		answers = failAll[model.ReadState](len(batch), model.ErrConversationNotFound()) // those that are not found below
		moves, err := lockReads(ctx, tx, batch, answers)
		if err != nil {
			return nil, err
		}
		reads := make([]*repo.MemberRead, len(moves))
		for i, m := range moves {
			reads[i] = &m.MemberRead
		}
		if err := tx.MoveReads(ctx, reads); err != nil {
			return nil, err
		}
		var events []*model.Event
		for _, m := range moves {
			m.answer(answers)
			if m.Moved {
				events = append(events, m.event())
			}
		}
		receipts, err := readReceipts(ctx, tx, moves)
		return append(events, receipts...), err
	})
	if err != nil {
		return failAll[model.ReadState](len(batch), fmt.Errorf("read: %w", err))
	}
	return answers
}

// move is what a batch does to one member's read position.
type move struct {
	repo.MemberRead
	Was     repo.Marks // before
	session string     // whose wish it is
	asks    []int      // who in the batch gets its outcome for an answer
}

// lockReads locks the conversations and judges the reads. Those of one member in
// one conversation become one move to the farthest of them: as if the nearer ones had
// come after it.
func lockReads(ctx context.Context, tx *repo.Store, batch []reading, answers []Answer[model.ReadState]) ([]*move, error) {
	asks := make([]repo.Reading, len(batch))
	for i := range batch {
		asks[i] = batch[i].Reading
	}
	states, err := tx.LockReadings(ctx, asks)
	if err != nil {
		return nil, err
	}
	type member struct{ conversation, client string }
	var moves []*move
	of := make(map[member]*move, len(batch))
	for _, st := range states {
		q := &batch[st.Ask]
		seq, err := q.upTo(st)
		if answers[st.Ask].Err = err; err != nil {
			continue
		}
		k := member{q.ConversationID, q.Caller.Client}
		m := of[k]
		if m == nil {
			m = &move{MemberRead: repo.MemberRead{ConversationID: k.conversation, ClientID: k.client, Seq: seq}, Was: st.Was, session: q.session}
			of[k] = m
			moves = append(moves, m)
		}
		m.asks = append(m.asks, st.Ask)
		if seq > m.Seq {
			m.Seq, m.session = seq, q.session
		}
	}
	return moves, nil
}

// upTo is the seq that a read asks for, or why it may not be.
func (q *reading) upTo(st repo.ReadingState) (int64, error) {
	standing := model.Standing{Caller: q.Caller, Kind: st.Kind, Visibility: st.Visibility, Member: st.Member, Expired: st.Expired}
	if err := standing.CheckRead(); err != nil {
		return 0, err
	}
	switch {
	case q.last:
		return st.Last, nil
	case q.unknown || !st.Known:
		return 0, model.ErrMessageNotFound()
	}
	return q.Seq, nil
}

func (m *move) answer(answers []Answer[model.ReadState]) {
	for _, i := range m.asks {
		answers[i].Value = model.ReadState{ConversationID: m.ConversationID, Count: m.Count, LastReadAt: m.ReadAt}
	}
}

// event tells the reader's other sessions what is left to read.
func (m *move) event() *model.Event {
	data, err := json.Marshal(model.UnreadCounts{
		Conversations: []model.Unread{{ConversationID: m.ConversationID, Count: m.Count, Mentioned: m.Mentioned}},
		At:            m.Now,
	})
	if err != nil {
		panic("chat: " + err.Error()) // types of ours
	}
	e := &model.Event{
		Kind: model.EventUnreadCount, Audience: model.ToClients, ConversationID: m.ConversationID,
		Clients: []string{m.ClientID}, Data: data, At: m.Now,
	}
	if m.session != "" {
		e.ExceptClient, e.ExceptSession = m.ClientID, m.session
	}
	return e
}
