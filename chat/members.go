package chat

import (
	"context"
	"fmt"
	"slices"

	"parley/model"
	"parley/repo"
)

// AddMembers adds clients to a conversation, or to the subscribers of a service, or
// takes a seat in a chatroom; one's own id joins. Who is a member
// already counts as added, and who does not fit fails alone. It fails as a whole with
// invalid_request, conversation_not_found, not_allowed_in_..., not_a_member and grant_....
func (s *Service) AddMembers(ctx context.Context, caller model.Caller, id string, clients []string) (*model.MembersChange, error) {
	clients, err := model.CheckClients("clientIds", clients, 1, model.MaxMembers)
	if err != nil {
		return nil, err
	}
	if kind, err := s.kindOf(ctx, id); err != nil {
		return nil, err
	} else if kind == model.Chatroom {
		return s.takeSeat(ctx, caller, id, clients)
	}
	var out *model.MembersChange
	err = s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		c, err := tx.LockConversation(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		if err := c.CheckAdd(clients); err != nil {
			return nil, err
		}
		need := model.GrantNeed{Op: model.GrantInvite, Conversation: id, Members: clients}
		if err := s.checkGrant(ctx, tx, caller, need); err != nil {
			return nil, err
		}
		present, err := tx.MembersAmong(ctx, id, clients)
		if err != nil {
			return nil, err
		}
		joining, rest := c.Fit(model.Without(clients, present), c.MemberCount)
		out = model.NewMembersChange(clients, rest, model.ErrConversationFull(), c.MemberCount+len(joining))
		if len(joining) == 0 {
			return nil, nil
		}
		return addMembers(ctx, tx, c, joining)
	})
	if err != nil {
		return nil, fmt.Errorf("add members: %w", err)
	}
	return out, nil
}

func addMembers(ctx context.Context, tx *repo.Store, c *repo.LockedConversation, joining []string) ([]*model.Event, error) {
	// What was said before does not count as unread.
	if err := tx.InsertMembers(ctx, c.ID, joining, c.Creator, c.Seq, c.Now); err != nil {
		return nil, err
	}
	if err := membersChanged(ctx, tx, c, len(joining), nil); err != nil {
		return nil, err
	}
	if c.Kind == model.Service { // nobody is told, but the nodes are
		return []*model.Event{{Kind: model.EventMembersJoined, Audience: model.ToNobody, ConversationID: c.ID, Joined: joining, At: c.Now}}, nil
	}
	actor := c.Caller.Actor()
	joined, err := event(model.EventMembersJoined, model.ToMembers, c.ID, c.Now,
		model.MembersJoined{ConversationID: c.ID, Members: joining, InvitedBy: actor, At: c.Now})
	if err != nil {
		return nil, err
	}
	self, others := apart(joining, c.Caller)
	joined.Joined = self // a self-joiner hears of it as a member does
	events := []*model.Event{joined}
	if len(others) > 0 {
		invited, err := invitation(ctx, tx, c.ID, actor, others, c.Now)
		if err != nil {
			return nil, err
		}
		invited.Joined = others
		events = append(events, invited)
	}
	return events, nil
}

// RemoveMembers removes clients from where AddMembers takes them; one's own id quits. Who is no
// member fails alone. It fails as a whole with invalid_request,
// conversation_not_found, not_allowed_in_..., not_a_member and grant_....
func (s *Service) RemoveMembers(ctx context.Context, caller model.Caller, id string, clients []string) (*model.MembersChange, error) {
	clients, err := model.CheckClients("clientId", clients, 1, model.MaxMembers)
	if err != nil {
		return nil, err
	}
	if kind, err := s.kindOf(ctx, id); err != nil {
		return nil, err
	} else if kind == model.Chatroom {
		return s.leaveSeat(ctx, caller, id, clients)
	}
	var out *model.MembersChange
	err = s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		c, err := tx.LockConversation(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		if err := c.CheckRemove(clients); err != nil {
			return nil, err
		}
		if need, ok := model.KickNeed(id, caller.Client, clients); ok {
			if err := s.checkGrant(ctx, tx, caller, need); err != nil {
				return nil, err
			}
		}
		leaving, err := tx.MembersAmong(ctx, id, clients)
		if err != nil {
			return nil, err
		}
		why := model.NewError(model.NotAMember, "this client is not a member of the conversation")
		out = model.NewMembersChange(clients, model.Without(clients, leaving), why, c.MemberCount-len(leaving))
		if len(leaving) == 0 {
			return nil, nil
		}
		return removeMembers(ctx, tx, c, leaving)
	})
	if err != nil {
		return nil, fmt.Errorf("remove members: %w", err)
	}
	return out, nil
}

