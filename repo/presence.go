package repo

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// Online is a client that has a session which is connected, or broke off no longer
// than grace ago.
type Online struct {
	// Fades is when it will not be online any more unless a session comes back; 0 while one is connected.
	Fades time.Duration
}

// Presence returns those of clients that are online. A session whose node is dead counts
// as connected until the node is buried, which is when its grace begins.
func (s *Store) Presence(ctx context.Context, clients []string, grace time.Duration) (map[string]Online, error) {
	const query = `
		SELECT client_id, CASE WHEN bool_or(node IS NOT NULL) THEN 0
		       ELSE extract(epoch FROM max(disconnected_at) - now()) + $2::float8 END AS fades
		FROM sessions
		WHERE client_id = ANY ($1) AND spent_at IS NULL
		  AND (node IS NOT NULL OR disconnected_at > now() - make_interval(secs => $2))
		GROUP BY client_id`
	var rows []struct {
		ClientID string  `db:"client_id"`
		Fades    float64 `db:"fades"`
	}
	if err := s.selectAll(ctx, &rows, query, pq.Array(clients), grace.Seconds()); err != nil {
		return nil, fmt.Errorf("who is online: %w", err)
	}
	online := make(map[string]Online, len(rows))
	for _, r := range rows {
		online[r.ClientID] = Online{Fades: time.Duration(r.Fades * float64(time.Second))}
	}
	return online, nil
}

// Acquainted returns those of clients with whom one shares an ordinary or temporary
// conversation; itself is one of them.
func (s *Store) Acquainted(ctx context.Context, client string, others []string) (map[string]bool, error) {
	// All who are in the client's conversations, of whom those asked after are picked: OFFSET 0
	// keeps the planner from looking for each of them in each conversation.
	const query = `
		SELECT DISTINCT o.client_id FROM members m
		CROSS JOIN LATERAL (SELECT kind, expires_at FROM conversations WHERE id = m.conversation_id OFFSET 0) c
		CROSS JOIN LATERAL (SELECT client_id FROM members WHERE conversation_id = m.conversation_id OFFSET 0) o
		WHERE m.client_id = $1 AND c.kind IN (1, 4) AND (c.expires_at IS NULL OR c.expires_at > now())
		  AND o.client_id = ANY ($2)
		UNION SELECT i.client_id FROM unnest($2::text[]) AS i(client_id) WHERE i.client_id = $1`
	var ids []string
	if err := s.selectAll(ctx, &ids, query, client, pq.Array(others)); err != nil {
		return nil, fmt.Errorf("who shares a conversation: %w", err)
	}
	out := make(map[string]bool, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out, nil
}

// Watching is a client who asks after another.
type Watching struct{ Client, Watched string }

// MaySee tells of each pair whether the two share an ordinary or temporary conversation.
func (s *Store) MaySee(ctx context.Context, pairs []Watching) ([]bool, error) {
	const query = `
		SELECT i.n - 1 FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS i(client, watched, n)
		CROSS JOIN LATERAL (
			SELECT 1 FROM members m
			WHERE m.client_id = i.client AND i.client <> i.watched
			  AND EXISTS (SELECT 1 FROM members WHERE conversation_id = m.conversation_id AND client_id = i.watched OFFSET 0)
			  AND EXISTS (SELECT 1 FROM conversations WHERE id = m.conversation_id AND kind IN (1, 4)
			              AND (expires_at IS NULL OR expires_at > now()) OFFSET 0)
			LIMIT 1
		) shared`
	clients, watched := make([]string, len(pairs)), make([]string, len(pairs))
	out := make([]bool, len(pairs))
	for i, p := range pairs {
		clients[i], watched[i], out[i] = p.Client, p.Watched, p.Client == p.Watched
	}
	var seen []int
	if err := s.selectAll(ctx, &seen, query, pq.Array(clients), pq.Array(watched)); err != nil {
		return nil, fmt.Errorf("who may see whom: %w", err)
	}
	for _, i := range seen {
		out[i] = true
	}
	return out, nil
}

// Subscription is whose presence a session wants to hear of.
type Subscription struct {
	ClientID  string         `db:"client_id"`
	SessionID string         `db:"session_id"`
	Revision  string         `db:"revision"` // another with every list
	Anyone    bool           `db:"anyone"`   // it may see everybody's
	Watched   pq.StringArray `db:"watched"`
	Online    pq.StringArray `db:"online"` // who of them was told to be online when the list was made
}

// Subscribe replaces a session's subscription; false for a session that is not known,
// spent, or for one connection alone.
func (s *Store) Subscribe(ctx context.Context, sub Subscription) (bool, error) {
	// The lock keeps the session from being spent meanwhile, which would leave the list behind.
	const query = `
		INSERT INTO presence_subscriptions (client_id, session_id, revision, anyone, watched, online)
		SELECT client_id, id, $3, $4, $5, $6 FROM (
			SELECT client_id, id FROM sessions
			WHERE client_id = $1 AND id = $2 AND spent_at IS NULL AND NOT anonymous FOR SHARE) s
		ON CONFLICT (client_id, session_id) DO UPDATE
		SET revision = excluded.revision, anyone = excluded.anyone, watched = excluded.watched, online = excluded.online`
	n, err := s.exec(ctx, query, sub.ClientID, sub.SessionID, sub.Revision, sub.Anyone, sub.Watched, sub.Online)
	if err != nil {
		return false, fmt.Errorf("subscribe to presence: %w", err)
	}
	return n == 1, nil
}

// Subscriptions returns the subscriptions of sessions that have one.
func (s *Store) Subscriptions(ctx context.Context, clients, sessions []string) ([]Subscription, error) {
	const query = `
		SELECT p.* FROM unnest($1::text[], $2::text[]) AS i(client_id, session_id)
		JOIN presence_subscriptions p USING (client_id, session_id)`
	var out []Subscription
	if err := s.selectAll(ctx, &out, query, pq.Array(clients), pq.Array(sessions)); err != nil {
		return nil, fmt.Errorf("read subscriptions: %w", err)
	}
	return out, nil
}

// HeldSubscriptions returns the subscriptions, but not what is in them, of the sessions
// whose stream a node holds.
func (s *Store) HeldSubscriptions(ctx context.Context, node string) ([]Subscription, error) {
	const query = `
		SELECT p.client_id, p.session_id, p.revision FROM presence_subscriptions p CROSS JOIN LATERAL (
			SELECT node FROM sessions WHERE client_id = p.client_id AND id = p.session_id OFFSET 0) s
		WHERE s.node = $1 AND cardinality(p.watched) > 0`
	var out []Subscription
	if err := s.selectAll(ctx, &out, query, node); err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	return out, nil
}
