package repo

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"parley/model"
)

// messageColumns are what messageRow reads, of messages m.
const messageColumns = `m.conversation_id, m.seq, m.sender, m.sent_at, m.type, m.custom_type, m.content,
	m.idem_key, m.updated_at, m.recalled_at, m.moderated`

type messageRow struct {
	ConversationID string            `db:"conversation_id"`
	Seq            int64             `db:"seq"`
	Sender         string            `db:"sender"`
	SentAt         model.Time        `db:"sent_at"`
	Type           model.MessageType `db:"type"`
	CustomType     sql.NullInt64     `db:"custom_type"`
	Content        []byte            `db:"content"`
	Key            sql.NullString    `db:"idem_key"`
	UpdatedAt      *model.Time       `db:"updated_at"`
	RecalledAt     *model.Time       `db:"recalled_at"`
	Moderated      bool              `db:"moderated"`
}

func (r *messageRow) message() model.Message {
	return model.Message{
		ConversationID: r.ConversationID, Seq: r.Seq, From: r.Sender, SentAt: r.SentAt,
		Type: r.Type, CustomType: r.CustomType.Int64, Content: r.Content, Key: r.Key.String,
		UpdatedAt: r.UpdatedAt, RecalledAt: r.RecalledAt, Moderated: r.Moderated,
	}
}

func allMessages(rows []messageRow) []*model.Message {
	out := make([]*model.Message, len(rows))
	for i := range rows {
		m := rows[i].message()
		out[i] = &m
	}
	return out
}

// Message returns one message of a conversation to someone who may read its
// history. It fails with conversation_not_found, not_a_member and, for a message
// that was deleted too, message_not_found.
func (s *Store) Message(ctx context.Context, caller model.Caller, conversationID, messageID string) (*model.Message, error) {
	standing, err := s.checkHistory(ctx, caller, conversationID)
	if err != nil {
		return nil, err
	}
	seq, ok := model.ParseMessageID(conversationID, messageID)
	if !ok {
		return nil, model.ErrMessageNotFound()
	}
	if err := s.CheckShown(ctx, standing, conversationID, seq); err != nil {
		return nil, err
	}
	const query = `SELECT ` + messageColumns + ` FROM messages m
		WHERE m.conversation_id = $1 AND m.seq = $2 AND m.type <> 0`
	var row messageRow
	if err := s.get(ctx, &row, query, conversationID, seq); err != nil {
		return nil, fmt.Errorf("message: %w", explain(err, model.ErrMessageNotFound()))
	}
	m := row.message()
	return &m, nil
}

// History returns up to limit messages of a conversation in the direction
// travelled, and whether there are more. Deleted ones are not among them. It fails
// with conversation_not_found, not_a_member and, for the id of a bound that is none, message_not_found.
func (s *Store) History(ctx context.Context, caller model.Caller, conversationID string, h model.History, limit int) (page []*model.Message, more bool, err error) {
	standing, err := s.checkHistory(ctx, caller, conversationID)
	if err == nil && h.Inbox {
		err = standing.CheckService("id")
		standing.Caller.Client = "" // it is nobody's view
	}
	if err != nil {
		return nil, false, err
	}
	first, last, err := s.historyRange(ctx, standing, conversationID, h)
	if err != nil || first > last || h.Empty() {
		return nil, false, err
	}
	query, filter := historyQuery(h)
	args := []any{conversationID, first, last, limit + 1}
	switch {
	case h.Inbox:
		query, filter = viewQuery(h)
	case standing.Kind == model.Service && !caller.System():
		query, filter = viewQuery(h)
		args = append(args, caller.Client, standing.Member)
	}
	args = append(args, filter...)
	var rows []messageRow
	if err := s.selectAll(ctx, &rows, query, args...); err != nil {
		return nil, false, fmt.Errorf("history: %w", err)
	}
	if more = len(rows) > limit; more {
		rows = rows[:limit]
	}
	return allMessages(rows), more, nil
}

