package repo

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"

	"parley/model"
)

// Received says that a client has everything for it up to a position of the log.
type Received struct {
	ClientID string
	Position int64
}

// KeepAcked remembers of clients what sessions had acknowledged that are forgotten.
func (s *Store) KeepAcked(ctx context.Context, received []Received) error {
	const query = `
		UPDATE clients c SET acked = r.acked
		FROM (SELECT client_id, max(acked) AS acked FROM unnest($1::text[], $2::bigint[]) AS r(client_id, acked) GROUP BY client_id) r
		WHERE c.id = r.client_id AND c.acked < r.acked`
	clients, positions := make([]string, len(received)), make([]int64, len(received))
	for i, r := range received {
		clients[i], positions[i] = r.ClientID, r.Position
	}
	if _, err := s.exec(ctx, query, pq.Array(clients), pq.Array(positions)); err != nil {
		return fmt.Errorf("keep what was acknowledged: %w", err)
	}
	return nil
}

// Membership is a client in a conversation.
type Membership struct {
	ConversationID string `db:"conversation_id"`
	ClientID       string `db:"client_id"`
}

// ReceiptsDue returns where clients owe a receipt, should they have received it.
func (s *Store) ReceiptsDue(ctx context.Context, clients []string) ([]Membership, error) {
	const query = `
		SELECT conversation_id, client_id FROM members WHERE client_id = ANY ($1) AND receipt_seq > delivered_seq
		ORDER BY conversation_id, client_id`
	var due []Membership
	if err := s.selectAll(ctx, &due, query, pq.Array(clients)); err != nil {
		return nil, fmt.Errorf("find due receipts: %w", err)
	}
	return due, nil
}

// Span is a move of the position up to which a member has received, or read, a conversation.
type Span struct {
	Membership
	After int64 `db:"after"` // seq; up to it, all had been received
	Upto  int64 `db:"upto"`  // seq
}

// MoveDelivered locks conversations and moves how far members have received them to
// where positions of the log say, by index. It returns those that moved. Only the other
// of two members owes receipts, but there may be more by now.
func (s *Store) MoveDelivered(ctx context.Context, due []Membership, positions []int64) ([]Span, error) {
	// In the order of their ids, as all that lock several.
	const lock = `SELECT 1 FROM conversations WHERE id = ANY ($1) ORDER BY id FOR UPDATE`
	// All messages have been received up to the first one behind the position; nothing is known before the log begins.
	const move = `
		UPDATE members m SET delivered_seq = u.upto
		FROM (
			SELECT o.conversation_id, o.client_id, o.delivered_seq, o.read_seq, COALESCE((
				SELECT e.seq - 1 FROM events e
				WHERE e.conversation_id = c.id AND e.audience = 1 AND e.kind = 1 AND e.position > i.position
				ORDER BY e.position LIMIT 1), c.seq) AS upto
			FROM unnest($1::text[], $2::text[], $3::bigint[]) AS i(conversation_id, client_id, position)
			JOIN conversations c ON c.id = i.conversation_id
			JOIN members o ON o.conversation_id = i.conversation_id AND o.client_id = i.client_id
			WHERE i.position >= (SELECT trimmed FROM log)
		) u
		WHERE m.conversation_id = u.conversation_id AND m.client_id = u.client_id AND u.upto > u.delivered_seq
		RETURNING m.conversation_id, m.client_id, GREATEST(u.delivered_seq, u.read_seq) AS after, u.upto`
	ids, clients := make([]string, len(due)), make([]string, len(due))
	for i, d := range due {
		ids[i], clients[i] = d.ConversationID, d.ClientID
	}
	if _, err := s.exec(ctx, lock, pq.Array(ids)); err != nil {
		return nil, fmt.Errorf("lock conversations: %w", err)
	}
	var moved []Span
	if err := s.selectAll(ctx, &moved, move, pq.Array(ids), pq.Array(clients), pq.Array(positions)); err != nil {
		return nil, fmt.Errorf("move what is delivered: %w", err)
	}
	return moved, nil
}

// Covered is who is to be told of a Span, and of which message.
type Covered struct {
	Span   int        `db:"span"` // its index
	Sender string     `db:"sender"`
	Seq    int64      `db:"seq"` // of the newest message within that wanted a receipt
	At     model.Time `db:"at"`  // when the message at the span's end was sent
	Now    model.Time `db:"now"`
}

