package repo

import (
	"context"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// OpenSilent is Open with a limit of its own on how long the server may say nothing.
func OpenSilent(ctx context.Context, dsn string, silence time.Duration) (*Store, error) {
	l := poolLimits
	l.silence = silence
	return open(ctx, dsn, l)
}

// NewListenerSilent is NewListener likewise.
func NewListenerSilent(dsn string, silence time.Duration, onEvent pq.EventCallbackType) *Listener {
	return newListener(dsn, silence, onEvent)
}

func (s *Store) Get(ctx context.Context, dest any, query string, args ...any) error {
	return s.get(ctx, dest, query, args...)
}

func (s *Store) SelectAll(ctx context.Context, dest any, query string, args ...any) error {
	return s.selectAll(ctx, dest, query, args...)
}

func (s *Store) Exec(ctx context.Context, query string, args ...any) (int64, error) {
	return s.exec(ctx, query, args...)
}

// Prepared is how many statements the store has prepared.
func (s *Store) Prepared() int {
	s.stmts.mu.RLock()
	defer s.stmts.mu.RUnlock()
	return len(s.stmts.byText)
}

// DSNConfig is what a connection is made with.
func DSNConfig(dsn string) (pq.Config, error) { return config(dsn, poolLimits) }

// Advanced is a pattern as PostgreSQL gets it.
func Advanced(p *model.Pattern) string { return advanced(p) }

// Compiled is the statement of a query.
func Compiled(q ConversationQuery) (string, []any) { return q.compile() }
