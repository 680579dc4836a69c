package chat

import (
	"context"
	"sync"
	"time"

	"parley/model"
)

// revocations are the clients whose earlier tokens are refused. They are few, so
// all are kept in memory; news come by the log.
type revocations struct {
	mu      sync.RWMutex
	through map[string]time.Time
}

func (r *revocations) set(client string, through model.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.through == nil {
		r.through = make(map[string]time.Time)
	}
	if through.After(r.through[client]) {
		r.through[client] = through.Time
	}
}

func (s *Service) loadRevocations(ctx context.Context) error {
	all, err := s.Store.Revoked(ctx)
	for client, through := range all {
		s.revoked.set(client, through)
	}
	return err
}

// Revoked returns the second up to which a client's tokens are refused, if any are.
func (s *Service) Revoked(client string) (through time.Time, ok bool) {
	s.revoked.mu.RLock()
	defer s.revoked.mu.RUnlock()
	through, ok = s.revoked.through[client]
	return through, ok
}
