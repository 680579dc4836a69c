package repo

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/lib/pq"

	"parley/model"
)

// A query for conversations as somebody sees them is: FROM (seenColumns ...) u, then
// seenDetails, with the list seenAll. Everywhere $1 is the viewer (null: nobody in
// particular), $2 whether it is a server token, $3 and $4 whether members and the
// last message are asked for. Its rows are read into a seenRow.
const (
	// seenColumns are of conversations c and of m, the viewer's row of members, if any.
	seenColumns = `
	c.id, c.kind, c.name, c.creator, c.attributes, c.visibility, c.is_unique, c.member_count,
	c.created_at, c.updated_at, c.last_message_at, c.expires_at, c.seq,
	m.client_id, m.muted, m.role, m.read_seq, GREATEST(m.read_seq, c.trimmed_seq) AS behind,
	COALESCE(c.last_message_at, c.created_at) AS activity,
	CASE WHEN m.client_id IS NULL THEN 0 ELSE ` + unreadCount + ` END AS unread,
	$2 OR m.client_id IS NOT NULL AS inside`

	seenAll = `
	u.id, u.kind, u.name, u.creator, u.attributes, u.visibility, u.is_unique, u.member_count,
	u.created_at, u.updated_at, u.last_message_at, u.expires_at,
	CASE WHEN $3 THEN p.ids END,
	u.client_id, u.muted, u.role, u.unread, u.client_id IS NOT NULL AND u.unread > 0 AND ` + mentioned + `,
	CASE WHEN u.client_id IS NOT NULL AND u.member_count = 2 AND p.read > 0 THEN CASE WHEN p.read = l.seq THEN l.sent_at ELSE (
		SELECT sent_at FROM messages WHERE conversation_id = u.id AND seq = p.read) END END,
	CASE WHEN u.client_id IS NOT NULL AND u.member_count = 2 AND p.delivered > p.read THEN (
		SELECT sent_at FROM messages WHERE conversation_id = u.id AND seq = p.delivered) END,
	l.seq, l.sender, l.sent_at, l.type, l.custom_type, l.content, l.idem_key, l.updated_at, l.recalled_at, l.moderated`

	// p is who the members are, in the order of their joining and the creator first, and how far the other of two has read and received; l the last message.
	seenDetails = `
	LEFT JOIN LATERAL (
		SELECT array_agg(i.client_id) AS ids, max(i.read_seq) FILTER (WHERE i.client_id <> u.client_id) AS read,
		       max(i.delivered_seq) FILTER (WHERE i.client_id <> u.client_id) AS delivered FROM (
			SELECT client_id, read_seq, delivered_seq FROM members
			WHERE u.inside AND u.kind IN (1, 4) AND ($3 OR u.member_count = 2) AND conversation_id = u.id
			ORDER BY joined_at, client_id IS DISTINCT FROM u.creator, client_id
		) i
	) p ON true
	LEFT JOIN LATERAL (
		-- Nearly always the last one is there. Only looking backwards would read a whole page of the index.
		SELECT * FROM messages WHERE $4 AND u.inside AND u.kind <> 3 AND conversation_id = u.id AND seq = u.seq AND type <> 0
		UNION ALL
		(SELECT * FROM messages WHERE $4 AND u.inside AND u.kind <> 3 AND conversation_id = u.id AND seq < u.seq AND type <> 0
		   AND NOT EXISTS (SELECT 1 FROM messages WHERE conversation_id = u.id AND seq = u.seq AND type <> 0)
		 ORDER BY seq DESC LIMIT 1)
		UNION ALL
		SELECT * FROM messages WHERE $4 AND u.inside AND u.kind = 3 AND conversation_id = u.id
		   AND seq = service_last(u.id, $1, u.client_id IS NOT NULL, u.seq)
		LIMIT 1
	) l ON true`
)

// seenRow receives one row of seenAll.
type seenRow struct {
	c         model.Conversation
	members   pq.StringArray
	viewer    sql.NullString
	muted     sql.NullBool
	role      sql.NullInt16
	unread    int64
	mentioned bool
	readAt    *model.Time
	delivered *model.Time // nil unless later than readAt

	seq, customType sql.NullInt64
	sender, key     sql.NullString
	sentAt          *model.Time
	typ             sql.NullInt16
	content         []byte
	updated, recall *model.Time
	moderated       sql.NullBool
}

