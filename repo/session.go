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
	Watches        bool           `db:"watches"` // it subscribes to presence; only LoginSessions fills it in
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

// SeeClients notes that clients open a stream, and locks them as LockClients does.
// It returns when those who were kicked were so last.
func (s *Store) SeeClients(ctx context.Context, clients []string, now model.Time) (map[string]model.Time, error) {
	// Of the broadcasts to everyone only the newest valid one concerns a client that was never seen.
	const query = `
		INSERT INTO clients (id, first_seen_at, last_seen_at, broadcasts_after)
		SELECT id, $2, $2, b.after
		FROM unnest($1::text[]) AS c(id), (SELECT COALESCE(
			(SELECT position - 1 FROM broadcasts b JOIN messages m USING (conversation_id, seq)
			 WHERE b.position > 0 AND b.valid_until > now() AND m.type NOT IN (-127, 0) ORDER BY b.position DESC LIMIT 1),
			(SELECT position FROM log_head)) AS after) b
		ORDER BY id COLLATE "C"
		ON CONFLICT (id) DO UPDATE SET first_seen_at = COALESCE(clients.first_seen_at, $2), last_seen_at = $2,
			broadcasts_after = CASE WHEN clients.first_seen_at IS NULL THEN excluded.broadcasts_after ELSE clients.broadcasts_after END
		RETURNING id, tokens_void_through`
	return s.kicks(ctx, query, pq.Array(clients), now)
}

