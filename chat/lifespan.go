package chat

import (
	"context"
	"time"

	"parley/model"
	"parley/repo"
)

const (
	idleBatch = 10 // conversations removed at once: for each the log's head is locked a little longer
	// clientKept is how long a client is known that has left nothing: longer than any broadcast is told.
	clientKept = 365 * 24 * time.Hour
)

// outliveMessages removes messages that are older than they are kept. Clients hear
// nothing of it; unread counts follow in the same transaction.
func (s *Service) outliveMessages(ctx context.Context, now time.Time) error {
	if s.Config.MessageRetention == 0 {
		return nil
	}
	// The nodes may remember frames for as long as the log has them, and until they hear of its trimming.
	recent := time.Time{}
	if s.Config.EventRetention > 0 {
		recent = now.Add(-s.Config.EventRetention - 2*houseEvery)
	}
	for more := true; more; {
		more = false
		removed := 0
		err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
			got, err := tx.LockHouse(ctx)
			if err != nil || !got {
				return nil, err
			}
			var gone []repo.Outlived
			gone, removed, more, err = tx.OutliveMessages(ctx, now.Add(-s.Config.MessageRetention), recent, houseBatch)
			return outlived(gone), err
		})
		if err != nil {
			return err
		}
		s.Removed.Messages.Add(int64(removed))
	}
	return nil
}

// outlived are the events that have the nodes forget frames of messages. Nothing of them
// is for clients; but that they have the messages' audience finds the frames at once.
func outlived(gone []repo.Outlived) []*model.Event {
	var events []*model.Event
	now := nowMS()
	for _, o := range gone {
		if !o.Recent {
			continue
		}
		audience := model.ToMembers
		if o.Kind == model.Service { // there they have any
			audience = model.ToNobody
		}
		events = append(events, &model.Event{
			Kind: model.EventMessagesOutlived, Audience: audience, ConversationID: o.ID, Seq: o.Upto, At: now,
		})
	}
	return events
}

// removeIdle removes ordinary conversations that nobody has used for long. They are gone
// for everybody at once, and no client hears of it; their messages go bit by bit.
func (s *Service) removeIdle(ctx context.Context, now time.Time) error {
	for n := idleBatch; n == idleBatch && s.Config.ConversationIdle > 0; {
		n = 0
		err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
			got, err := tx.LockHouse(ctx)
			if err != nil || !got {
				return nil, err
			}
			ids, err := tx.RemoveIdle(ctx, now.Add(-s.Config.ConversationIdle), idleBatch)
			n = len(ids)
			events := make([]*model.Event, n)
			for i, id := range ids {
				members, err := tx.MemberIDs(ctx, id)
				if err != nil {
					return nil, err
				}
				events[i] = &model.Event{
					Kind: model.EventConversationExpired, Audience: model.ToNobody, ConversationID: id, Departed: members, At: nowMS(),
				}
			}
			return events, err
		})
		if err != nil {
			return err
		}
		s.Removed.Conversations.Add(int64(n))
	}
	return s.sweep(ctx)
}

// sweep removes the messages of conversations that are gone.
func (s *Service) sweep(ctx context.Context) error {
	for done := false; !done; {
		done = true
		removed := 0
		err := s.Store.InTx(ctx, func(tx *repo.Store) error {
			got, err := tx.LockHouse(ctx)
			if err != nil || !got {
				return err
			}
			removed, done, err = tx.Sweep(ctx, houseBatch)
			return err
		})
		if err != nil {
			return err
		}
		s.Removed.Messages.Add(int64(removed))
	}
	return nil
}

// forgetClients forgets clients that have not been seen for very long and have left
// nothing. It looks at so many each time: it is in no hurry.
func (s *Service) forgetClients(ctx context.Context, now time.Time) error {
	s.cleaning.Lock()
	defer s.cleaning.Unlock()
	return s.Store.InTx(ctx, func(tx *repo.Store) error {
		got, err := tx.LockHouse(ctx)
		if err != nil || !got {
			return err
		}
		n, last, err := tx.ForgetClients(ctx, s.cleanedTo, now.Add(-clientKept), houseBatch)
		if err == nil {
			s.cleanedTo = last
			s.Removed.Clients.Add(n)
		}
		return err
	})
}

// Stats counts what there is, for a server token: the caller sees to that. All who ask at
// the moment share one count, begun after they asked.
func (s *Service) Stats(ctx context.Context) (model.Stats, error) {
	return s.stats.Do(ctx, struct{}{})
}

func (s *Service) count(asked []struct{}) []Answer[model.Stats] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	stats, err := s.Store.Stats(ctx, s.Config.ReconnectGrace)
	answers := make([]Answer[model.Stats], len(asked))
	for i := range answers {
		answers[i] = Answer[model.Stats]{Value: stats, Err: err}
	}
	return answers
}