func (r *seenRow) scan(rows *sql.Rows) error {
	c := &r.c
	return rows.Scan(&c.ID, &c.Kind, &c.Name, &c.Creator, (*[]byte)(&c.Attributes), &c.Visibility, &c.Unique, &c.MemberCount,
		&c.CreatedAt, &c.UpdatedAt, &c.LastMessageAt, &c.ExpiresAt, &r.members,
		&r.viewer, &r.muted, &r.role, &r.unread, &r.mentioned, &r.readAt, &r.delivered,
		&r.seq, &r.sender, &r.sentAt, &r.typ, &r.customType, &r.content, &r.key, &r.updated, &r.recall, &r.moderated)
}

func (r *seenRow) conversation() *model.Conversation {
	c := r.c
	c.Members = r.members
	if c.Members == nil {
		c.Members = []string{}
	}
	if r.viewer.Valid {
		c.Viewer = &model.Viewer{
			Muted: r.muted.Bool, Role: model.Role(r.role.Int16),
			UnreadMessagesCount: r.unread, UnreadMessagesMentioned: r.mentioned,
			LastDeliveredAt: r.delivered, LastReadAt: r.readAt,
		}
		if r.delivered == nil {
			c.LastDeliveredAt = r.readAt // who has read it has received it
		}
	}
	if r.sender.Valid {
		c.LastMessage = &model.Message{
			ConversationID: c.ID, Seq: r.seq.Int64, From: r.sender.String, SentAt: *r.sentAt,
			Type: model.MessageType(r.typ.Int16), CustomType: r.customType.Int64, Content: r.content, Key: r.key.String,
			UpdatedAt: r.updated, RecalledAt: r.recall, Moderated: r.moderated.Bool,
		}
	}
	return &c
}

func (s *Store) seen(ctx context.Context, query string, args ...any) ([]*model.Conversation, error) {
	rows, err := s.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []*model.Conversation{}
	for rows.Next() {
		var r seenRow
		if err := r.scan(rows); err != nil {
			return nil, err
		}
		out = append(out, r.conversation())
	}
	return out, away(rows.Err())
}

// Conversation returns a conversation as the caller sees it: whole to a member and
// to a server token, else its public face. It fails with conversation_not_found,
// also when the caller may not know of it.
func (s *Store) Conversation(ctx context.Context, caller model.Caller, id string, lastMessage bool) (*model.Conversation, error) {
	const query = `SELECT ` + seenAll + ` FROM (
			SELECT ` + seenColumns + `
			FROM conversations c LEFT JOIN members m ON m.conversation_id = c.id AND m.client_id = $1
			WHERE c.id = $5 AND (c.visibility <> 3 OR $2 OR m.client_id IS NOT NULL)
		) u` + seenDetails
	if !storableID(id) {
		return nil, model.ErrConversationNotFound()
	}
	found, err := s.seen(ctx, query, null(caller.Client), caller.Server, true, lastMessage, id)
	if err != nil {
		return nil, fmt.Errorf("read a conversation: %w", err)
	}
	if len(found) == 0 {
		return nil, model.ErrConversationNotFound()
	}
	if c := found[0]; c.ExpiresAt != nil && !c.ExpiresAt.After(time.Now()) {
		return nil, model.ErrConversationExpired()
	}
	return found[0], nil
}

// Activity is a place in a list of conversations by newest activity.
type Activity struct {
	At model.Time `json:"at"`
	ID string     `json:"id"`
}

// ActivityOf is a conversation's place in such a list.
func ActivityOf(c *model.Conversation) Activity {
	if c.LastMessageAt != nil {
		return Activity{*c.LastMessageAt, c.ID}
	}
	return Activity{c.CreatedAt, c.ID}
}

// OwnConversations says which of a client's own conversations are asked for, and which parts of them.
type OwnConversations struct {
	Client      string
	Members     bool
	LastMessage bool
	After       *Activity // only those behind this place
	Skip        int
	Limit       int // 0: all
}

// Conversations returns the conversations that a client is a member of, newest activity first. Never nil.
func (s *Store) Conversations(ctx context.Context, q OwnConversations) ([]*model.Conversation, error) {
	const query = `SELECT ` + seenAll + ` FROM (
			SELECT ` + seenColumns + `
			-- OFFSET 0: one look by primary key for each, whatever the planner believes about the tables.
			FROM members m CROSS JOIN LATERAL (
				SELECT * FROM conversations WHERE id = m.conversation_id AND (expires_at IS NULL OR expires_at > now()) OFFSET 0) c
			WHERE m.client_id = $1
			  AND ($5::timestamptz IS NULL OR COALESCE(c.last_message_at, c.created_at) < $5
			       OR COALESCE(c.last_message_at, c.created_at) = $5 AND c.id > $6)
			ORDER BY activity DESC, c.id
			LIMIT $7 OFFSET $8
		) u` + seenDetails + `
		ORDER BY u.activity DESC, u.id`
	var at *model.Time
	var id string
	if q.After != nil {
		at, id = &q.After.At, q.After.ID
	}
	out, err := s.seen(ctx, query, q.Client, false, q.Members, q.LastMessage, at, id, null(q.Limit), q.Skip)
	if err != nil {
		return nil, fmt.Errorf("list conversations: %w", err)
	}
	return out, nil
}

