package repo

import (
	"context"
	"fmt"
	"time"

	"parley/model"
)

// Stats counts what there is. It looks at every conversation, but at no message: those
// of a conversation are its seqs less what was outlived and what was removed.
func (s *Store) Stats(ctx context.Context, grace time.Duration) (model.Stats, error) {
	const query = `
		SELECT (
			SELECT count(*) FROM (
				SELECT client_id FROM sessions WHERE node IS NOT NULL AND spent_at IS NULL
				UNION SELECT client_id FROM sessions WHERE disconnected_at > now() - make_interval(secs => $1) AND spent_at IS NULL
			) o
		) AS online_clients, (
			SELECT count(*) FROM (
				SELECT id FROM clients WHERE seen_on >= (now() AT TIME ZONE 'UTC')::date
				UNION SELECT client_id FROM sessions WHERE node IS NOT NULL
				UNION SELECT client_id FROM sessions WHERE disconnected_at >= date_trunc('day', now(), 'UTC')
			) t
		) AS clients_today, (
			SELECT count(*) FROM sessions WHERE node IN (SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $2))
		) AS connections, c.n AS conversations, c.seqs - (
			SELECT count(*) FROM messages m CROSS JOIN LATERAL (
				SELECT expires_at FROM conversations WHERE id = m.conversation_id OFFSET 0) v
			WHERE m.type = 0 AND (v.expires_at IS NULL OR v.expires_at > now())
		) AS messages
		FROM (
			SELECT count(*) AS n, COALESCE(sum(seq - trimmed_seq), 0)::bigint AS seqs FROM conversations
			WHERE expires_at IS NULL OR expires_at > now()
		) c`
	var out model.Stats
	if err := s.get(ctx, &out, query, grace.Seconds(), NodeDeadAfter.Seconds()); err != nil {
		return out, fmt.Errorf("count: %w", err)
	}
	return out, nil
}
