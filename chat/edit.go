package chat

import (
	"context"
	"fmt"

	"parley/model"
	"parley/repo"
)

// EditMessage replaces the whole content of a message by a checked draft's. That
// only a server token gives a reason has been checked. It fails
// with invalid_request, conversation_not_found, not_a_member, message_not_found,
// message_ownership_required, message_edit_disabled and message_recalled.
func (s *Service) EditMessage(ctx context.Context, caller model.Caller, conversationID, messageID string, d *model.Draft, reason *model.Reason) (*model.Message, error) {
	session, err := s.acting(ctx, caller)
	if err != nil {
		return nil, err
	}
	d, fileID, err := s.withFile(ctx, caller, d)
	if err != nil {
		return nil, err
	}
	var m *model.Message
	err = s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		standing, err := tx.Standing(ctx, caller, conversationID)
		if err != nil {
			return nil, err
		}
		if m, err = s.lockMessage(ctx, tx, standing, conversationID, messageID, s.Config.NoEdits, model.MessageEditDisabled); err != nil {
			return nil, err
		}
		if m.Type == model.TypeRecalled {
			return nil, model.NewError(model.MessageRecalled, "the message has been recalled")
		}
		if err := editMessage(ctx, tx, standing.Kind, m, d, fileID); err != nil {
			return nil, err
		}
		return changed(ctx, tx, model.EventMessageUpdate, m, standing, session, reason, *m.UpdatedAt)
	})
	if err != nil {
		return nil, fmt.Errorf("edit a message: %w", err)
	}
	return m, nil
}

// lockMessage returns a message that the caller may change.
func (s *Service) lockMessage(ctx context.Context, tx *repo.Store, standing model.Standing, conversationID, messageID string, off bool, disabled model.Code) (*model.Message, error) {
	if err := standing.CheckHistory(); err != nil {
		return nil, err
	}
	m, err := tx.LockMessage(ctx, conversationID, messageID)
	if err != nil {
		return nil, err
	}
	if err := tx.CheckShown(ctx, standing, conversationID, m.Seq); err != nil {
		return nil, err
	}
	if !off {
		disabled = ""
	}
	return m, standing.CheckChange(m, disabled)
}

func editMessage(ctx context.Context, tx *repo.Store, kind model.Kind, m *model.Message, d *model.Draft, fileID string) error {
	next := *d // the transaction may be run again
	mentioned, err := next.Succeed(m.Content)
	if err != nil {
		return err
	}
	mentions := next.MentionList
	if len(mentions) > 0 && kind != model.Chatroom {
		if mentions, err = tx.MembersAmong(ctx, m.ConversationID, mentions); err != nil {
			return err
		}
	}
	return tx.EditMessage(ctx, m, &repo.Edit{
		Type: next.Type, CustomType: next.CustomType, Content: next.Encode(kind, mentions), MentionAll: next.MentionAll,
		Mentions: mentions, FileID: fileID, Mentioned: mentioned,
	})
}

// RecallMessage takes a message's content back for everybody. Recalling again changes
// nothing. It fails as EditMessage does, with message_recall_disabled.
func (s *Service) RecallMessage(ctx context.Context, caller model.Caller, conversationID, messageID string, reason *model.Reason) (*model.Message, error) {
	session, err := s.acting(ctx, caller)
	if err != nil {
		return nil, err
	}
	var m *model.Message
	err = s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		c, err := tx.LockConversation(ctx, caller, conversationID)
		if err != nil {
			return nil, err
		}
		m, err = s.lockMessage(ctx, tx, c.Standing, conversationID, messageID, s.Config.NoRecalls, model.MessageRecallDisabled)
		if err != nil || m.Type == model.TypeRecalled {
			return nil, err
		}
		mentioned, err := new(model.Draft).Succeed(m.Content)
		if err != nil {
			return nil, err
		}
		if err := tx.RecallMessage(ctx, m, mentioned); err != nil {
			return nil, err
		}
		return changed(ctx, tx, model.EventMessageRecall, m, c.Standing, session, reason, *m.RecalledAt)
	})
	if err != nil {
		return nil, fmt.Errorf("recall a message: %w", err)
	}
	return m, nil
}

// RemoveMessage takes a message out of the history and every count, for a server token
// alone: the caller sees to that. Clients hear nothing of it. It fails with
// conversation_not_found and message_not_found.
func (s *Service) RemoveMessage(ctx context.Context, caller model.Caller, conversationID, messageID string) error {
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		c, err := tx.LockConversation(ctx, caller, conversationID)
		if err != nil {
			return nil, err
		}
		m, err := s.lockMessage(ctx, tx, c.Standing, conversationID, messageID, false, "")
		if err != nil {
			return nil, err
		}
		mentioned, err := new(model.Draft).Succeed(m.Content)
		if err != nil {
			return nil, err
		}
		if err := tx.RemoveMessage(ctx, m, mentioned); err != nil {
			return nil, err
		}
		return []*model.Event{{
			Kind: model.EventMessageRemoved, Audience: model.ToNobody, ConversationID: conversationID, Seq: m.Seq, At: c.Now,
		}}, nil
	})
	if err != nil {
		return fmt.Errorf("remove a message: %w", err)
	}
	return nil
}

// changed are the events of a message that is not what it was, for whoever could read it
// but the acting session. Of their data only what is not in the message is stored.
func changed(ctx context.Context, tx *repo.Store, kind model.EventKind, m *model.Message, standing model.Standing, session string, reason *model.Reason, at model.Time) ([]*model.Event, error) {
	events := []*model.Event{{Audience: model.ToMembers}}
	if standing.Kind == model.Service {
		var err error
		if events, err = serviceReaders(ctx, tx, m); err != nil {
			return nil, err
		}
	}
	for _, e := range events {
		e.Kind, e.ConversationID, e.Seq, e.Data, e.At = kind, m.ConversationID, m.Seq, reason.Extra(), at
		if session != "" {
			e.ExceptClient, e.ExceptSession = standing.Caller.Client, session
		}
	}
	return events, nil
}
