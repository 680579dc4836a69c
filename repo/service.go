package repo

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"parley/model"
)

// Post is one message of a service to store.
type Post struct {
	*Send
	Scope      model.Scope
	Readers    []string   // who may read it personally; distinct
	ValidUntil model.Time // of a broadcast to everyone
}

// InsertPost stores a message of a service whose row is locked. Its event is to follow
// in the same transaction.
func (s *Store) InsertPost(ctx context.Context, p Post, now model.Time) (seq int64, sentAt model.Time, err error) {
	const query = `
		WITH c AS (
			UPDATE conversations SET seq = seq + 1, last_sent_at = GREATEST(last_sent_at, $2),
			       last_message_at = CASE WHEN $3::smallint >= 3 THEN GREATEST(last_message_at, last_sent_at, $2) ELSE last_message_at END
			WHERE id = $1 RETURNING seq, last_sent_at
		), m AS (
			INSERT INTO messages (conversation_id, seq, sender, sent_at, type, custom_type, content, mention_all,
			                      idem_key, idem_digest, push_data, file_id, scope)
			SELECT $1, c.seq, $4, c.last_sent_at, $5, $6, $7, $8, $9, $10, $11, $12, $3 FROM c
		), n AS (
			INSERT INTO mentions (conversation_id, client_id, seq)
			SELECT $1, client_id, c.seq FROM c, unnest($13::text[]) AS client_id
		), r AS (
			INSERT INTO message_readers (conversation_id, client_id, seq)
			SELECT $1, client_id, c.seq FROM c, unnest($14::text[]) AS client_id
		), b AS (
			INSERT INTO broadcasts (conversation_id, seq, position, valid_until)
			SELECT $1, c.seq, 0, $15 FROM c WHERE $3 = 4
		)
		SELECT seq, last_sent_at FROM c`
	var placed struct {
		Seq    int64      `db:"seq"`
		SentAt model.Time `db:"last_sent_at"`
	}
	err = s.get(ctx, &placed, query, p.ConversationID, now, p.Scope, p.Sender, p.Type, null(p.CustomType), string(p.Content),
		p.MentionAll, null(p.Key), p.Digest, text(string(p.Push), p.Push != nil), null(p.FileID),
		pq.Array(p.Mentions), pq.Array(p.Readers), p.ValidUntil)
	if err != nil {
		return 0, model.Time{}, fmt.Errorf("store a service's message: %w", err)
	}
	return placed.Seq, placed.SentAt, nil
}

// MessageAudience is who may read a message, as the audience of an event about it;
// with ToClients it names them.
func (s *Store) MessageAudience(ctx context.Context, conversationID string, seq int64) (model.Audience, []string, error) {
	const query = `
		SELECT scope, ARRAY(
			SELECT client_id FROM message_readers
			WHERE scope IN (1, 2) AND conversation_id = $1 AND seq = $2 ORDER BY client_id) AS readers
		FROM messages WHERE conversation_id = $1 AND seq = $2`
	var row struct {
		Scope   model.Scope    `db:"scope"`
		Readers pq.StringArray `db:"readers"`
	}
	if err := s.get(ctx, &row, query, conversationID, seq); err != nil {
		return model.ToNobody, nil, fmt.Errorf("who may read a message: %w", explain(err, model.ErrMessageNotFound()))
	}
	switch row.Scope {
	case model.ScopeUp, model.ScopeSome:
		return model.ToClients, row.Readers, nil
	case model.ScopeEveryone:
		return model.ToEveryone, nil, nil
	}
	return model.ToMembers, nil, nil
}

// CheckShown fails with message_not_found unless the viewer of a service may read that message of it.
func (s *Store) CheckShown(ctx context.Context, standing model.Standing, conversationID string, seq int64) error {
	const query = `SELECT service_shows($1, $2, $3, $4)`
	if standing.Kind != model.Service || standing.Caller.System() {
		return nil
	}
	var shown bool
	if err := s.get(ctx, &shown, query, conversationID, standing.Caller.Client, standing.Member, seq); err != nil {
		return fmt.Errorf("look for a message: %w", err)
	}
	if !shown {
		return model.ErrMessageNotFound()
	}
	return nil
}

// viewQuery is historyQuery for a service: for its inbox, or for a viewer, $5, who
// subscribes or not, $6. A view is the union of ranges of indexes: what the viewer may
// read personally, and the broadcasts. From each a page takes at most as many as it has
// room for.
func viewQuery(h model.History) (query string, filter []any) {
	desc := ""
	if !h.OldToNew {
		desc = " DESC"
	}
	switch {
	case h.CustomType != 0:
		filter = []any{h.CustomType}
	case h.Type != 0:
		filter = []any{h.Type}
	}
	parts := scopePart(h, model.ScopeUp, desc, "true", "$5")
	if !h.Inbox {
		parts = personalPart(h, desc) + ` UNION ` + scopePart(h, model.ScopeEveryone, desc, "true", "$7") +
			` UNION ` + scopePart(h, model.ScopeSubscribers, desc, "$6", "$7")
	}
	return `SELECT ` + messageColumns + ` FROM (
			SELECT seq FROM (` + parts + `) v ORDER BY seq` + desc + ` LIMIT $4
		) v CROSS JOIN LATERAL (SELECT * FROM messages WHERE conversation_id = $1 AND seq = v.seq OFFSET 0) m
		ORDER BY m.seq` + desc, filter
}