// Covered returns the newest message that wanted a receipt in each span that has one
// of another who is still a member.
func (s *Store) Covered(ctx context.Context, spans []Span) ([]Covered, error) {
	const query = `
		SELECT u.n - 1 AS span, w.sender, w.seq, date_trunc('milliseconds', clock_timestamp()) AS now,
		       COALESCE((SELECT sent_at FROM messages WHERE conversation_id = u.conversation_id AND seq = u.upto), w.sent_at) AS at
		FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
		     WITH ORDINALITY AS u(conversation_id, client_id, after, upto, n)
		CROSS JOIN LATERAL (
			SELECT g.seq, g.sender, g.sent_at FROM messages g
			WHERE g.conversation_id = u.conversation_id AND g.receipt AND g.seq > u.after AND g.seq <= u.upto
			  AND g.sender <> u.client_id
			  AND EXISTS (SELECT 1 FROM members m WHERE m.conversation_id = g.conversation_id AND m.client_id = g.sender)
			ORDER BY g.seq DESC LIMIT 1
		) w
		ORDER BY u.n`
	if len(spans) == 0 {
		return nil, nil
	}
	n := len(spans)
	ids, clients, after, upto := make([]string, n), make([]string, n), make([]int64, n), make([]int64, n)
	for i, sp := range spans {
		ids[i], clients[i], after[i], upto[i] = sp.ConversationID, sp.ClientID, sp.After, sp.Upto
	}
	var out []Covered
	if err := s.selectAll(ctx, &out, query, pq.Array(ids), pq.Array(clients), pq.Array(after), pq.Array(upto)); err != nil {
		return nil, fmt.Errorf("find covered messages: %w", err)
	}
	return out, nil
}

// Receipts returns up to limit receipts of a message, of members behind an id (empty:
// from the first), by id; more says that there are others. It is for the message's sender
// and server tokens, and fails with conversation_not_found, not_allowed_in_..., not_a_member,
// message_not_found and message_ownership_required.
func (s *Store) Receipts(ctx context.Context, caller model.Caller, conversationID, messageID, after string, limit int) (out []model.Receipt, more bool, err error) {
	standing, err := s.Standing(ctx, caller, conversationID)
	if err != nil {
		return nil, false, err
	}
	if err := standing.CheckReceipts(); err != nil {
		return nil, false, err
	}
	seq, ok := model.ParseMessageID(conversationID, messageID)
	if !ok {
		return nil, false, model.ErrMessageNotFound()
	}
	// Who came later has received and read it only once he has read something that came later still.
	const query = `
		SELECT r.client_id, r.read, r.read OR r.there AND (
			r.delivered_seq >= $2 OR r.position <= COALESCE(GREATEST(
				(SELECT acked FROM clients WHERE id = r.client_id), (SELECT max(acked) FROM sessions WHERE client_id = r.client_id)), 0)
		) AS delivered
		FROM (
			SELECT m.client_id, m.delivered_seq, p.position, m.joined_at <= $4 AS there,
			       CASE WHEN m.read_seq < $2 THEN false
			            WHEN m.joined_at <= $4 THEN true
			            ELSE m.read_seq >= message_seq_at($1, m.joined_at) END AS read
			FROM members m CROSS JOIN (SELECT message_position($1, $2) AS position OFFSET 0) p
			WHERE m.conversation_id = $1 AND m.client_id <> $3 AND m.client_id > $5
			ORDER BY m.client_id LIMIT $6
		) r ORDER BY r.client_id`
	sender, sentAt, err := s.sender(ctx, conversationID, seq)
	if err != nil {
		return nil, false, err
	}
	if !caller.Server && sender != caller.Client {
		return nil, false, model.ErrOwnershipRequired()
	}
	if err := s.selectAll(ctx, &out, query, conversationID, seq, sender, sentAt, after, limit+1); err != nil {
		return nil, false, fmt.Errorf("receipts: %w", err)
	}
	if more = len(out) > limit; more {
		out = out[:limit]
	}
	return out, more, nil
}

func (s *Store) sender(ctx context.Context, conversationID string, seq int64) (string, time.Time, error) {
	const query = `SELECT sender, sent_at FROM messages WHERE conversation_id = $1 AND seq = $2 AND type <> 0`
	var row struct {
		Sender string    `db:"sender"`
		SentAt time.Time `db:"sent_at"`
	}
	if err := s.get(ctx, &row, query, conversationID, seq); err != nil {
		return "", time.Time{}, fmt.Errorf("receipts: %w", explain(err, model.ErrMessageNotFound()))
	}
	return row.Sender, row.SentAt, nil
}
