package repo

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// NodeDeadAfter is how long a node may be silent before it counts as dead.
const NodeDeadAfter = 10 * time.Second

// SessionRow is a session as it is stored.
type SessionRow struct {
	ClientID       string         `db:"client_id"`
	ID             string         `db:"id"`
	Tag            sql.NullString `db:"tag"`
	Anonymous      bool           `db:"anonymous"`
	OpenedAt       model.Time     `db:"opened_at"`
	LastSeenAt     model.Time     `db:"last_seen_at"`
	RemoteAddr     string         `db:"remote_addr"`
	Node           sql.NullString `db:"node"`
	DisconnectedAt *model.Time    `db:"disconnected_at"`
	Acked          int64          `db:"acked"`
	SpentAt        *model.Time    `db:"spent_at"`
	EvictedBy      sql.NullString `db:"evicted_by"`
}

const sessionColumns = `client_id, id, tag, anonymous, opened_at, last_seen_at, remote_addr, node, disconnected_at,
	acked, spent_at, evicted_by`

// LockClients makes sure that clients exist and locks them, in the order of their
// ids: whoever decides about the sessions of a client holds its lock.
func (s *Store) LockClients(ctx context.Context, clients []string) error {
	const query = `
		INSERT INTO clients (id) SELECT id FROM unnest($1::text[]) AS c(id) ORDER BY id COLLATE "C"
		ON CONFLICT (id) DO UPDATE SET id = clients.id`
	_, err := s.exec(ctx, query, pq.Array(clients))
	return err
}

// SeeClients notes that clients open a stream.
func (s *Store) SeeClients(ctx context.Context, clients []string, now model.Time) error {
	const query = `
		UPDATE clients SET first_seen_at = COALESCE(first_seen_at, $2), last_seen_at = $2 WHERE id = ANY ($1)`
	_, err := s.exec(ctx, query, pq.Array(clients), now)
	return err
}

// LoginSessions returns those sessions of clients that decide about logins: the ones
// named by ids (any client's), and every holder of a tag.
func (s *Store) LoginSessions(ctx context.Context, clients, ids []string) ([]SessionRow, error) {
	const query = `SELECT ` + sessionColumns + ` FROM sessions
		WHERE client_id = ANY ($1) AND (id = ANY ($2) OR (tag <> 'default' AND spent_at IS NULL))`
	var rows []SessionRow
	err := s.selectAll(ctx, &rows, query, pq.Array(clients), pq.Array(ids))
	return rows, err
}

// InsertSessions stores new sessions, connected to node.
func (s *Store) InsertSessions(ctx context.Context, node string, rows []SessionRow, now model.Time) error {
	const query = `
		INSERT INTO sessions (client_id, id, tag, anonymous, opened_at, last_seen_at, remote_addr, node, acked)
		SELECT client_id, id, tag, anonymous, $6, $6, remote_addr, $7, 0
		FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::text[])
		     AS r(client_id, id, tag, anonymous, remote_addr)`
	n := len(rows)
	clients, ids, tags, anonymous, addrs := make([]string, n), make([]string, n), make([]sql.NullString, n), make([]bool, n), make([]string, n)
	for i, r := range rows {
		clients[i], ids[i], tags[i], anonymous[i], addrs[i] = r.ClientID, r.ID, r.Tag, r.Anonymous, r.RemoteAddr
	}
	_, err := s.exec(ctx, query, pq.Array(clients), pq.Array(ids), pq.Array(tags), pq.Array(anonymous), pq.Array(addrs), now, node)
	return err
}

// ForgetOldest keeps the newest sessions of each client up to a number.
func (s *Store) ForgetOldest(ctx context.Context, clients []string, keep int) error {
	const query = `
		DELETE FROM sessions WHERE (client_id, id) IN (
			SELECT client_id, id FROM (
				SELECT client_id, id, row_number() OVER (PARTITION BY client_id ORDER BY (node IS NULL), last_seen_at DESC) AS n
				FROM sessions WHERE client_id = ANY ($1) AND spent_at IS NULL) AS r
			WHERE n > $2)`
	_, err := s.exec(ctx, query, pq.Array(clients), keep)
	return err
}

// HoldSessions notes that a node has the streams of sessions.
func (s *Store) HoldSessions(ctx context.Context, node string, clients, ids, addrs []string, now model.Time) error {
	const query = `
		UPDATE sessions s SET node = $4, disconnected_at = NULL, last_seen_at = $5, remote_addr = r.addr
		FROM unnest($1::text[], $2::text[], $3::text[]) AS r(client_id, id, addr)
		WHERE s.client_id = r.client_id AND s.id = r.id AND s.spent_at IS NULL`
	_, err := s.exec(ctx, query, pq.Array(clients), pq.Array(ids), pq.Array(addrs), node, now)
	return err
}

