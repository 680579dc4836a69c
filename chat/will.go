package chat

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"parley/model"
	"parley/repo"
)

// will is a message that is sent when the session that set it is lost, as it is kept.
type will struct {
	ConversationID string          `json:"conversationId"`
	ID             string          `json:"id"`
	Content        json.RawMessage `json:"content"`
}

// checkWill fails with session_required unless the calling session may have a will.
func (s *Service) checkWill(ctx context.Context, client, session string) error {
	if session != "" {
		ok, err := s.Store.MayHaveWill(ctx, client, session)
		if err != nil || ok {
			return err
		}
	}
	return errWillNeedsSession()
}

func errWillNeedsSession() error {
	return model.NewError(model.SessionRequired,
		"a will belongs to a session: name one of yours, whose id you chose for its stream, in the header Parley-Session")
}

// keepWill keeps what is to be sent when the session is lost.
func (s *Service) keepWill(ctx context.Context, q *sending, session string) (model.Message, error) {
	state, err := s.Store.SendState(ctx, &q.Send)
	if err != nil {
		return model.Message{}, err
	}
	if err := q.refusal(state); err != nil {
		return model.Message{}, err
	}
	m := passing(q, q.ConversationID+".t"+rand.Text(), nowMS())
	kept, err := model.OneLine(will{m.ConversationID, m.ID, m.Content})
	if err != nil {
		return model.Message{}, err
	}
	ok, err := s.Store.SetWill(ctx, q.Sender, session, string(kept))
	if err == nil && !ok {
		err = errWillNeedsSession()
	}
	return m, err
}

// ClearWill takes back the will of a session of the caller. It fails with session_not_found.
func (s *Service) ClearWill(ctx context.Context, caller model.Caller, session string) error {
	if err := caller.NeedClient(); err != nil {
		return err
	}
	ok := false
	if model.ValidSessionID(session) {
		var err error
		if ok, err = s.Store.ClearWill(ctx, caller.Client, session); err != nil {
			return err
		}
	}
	if !ok {
		return errSessionNotFound()
	}
	return nil
}

const (
	willsEvery = time.Second
	willsBatch = 100
)

// keepWills sends the wills of sessions that are lost, whichever node held them.
func (s *Service) keepWills(ctx context.Context) {
	tick := time.NewTicker(willsEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.sendWills(ctx); err != nil {
				s.logUnlessOver(ctx, "wills cannot be sent just now", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Service) sendWills(ctx context.Context) error {
	for n := willsBatch; n == willsBatch; {
		wills, err := s.Store.TakeWills(ctx, s.Config.ReconnectGrace, willsBatch)
		if err != nil {
			return err
		}
		for _, w := range wills {
			// It is ours alone now: if this fails it is lost, as a transient message may be.
			if err := s.sendWill(ctx, w); err != nil {
				s.logUnlessOver(ctx, "a will could not be sent", err)
			}
		}
		n = len(wills)
	}
	return nil
}

// sendWill hands a will to the other members, if its sender is still one.
func (s *Service) sendWill(ctx context.Context, taken repo.Will) error {
	var w will
	if err := json.Unmarshal([]byte(taken.Message), &w); err != nil {
		return err
	}
	q := &sending{Send: repo.Send{ConversationID: w.ConversationID, Sender: taken.ClientID, Content: w.Content, ExceptAll: true}}
	state, err := s.Store.SendState(ctx, &q.Send)
	if err != nil || q.refusal(state) != nil {
		return err
	}
	if state.Kind == model.Service {
		return nil // what goes up there is transmitted to nobody
	}
	s.whisperMessage(q, passing(q, w.ID, nowMS()))
	return nil
}
