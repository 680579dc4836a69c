package repo

import (
	"context"
	"fmt"
	"time"
)

// ExpiredConversations returns ids of temporary conversations whose time is over and that were not ended yet.
func (s *Store) ExpiredConversations(ctx context.Context, limit int) ([]string, error) {
	const query = `SELECT id FROM conversations WHERE expires_at <= now() AND NOT expired ORDER BY expires_at LIMIT $1`
	var ids []string
	if err := s.selectAll(ctx, &ids, query, limit); err != nil {
		return nil, fmt.Errorf("find what has expired: %w", err)
	}
	return ids, nil
}

// EndConversation marks an expired conversation and empties its events, whose places in
// the log stay; false when that was done already.
func (s *Store) EndConversation(ctx context.Context, id string) (bool, error) {
	const mark = `UPDATE conversations SET expired = true, unique_key = NULL WHERE id = $1 AND NOT expired`
	const empty = `UPDATE events SET data = NULL WHERE conversation_id = $1 AND data IS NOT NULL`
	n, err := s.exec(ctx, mark, id)
	if err != nil || n == 0 {
		return false, err
	}
	_, err = s.exec(ctx, empty, id)
	return true, err
}

// ForgetExpired removes conversations that expired before a time, with who was in them; at most limit.
func (s *Store) ForgetExpired(ctx context.Context, before time.Time, limit int) (int64, error) {
	const query = `
		WITH old AS (
			SELECT id FROM conversations WHERE expires_at < $1 AND expired ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
		), members AS (
			DELETE FROM members WHERE conversation_id IN (SELECT id FROM old)
		)
		DELETE FROM conversations WHERE id IN (SELECT id FROM old)`
	n, err := s.exec(ctx, query, before, limit)
	if err != nil {
		return n, fmt.Errorf("forget expired conversations: %w", err)
	}
	return n, nil
}
