package chat

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"parley/model"
	"parley/repo"
)

// posting is one message of a service on its way through its group commit.
type posting struct {
	sending
	caller     model.Caller
	field      string // what named the service in the request
	scope      model.Scope
	to         []string   // of ScopeSome
	validUntil model.Time // of ScopeEveryone
}

// post sends in a service, up or down. It fails with conversation_not_found,
// invalid_request and idempotency_key_reused.
func (s *Service) post(ctx context.Context, q *posting, session string, d *model.Draft, fileID string) (model.Message, Outcome, error) {
	mentions := d.MentionList
	if len(mentions) > 0 {
		var err error
		if mentions, err = s.Store.MembersAmong(ctx, q.ConversationID, mentions); err != nil {
			return model.Message{}, Stored, err
		}
	}
	q.kind, q.server = model.Service, q.caller.Server
	q.Send = repo.Send{
		ConversationID: q.ConversationID, Sender: q.caller.Client,
		Type: d.Type, CustomType: d.CustomType, Content: d.Encode(model.Service, mentions), MentionAll: d.MentionAll, Mentions: mentions,
		Key: d.Key, Digest: d.Digest, Push: d.PushData, ExceptSession: session, ExceptAll: d.NoSync, FileID: fileID,
	}
	if d.Transient {
		m, err := s.passPost(ctx, q)
		return m, Passed, err
	}
	out, err := s.posts.Do(ctx, q)
	if err != nil {
		return model.Message{}, Stored, err
	}
	if out.replayed {
		return out.message, Replayed, nil
	}
	return out.message, Stored, nil
}

// Broadcast sends to all who subscribe to a service, for a server token that acts for
// the speaker: the caller sees to that. It fails as Send does, and with
// not_allowed_in_... where there is no service.
func (s *Service) Broadcast(ctx context.Context, caller model.Caller, id string, d *model.Draft) (model.Message, Outcome, error) {
	return s.broadcast(ctx, &posting{caller: caller, field: "id", scope: model.ScopeSubscribers}, id, d)
}

// BroadcastToAll sends to all clients ever seen, through a service, for a server token
// that acts for the speaker: the caller sees to that. Who is away is told when he comes,
// until it is valid no more. It fails as Broadcast does.
func (s *Service) BroadcastToAll(ctx context.Context, caller model.Caller, id string, d *model.Draft, validUntil *string) (model.Message, Outcome, error) {
	until, err := model.CheckValidUntil(validUntil, nowMS())
	if err != nil {
		return model.Message{}, Stored, err
	}
	return s.broadcast(ctx, &posting{caller: caller, field: "conversationId", scope: model.ScopeEveryone, validUntil: until}, id, d)
}

func (s *Service) broadcast(ctx context.Context, q *posting, id string, d *model.Draft) (model.Message, Outcome, error) {
	if err := q.caller.NeedClient(); err != nil {
		return model.Message{}, Stored, err
	}
	session, err := s.acting(ctx, q.caller)
	if err != nil {
		return model.Message{}, Stored, err
	}
	if d.Key != "" { // the same body sent up is another message
		keyed := *d
		sum := sha256.Sum256(append(slices.Clone(d.Digest), byte(q.scope)))
		keyed.Digest = sum[:]
		d = &keyed
	}
	filled, fileID, err := s.withFile(ctx, q.caller, d)
	if err != nil {
		return s.replayed(ctx, q.caller, id, d, err)
	}
	q.ConversationID = id
	return s.post(ctx, q, session, filled, fileID)
}

// check says whether a posting may be.
func (q *posting) check(standing model.Standing) error {
	err := standing.CheckSee()
	if err == nil {
		err = standing.CheckService(q.field)
	}
	return asSend(err)
}

// asSend gives an error the legacy code that it has when sending.
func asSend(err error) error {
	if model.IsCode(err, model.ConversationNotFound) {
		return model.ErrConversationNotFound().WithLegacy(model.LegacySendRefused)
	}
	return err
}

// passPost hands a transient message to those of its receivers that are online.
func (s *Service) passPost(ctx context.Context, q *posting) (model.Message, error) {
	standing, err := s.Store.Standing(ctx, q.caller, q.ConversationID)
	if err != nil {
		return model.Message{}, asSend(err)
	}
	if err := q.check(standing); err != nil {
		return model.Message{}, err
	}
	m := passing(&q.sending, q.ConversationID+".t"+rand.Text(), nowMS())
	audience, clients := q.audience(standing.Member)
	s.whisper(whisper{
		Conversation: q.ConversationID, Everyone: audience == model.ToEveryone, Clients: clients,
		ExceptClient: except(&q.sending), ExceptSession: q.exceptSession(),
		Event: "message", Data: model.MessageEventData(&m, nil, m.SentAt),
	})
	return m, nil
}