// SpendSession makes a session's id unusable. evictedBy is the session that took its tag while
// it was away, to be told when it returns; empty otherwise.
func (s *Store) SpendSession(ctx context.Context, client, id, evictedBy string, now model.Time) error {
	const query = `
		WITH unseated AS (DELETE FROM seats WHERE client_id = $1 AND session_id = $2)
		UPDATE sessions SET spent_at = COALESCE(spent_at, $4), evicted_by = $3, last_seen_at = $4, node = NULL,
		       disconnected_at = COALESCE(disconnected_at, $4)
		WHERE client_id = $1 AND id = $2`
	_, err := s.exec(ctx, query, client, id, null(evictedBy), now)
	return err
}

// SpendAllSessions makes every session of a client unusable.
func (s *Store) SpendAllSessions(ctx context.Context, client string, now model.Time) error {
	const query = `
		WITH unseated AS (DELETE FROM seats WHERE client_id = $1)
		UPDATE sessions SET spent_at = $2, node = NULL, disconnected_at = COALESCE(disconnected_at, $2)
		WHERE client_id = $1 AND spent_at IS NULL`
	_, err := s.exec(ctx, query, client, now)
	return err
}

// SessionSave is what a node saves of a session now and then.
type SessionSave struct {
	ClientID, ID, RemoteAddr string
	Connected                bool
	LastSeenAt               time.Time // when the stream ended, if it is not connected
	Acked                    int64
}

// SaveSessions writes what a node knows of its sessions. One that another node
// holds by now is left alone.
func (s *Store) SaveSessions(ctx context.Context, node string, saves []SessionSave) error {
	const query = `
		UPDATE sessions s SET
			node = CASE WHEN r.connected THEN $7 END,
			disconnected_at = CASE WHEN NOT r.connected THEN COALESCE(s.disconnected_at, r.seen) END,
			last_seen_at = GREATEST(s.last_seen_at, r.seen),
			acked = GREATEST(s.acked, r.acked),
			remote_addr = r.addr
		FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::timestamptz[], $6::bigint[])
		     AS r(client_id, id, addr, connected, seen, acked)
		WHERE s.client_id = r.client_id AND s.id = r.id AND s.spent_at IS NULL AND (s.node IS NULL OR s.node = $7)`
	n := len(saves)
	clients, ids, addrs, connected, seen, acked := make([]string, n), make([]string, n), make([]string, n), make([]bool, n), make([]time.Time, n), make([]int64, n)
	for i, v := range saves {
		clients[i], ids[i], addrs[i], connected[i], seen[i], acked[i] = v.ClientID, v.ID, v.RemoteAddr, v.Connected, v.LastSeenAt, v.Acked
	}
	_, err := s.exec(ctx, query, pq.Array(clients), pq.Array(ids), pq.Array(addrs), pq.Array(connected), pq.Array(seen), pq.Array(acked), node)
	if err != nil {
		return fmt.Errorf("save sessions: %w", err)
	}
	return nil
}

// DropSessions forgets sessions that were for one connection alone.
func (s *Store) DropSessions(ctx context.Context, clients, ids []string) error {
	const query = `
		DELETE FROM sessions s USING unnest($1::text[], $2::text[]) AS r(client_id, id)
		WHERE s.client_id = r.client_id AND s.id = r.id AND s.anonymous`
	_, err := s.exec(ctx, query, pq.Array(clients), pq.Array(ids))
	return err
}

// Session returns one session; sql.ErrNoRows when it is not known.
func (s *Store) Session(ctx context.Context, client, id string) (SessionRow, error) {
	const query = `SELECT ` + sessionColumns + ` FROM sessions WHERE client_id = $1 AND id = $2`
	var row SessionRow
	err := s.get(ctx, &row, query, client, id)
	return row, err
}

// SessionActs reports whether a session counts as the acting one: known, not spent,
// and connected or broken off for no longer than grace (lost ones count too with alsoLost).
func (s *Store) SessionActs(ctx context.Context, client, id string, grace time.Duration, alsoLost bool) (bool, error) {
	const query = `
		SELECT EXISTS (SELECT 1 FROM sessions s WHERE client_id = $1 AND id = $2 AND spent_at IS NULL AND (
			$4 OR s.node IN (SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $5))
			OR disconnected_at > now() - make_interval(secs => $3)))`
	var ok bool
	err := s.get(ctx, &ok, query, client, id, grace.Seconds(), alsoLost, NodeDeadAfter.Seconds())
	return ok, err
}

// SessionPlace is how far a list of sessions has come; the zero is its beginning.
type SessionPlace struct {
	OpenedAt model.Time `json:"at"`
	ID       string     `json:"id"`
}

