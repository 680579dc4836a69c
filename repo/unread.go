package repo

import (
	"context"
	"fmt"
	"slices"

	"github.com/lib/pq"

	"parley/model"
)

// mentioned tells whether a message that counts as unread mentions u.client_id. u.id is
// the conversation, of kind u.kind, and u.behind the seq behind which it is unread.
const mentioned = `CASE WHEN u.kind = 3 THEN EXISTS (
	SELECT 1 FROM service_unread(u.id, u.client_id, u.behind) g
	WHERE g.mention_all OR EXISTS (
		SELECT 1 FROM mentions n WHERE n.conversation_id = u.id AND n.client_id = u.client_id AND n.seq = g.seq))
ELSE (
	EXISTS (SELECT 1 FROM mentions n CROSS JOIN LATERAL (
	            SELECT sender, type FROM messages WHERE conversation_id = u.id AND seq = n.seq OFFSET 0) g
	        WHERE n.conversation_id = u.id AND n.client_id = u.client_id AND n.seq > u.behind
	          AND g.sender <> u.client_id AND g.type NOT IN (-127, 0))
	OR EXISTS (SELECT 1 FROM messages g
	        WHERE g.conversation_id = u.id AND g.mention_all AND g.seq > u.behind
	          AND g.sender <> u.client_id AND g.type NOT IN (-127, 0))) END`

// unreadCount is how many messages count as unread for a member m of a conversation c.
// In a service, whose views have gaps, they are counted.
const unreadCount = `CASE WHEN c.kind = 3 THEN
		CASE WHEN c.seq > GREATEST(m.read_seq, c.trimmed_seq)
		     THEN (SELECT count(*) FROM service_unread(c.id, m.client_id, GREATEST(m.read_seq, c.trimmed_seq))) ELSE 0 END
	ELSE GREATEST(c.seq - GREATEST(m.read_seq, c.trimmed_seq) - m.uncounted, 0) END`

// unread are the conversations in which client $1 has something unread. OFFSET 0
// keeps the planner to one look by primary key for each: what it would rather do when it
// knows too little of the tables takes many times as long.
const unread = `
	SELECT m.client_id, c.*, COALESCE(c.last_message_at, c.created_at) AS activity,
	       GREATEST(m.read_seq, c.trimmed_seq) AS behind,
	       ` + unreadCount + ` AS count
	FROM members m CROSS JOIN LATERAL (
		SELECT id, kind, seq, trimmed_seq, last_message_at, created_at FROM conversations
		WHERE id = m.conversation_id AND (expires_at IS NULL OR expires_at > now()) OFFSET 0
	) c
	WHERE m.client_id = $1 AND ` + unreadCount + ` > 0`

// UnreadPlace is how far a list of what is unread has come; the zero is its beginning.
type UnreadPlace struct {
	Since int64      `json:"since"` // where the log was when the list began
	Moved bool       `json:"moved"` // in the second part of the list
	At    model.Time `json:"at"`
	ID    string     `json:"id"`
}

// UnreadPage returns the next conversations in which a client has something unread,
// newest activity first, and the place to go on from, nil at the end. None is missed
// for moving to the top while the list is being read: those that got a message since
// it began follow at its end, whether they had been listed before or not.
func (s *Store) UnreadPage(ctx context.Context, client string, after UnreadPlace, limit int) ([]model.Unread, *UnreadPlace, error) {
	const query = `
		WITH page AS (
			SELECT u.*, x.moved FROM (` + unread + `) u CROSS JOIN LATERAL (
				SELECT $5 <> '' AND EXISTS (
					SELECT 1 FROM events e
					WHERE e.conversation_id = u.id AND e.audience IN (1, 3) AND e.position > $2 AND e.kind = 1) AS moved
			) x
			WHERE $5 = '' OR CASE WHEN $3 THEN x.moved AND u.id > $5
			                      ELSE x.moved OR u.activity < $4 OR u.activity = $4 AND u.id > $5 END
			ORDER BY x.moved, CASE WHEN NOT x.moved THEN u.activity END DESC, u.id LIMIT $6
		)
		SELECT u.id AS unread_in, u.count, ` + mentioned + ` AS mentioned, u.moved, u.activity,
		       (SELECT count(*) FROM page) AS found, (SELECT position FROM log_head) AS head, ` + messageColumns + `
		FROM page u CROSS JOIN LATERAL (
			-- Nearly always the last one is there. Only looking backwards would read a whole page of the index.
			SELECT * FROM messages WHERE u.kind <> 3 AND conversation_id = u.id AND seq = u.seq AND type <> 0
			UNION ALL
			(SELECT * FROM messages WHERE u.kind <> 3 AND conversation_id = u.id AND seq < u.seq AND type <> 0
			   AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation_id = u.id AND seq = u.seq AND type <> 0)
			 ORDER BY seq DESC LIMIT 1)
			UNION ALL
			SELECT * FROM messages
			WHERE u.kind = 3 AND conversation_id = u.id AND seq = service_last(u.id, u.client_id, true, u.seq)
			LIMIT 1
		) m
		ORDER BY u.moved, CASE WHEN NOT u.moved THEN u.activity END DESC, u.id`
	var rows []struct {
		messageRow
		ID        string     `db:"unread_in"`
		Count     int64      `db:"count"`
		Mentioned bool       `db:"mentioned"`
		Moved     bool       `db:"moved"`
		Activity  model.Time `db:"activity"`
		Found     int        `db:"found"`
		Head      int64      `db:"head"`
	}
	err := s.selectAll(ctx, &rows, query, client, after.Since, after.Moved, after.At, after.ID, limit+1)
	if err != nil {
		return nil, nil, fmt.Errorf("unread: %w", err)
	}
	items := make([]model.Unread, min(len(rows), limit))
	next := after
	for i := range items {
		r := &rows[i]
		last := r.message()
		items[i] = model.Unread{ConversationID: r.ID, Count: r.Count, Mentioned: r.Mentioned, LastMessage: &last}
		next.Moved, next.At, next.ID = r.Moved, r.Activity, r.ID
		if after.ID == "" {
			next.Since = r.Head
		}
	}
	if len(rows) == 0 || rows[0].Found <= limit {
		return items, nil, nil
	}
	return items, &next, nil
}

