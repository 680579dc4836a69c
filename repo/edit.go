package repo

import (
	"context"
	"fmt"

	"github.com/lib/pq"

	"parley/model"
)

// LockMessage returns a message and locks it until the end of the transaction. It
// fails with message_not_found, also for one that was removed. Whoever is going to
// change what counts as unread must hold the conversation's lock already.
func (s *Store) LockMessage(ctx context.Context, conversationID, messageID string) (*model.Message, error) {
	const query = `SELECT ` + messageColumns + ` FROM messages m
		WHERE m.conversation_id = $1 AND m.seq = $2 AND m.type <> 0 FOR UPDATE`
	seq, ok := model.ParseMessageID(conversationID, messageID)
	if !ok {
		return nil, model.ErrMessageNotFound()
	}
	var row messageRow
	if err := s.get(ctx, &row, query, conversationID, seq); err != nil {
		return nil, fmt.Errorf("lock a message: %w", explain(err, model.ErrMessageNotFound()))
	}
	m := row.message()
	return &m, nil
}

// Edit is the new content of a message.
type Edit struct {
	Type       model.MessageType
	CustomType int64
	Content    []byte
	MentionAll bool
	Mentions   []string
	FileID     string // empty: none

	Mentioned []string // by the old content
}

// EditMessage replaces the content of a locked message, and notes so in m.
func (s *Store) EditMessage(ctx context.Context, m *model.Message, e *Edit) error {
	// The clock is asked under the lock, and may have been set back.
	const query = `
		UPDATE messages SET type = $3, custom_type = $4, content = $5, mention_all = $6, file_id = $7, moderated = false,
		       updated_at = GREATEST(date_trunc('milliseconds', clock_timestamp()), updated_at, sent_at)
		WHERE conversation_id = $1 AND seq = $2 RETURNING updated_at`
	var at model.Time
	err := s.get(ctx, &at, query, m.ConversationID, m.Seq, e.Type, null(e.CustomType), string(e.Content), e.MentionAll, null(e.FileID))
	if err != nil {
		return fmt.Errorf("edit a message: %w", err)
	}
	if err := s.forgetMentions(ctx, m, e.Mentioned); err != nil {
		return err
	}
	if len(e.Mentions) > 0 {
		const mention = `INSERT INTO mentions (conversation_id, client_id, seq) SELECT $1, client_id, $2 FROM unnest($3::text[]) AS client_id`
		if _, err := s.exec(ctx, mention, m.ConversationID, m.Seq, pq.Array(e.Mentions)); err != nil {
			return fmt.Errorf("edit a message: %w", err)
		}
	}
	m.Type, m.CustomType, m.Content, m.UpdatedAt, m.Moderated = e.Type, e.CustomType, e.Content, &at, false
	return nil
}

// RecallMessage takes the content of a locked message away, and notes so in m. The
// conversation must be locked too. mentioned are those whom the content mentioned.
func (s *Store) RecallMessage(ctx context.Context, m *model.Message, mentioned []string) error {
	const query = `
		UPDATE messages SET type = $3, custom_type = NULL, content = $4, mention_all = false, receipt = false,
		       push_data = NULL, file_id = NULL, moderated = false,
		       recalled_at = GREATEST(date_trunc('milliseconds', clock_timestamp()), updated_at, sent_at)
		WHERE conversation_id = $1 AND seq = $2 RETURNING recalled_at`
	content := []byte(`{"type":"recalled"}`)
	var at model.Time
	if err := s.get(ctx, &at, query, m.ConversationID, m.Seq, model.TypeRecalled, string(content)); err != nil {
		return fmt.Errorf("recall a message: %w", err)
	}
	if err := s.uncount(ctx, m, mentioned); err != nil {
		return err
	}
	m.Type, m.CustomType, m.Content, m.RecalledAt, m.Moderated = model.TypeRecalled, 0, content, &at, false
	return nil
}

// RemoveMessage leaves nothing of a locked message but its place. The conversation must
// be locked too. mentioned are those whom the content mentioned.
func (s *Store) RemoveMessage(ctx context.Context, m *model.Message, mentioned []string) error {
	const query = `
		UPDATE messages SET type = $3, custom_type = NULL, content = '{}', mention_all = false, receipt = false,
		       push_data = NULL, file_id = NULL, idem_key = NULL, idem_digest = NULL, moderated = false
		WHERE conversation_id = $1 AND seq = $2`
	if _, err := s.exec(ctx, query, m.ConversationID, m.Seq, model.TypeRemoved); err != nil {
		return fmt.Errorf("remove a message: %w", err)
	}
	if m.Type == model.TypeRecalled {
		return nil // it counts no more since then
	}
	return s.uncount(ctx, m, mentioned)
}

// uncount makes a message one that counts for nobody: for its sender it never did. In
// services unread messages are counted when somebody asks.
func (s *Store) uncount(ctx context.Context, m *model.Message, mentioned []string) error {
	const query = `
		UPDATE members SET uncounted = uncounted + 1
		WHERE conversation_id = $1 AND read_seq < $2 AND client_id <> $3
		  AND NOT EXISTS (SELECT 1 FROM conversations WHERE id = $1 AND kind = 3)`
	if _, err := s.exec(ctx, query, m.ConversationID, m.Seq, m.From); err != nil {
		return fmt.Errorf("count unread messages anew: %w", err)
	}
	return s.forgetMentions(ctx, m, mentioned)
}

func (s *Store) forgetMentions(ctx context.Context, m *model.Message, mentioned []string) error {
	const query = `DELETE FROM mentions WHERE conversation_id = $1 AND client_id = ANY ($2) AND seq = $3`
	if len(mentioned) == 0 {
		return nil
	}
	if _, err := s.exec(ctx, query, m.ConversationID, pq.Array(mentioned), m.Seq); err != nil {
		return fmt.Errorf("forget mentions: %w", err)
	}
	return nil
}
