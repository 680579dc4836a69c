package chat

import (
	"context"
	"errors"
	"sync/atomic"
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

// Removed counts what the cleaner of this node has removed, for metrics.
type Removed struct {
	Events, Messages, Conversations, Broadcasts, Seats, Files, Sessions, Tickets, Grants, Clients atomic.Int64
}

// All are the counters by their names.
func (r *Removed) All() map[string]*atomic.Int64 {
	return map[string]*atomic.Int64{
		"events": &r.Events, "messages": &r.Messages, "conversations": &r.Conversations, "broadcasts": &r.Broadcasts, "seats": &r.Seats,
		"files": &r.Files, "sessions": &r.Sessions, "tickets": &r.Tickets, "grants": &r.Grants, "clients": &r.Clients,
	}
}

// CleanUp removes what has outlived its time as of now, until nothing is left of it or
// ctx ends. What cannot be removed does not keep the rest.
func (s *Service) CleanUp(ctx context.Context, now time.Time) error {
	forget := func(count *atomic.Int64, step func(tx *repo.Store) (int64, error)) error {
		return s.inBatches(ctx, count, func(tx *repo.Store) (int, error) {
			n, err := step(tx)
			return int(n), err
		})
	}
	return errors.Join(
		s.trimLog(ctx, now),
		s.outliveMessages(ctx, now),
		s.removeIdle(ctx, now),
		forget(&s.Removed.Conversations, func(tx *repo.Store) (int64, error) {
			return tx.ForgetExpired(ctx, now.Add(-expiredKept), houseBatch)
		}),
		forget(&s.Removed.Broadcasts, func(tx *repo.Store) (int64, error) { return tx.ForgetBroadcasts(ctx, houseBatch) }),
		s.cleanSeats(ctx),
		s.cleanFiles(ctx, now),
		forget(&s.Removed.Grants, func(tx *repo.Store) (int64, error) { return tx.ForgetGrants(ctx, now, houseBatch) }),
		forget(&s.Removed.Tickets, func(tx *repo.Store) (int64, error) { return tx.ForgetTickets(ctx, now, houseBatch) }),
		forget(&s.Removed.Sessions, func(tx *repo.Store) (int64, error) { return tx.ForgetSessions(ctx, now, houseBatch) }),
		s.forgetClients(ctx, now),
	)
}

// trimLog removes events that nobody can resume from any more. Every node forgets those that are gone.
func (s *Service) trimLog(ctx context.Context, now time.Time) error {
	if s.Config.EventRetention > 0 {
		err := s.inBatches(ctx, &s.Removed.Events, func(tx *repo.Store) (int, error) {
			return tx.TrimLog(ctx, now.Add(-s.Config.EventRetention), houseBatch)
		})
		if err != nil {
			return err
		}
	}
	log, err := s.Store.Log(ctx)
	if err != nil {
		return err
	}
	s.Hub.Trim(log.Trimmed)
	return nil
}

// inBatches repeats one step of cleaning, each in a transaction of its own, until it
// finds less than a batch or another node is at it.
func (s *Service) inBatches(ctx context.Context, count *atomic.Int64, step func(tx *repo.Store) (int, error)) error {
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
		count.Add(int64(n))
	}
	return nil
}