// Standing returns what the caller is to a conversation, for the rules to judge:
// whether it may know of it is theirs too. It fails with conversation_not_found when there is none.
func (s *Store) Standing(ctx context.Context, caller model.Caller, id string) (model.Standing, error) {
	const query = `
		SELECT c.kind, c.visibility, m.client_id IS NOT NULL AS member, COALESCE(c.expires_at <= now(), false) AS expired
		FROM conversations c LEFT JOIN members m ON m.conversation_id = c.id AND m.client_id = $2
		WHERE c.id = $1`
	if !storableID(id) {
		return model.Standing{}, model.ErrConversationNotFound()
	}
	var row struct {
		Kind       model.Kind       `db:"kind"`
		Visibility model.Visibility `db:"visibility"`
		Member     bool             `db:"member"`
		Expired    bool             `db:"expired"`
	}
	if err := s.get(ctx, &row, query, id, null(caller.Client)); err != nil {
		return model.Standing{}, fmt.Errorf("read a standing: %w", explain(err, model.ErrConversationNotFound()))
	}
	return model.Standing{Caller: caller, Kind: row.Kind, Visibility: row.Visibility, Member: row.Member, Expired: row.Expired}, nil
}

// LockedConversation is a conversation whose row stays locked until the end of the
// transaction. As long as it is, its members do not change.
type LockedConversation struct {
	model.Standing `db:"-"`

	ID          string           `db:"id"`
	Kind        model.Kind       `db:"kind"`
	Visibility  model.Visibility `db:"visibility"`
	Name        *string          `db:"name"`
	Creator     *string          `db:"creator"`
	Attributes  []byte           `db:"attributes"`
	Unique      bool             `db:"is_unique"`
	MemberCount int              `db:"member_count"`
	Seq         int64            `db:"seq"`
	Expired     bool             `db:"expired"`
	Now         model.Time       `db:"-"` // when the lock was taken, by the database's clock
}

// LockConversation locks a conversation and says what the caller is to it. It fails
// with conversation_not_found when there is none. It comes before any lock on members.
func (s *Store) LockConversation(ctx context.Context, caller model.Caller, id string) (*LockedConversation, error) {
	const lock = `
		SELECT id, kind, visibility, name, creator, attributes, is_unique, member_count, seq,
		       COALESCE(expires_at <= now(), false) AS expired
		FROM conversations WHERE id = $1 FOR UPDATE`
	// A statement of its own: it must see what was committed while we waited.
	const look = `
		SELECT EXISTS (SELECT 1 FROM members WHERE conversation_id = $1 AND client_id = $2) AS member,
		       date_trunc('milliseconds', clock_timestamp()) AS now`
	if !storableID(id) {
		return nil, model.ErrConversationNotFound()
	}
	var c LockedConversation
	if err := s.get(ctx, &c, lock, id); err != nil {
		return nil, fmt.Errorf("lock a conversation: %w", explain(err, model.ErrConversationNotFound()))
	}
	var now struct {
		Member bool       `db:"member"`
		Now    model.Time `db:"now"`
	}
	if err := s.get(ctx, &now, look, id, null(caller.Client)); err != nil {
		return nil, fmt.Errorf("lock a conversation: %w", err)
	}
	c.Now = now.Now
	c.Standing = model.Standing{Caller: caller, Kind: c.Kind, Visibility: c.Visibility, Member: now.Member, Expired: c.Expired}
	return &c, nil
}

// InsertConversation stores a new conversation without its members, and says when. key is nil unless it is unique.
func (s *Store) InsertConversation(ctx context.Context, c *model.NewConversation, key []byte) (model.Time, error) {
	const query = `
		INSERT INTO conversations (id, kind, name, creator, attributes, visibility, is_unique, unique_key, member_count,
		                           created_at, updated_at, expires_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, t.now, t.now, t.now + make_interval(secs => $10)
		FROM (SELECT date_trunc('milliseconds', clock_timestamp()) AS now) t
		RETURNING created_at`
	var at model.Time
	err := s.get(ctx, &at, query, c.ID, c.Kind, c.Name, c.Creator, string(c.Attributes), c.Visibility, c.Unique, key, len(c.Members),
		null(c.TTL.Seconds()))
	if err != nil {
		return model.Time{}, fmt.Errorf("insert a conversation: %w", err)
	}
	return at, nil
}

