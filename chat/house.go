package chat

import (
	"context"
	"time"

	"parley/repo"
)

const (
	houseEvery = time.Minute
	houseBatch = 1000 // rows removed at once, so that nobody waits for the cleaner
)

// keepHouse removes what has outlived its time: small batches, one node at a time.
func (s *Service) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := s.CleanUp(ctx, time.Now()); err != nil {
				s.logUnlessOver(ctx, "cleaning up failed; it is tried again in a minute", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// CleanUp removes what has outlived its time as of now, until nothing is left of it or ctx ends.
func (s *Service) CleanUp(ctx context.Context, now time.Time) error {
	if s.Config.EventRetention > 0 {
		trim := func(tx *repo.Store) (int, error) {
			return tx.TrimLog(ctx, now.Add(-s.Config.EventRetention), houseBatch)
		}
		if err := s.inBatches(ctx, trim); err != nil {
			return err
		}
	}
	if err := s.cleanSeats(ctx); err != nil {
		return err
	}
	err := s.inBatches(ctx, func(tx *repo.Store) (int, error) {
		n, err := tx.ForgetGrants(ctx, now, houseBatch)
		return int(n), err
	})
	if err != nil {
		return err
	}
	return s.inBatches(ctx, func(tx *repo.Store) (int, error) {
		n, err := tx.ForgetSessions(ctx, houseBatch)
		return int(n), err
	})
}

// inBatches repeats one step of cleaning, each in a transaction of its own, until it
// finds less than a batch or another node is at it.
func (s *Service) inBatches(ctx context.Context, step func(tx *repo.Store) (int, error)) error {
	for n := houseBatch; n >= houseBatch; {
		n = 0
		err := s.Store.InTx(ctx, func(tx *repo.Store) error {
			got, err := tx.LockHouse(ctx)
			if err != nil || !got {
				return err
			}
			n, err = step(tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