func removeMembers(ctx context.Context, tx *repo.Store, c *repo.LockedConversation, leaving []string) ([]*model.Event, error) {
	if err := membersChanged(ctx, tx, c, -len(leaving), leaving); err != nil {
		return nil, err
	}
	if c.Kind == model.Service { // nobody is told, but the nodes are
		return []*model.Event{{Kind: model.EventMembersLeft, Audience: model.ToNobody, ConversationID: c.ID, Departed: leaving, At: c.Now}}, nil
	}
	actor := c.Caller.Actor()
	self, others := apart(leaving, c.Caller)
	var events []*model.Event
	if len(others) > 0 { // first, so that what follows is not for them any more
		kicked, err := event(model.EventKicked, model.ToClients, c.ID, c.Now,
			model.Kicked{ConversationID: c.ID, KickedBy: actor, At: c.Now})
		if err != nil {
			return nil, err
		}
		kicked.Clients, kicked.Departed = others, others
		events = append(events, kicked)
	}
	left, err := event(model.EventMembersLeft, model.ToMembers, c.ID, c.Now,
		model.MembersLeft{ConversationID: c.ID, Members: leaving, KickedBy: actor, At: c.Now})
	if err != nil {
		return nil, err
	}
	left.Departed = self
	return append(events, left), nil
}

// membersChanged keeps the conversation's row in step. Members that only the coming
// event removes are named in leaving.
func membersChanged(ctx context.Context, tx *repo.Store, c *repo.LockedConversation, by int, leaving []string) error {
	if err := tx.AddMemberCount(ctx, c.ID, by); err != nil {
		return err
	}
	if !c.Unique {
		return nil
	}
	members, err := tx.MemberIDs(ctx, c.ID)
	if err != nil {
		return err
	}
	key := model.UniqueKey(model.Without(members, leaving))
	if err := tx.LockUniqueKey(ctx, key); err != nil {
		return err
	}
	holder, err := tx.UniqueConversation(ctx, key)
	if err != nil {
		return err
	}
	if holder != "" && holder != c.ID {
		key = nil // that set has its conversation; this one is an ordinary one from now on
	}
	return tx.SetUniqueKey(ctx, c.ID, key)
}

// apart divides clients into the acting one, if he is among them, and the others.
func apart(clients []string, caller model.Caller) (self, others []string) {
	if caller.Client == "" || !slices.Contains(clients, caller.Client) {
		return nil, clients
	}
	self = []string{caller.Client}
	return self, model.Without(clients, self)
}

// Mute sets whether the caller is disturbed by a conversation. It fails with
// acting_client_required, conversation_not_found, not_allowed_in_... and not_a_member.
func (s *Service) Mute(ctx context.Context, caller model.Caller, id string, muted bool) error {
	if err := caller.NeedClient(); err != nil {
		return err
	}
	standing, err := s.Store.Standing(ctx, caller, id)
	if err != nil {
		return err
	}
	if err := standing.CheckMute(); err != nil {
		return err
	}
	done, err := s.Store.SetMute(ctx, id, caller.Client, muted)
	if err == nil && !done { // he has left meanwhile
		err = model.ErrNotAMember(model.LegacyMembershipRefused)
	}
	return err
}