// LockUniqueKey makes the transaction the only one that may take a unique key until
// it ends. Whoever sees the key free under this lock may take it. It is taken after the
// lock of a conversation and before that of the log.
func (s *Store) LockUniqueKey(ctx context.Context, key []byte) error {
	const query = `SELECT pg_advisory_xact_lock($1)`
	if _, err := s.exec(ctx, query, int64(binary.BigEndian.Uint64(key))); err != nil {
		return fmt.Errorf("lock a unique key: %w", err)
	}
	return nil
}

// UniqueConversation returns the id of the conversation that holds a unique key; empty when none does.
func (s *Store) UniqueConversation(ctx context.Context, key []byte) (string, error) {
	const query = `SELECT id FROM conversations WHERE unique_key = $1 AND (expires_at IS NULL OR expires_at > now())`
	var id string
	if err := s.get(ctx, &id, query, key); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("find a unique conversation: %w", err)
	}
	return id, nil
}

// FreeUniqueKey takes a key from a temporary conversation that has expired. The key must be locked.
func (s *Store) FreeUniqueKey(ctx context.Context, key []byte) error {
	const query = `UPDATE conversations SET unique_key = NULL WHERE unique_key = $1 AND expires_at <= now()`
	if _, err := s.exec(ctx, query, key); err != nil {
		return fmt.Errorf("free a unique key: %w", err)
	}
	return nil
}

// SetUniqueKey gives a unique conversation its key. With nil it is unique no longer.
func (s *Store) SetUniqueKey(ctx context.Context, id string, key []byte) error {
	const query = `UPDATE conversations SET unique_key = $2::bytea, is_unique = $2::bytea IS NOT NULL WHERE id = $1`
	if _, err := s.exec(ctx, query, id, key); err != nil {
		return fmt.Errorf("set a unique key: %w", err)
	}
	return nil
}

// UpdateConversation stores what an update may change.
func (s *Store) UpdateConversation(ctx context.Context, id string, name *string, attributes []byte, at model.Time) error {
	const query = `UPDATE conversations SET name = $2, attributes = $3, updated_at = $4 WHERE id = $1`
	if _, err := s.exec(ctx, query, id, name, string(attributes), at); err != nil {
		return fmt.Errorf("update a conversation: %w", err)
	}
	return nil
}

// DeleteMessages removes up to limit of a conversation's messages with what hangs on
// them, and returns how many: less than limit means that none are left.
func (s *Store) DeleteMessages(ctx context.Context, id string, limit int) (int64, error) {
	const mentions = `
		DELETE FROM mentions WHERE conversation_id = $1 AND seq <= (
			SELECT max(seq) FROM (SELECT seq FROM messages WHERE conversation_id = $1 ORDER BY seq LIMIT $2) t)`
	const readers = `
		DELETE FROM message_readers WHERE conversation_id = $1 AND seq <= (
			SELECT max(seq) FROM (SELECT seq FROM messages WHERE conversation_id = $1 ORDER BY seq LIMIT $2) t)`
	const messages = `
		DELETE FROM messages WHERE conversation_id = $1 AND seq <= (
			SELECT max(seq) FROM (SELECT seq FROM messages WHERE conversation_id = $1 ORDER BY seq LIMIT $2) t)`
	if _, err := s.exec(ctx, mentions, id, limit); err != nil {
		return 0, fmt.Errorf("delete mentions: %w", err)
	}
	if _, err := s.exec(ctx, readers, id, limit); err != nil {
		return 0, fmt.Errorf("delete messages' readers: %w", err)
	}
	n, err := s.exec(ctx, messages, id, limit)
	if err != nil {
		return 0, fmt.Errorf("delete messages: %w", err)
	}
	return n, nil
}

// DeleteConversation removes a conversation that has no messages left. Its members'
// rows go with the event that says so.
func (s *Store) DeleteConversation(ctx context.Context, id string) error {
	for _, query := range []string{
		`DELETE FROM mentions WHERE conversation_id = $1`,
		`DELETE FROM seats WHERE conversation_id = $1`,
		`DELETE FROM message_readers WHERE conversation_id = $1`,
		`DELETE FROM broadcasts WHERE conversation_id = $1`,
		`DELETE FROM conversations WHERE id = $1`,
	} {
		if _, err := s.exec(ctx, query, id); err != nil {
			return fmt.Errorf("delete a conversation: %w", err)
		}
	}
	return nil
}

// storableID reports whether the database can be asked for an id at all; what it cannot hold does not exist.
func storableID(id string) bool {
	const longest = 64
	if id == "" || len(id) > longest || !utf8.ValidString(id) {
		return false
	}
	for i := range len(id) {
		if id[i] == 0 {
			return false
		}
	}
	return true
}