// audience is who hears of the message when it is sent. What goes up only the sender's
// other sessions do; who speaks without subscribing hears nothing of what he says.
func (q *posting) audience(subscribed bool) (model.Audience, []string) {
	switch q.scope {
	case model.ScopeEveryone:
		return model.ToEveryone, nil
	case model.ScopeSubscribers:
		return model.ToMembers, nil
	case model.ScopeUp:
		return model.ToClients, []string{q.Sender}
	}
	if !subscribed {
		return model.ToClients, q.to
	}
	return model.ToClients, q.readers()
}

// serviceReaders are the audiences, which have nobody in common, of an event about a
// message of a service: whoever may read it now.
func serviceReaders(ctx context.Context, tx *repo.Store, m *model.Message) ([]*model.Event, error) {
	audience, clients, err := tx.MessageAudience(ctx, m.ConversationID, m.Seq)
	if err != nil {
		return nil, err
	}
	events := []*model.Event{{Audience: audience, Clients: clients}}
	if audience != model.ToMembers {
		return events, nil
	}
	// Its sender may read it, and need not subscribe.
	member, err := tx.MembersAmong(ctx, m.ConversationID, []string{m.From})
	if err == nil && len(member) == 0 {
		events = append(events, &model.Event{Audience: model.ToClients, Clients: []string{m.From}})
	}
	return events, err
}

// readers are who may read the message personally.
func (q *posting) readers() []string {
	if q.scope == model.ScopeEveryone {
		return nil
	}
	return model.Distinct(append(slices.Clone(q.to), q.Sender))
}

// storePosts stores a batch; what may not be fails alone.
func (s *Service) storePosts(batch []*posting) []Answer[sent] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	// All that lock several conversations do so in the order of their ids.
	order := make([]int, len(batch))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(batch[a].ConversationID, batch[b].ConversationID) })
	var answers []Answer[sent]
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		answers = make([]Answer[sent], len(batch))
		var events []*model.Event
		for _, i := range order {
			out, e, err := batch[i].store(ctx, tx)
			var refused *model.Error
			switch {
			case errors.As(err, &refused) && refused.Code != model.Unavailable:
				answers[i].Err = refused
			case err != nil:
				return nil, err
			default:
				answers[i].Value = out
			}
			if e != nil {
				events = append(events, e)
			}
		}
		return events, nil
	})
	switch {
	case err == nil:
		return answers
	case len(batch) > 1 && !repo.IsUnavailable(err) && ctx.Err() == nil:
		// Something in it cannot be stored and we do not know what: one bad row must fail alone.
		for i := range batch {
			answers[i] = s.storePosts(batch[i : i+1])[0]
		}
		return answers
	}
	return failAll[sent](len(batch), fmt.Errorf("send: %w", err))
}

// store stores one message, or finds the one that its key stands for.
func (q *posting) store(ctx context.Context, tx *repo.Store) (sent, *model.Event, error) {
	c, err := tx.LockConversation(ctx, q.caller, q.ConversationID)
	if err != nil {
		return sent{}, nil, asSend(err)
	}
	if q.Key != "" {
		state, err := tx.SendState(ctx, &q.Send)
		switch {
		case err != nil:
			return sent{}, nil, err
		case state.Replay != nil && !state.SameBody:
			return sent{}, nil, errKeyReused()
		case state.Replay != nil:
			return sent{message: *state.Replay, replayed: true}, nil, nil
		}
	}
	if err := q.check(c.Standing); err != nil {
		return sent{}, nil, err
	}
	post := repo.Post{Send: &q.Send, Scope: q.scope, Readers: q.readers(), ValidUntil: q.validUntil}
	seq, at, err := tx.InsertPost(ctx, post, c.Now)
	if err != nil {
		return sent{}, nil, err
	}
	e := &model.Event{
		Kind: model.EventMessage, ConversationID: q.ConversationID, Seq: seq, At: at,
		ExceptClient: except(&q.sending), ExceptSession: q.exceptSession(),
	}
	e.Audience, e.Clients = q.audience(c.Member)
	return sent{message: model.Message{
		ConversationID: q.ConversationID, Seq: seq, From: q.Sender, SentAt: at,
		Type: q.Type, CustomType: q.CustomType, Content: q.Content, Key: q.Key,
	}}, e, nil
}