// OfflineMessages returns the newest unread messages of a client, up to
// perConversation of each conversation and up to total in all: the conversations with
// the newest activity first, each one's messages oldest first.
func (s *Store) OfflineMessages(ctx context.Context, client string, perConversation, total int) ([]*model.Message, error) {
	const query = `
		SELECT ` + messageColumns + ` FROM (` + unread + ` ORDER BY activity DESC, id LIMIT $3) u CROSS JOIN LATERAL (
			(SELECT * FROM messages g
			 WHERE u.kind <> 3 AND g.conversation_id = u.id AND g.seq > u.behind AND g.sender <> u.client_id AND g.type NOT IN (-127, 0)
			 ORDER BY g.seq DESC LIMIT $2)
			UNION ALL
			(SELECT * FROM service_unread(u.id, u.client_id, u.behind) g WHERE u.kind = 3 ORDER BY g.seq DESC LIMIT $2)
		) m
		ORDER BY u.activity DESC, u.id, m.seq DESC LIMIT $3`
	var rows []messageRow
	if err := s.selectAll(ctx, &rows, query, client, perConversation, total); err != nil {
		return nil, fmt.Errorf("offline messages: %w", err)
	}
	out := allMessages(rows)
	// The newest were chosen first; within a conversation they are told in their order.
	for from := 0; from < len(out); {
		to := from
		for to < len(out) && out[to].ConversationID == out[from].ConversationID {
			to++
		}
		slices.Reverse(out[from:to])
		from = to
	}
	return out, nil
}

// Reading is a member's wish to have read a conversation up to a message.
type Reading struct {
	Caller         model.Caller
	ConversationID string
	Seq            int64
}

// ReadingState is what decides about a Reading, under the lock of its conversation.
type ReadingState struct {
	Ask        int              `db:"ask"` // index of the Reading
	Kind       model.Kind       `db:"kind"`
	Visibility model.Visibility `db:"visibility"`
	Member     bool             `db:"member"`
	Expired    bool             `db:"expired"`
	Last       int64            `db:"last"`  // seq of the last message that the client may read
	Known      bool             `db:"known"` // there is such a message with that seq
	Was        Marks            `db:"was"`
}

// Marks are how far a member has come in a conversation, as seqs.
type Marks struct {
	Read      int64 `db:"read"`
	Delivered int64 `db:"delivered"` // at least
	Receipt   int64 `db:"receipt"`   // of the last message that wanted a receipt of him
}

// LockReadings locks the conversations concerned, so that nothing is sent until the
// end of the transaction, and says what decides about each reading. Those in
// conversations that are not there have no row.
func (s *Store) LockReadings(ctx context.Context, asks []Reading) ([]ReadingState, error) {
	// In the order of their ids, as all that lock several.
	const lock = `SELECT 1 FROM conversations WHERE id = ANY ($1) ORDER BY id FOR UPDATE`
	// A statement of its own: it must see what was committed while we waited.
	const look = `
		SELECT i.n - 1 AS ask, c.kind, c.visibility, COALESCE(c.expires_at <= now(), false) AS expired,
		       CASE WHEN c.kind = 3 THEN COALESCE(service_last(c.id, i.client_id, true, c.seq), 0) ELSE c.seq END AS last,
		       m.client_id IS NOT NULL AS member,
		       COALESCE(m.read_seq, 0) AS "was.read", COALESCE(m.delivered_seq, 0) AS "was.delivered",
		       COALESCE(m.receipt_seq, 0) AS "was.receipt",
		       CASE WHEN c.kind = 3 THEN service_shows(c.id, i.client_id, true, i.seq)
		            ELSE EXISTS (SELECT 1 FROM messages WHERE conversation_id = c.id AND seq = i.seq AND type <> 0) END AS known
		FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS i(id, client_id, seq, n)
		JOIN conversations c ON c.id = i.id
		LEFT JOIN members m ON m.conversation_id = c.id AND m.client_id = i.client_id`
	ids, clients, seqs := make([]string, len(asks)), make([]string, len(asks)), make([]int64, len(asks))
	for i, a := range asks {
		clients[i], seqs[i] = a.Caller.Client, a.Seq
		if storableID(a.ConversationID) { // else it is none, and must not spoil the others
			ids[i] = a.ConversationID
		}
	}
	if _, err := s.exec(ctx, lock, pq.Array(ids)); err != nil {
		return nil, fmt.Errorf("lock conversations: %w", err)
	}
	var states []ReadingState
	if err := s.selectAll(ctx, &states, look, pq.Array(ids), pq.Array(clients), pq.Array(seqs)); err != nil {
		return nil, fmt.Errorf("look up reads: %w", err)
	}
	return states, nil
}