// historyQuery asks for the messages from seq $2 to seq $3, at most $4. There are
// few such texts, so they stay prepared. Comparing and ordering by the type along
// with the seq leaves no index but the one that has both, whatever the database
// believes of its tables: a rare type among a million messages is still found at once.
func historyQuery(h model.History) (query string, filter []any) {
	const head = `SELECT ` + messageColumns + ` FROM messages m WHERE `
	desc := ""
	if !h.OldToNew {
		desc = " DESC"
	}
	switch {
	case h.CustomType != 0:
		return head + `m.conversation_id = $1 AND m.type = 3 AND (m.custom_type, m.seq) >= ($5, $2) AND (m.custom_type, m.seq) <= ($5, $3)
			ORDER BY m.custom_type` + desc + `, m.seq` + desc + ` LIMIT $4`, []any{h.CustomType}
	case h.Type != 0:
		return head + `(m.type, m.conversation_id, m.seq) >= ($5, $1, $2) AND (m.type, m.conversation_id, m.seq) <= ($5, $1, $3)
			ORDER BY m.type` + desc + `, m.conversation_id` + desc + `, m.seq` + desc + ` LIMIT $4`, []any{h.Type}
	}
	return head + `m.conversation_id = $1 AND m.seq BETWEEN $2 AND $3 AND m.type <> 0 ORDER BY m.seq` + desc + ` LIMIT $4`, nil
}

// historyRange is the seqs of the first and the last message that lie within the bounds, if any do.
func (s *Store) historyRange(ctx context.Context, standing model.Standing, conversationID string, h model.History) (first, last int64, err error) {
	older, newer := h.Bounds()
	first, last = math.MinInt64, math.MaxInt64
	known := h.Behind != "" // by the first page; what has gone since still marks its place
	switch {
	case older.ID != "":
		if first, err = s.boundSeq(ctx, standing, conversationID, older.ID, known); !older.Closed {
			first++
		}
	case older.Time != "":
		first, err = s.seqAt(ctx, conversationID, older.From)
	}
	if err != nil {
		return 0, 0, err
	}
	switch {
	case newer.ID != "":
		if last, err = s.boundSeq(ctx, standing, conversationID, newer.ID, known); !newer.Closed {
			last--
		}
	case newer.Time != "":
		last, err = s.seqAt(ctx, conversationID, newer.Until)
		last--
	}
	return first, last, err
}

func (s *Store) boundSeq(ctx context.Context, standing model.Standing, conversationID, id string, known bool) (int64, error) {
	seq, ok := model.ParseMessageID(conversationID, id)
	if !ok {
		return 0, model.ErrMessageNotFound()
	}
	if known {
		return seq, nil
	}
	const query = `SELECT seq FROM messages WHERE conversation_id = $1 AND seq = $2 AND type <> 0`
	if err := s.get(ctx, &seq, query, conversationID, seq); err != nil {
		return 0, fmt.Errorf("history: %w", explain(err, model.ErrMessageNotFound()))
	}
	return seq, s.CheckShown(ctx, standing, conversationID, seq)
}

// seqAt is the seq from which on messages were sent at a time or later.
func (s *Store) seqAt(ctx context.Context, conversationID string, at func() (time.Time, error)) (seq int64, err error) {
	t, err := at()
	if err != nil {
		return 0, err
	}
	if err := s.get(ctx, &seq, `SELECT message_seq_at($1, $2)`, conversationID, t); err != nil {
		return 0, fmt.Errorf("history: %w", err)
	}
	return seq, nil
}

// checkHistory fails unless the caller may read the history of a conversation.
func (s *Store) checkHistory(ctx context.Context, caller model.Caller, conversationID string) (model.Standing, error) {
	standing, err := s.Standing(ctx, caller, conversationID)
	if err != nil {
		return standing, err
	}
	return standing, standing.CheckHistory()
}