// LoginSessions returns those sessions of clients that decide about logins, the ones
// named by ids (any client's) and every holder of a tag, and the position in the log as
// of which that is so. Of a row only what decides is filled in.
func (s *Store) LoginSessions(ctx context.Context, clients, ids []string) (asOf int64, rows []SessionRow, err error) {
	// One statement, so one snapshot. When there are no such sessions the position has a row for itself.
	const query = `
		SELECT h.position, COALESCE(s.client_id, '') AS client_id, COALESCE(s.id, '') AS id, s.tag, s.node, s.disconnected_at,
		       COALESCE(s.acked, 0) AS acked, s.spent_at, s.evicted_by,
		       EXISTS (SELECT 1 FROM presence_subscriptions p
		               WHERE p.client_id = s.client_id AND p.session_id = s.id AND cardinality(p.watched) > 0) AS watches
		FROM log_head h LEFT JOIN sessions s
		     ON s.client_id = ANY ($1) AND (s.id = ANY ($2) OR (s.tag <> 'default' AND s.spent_at IS NULL))`
	var found []struct {
		Position int64 `db:"position"`
		SessionRow
	}
	if err := s.selectAll(ctx, &found, query, pq.Array(clients), pq.Array(ids)); err != nil {
		return 0, nil, err
	}
	for _, f := range found {
		asOf = f.Position
		if f.ClientID != "" {
			rows = append(rows, f.SessionRow)
		}
	}
	return asOf, rows, nil
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

// keepAcked ends a statement that has removed sessions in gone: what they had
// acknowledged, their clients have received all the same.
const keepAcked = `
	UPDATE clients c SET acked = g.acked FROM (SELECT client_id, max(acked) AS acked FROM gone GROUP BY client_id) g
	WHERE c.id = g.client_id AND c.acked < g.acked`

// ForgetOldest keeps the newest sessions of each client up to a number.
func (s *Store) ForgetOldest(ctx context.Context, clients []string, keep int) error {
	const query = `
		WITH gone AS (
			DELETE FROM sessions WHERE (client_id, id) IN (
				SELECT client_id, id FROM (
					SELECT client_id, id, row_number() OVER (PARTITION BY client_id ORDER BY (node IS NULL), last_seen_at DESC) AS n
					FROM sessions WHERE client_id = ANY ($1) AND spent_at IS NULL) AS r
				WHERE n > $2)
			RETURNING client_id, acked
		)` + keepAcked
	_, err := s.exec(ctx, query, pq.Array(clients), keep)
	return err
}

// HoldSessions notes that a node has the streams of sessions. One that was for one
// connection alone is no more: somebody named it.
func (s *Store) HoldSessions(ctx context.Context, node string, clients, ids, addrs []string, now model.Time) error {
	const query = `
		UPDATE sessions s SET node = $4, disconnected_at = NULL, last_seen_at = $5, remote_addr = r.addr, anonymous = false
		FROM unnest($1::text[], $2::text[], $3::text[]) AS r(client_id, id, addr)
		WHERE s.client_id = r.client_id AND s.id = r.id AND s.spent_at IS NULL`
	_, err := s.exec(ctx, query, pq.Array(clients), pq.Array(ids), pq.Array(addrs), node, now)
	return err
}

// SpendSession makes a session's id unusable. evictedBy is the session that took its tag while
// it was away, to be told when it returns; empty otherwise.
func (s *Store) SpendSession(ctx context.Context, client, id, evictedBy string, now model.Time) error {
	const query = `
		WITH unseated AS (DELETE FROM seats WHERE client_id = $1 AND session_id = $2),
		     unwatching AS (DELETE FROM presence_subscriptions WHERE client_id = $1 AND session_id = $2)
		UPDATE sessions SET spent_at = COALESCE(spent_at, $4), evicted_by = $3, last_seen_at = $4, node = NULL, will = NULL,
		       disconnected_at = COALESCE(disconnected_at, $4)
		WHERE client_id = $1 AND id = $2`
	_, err := s.exec(ctx, query, client, id, null(evictedBy), now)
	return err
}

// SpendAllSessions makes every session of a client unusable.
func (s *Store) SpendAllSessions(ctx context.Context, client string, now model.Time) error {
	const query = `
		WITH unseated AS (DELETE FROM seats WHERE client_id = $1),
		     unwatching AS (DELETE FROM presence_subscriptions WHERE client_id = $1)
		UPDATE sessions SET spent_at = $2, node = NULL, will = NULL, disconnected_at = COALESCE(disconnected_at, $2)
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
			OR disconnected_at > now() - make_interval(secs => $3) AND NOT anonymous))`
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
		WHERE client_id = $1 AND spent_at IS NULL AND NOT (anonymous AND node IS NULL)
		  AND ($4 = '' OR opened_at < $3 OR opened_at = $3 AND id > $4)
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

// BeatNode says that a node lives, and returns the ids of all that do. buried reports
// that it was new, or had been forgotten: then none of its sessions is known to be connected.
func (s *Store) BeatNode(ctx context.Context, node string) (living []string, buried bool, err error) {
	const beat = `
		INSERT INTO nodes (id, started_at, seen_at) VALUES ($1, now(), now())
		ON CONFLICT (id) DO UPDATE SET seen_at = now() RETURNING xmax = 0`
	if err := s.get(ctx, &buried, beat, node); err != nil {
		return nil, false, fmt.Errorf("beat: %w", err)
	}
	living, err = s.LivingNodes(ctx)
	return living, buried, err
}

// LivingNodes returns the ids of the nodes that have said of late that they live.
func (s *Store) LivingNodes(ctx context.Context) ([]string, error) {
	const query = `SELECT id FROM nodes WHERE seen_at > now() - make_interval(secs => $1)`
	var ids []string
	if err := s.selectAll(ctx, &ids, query, NodeDeadAfter.Seconds()); err != nil {
		return nil, fmt.Errorf("living nodes: %w", err)
	}
	return ids, nil
}

// NoteEviction has a session that was evicted while it was away be told so when it returns.
func (s *Store) NoteEviction(ctx context.Context, client, id, by string) error {
	const query = `UPDATE sessions SET evicted_by = $3 WHERE client_id = $1 AND id = $2 AND spent_at IS NOT NULL`
	_, err := s.exec(ctx, query, client, id, by)
	return err
}

// holders are the nodes that hold a session, each found by one look at the index.
const holders = `
	WITH RECURSIVE holders AS (
		(SELECT node FROM sessions WHERE node IS NOT NULL ORDER BY node LIMIT 1)
		UNION ALL
		SELECT (SELECT s.node FROM sessions s WHERE s.node > h.node ORDER BY s.node LIMIT 1) FROM holders h WHERE h.node IS NOT NULL
	)`

// BuryNodes forgets dead nodes, and reports whether there were any. The grace of the
// sessions they held begins now.
func (s *Store) BuryNodes(ctx context.Context) (bool, error) {
	const find = holders + `
		SELECT EXISTS (SELECT 1 FROM nodes WHERE seen_at <= now() - make_interval(secs => $1))
		    OR EXISTS (SELECT 1 FROM holders WHERE node IS NOT NULL AND node NOT IN (SELECT id FROM nodes))`
	// Who beats meanwhile waits, and learns that it was forgotten.
	const lock = `LOCK TABLE nodes IN SHARE ROW EXCLUSIVE MODE`
	const bury = `DELETE FROM nodes WHERE seen_at <= now() - make_interval(secs => $1)`
	const part = holders + `
		UPDATE sessions SET node = NULL, disconnected_at = now()
		WHERE node IN (SELECT node FROM holders WHERE node IS NOT NULL AND node NOT IN (SELECT id FROM nodes))`
	var dead bool
	if err := s.get(ctx, &dead, find, NodeDeadAfter.Seconds()); err != nil || !dead {
		return false, err
	}
	err := s.InTx(ctx, func(tx *Store) error {
		if _, err := tx.exec(ctx, lock); err != nil {
			return err
		}
		if _, err := tx.exec(ctx, bury, NodeDeadAfter.Seconds()); err != nil {
			return err
		}
		_, err := tx.exec(ctx, part)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("bury nodes: %w", err)
	}
	return true, nil
}

// LeaveNode forgets a node that stops in order, which ends what its sessions were connected to.
func (s *Store) LeaveNode(ctx context.Context, node string) error {
	const query = `
		WITH gone AS (DELETE FROM nodes WHERE id = $1)
		UPDATE sessions SET node = NULL, disconnected_at = now() WHERE node = $1`
	_, err := s.exec(ctx, query, node)
	return err
}

// ForgetSessions removes up to limit sessions whose time is over, and returns how many.
func (s *Store) ForgetSessions(ctx context.Context, now time.Time, limit int) (int64, error) {
	// No kind of them is kept for less than an hour; disconnected_at has an index.
	const query = `
		WITH gone AS (
			DELETE FROM sessions WHERE (client_id, id) IN (
				SELECT client_id, id FROM sessions
				WHERE node IS NULL AND disconnected_at < $1 AND CASE
					WHEN anonymous THEN true
					WHEN spent_at IS NOT NULL THEN spent_at < $2
					WHEN tag <> 'default' THEN last_seen_at < $3
					ELSE last_seen_at < $4 END
				LIMIT $5 FOR UPDATE SKIP LOCKED)
			RETURNING client_id, acked
		), kept AS (` + keepAcked + `)
		SELECT count(*) FROM gone`
	var n int64
	err := s.get(ctx, &n, query, now.Add(-time.Hour), now.Add(-model.SpentSessionKept), now.Add(-model.TaggedSessionKept),
		now.Add(-model.UntaggedSessionKept), limit)
	if err != nil {
		return 0, fmt.Errorf("forget sessions: %w", err)
	}
	return n, nil
}

// ForgetTickets removes up to limit tickets that open nothing any more, and returns how many.
func (s *Store) ForgetTickets(ctx context.Context, now time.Time, limit int) (int64, error) {
	const query = `
		DELETE FROM tickets WHERE hash IN (
			SELECT hash FROM tickets WHERE token_expires_at < $1 OR session_id IS NULL AND expires_at < $1
			LIMIT $2 FOR UPDATE SKIP LOCKED)`
	n, err := s.exec(ctx, query, now, limit)
	if err != nil {
		return 0, fmt.Errorf("forget tickets: %w", err)
	}
	return n, nil
}

// AckSession moves the acknowledged position of a session that no node remembers.
func (s *Store) AckSession(ctx context.Context, client, id string, position int64) error {
	const query = `UPDATE sessions SET acked = GREATEST(acked, $3) WHERE client_id = $1 AND id = $2 AND spent_at IS NULL`
	_, err := s.exec(ctx, query, client, id, position)
	return err
}
