package repo

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// SeatRequest asks for a session's seat in a chatroom.
type SeatRequest struct {
	ClientID, Session, ConversationID string
}

// TakeSeats seats sessions; each may be named once. It returns those that sit
// elsewhere than before, with their room, which want an event (see Append), and
// those that may not sit: not known, spent, or for one connection alone.
func (s *Store) TakeSeats(ctx context.Context, requests []SeatRequest, now model.Time) (moved, refused []SeatRequest, err error) {
	const query = `
		WITH r AS (
			SELECT client_id, session_id, conversation_id
			FROM unnest($1::text[], $2::text[], $3::text[]) AS r(client_id, session_id, conversation_id)
		), able AS (
			SELECT r.* FROM r JOIN sessions s ON s.client_id = r.client_id AND s.id = r.session_id
			WHERE s.spent_at IS NULL AND NOT s.anonymous
			ORDER BY r.client_id, r.session_id FOR SHARE OF s
		), taken AS (
			INSERT INTO seats (client_id, session_id, conversation_id, from_position, taken_at)
			SELECT client_id, session_id, conversation_id, 0, $4 FROM able
			ON CONFLICT (client_id, session_id) DO UPDATE SET conversation_id = excluded.conversation_id, taken_at = excluded.taken_at
			WHERE seats.conversation_id <> excluded.conversation_id
			RETURNING client_id, session_id
		)
		SELECT r.client_id, r.session_id, r.conversation_id,
		       EXISTS (SELECT 1 FROM able a WHERE a.client_id = r.client_id AND a.session_id = r.session_id) AS able,
		       EXISTS (SELECT 1 FROM taken t WHERE t.client_id = r.client_id AND t.session_id = r.session_id) AS moved
		FROM r ORDER BY 1, 2`
	clients, sessions, rooms := make([]string, len(requests)), make([]string, len(requests)), make([]string, len(requests))
	for i, r := range requests {
		clients[i], sessions[i], rooms[i] = r.ClientID, r.Session, r.ConversationID
	}
	var rows []struct {
		ClientID       string `db:"client_id"`
		Session        string `db:"session_id"`
		ConversationID string `db:"conversation_id"`
		Able           bool   `db:"able"`
		Moved          bool   `db:"moved"`
	}
	if err := s.selectAll(ctx, &rows, query, pq.Array(clients), pq.Array(sessions), pq.Array(rooms), now); err != nil {
		return nil, nil, fmt.Errorf("take seats: %w", err)
	}
	for _, r := range rows {
		seat := SeatRequest{r.ClientID, r.Session, r.ConversationID}
		switch {
		case !r.Able:
			refused = append(refused, seat)
		case r.Moved:
			moved = append(moved, seat)
		}
	}
	return moved, refused, nil
}

// LeaveSeats gives up a client's seats in a chatroom, or in any when conversationID is
// empty: that of one session, or of all when session is empty. It returns the sessions that sat there.
func (s *Store) LeaveSeats(ctx context.Context, client, session, conversationID string) ([]string, error) {
	const query = `
		DELETE FROM seats WHERE client_id = $1 AND ($2 = '' OR session_id = $2) AND ($3 = '' OR conversation_id = $3)
		RETURNING session_id`
	var left []string
	if err := s.selectAll(ctx, &left, query, client, session, conversationID); err != nil {
		return nil, fmt.Errorf("leave seats: %w", err)
	}
	return left, nil
}

// LapseSeats gives up, at most limit at once, the seats of sessions that have been
// without a stream for longer than grace.
func (s *Store) LapseSeats(ctx context.Context, grace time.Duration, limit int) ([]SeatRequest, error) {
	const query = `
		DELETE FROM seats WHERE (client_id, session_id) IN (
			SELECT t.client_id, t.session_id FROM seats t
			LEFT JOIN sessions s ON s.client_id = t.client_id AND s.id = t.session_id
			WHERE s.id IS NULL OR s.spent_at IS NOT NULL
			   OR s.node IS NULL AND s.disconnected_at < now() - make_interval(secs => $1)
			LIMIT $2)
		RETURNING client_id, session_id, conversation_id`
	var out []SeatRequest
	rows, err := s.query(ctx, query, grace.Seconds(), limit)
	if err != nil {
		return nil, fmt.Errorf("lapse seats: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r SeatRequest
		if err := rows.Scan(&r.ClientID, &r.Session, &r.ConversationID); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// present are the clients in chatroom $1 with a connected seat; $2 is after how many
// seconds a silent node is dead.
const present = `
	SELECT DISTINCT t.client_id FROM seats t
	JOIN sessions s ON s.client_id = t.client_id AND s.id = t.session_id
	WHERE t.conversation_id = $1 AND s.spent_at IS NULL
	  AND s.node IN (SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $2))`

// CountPresent is how many clients are in a chatroom now.
func (s *Store) CountPresent(ctx context.Context, conversationID string) (int, error) {
	var n int
	err := s.get(ctx, &n, `SELECT count(*) FROM (`+present+`) p`, conversationID, NodeDeadAfter.Seconds())
	return n, err
}

// Present lists the clients in a chatroom behind one, in the order of their ids.
func (s *Store) Present(ctx context.Context, conversationID, after string, limit int) ([]model.Member, error) {
	const query = `
		SELECT p.client_id, min(t.taken_at) AS joined_at FROM (` + present + ` AND t.client_id > $3) p
		JOIN seats t ON t.client_id = p.client_id AND t.conversation_id = $1
		GROUP BY p.client_id ORDER BY p.client_id LIMIT $4`
	var rows []struct {
		ClientID string     `db:"client_id"`
		JoinedAt model.Time `db:"joined_at"`
	}
	if err := s.selectAll(ctx, &rows, query, conversationID, NodeDeadAfter.Seconds(), after, limit); err != nil {
		return nil, fmt.Errorf("who is present: %w", err)
	}
	out := make([]model.Member, len(rows))
	for i, r := range rows {
		out[i] = model.Member{ClientID: r.ClientID, JoinedAt: r.JoinedAt}
	}
	return out, nil
}

// KindOf is the kind of a conversation, 0 when there is none.
func (s *Store) KindOf(ctx context.Context, id string) (model.Kind, error) {
	const query = `SELECT kind FROM conversations WHERE id = $1`
	var k model.Kind
	if !storableID(id) {
		return 0, nil
	}
	err := s.get(ctx, &k, query, id)
	if err == sql.ErrNoRows {
		return 0, nil
	}
	return k, err
}
