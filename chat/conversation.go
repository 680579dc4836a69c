package chat

import (
	"context"
	"fmt"

	"parley/model"
	"parley/repo"
)

// CreateConversation makes what the draft describes. made is false when a unique
// conversation of the same members was there already: it is returned untouched. It
// fails with invalid_request, grant_... and conversation_full.
func (s *Service) CreateConversation(ctx context.Context, caller model.Caller, draft *model.ConversationDraft) (c *model.Conversation, made bool, err error) {
	if draft.OfService() && !caller.Server {
		return nil, false, model.NewError(model.ServerScopeRequired, "a service is created with a server token")
	}
	n, err := draft.Check(caller)
	if err != nil {
		return nil, false, err
	}
	var key []byte
	switch {
	case n.Unique:
		key = model.UniqueKey(n.Members)
	case n.Kind == model.Temporary:
		key = model.TemporaryKey(n.Members)
	}
	id, err := s.createOnce(ctx, caller, n, key)
	if err != nil {
		return nil, false, fmt.Errorf("create a conversation: %w", err)
	}
	c, err = s.Store.Conversation(ctx, caller, id, false)
	return c, id == n.ID, err
}

// createOnce returns the id of the conversation that has the key, n's unless there was one.
func (s *Service) createOnce(ctx context.Context, caller model.Caller, n *model.NewConversation, key []byte) (string, error) {
	need := model.CreateNeed(n)
	if key != nil { // opening the chat with somebody again is more frequent than the first time
		if id, err := s.Store.UniqueConversation(ctx, key); err != nil || id != "" {
			if err == nil {
				err = s.checkGrant(ctx, s.Store, caller, need)
			}
			return id, err
		}
	}
	var id string
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		if err := s.checkGrant(ctx, tx, caller, need); err != nil {
			return nil, err
		}
		if err := n.CheckFits(); err != nil {
			return nil, err
		}
		if key != nil {
			if err := tx.LockUniqueKey(ctx, key); err != nil {
				return nil, err
			}
			var err error
			if id, err = tx.UniqueConversation(ctx, key); err != nil || id != "" {
				return nil, err
			}
		}
		if n.Kind == model.Temporary {
			if err := tx.FreeUniqueKey(ctx, key); err != nil {
				return nil, err
			}
		}
		id = n.ID
		return insertConversation(ctx, tx, n, key)
	})
	return id, err
}

func insertConversation(ctx context.Context, tx *repo.Store, n *model.NewConversation, key []byte) ([]*model.Event, error) {
	at, err := tx.InsertConversation(ctx, n, key)
	if err != nil || len(n.Members) == 0 {
		return nil, err
	}
	if err := tx.InsertMembers(ctx, n.ID, n.Members, n.Creator, 0, at); err != nil {
		return nil, err
	}
	var invited []string
	if n.Creator == nil {
		invited = n.Members
	} else {
		invited = model.Without(n.Members, []string{*n.Creator})
	}
	e, err := invitation(ctx, tx, n.ID, n.Creator, invited, at)
	if err != nil {
		return nil, err
	}
	e.Joined = n.Members
	return []*model.Event{e}, nil
}

// invitation is the event that tells clients that they are in. When there are none it
// is for the nodes alone, which learn by it who else is.
func invitation(ctx context.Context, tx *repo.Store, id string, by *string, clients []string, at model.Time) (*model.Event, error) {
	c, err := tx.Conversation(ctx, model.Caller{Server: true}, id, false)
	if err != nil {
		return nil, err
	}
	e, err := event(model.EventInvited, model.ToClients, id, at,
		model.Invited{ConversationID: id, Conversation: c, InvitedBy: by, At: at})
	if err != nil {
		return nil, err
	}
	e.Clients = clients
	if len(clients) == 0 {
		e.Audience = model.ToNobody
	}
	return e, nil
}

func event(kind model.EventKind, to model.Audience, conversationID string, at model.Time, data any) (*model.Event, error) {
	b, err := model.OneLine(data)
	if err != nil {
		return nil, err
	}
	return &model.Event{Kind: kind, Audience: to, ConversationID: conversationID, Data: b, At: at}, nil
}

// UpdateConversation applies a merge patch and returns the conversation as the
// caller now sees it. What changes nothing makes no event. It fails with
// invalid_request, conversation_not_found, not_a_member and, by kind, with
// not_allowed_in_....
func (s *Service) UpdateConversation(ctx context.Context, caller model.Caller, id string, patch *model.ConversationPatch) (*model.Conversation, error) {
	if err := patch.Check(); err != nil {
		return nil, err
	}
	session, err := s.acting(ctx, caller)
	if err != nil {
		return nil, err
	}
	err = s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		c, err := tx.LockConversation(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		if err := c.CheckUpdate(c.Creator); err != nil {
			return nil, err
		}
		name, attributes, changed, err := patch.Apply(c.Name, c.Attributes)
		if err != nil || !changed {
			return nil, err
		}
		if err := tx.UpdateConversation(ctx, id, name, attributes, c.Now); err != nil {
			return nil, err
		}
		e, err := event(model.EventConversationUpdated, model.ToMembers, id, c.Now, model.ConversationInfoUpdated{
			ConversationID: id, Changes: *patch, UpdatedBy: caller.Actor(), At: c.Now})
		if err != nil {
			return nil, err
		}
		if session != "" {
			e.ExceptClient, e.ExceptSession = caller.Client, session
		}
		return []*model.Event{e}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("update a conversation: %w", err)
	}
	return s.Store.Conversation(ctx, caller, id, false)
}

// DeleteConversation removes a conversation with all that belongs to it, for a
// server token alone: the caller sees to that. It fails with conversation_not_found.
func (s *Service) DeleteConversation(ctx context.Context, caller model.Caller, id string) error {
	if _, err := s.Store.Standing(ctx, caller, id); err != nil {
		return err
	}
	// While the row is locked all sends of the node that meets it wait, so most of a
	// long history goes before. A crash between leaves a shorter one, and the request unanswered.
	if err := deleteMessages(ctx, s.Store, id); err != nil {
		return err
	}
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		c, err := tx.LockConversation(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		members, err := tx.MemberIDs(ctx, id)
		if err != nil {
			return nil, err
		}
		if err := deleteMessages(ctx, tx, id); err != nil {
			return nil, err
		}
		if err := tx.DeleteConversation(ctx, id); err != nil {
			return nil, err
		}
		e, err := event(model.EventConversationDeleted, model.ToMembers, id, c.Now,
			model.ConversationDeleted{ConversationID: id, DeletedBy: caller.Actor(), At: c.Now})
		if err != nil {
			return nil, err
		}
		e.Departed = members
		return []*model.Event{e}, nil
	})
	if err != nil {
		return fmt.Errorf("delete a conversation: %w", err)
	}
	return nil
}

func deleteMessages(ctx context.Context, s *repo.Store, id string) error {
	const batch = 5000
	for {
		n, err := s.DeleteMessages(ctx, id, batch)
		if err != nil || n < batch {
			return err
		}
	}
}
