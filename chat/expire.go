package chat

import (
	"context"
	"time"

	"parley/model"
	"parley/repo"
)

const (
	expireEvery = time.Second
	// expiredKept is how long former members of a temporary conversation are told that it expired.
	expiredKept = 30 * 24 * time.Hour
)

// keepExpiring ends temporary conversations soon after their time. That they do not
// answer any more does not depend on it: every look at one compares the clock.
func (s *Service) keepExpiring(ctx context.Context) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.expire(ctx); err != nil {
				s.logUnlessOver(ctx, "expired conversations cannot be ended just now", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// expire removes what was said in temporary conversations whose time is over, so that
// no replay has it, and has the nodes forget it.
func (s *Service) expire(ctx context.Context) error {
	for {
		ids, err := s.Store.ExpiredConversations(ctx, 100)
		if err != nil || len(ids) == 0 {
			return err
		}
		for _, id := range ids {
			if err := s.expireOne(ctx, id); err != nil {
				return err
			}
		}
	}
}

func (s *Service) expireOne(ctx context.Context, id string) error {
	for n := int64(houseBatch); n >= houseBatch; {
		err := s.Store.InTx(ctx, func(tx *repo.Store) (err error) {
			n, err = tx.DeleteMessages(ctx, id, houseBatch)
			return err
		})
		if err != nil {
			return err
		}
		s.Removed.Messages.Add(n)
	}
	return s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		ended, err := tx.EndConversation(ctx, id)
		if err != nil || !ended { // another node was faster
			return nil, err
		}
		return []*model.Event{{Kind: model.EventConversationExpired, Audience: model.ToNobody, ConversationID: id, At: nowMS()}}, nil
	})
}