func personalPart(h model.History, desc string) string {
	types := `m.type <> 0`
	switch {
	case h.CustomType != 0:
		types = `m.type = 3 AND m.custom_type = $7`
	case h.Type != 0:
		types = `m.type = $7`
	}
	return `(SELECT r.seq FROM message_readers r CROSS JOIN LATERAL (
			SELECT type, custom_type FROM messages WHERE conversation_id = r.conversation_id AND seq = r.seq OFFSET 0) m
		 WHERE r.conversation_id = $1 AND (r.client_id, r.seq) >= ($5, $2) AND (r.client_id, r.seq) <= ($5, $3) AND ` + types + `
		 ORDER BY r.client_id` + desc + `, r.seq` + desc + ` LIMIT $4)`
}

// scopePart is the messages of one scope; filter is the parameter with the type. As in
// historyQuery, comparing and ordering by all that an index has leaves none but that.
func scopePart(h model.History, scope model.Scope, desc, when, filter string) string {
	list, from, order, types := "m.scope, ", fmt.Sprintf("%d::smallint, ", scope), "m.scope"+desc+", ", "m.type <> 0"
	switch {
	case h.CustomType != 0:
		list, from, order, types = list+"m.custom_type, ", from+filter+", ", order+"m.custom_type"+desc+", ", "m.type = 3"
	case h.Type != 0:
		list, from, order, types = list+"m.type, ", from+filter+", ", order+"m.type"+desc+", ", "true"
	}
	return `(SELECT m.seq FROM messages m
		 WHERE m.conversation_id = $1 AND m.scope > 0 AND ` + types + ` AND ` + when + `
		   AND (` + list + `m.seq) >= (` + from + `$2) AND (` + list + `m.seq) <= (` + from + `$3)
		 ORDER BY ` + order + `m.seq` + desc + ` LIMIT $4)`
}

// BroadcastPlace is how far a list of broadcasts has come; the zero is its beginning.
type BroadcastPlace struct {
	Seq int64 `json:"seq"`
}

// Broadcasts returns up to limit of a service's broadcasts to everyone that are valid, newest first.
func (s *Store) Broadcasts(ctx context.Context, conversationID string, after BroadcastPlace, limit int) ([]*model.Broadcast, error) {
	const query = `
		SELECT ` + messageColumns + `, b.valid_until FROM broadcasts b
		JOIN messages m ON m.conversation_id = b.conversation_id AND m.seq = b.seq
		WHERE b.conversation_id = $1 AND b.valid_until > now() AND m.type NOT IN (-127, 0) AND ($2 = 0 OR b.seq < $2)
		ORDER BY b.seq DESC LIMIT $3`
	var rows []struct {
		messageRow
		ValidUntil model.Time `db:"valid_until"`
	}
	if err := s.selectAll(ctx, &rows, query, conversationID, after.Seq, limit); err != nil {
		return nil, fmt.Errorf("list broadcasts: %w", err)
	}
	out := make([]*model.Broadcast, len(rows))
	for i := range rows {
		out[i] = &model.Broadcast{Message: rows[i].message(), ValidUntil: rows[i].ValidUntil}
	}
	return out, nil
}

// NewBroadcast is a broadcast to everyone that clients may have to be told of, and its place in the log.
type NewBroadcast struct {
	Message  *model.Message
	Position int64
}

// NewBroadcasts returns the newest valid broadcasts to everyone, oldest first, at most limit.
func (s *Store) NewBroadcasts(ctx context.Context, limit int) ([]NewBroadcast, error) {
	const query = `
		SELECT ` + messageColumns + `, b.position FROM (
			SELECT b.conversation_id, b.seq, b.position FROM broadcasts b CROSS JOIN LATERAL (
				SELECT type FROM messages WHERE conversation_id = b.conversation_id AND seq = b.seq OFFSET 0) m
			WHERE b.position > 0 AND b.valid_until > now() AND m.type NOT IN (-127, 0)
			ORDER BY b.position DESC LIMIT $1
		) b JOIN messages m ON m.conversation_id = b.conversation_id AND m.seq = b.seq
		ORDER BY b.position`
	var rows []struct {
		messageRow
		Position int64 `db:"position"`
	}
	if err := s.selectAll(ctx, &rows, query, limit); err != nil {
		return nil, fmt.Errorf("find new broadcasts: %w", err)
	}
	out := make([]NewBroadcast, len(rows))
	for i := range rows {
		m := rows[i].message()
		out[i] = NewBroadcast{&m, rows[i].Position}
	}
	return out, nil
}

// BroadcastsHeard returns for each of clients the position up to which it has all
// broadcasts that concern it, as far as is stored.
func (s *Store) BroadcastsHeard(ctx context.Context, clients []string) (map[string]int64, error) {
	const query = `
		SELECT c.id, GREATEST(c.broadcasts_after, c.acked, (SELECT max(acked) FROM sessions WHERE client_id = c.id)) AS position
		FROM clients c WHERE c.id = ANY ($1)`
	var rows []struct {
		ID       string `db:"id"`
		Position int64  `db:"position"`
	}
	if err := s.selectAll(ctx, &rows, query, pq.Array(clients)); err != nil {
		return nil, fmt.Errorf("what broadcasts clients have: %w", err)
	}
	heard := make(map[string]int64, len(rows))
	for _, r := range rows {
		heard[r.ID] = r.Position
	}
	return heard, nil
}

// ForgetBroadcasts removes up to limit of those that are valid no more: the messages stay.
func (s *Store) ForgetBroadcasts(ctx context.Context, limit int) (int64, error) {
	const query = `
		DELETE FROM broadcasts WHERE (conversation_id, seq) IN (
			SELECT conversation_id, seq FROM broadcasts WHERE valid_until < now() - interval '1 minute' LIMIT $1 FOR UPDATE SKIP LOCKED)`
	n, err := s.exec(ctx, query, limit)
	if err != nil {
		return n, fmt.Errorf("forget broadcasts: %w", err)
	}
	return n, nil
}
