package chat

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"parley/model"
	"parley/repo"
	"parley/sse"
)

// Outcome says what became of a send.
type Outcome int

// The outcomes.
const (
	Stored   Outcome = iota // it is safe on disk, with its seq
	Replayed                // the key stands for a message already: that one is returned, as it now is
	Passed                  // transient: handed to whoever is online, or will be when the session is lost; not in the history
)

// sending is one send on its way through the group commit.
type sending struct {
	repo.Send
	server bool
	kind   model.Kind
}

type sent struct {
	message  model.Message
	replayed bool
}

// Send posts a message. It returns when the message is safe on disk. That only a server
// token names d.To has been checked. Sending again with the same key returns the first message, or fails with
// idempotency_key_reused when the body differs. It fails with
// conversation_not_found or not_a_member.
func (s *Service) Send(ctx context.Context, caller model.Caller, conversationID string, d *model.Draft) (model.Message, Outcome, error) {
	if err := caller.NeedClient(); err != nil {
		return model.Message{}, Stored, err
	}
	session, err := s.acting(ctx, caller)
	if err != nil {
		return model.Message{}, Stored, err
	}
	if d.Will {
		if err := s.checkWill(ctx, caller.Client, session); err != nil {
			return model.Message{}, Stored, err
		}
		lasting := *d
		lasting.Transient = true // which is how it will be sent
		d = &lasting
	}
	given := d
	d, fileID, err := s.withFile(ctx, caller, d)
	if err != nil {
		return s.replayed(ctx, caller, conversationID, given, err)
	}
	kind, err := s.kindOf(ctx, conversationID)
	switch {
	case err != nil:
		return model.Message{}, Stored, err
	case kind == model.Service && !d.Will:
		q := &posting{caller: caller, field: "id", scope: model.ScopeUp, to: d.To}
		if q.ConversationID = conversationID; d.To != nil {
			q.scope = model.ScopeSome
		}
		return s.post(ctx, q, session, d, fileID)
	case d.To != nil && kind != 0:
		return model.Message{}, Stored, model.Invalid("to", "is for messages of a service")
	}
	mentions, shed := d.MentionList, model.ShedNever
	switch {
	case kind == model.Chatroom:
		shed = d.Priority.Shed()
	case len(mentions) > 0:
		if mentions, err = s.Store.MembersAmong(ctx, conversationID, mentions); err != nil {
			return model.Message{}, Stored, err
		}
	}
	q := &sending{server: caller.Server, kind: kind, Send: repo.Send{
		ConversationID: conversationID, Sender: caller.Client, Exempt: caller.Server,
		Type: d.Type, CustomType: d.CustomType, Content: d.Encode(kind, mentions), MentionAll: d.MentionAll, Mentions: mentions,
		Key: d.Key, Digest: d.Digest, Push: d.PushData, ExceptSession: session, ExceptAll: d.NoSync, Shed: shed, FileID: fileID, Receipt: d.Receipt,
	}}
	switch {
	case d.Will:
		m, err := s.keepWill(ctx, q, session)
		return m, Passed, err
	case d.Transient:
		m, err := s.pass(ctx, q)
		return m, Passed, err
	}
	out, err := s.sends.Do(ctx, q)
	if err != nil {
		return model.Message{}, Stored, err
	}
	if out.replayed {
		return out.message, Replayed, nil
	}
	return out.message, Stored, nil
}

// pass hands a transient message to the members that are online.
func (s *Service) pass(ctx context.Context, q *sending) (model.Message, error) {
	state, err := s.Store.SendState(ctx, &q.Send)
	if err != nil {
		return model.Message{}, err
	}
	if err := q.refusal(state); err != nil {
		return model.Message{}, err
	}
	m := passing(q, q.ConversationID+".t"+rand.Text(), nowMS())
	s.whisperMessage(q, m)
	return m, nil
}

// passing is the message of a send that is not stored.
func passing(q *sending, id string, now model.Time) model.Message {
	return model.Message{ConversationID: q.ConversationID, ID: id, From: q.Sender, SentAt: now, Type: q.Type, Content: q.Content}
}

func (s *Service) whisperMessage(q *sending, m model.Message) {
	s.whisper(whisper{
		Conversation: q.ConversationID, ExceptClient: except(q), ExceptSession: q.exceptSession(),
		Event: "message", Data: model.MessageEventData(&m, nil, m.SentAt),
	})
}

// except is the client whose acting session, or whose every session, is left out; empty: nobody.
func except(q *sending) string {
	if q.ExceptAll || q.ExceptSession != "" {
		return q.Sender
	}
	return ""
}

func (q *sending) exceptSession() string {
	if q.ExceptAll {
		return ""
	}
	return q.ExceptSession
}

// storeTimeout bounds one batch: longer than any statement may take, so that the server ends it first.
const storeTimeout = 15 * time.Second