// MemberRead is a member's read position, to be moved to Seq at least, and what then is left to read.
type MemberRead struct {
	ConversationID, ClientID string
	Seq                      int64

	Moved     bool // it was behind Seq
	Count     int64
	Mentioned bool
	ReadAt    *model.Time // when the message at the position was sent; nil when there is none
	Now       model.Time
}

// MoveReads moves read positions forward and fills in what comes of it. The
// conversations must be locked: who sends holds that lock while he adds to his own
// uncounted, so counting is exact. Each member may occur once.
//
// What does not count is counted on the shorter side of the new position, among what was
// read now or among what is left. So all reads of a member together look at each message
// once at most, and sends need no index for it.
func (s *Store) MoveReads(ctx context.Context, reads []*MemberRead) error {
	const move = `
		UPDATE members m SET read_seq = i.seq, uncounted = CASE
			WHEN i.seq >= c.seq OR c.kind = 3 THEN 0
			WHEN i.seq - GREATEST(m.read_seq, c.trimmed_seq) < c.seq - i.seq THEN m.uncounted - (
				SELECT count(*) FROM messages g WHERE g.conversation_id = m.conversation_id
				AND g.seq > GREATEST(m.read_seq, c.trimmed_seq) AND g.seq <= i.seq
				AND (g.sender = m.client_id OR g.type IN (-127, 0)))
			ELSE (
				SELECT count(*) FROM messages g WHERE g.conversation_id = m.conversation_id
				AND g.seq > i.seq AND (g.sender = m.client_id OR g.type IN (-127, 0)))
		END,
		delivered_seq = CASE WHEN m.receipt_seq > m.delivered_seq THEN GREATEST(m.delivered_seq, i.seq) ELSE m.delivered_seq END
		FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS i(conversation_id, client_id, seq, n)
		JOIN conversations c ON c.id = i.conversation_id
		WHERE m.conversation_id = i.conversation_id AND m.client_id = i.client_id AND m.read_seq < i.seq
		RETURNING i.n - 1`
	const look = `
		SELECT u.n - 1 AS i, u.count, u.count > 0 AND ` + mentioned + ` AS mentioned,
		       (SELECT sent_at FROM messages WHERE conversation_id = u.id
		        AND seq = CASE WHEN u.kind = 3 THEN service_last(u.id, u.client_id, true, u.read_seq) ELSE u.read_seq END) AS read_at,
		       date_trunc('milliseconds', clock_timestamp()) AS now
		FROM (
			SELECT i.n, c.id, c.kind, m.client_id, m.read_seq, GREATEST(m.read_seq, c.trimmed_seq) AS behind,
			       ` + unreadCount + ` AS count
			FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS i(conversation_id, client_id, n)
			JOIN conversations c ON c.id = i.conversation_id
			JOIN members m ON m.conversation_id = i.conversation_id AND m.client_id = i.client_id
		) u`
	ids, clients, seqs := make([]string, len(reads)), make([]string, len(reads)), make([]int64, len(reads))
	for i, r := range reads {
		ids[i], clients[i], seqs[i] = r.ConversationID, r.ClientID, r.Seq
	}
	var moved []int
	if err := s.selectAll(ctx, &moved, move, pq.Array(ids), pq.Array(clients), pq.Array(seqs)); err != nil {
		return fmt.Errorf("move reads: %w", err)
	}
	for _, i := range moved {
		reads[i].Moved = true
	}
	var rows []struct {
		I         int         `db:"i"`
		Count     int64       `db:"count"`
		Mentioned bool        `db:"mentioned"`
		ReadAt    *model.Time `db:"read_at"`
		Now       model.Time  `db:"now"`
	}
	if err := s.selectAll(ctx, &rows, look, pq.Array(ids), pq.Array(clients)); err != nil {
		return fmt.Errorf("look up reads: %w", err)
	}
	for _, r := range rows {
		m := reads[r.I]
		m.Count, m.Mentioned, m.ReadAt, m.Now = r.Count, r.Mentioned, r.ReadAt, r.Now
	}
	return nil
}
