package repo

import (
	"context"
	"fmt"

	"github.com/lib/pq"
)

// MembersAmong returns those of clients that are members, in the order given.
func (s *Store) MembersAmong(ctx context.Context, conversationID string, clients []string) ([]string, error) {
	const query = `
		SELECT m.client_id FROM unnest($2::text[]) WITH ORDINALITY AS c(id, n)
		JOIN members m ON m.conversation_id = $1 AND m.client_id = c.id ORDER BY c.n`
	var members []string
	if err := s.selectAll(ctx, &members, query, conversationID, pq.Array(clients)); err != nil {
		return nil, fmt.Errorf("look up members: %w", err)
	}
	return members, nil
}
