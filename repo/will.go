package repo

import (
	"context"
	"fmt"
	"time"
)

// Will is what a lost session leaves: the message as chat has kept it.
type Will struct {
	ClientID string `db:"client_id"`
	Message  string `db:"will"`
}

// SetWill keeps a session's will in place of the one before; false for a session that
// is not known, spent, or for one connection alone.
func (s *Store) SetWill(ctx context.Context, client, session, message string) (bool, error) {
	const query = `UPDATE sessions SET will = $3 WHERE client_id = $1 AND id = $2 AND spent_at IS NULL AND NOT anonymous`
	n, err := s.exec(ctx, query, client, session, message)
	if err != nil {
		return false, fmt.Errorf("set a will: %w", err)
	}
	return n == 1, nil
}

// ClearWill forgets a session's will; false for a session that is not known or spent.
func (s *Store) ClearWill(ctx context.Context, client, session string) (bool, error) {
	const query = `UPDATE sessions SET will = NULL WHERE client_id = $1 AND id = $2 AND spent_at IS NULL`
	n, err := s.exec(ctx, query, client, session)
	if err != nil {
		return false, fmt.Errorf("clear a will: %w", err)
	}
	return n == 1, nil
}

// MayHaveWill reports whether a session may have a will at all.
func (s *Store) MayHaveWill(ctx context.Context, client, session string) (bool, error) {
	const query = `
		SELECT EXISTS (SELECT 1 FROM sessions WHERE client_id = $1 AND id = $2 AND spent_at IS NULL AND NOT anonymous)`
	var ok bool
	if err := s.get(ctx, &ok, query, client, session); err != nil {
		return false, fmt.Errorf("look up a session: %w", err)
	}
	return ok, nil
}

// TakeWills takes the wills of up to limit sessions that have been without a stream for
// longer than grace. Each is given out once, to whichever node asks first.
func (s *Store) TakeWills(ctx context.Context, grace time.Duration, limit int) ([]Will, error) {
	const query = `
		WITH lost AS (
			SELECT client_id, id, will FROM sessions
			WHERE will IS NOT NULL AND node IS NULL AND disconnected_at <= now() - make_interval(secs => $1)
			ORDER BY disconnected_at LIMIT $2 FOR UPDATE SKIP LOCKED
		)
		UPDATE sessions s SET will = NULL FROM lost l WHERE s.client_id = l.client_id AND s.id = l.id
		RETURNING l.client_id, l.will`
	var wills []Will
	if err := s.selectAll(ctx, &wills, query, grace.Seconds(), limit); err != nil {
		return nil, fmt.Errorf("take wills: %w", err)
	}
	return wills, nil
}