// storeSends stores a batch. When something in it is refused, what is refused is
// answered, and the rest is tried again.
func (s *Service) storeSends(batch []*sending) []Answer[sent] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	answers := make([]Answer[sent], len(batch))
	todo := make([]int, len(batch))
	for i := range batch {
		todo[i] = i
	}
	for attempt := 0; len(todo) > 0; attempt++ {
		now, later := onePerKey(batch, todo)
		placed, err := s.writer.Store(ctx, pick(batch, now))
		var refused *repo.Refused
		switch {
		case err == nil:
			s.publish(batch, now, placed, answers)
			todo = later
		case errors.As(err, &refused) && attempt < 100:
			todo = append(s.explain(ctx, batch, now, answers), later...)
		case len(now) > 1 && !repo.IsUnavailable(err) && ctx.Err() == nil:
			// Something in it cannot be stored and we do not know what: one bad row must fail alone.
			for _, i := range now {
				one := s.storeSends(batch[i : i+1])
				answers[i] = one[0]
			}
			todo = later
		default:
			for _, i := range append(now, later...) {
				answers[i].Err = fmt.Errorf("send: %w", err)
			}
			todo = nil
		}
	}
	return answers
}

// onePerKey parts what may go into one batch from what must wait for the next: a
// second send with a key of the first.
func onePerKey(batch []*sending, todo []int) (now, later []int) {
	type key struct{ conversation, sender, key string }
	var seen map[key]bool
	for _, i := range todo {
		q := batch[i]
		if q.Key != "" {
			k := key{q.ConversationID, q.Sender, q.Key}
			if seen[k] {
				later = append(later, i)
				continue
			}
			if seen == nil {
				seen = make(map[key]bool)
			}
			seen[k] = true
		}
		now = append(now, i)
	}
	return now, later
}

func pick(batch []*sending, indexes []int) []repo.Send {
	sends := make([]repo.Send, len(indexes))
	for n, i := range indexes {
		sends[n] = batch[i].Send
	}
	return sends
}

// publish answers what was stored and hands its events to the hub.
func (s *Service) publish(batch []*sending, indexes []int, placed []repo.Placed, answers []Answer[sent]) {
	events := make([]model.Event, len(indexes))
	for n, i := range indexes {
		q, p := batch[i], placed[n]
		m := model.Message{
			ConversationID: q.ConversationID, Seq: p.Seq, From: q.Sender, SentAt: p.SentAt,
			Type: q.Type, CustomType: q.CustomType, Content: q.Content, Key: q.Key,
		}
		answers[i].Value = sent{message: m}
		events[n] = model.Event{
			Position: p.Position, Kind: model.EventMessage, Audience: model.ToMembers,
			ConversationID: q.ConversationID, Seq: p.Seq, ExceptClient: except(q), ExceptSession: q.exceptSession(), Shed: q.Shed,
			Data: model.MessageEventData(&m, nil, p.SentAt), At: p.SentAt,
		}
		if p.Receiver != "" {
			events[n].Clients = []string{p.Receiver}
		}
	}
	s.Hub.Offer(events)
	s.nodes.ring()
}

// explain answers those of a refused batch that may not be stored, or were before,
// and returns the rest.
func (s *Service) explain(ctx context.Context, batch []*sending, indexes []int, answers []Answer[sent]) []int {
	var rest []int
	for _, i := range indexes {
		q := batch[i]
		state, err := s.Store.SendState(ctx, &q.Send)
		switch {
		case err != nil:
			answers[i].Err = err
		case state.Replay != nil && !state.SameBody:
			answers[i].Err = errKeyReused()
		case state.Replay != nil:
			answers[i].Value = sent{message: *state.Replay, replayed: true}
		default:
			if err := q.refusal(state); err != nil {
				answers[i].Err = err
				continue
			}
			rest = append(rest, i)
		}
	}
	return rest
}

// refusal is why a send may not be; nil when it may.
func (q *sending) refusal(state repo.SendState) error {
	missing := model.ErrConversationNotFound().WithLegacy(model.LegacySendRefused)
	switch {
	case state.Kind == 0:
		return missing
	case !q.server && !state.Member && state.Visibility == model.Private:
		return missing
	case state.Expired:
		return model.ErrConversationExpired()
	case q.server:
		return nil
	case !state.Member && state.Kind != model.Chatroom && state.Kind != model.Service:
		return model.ErrNotAMember(model.LegacySendRefused)
	}
	return nil
}

func errKeyReused() error {
	return model.NewError(model.IdempotencyKeyReused, "this Idempotency-Key was used for another message in this conversation")
}

// whisper is an ephemeral event as it travels between nodes: for everyone, or for some
// clients, or for a conversation's members; or about presence, for the nodes alone.
type whisper struct {
	Conversation  string   `json:"c"`
	Everyone      bool     `json:"all,omitempty"`
	Clients       []string `json:"to,omitempty"`
	ExceptClient  string   `json:"xc,omitempty"`
	ExceptSession string   `json:"xs,omitempty"`
	Event         string   `json:"e"`
	Data          []byte   `json:"d"`
}

// whisper delivers here and on the other nodes. It may be lost.
func (s *Service) whisper(w whisper) {
	s.deliver(w)
	s.nodes.tell(w)
}

func (s *Service) deliver(w whisper) {
	if s.hearPresence(w) {
		return
	}
	frame := sse.EphemeralJSON(w.Event, w.Data)
	switch {
	case w.Everyone:
		s.Hub.WhisperAll(w.ExceptClient, w.ExceptSession, frame)
	case w.Clients != nil:
		s.Hub.WhisperTo(w.Clients, w.ExceptClient, w.ExceptSession, frame)
	default:
		s.Hub.Whisper(w.Conversation, w.ExceptClient, w.ExceptSession, frame)
	}
}