// Sessions lists the sessions of a client that may still be used, newest first, and
// the place to go on from, nil at the end.
func (s *Store) Sessions(ctx context.Context, client string, after SessionPlace, limit int) ([]model.Session, *SessionPlace, error) {
	const query = `
		SELECT id, tag, opened_at, last_seen_at, remote_addr,
		       COALESCE(node IN (SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $2)), false) AS connected
		FROM sessions
		WHERE client_id = $1 AND spent_at IS NULL AND ($4 = '' OR opened_at < $3 OR opened_at = $3 AND id > $4)
		ORDER BY opened_at DESC, id LIMIT $5`
	var rows []model.Session
	if err := s.selectAll(ctx, &rows, query, client, NodeDeadAfter.Seconds(), after.OpenedAt, after.ID, limit+1); err != nil {
		return nil, nil, fmt.Errorf("list sessions: %w", err)
	}
	if len(rows) <= limit {
		return append([]model.Session{}, rows...), nil, nil
	}
	last := rows[limit-1]
	return rows[:limit], &SessionPlace{last.OpenedAt, last.ID}, nil
}

// Online tells which of clients have a session that is connected, or broken off for
// no longer than grace.
func (s *Store) Online(ctx context.Context, clients []string, grace time.Duration) (map[string]bool, error) {
	const query = `
		SELECT DISTINCT client_id FROM sessions
		WHERE client_id = ANY ($1) AND spent_at IS NULL AND (
			node IN (SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $3))
			OR disconnected_at > now() - make_interval(secs => $2))`
	var ids []string
	if err := s.selectAll(ctx, &ids, query, pq.Array(clients), grace.Seconds(), NodeDeadAfter.Seconds()); err != nil {
		return nil, fmt.Errorf("who is online: %w", err)
	}
	online := make(map[string]bool, len(ids))
	for _, id := range ids {
		online[id] = true
	}
	return online, nil
}

// BeatNode says that a node lives, and returns the ids of all that do.
func (s *Store) BeatNode(ctx context.Context, node string) ([]string, error) {
	const beat = `
		INSERT INTO nodes (id, started_at, seen_at) VALUES ($1, now(), now())
		ON CONFLICT (id) DO UPDATE SET seen_at = now()`
	if _, err := s.exec(ctx, beat, node); err != nil {
		return nil, fmt.Errorf("beat: %w", err)
	}
	const living = `SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $1)`
	var ids []string
	err := s.selectAll(ctx, &ids, living, NodeDeadAfter.Seconds())
	return ids, err
}

// BuryNodes forgets dead nodes. The grace of the sessions they held begins now.
func (s *Store) BuryNodes(ctx context.Context) error {
	const query = `
		WITH dead AS (
			DELETE FROM nodes WHERE seen_at <= now() - make_interval(secs => $1) RETURNING id
		)
		UPDATE sessions SET node = NULL, disconnected_at = now()
		WHERE node IN (SELECT id FROM dead)`
	_, err := s.exec(ctx, query, NodeDeadAfter.Seconds())
	return err
}

// LeaveNode forgets a node that stops in order, which ends what its sessions were connected to.
func (s *Store) LeaveNode(ctx context.Context, node string) error {
	const query = `
		WITH gone AS (DELETE FROM nodes WHERE id = $1)
		UPDATE sessions SET node = NULL, disconnected_at = now() WHERE node = $1`
	_, err := s.exec(ctx, query, node)
	return err
}

// ForgetSessions removes sessions and tickets whose time is over.
func (s *Store) ForgetSessions(ctx context.Context, limit int) (int64, error) {
	const query = `
		DELETE FROM sessions WHERE (client_id, id) IN (
			SELECT client_id, id FROM sessions
			WHERE node IS NULL AND CASE
				WHEN anonymous THEN last_seen_at < now() - interval '1 hour'
				WHEN spent_at IS NOT NULL THEN spent_at < now() - make_interval(secs => $2)
				WHEN tag <> 'default' THEN last_seen_at < now() - make_interval(secs => $3)
				ELSE last_seen_at < now() - make_interval(secs => $4) END
			LIMIT $1 FOR UPDATE SKIP LOCKED)`
	n, err := s.exec(ctx, query, limit, model.SpentSessionKept.Seconds(), model.TaggedSessionKept.Seconds(), model.UntaggedSessionKept.Seconds())
	if err != nil {
		return n, fmt.Errorf("forget sessions: %w", err)
	}
	const tickets = `DELETE FROM tickets WHERE token_expires_at < now() OR (session_id IS NULL AND expires_at < now())`
	_, err = s.exec(ctx, tickets)
	return n, err
}

// AckSession moves the acknowledged position of a session that no node remembers.
func (s *Store) AckSession(ctx context.Context, client, id string, position int64) error {
	const query = `UPDATE sessions SET acked = GREATEST(acked, $3) WHERE client_id = $1 AND id = $2 AND spent_at IS NULL`
	_, err := s.exec(ctx, query, client, id, position)
	return err
}
