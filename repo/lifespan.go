package repo

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// Outlived is what became of a conversation whose old messages were removed.
type Outlived struct {
	ID      string     `db:"id"`
	Kind    model.Kind `db:"kind"`
	Upto    int64      `db:"upto"`    // seq up to which it is trimmed
	Removed int        `db:"removed"` // messages
	Recent  bool       `db:"recent"`  // one of them was sent or changed since a time
}

// outliveAtOnce is how many conversations are locked at once while their old messages go:
// who sends there waits.
const outliveAtOnce = 50

// OutliveMessages removes messages sent before a time, at most limit, and says of which
// conversations. more reports that there may be others.
func (s *Store) OutliveMessages(ctx context.Context, before, changedSince time.Time, limit int) (gone []Outlived, removed int, more bool, err error) {
	const query = `SELECT id, kind, upto, removed, recent FROM outlive_messages($1, $2, $3, $4)`
	var looked []Outlived
	if err := s.selectAll(ctx, &looked, query, before, changedSince, limit, outliveAtOnce); err != nil {
		return nil, 0, false, fmt.Errorf("outlive messages: %w", err)
	}
	for _, o := range looked {
		if o.Removed > 0 {
			gone = append(gone, o)
			removed += o.Removed
		}
	}
	return gone, removed, len(looked) == outliveAtOnce || removed >= limit, nil
}

// RemoveIdle takes up to limit ordinary conversations out of being that had neither a
// message nor an update since a time, and returns them. Their members' rows go with the
// events that say who departed, their messages with Sweep.
func (s *Store) RemoveIdle(ctx context.Context, since time.Time, limit int) ([]string, error) {
	// The hour is what there is an index by.
	const find = `
		SELECT id FROM conversations
		WHERE activity_hour <= date_trunc('hour', $1::timestamptz AT TIME ZONE 'UTC') AND kind = 1
		  AND COALESCE(last_message_at, created_at) < $1 AND updated_at < $1
		ORDER BY activity_hour LIMIT $2 FOR UPDATE SKIP LOCKED`
	const remove = `
		WITH gone AS (DELETE FROM conversations WHERE id = ANY ($1) RETURNING id)
		INSERT INTO removed_conversations (id) SELECT id FROM gone`
	var ids []string
	if err := s.selectAll(ctx, &ids, find, since, limit); err != nil {
		return nil, fmt.Errorf("find idle conversations: %w", err)
	}
	if len(ids) == 0 {
		return nil, nil
	}
	if _, err := s.exec(ctx, remove, pq.Array(ids)); err != nil {
		return nil, fmt.Errorf("remove idle conversations: %w", err)
	}
	return ids, nil
}

// Sweep removes up to limit messages of a conversation that is gone already, and returns
// how many. done says that nothing is left of any such conversation.
func (s *Store) Sweep(ctx context.Context, limit int) (removed int, done bool, err error) {
	const find = `SELECT id FROM removed_conversations LIMIT 1 FOR UPDATE`
	const forget = `
		WITH mentioned AS (DELETE FROM mentions WHERE conversation_id = $1)
		DELETE FROM removed_conversations WHERE id = $1`
	var ids []string
	if err := s.selectAll(ctx, &ids, find); err != nil || len(ids) == 0 {
		return 0, err == nil, err
	}
	n, err := s.DeleteMessages(ctx, ids[0], limit)
	if err == nil && int(n) < limit {
		_, err = s.exec(ctx, forget, ids[0])
	}
	if err != nil {
		return 0, false, fmt.Errorf("sweep a conversation: %w", err)
	}
	return int(n), false, nil
}

// ForgetClients looks at the limit clients behind an id and removes those that have not
// been seen since a time and have left nothing: no membership, no session, no revoked
// token. It returns how many went and the last id it looked at, empty at the end.
func (s *Store) ForgetClients(ctx context.Context, after string, since time.Time, limit int) (removed int64, last string, err error) {
	const bound = `SELECT COALESCE((SELECT id FROM clients WHERE id > $1 ORDER BY id OFFSET $2 LIMIT 1), '')`
	const forget = `
		DELETE FROM clients WHERE id IN (
			SELECT id FROM clients c
			WHERE id > $1 AND ($2 = '' OR id <= $2) AND tokens_void_through IS NULL AND COALESCE(last_seen_at < $3, true)
			  AND NOT EXISTS (SELECT 1 FROM sessions WHERE client_id = c.id)
			  AND NOT EXISTS (SELECT 1 FROM members WHERE client_id = c.id)
			FOR UPDATE SKIP LOCKED)`
	if err := s.get(ctx, &last, bound, after, limit-1); err != nil {
		return 0, "", fmt.Errorf("forget clients: %w", err)
	}
	if removed, err = s.exec(ctx, forget, after, last, since); err != nil {
		return 0, "", fmt.Errorf("forget clients: %w", err)
	}
	return removed, last, nil
}
