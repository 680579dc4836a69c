package repo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lib/pq"

	"parley/model"
)

// InsertMembers makes clients members who have read up to readSeq. The conversation's
// row must be locked; their stay begins with the event that names them in Joined.
// The creator is the owner, unless somebody is.
func (s *Store) InsertMembers(ctx context.Context, id string, clients []string, creator *string, readSeq int64, at model.Time) error {
	const query = `
		INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq)
		SELECT $1, client_id, 0, $4,
		       CASE WHEN client_id = $3 AND NOT EXISTS (SELECT 1 FROM members WHERE conversation_id = $1 AND role = $6)
		            THEN $6 ELSE $7 END,
		       $5
		FROM unnest($2::text[]) AS client_id`
	_, err := s.exec(ctx, query, id, pq.Array(clients), creator, at, readSeq, int16(model.RoleOwner), int16(model.RoleMember))
	if err != nil {
		return fmt.Errorf("insert members: %w", err)
	}
	return nil
}

// AddMemberCount changes how many members a conversation counts.
func (s *Store) AddMemberCount(ctx context.Context, id string, n int) error {
	const query = `UPDATE conversations SET member_count = member_count + $2 WHERE id = $1`
	if _, err := s.exec(ctx, query, id, n); err != nil {
		return fmt.Errorf("count members: %w", err)
	}
	return nil
}

// MemberIDs returns who the members are, by id.
func (s *Store) MemberIDs(ctx context.Context, id string) ([]string, error) {
	const query = `SELECT client_id FROM members WHERE conversation_id = $1 ORDER BY client_id`
	out := []string{}
	if err := s.selectAll(ctx, &out, query, id); err != nil {
		return nil, fmt.Errorf("read member ids: %w", err)
	}
	return out, nil
}

// Members returns up to limit members behind an id (empty: from the first), by id. Never nil.
func (s *Store) Members(ctx context.Context, id, after string, limit int) ([]model.Member, error) {
	const query = `
		SELECT client_id, role, joined_at, muted FROM members
		WHERE conversation_id = $1 AND client_id > $2 ORDER BY client_id LIMIT $3`
	rows, err := s.query(ctx, query, id, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list members: %w", err)
	}
	defer rows.Close()
	out := []model.Member{}
	for rows.Next() {
		var m model.Member
		if err := rows.Scan(&m.ClientID, &m.Role, &m.JoinedAt, &m.Muted); err != nil {
			return nil, fmt.Errorf("list members: %w", err)
		}
		out = append(out, m)
	}
	return out, away(rows.Err())
}

// MemberCount returns how many members a conversation has; conversation_not_found when there is none.
func (s *Store) MemberCount(ctx context.Context, id string) (int, error) {
	const query = `SELECT member_count FROM conversations WHERE id = $1`
	var n int
	if err := s.get(ctx, &n, query, id); err != nil {
		return 0, fmt.Errorf("count members: %w", explain(err, model.ErrConversationNotFound()))
	}
	return n, nil
}

// SetMute sets a member's do-not-disturb; false when the client is no member.
func (s *Store) SetMute(ctx context.Context, id, client string, muted bool) (bool, error) {
	const query = `UPDATE members SET muted = $3 WHERE conversation_id = $1 AND client_id = $2 RETURNING true`
	var done bool
	err := s.get(ctx, &done, query, id, client, muted)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("mute: %w", err)
	}
	return done, nil
}
