package chat

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"parley/model"
	"parley/repo"
)

// takeSeat seats the calling session in a chatroom, leaving the seat it held before.
// It fails with not_allowed_in_chatroom when anybody but the caller is named, and
// with session_required and grant_....
func (s *Service) takeSeat(ctx context.Context, caller model.Caller, id string, clients []string) (*model.MembersChange, error) {
	session, err := s.acting(ctx, caller)
	if err != nil {
		return nil, err
	}
	standing, err := s.Store.Standing(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	if err := standing.CheckSeat(clients); err != nil {
		return nil, err
	}
	if session == "" {
		return nil, model.NewError(model.SessionRequired, "a seat belongs to a session: name one of yours, which has opened a stream, in the header Parley-Session")
	}
	grant, err := s.grantFor(caller, model.GrantNeed{Op: model.GrantInvite, Conversation: id, Members: clients})
	if err != nil {
		return nil, err
	}
	request := repo.SeatRequest{ClientID: caller.Client, Session: session, ConversationID: id}
	if grant != nil {
		err = s.seatByGrant(ctx, request, grant)
	} else {
		_, err = s.seats.Do(ctx, request)
	}
	if err != nil {
		return nil, err
	}
	return model.NewMembersChange(clients, nil, nil, 0), nil
}

// storeSeats runs a batch: rooms fill in bursts, and each seat costs an event.
func (s *Service) storeSeats(batch []repo.SeatRequest) []Answer[struct{}] {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	answers := make([]Answer[struct{}], len(batch))
	// Of two requests of one session the last one counts.
	last := make(map[sessionKey]repo.SeatRequest, len(batch))
	for _, r := range batch {
		last[sessionKey{r.ClientID, r.Session}] = r
	}
	requests := make([]repo.SeatRequest, 0, len(last))
	for _, r := range last {
		requests = append(requests, r)
	}
	bad := make(map[sessionKey]bool)
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		now := nowMS()
		moved, refused, err := tx.TakeSeats(ctx, requests, now)
		if err != nil {
			return nil, err
		}
		clear(bad)
		for _, r := range refused {
			bad[sessionKey{r.ClientID, r.Session}] = true
		}
		events := make([]*model.Event, len(moved))
		for i, r := range moved {
			events[i] = seatEvent(r.ClientID, r.Session, r.ConversationID, now)
		}
		return events, nil
	})
	if err != nil {
		return failAll[struct{}](len(batch), fmt.Errorf("take a seat: %w", err))
	}
	for i, r := range batch {
		if bad[sessionKey{r.ClientID, r.Session}] {
			answers[i].Err = errUnnamedSession()
		}
	}
	return answers
}

func errUnnamedSession() error {
	return model.NewError(model.SessionRequired, "a seat belongs to a session whose id the client chose, with ?session= on its stream")
}

// seatByGrant is a seat that is taken by a grant that works once: both in one transaction.
func (s *Service) seatByGrant(ctx context.Context, r repo.SeatRequest, grant *model.Grant) error {
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		if err := useGrant(ctx, tx, grant); err != nil {
			return nil, err
		}
		now := nowMS()
		moved, refused, err := tx.TakeSeats(ctx, []repo.SeatRequest{r}, now)
		if err != nil {
			return nil, err
		}
		if len(refused) > 0 {
			return nil, errUnnamedSession()
		}
		events := make([]*model.Event, len(moved))
		for i, m := range moved {
			events[i] = seatEvent(m.ClientID, m.Session, m.ConversationID, now)
		}
		return events, nil
	})
	if err != nil {
		return fmt.Errorf("take a seat: %w", err)
	}
	return nil
}

// leaveSeat gives up the caller's seat of the calling session in a chatroom, or all his seats there.
func (s *Service) leaveSeat(ctx context.Context, caller model.Caller, id string, clients []string) (*model.MembersChange, error) {
	session, err := s.acting(ctx, caller)
	if err != nil {
		return nil, err
	}
	var left []string
	err = s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		standing, err := tx.Standing(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		if err := standing.CheckSeat(clients); err != nil {
			return nil, err
		}
		left, err = tx.LeaveSeats(ctx, caller.Client, session, id)
		return seatsLeft(caller.Client, left), err
	})
	if err != nil {
		return nil, fmt.Errorf("leave a seat: %w", err)
	}
	if len(left) == 0 {
		return model.NewMembersChange(clients, clients, model.ErrNotAMember(model.LegacyMembershipRefused), 0), nil
	}
	return model.NewMembersChange(clients, nil, nil, 0), nil
}

// seatsLeft are the events of sessions of a client that sit nowhere any more.
func seatsLeft(client string, sessions []string) []*model.Event {
	events := make([]*model.Event, len(sessions))
	now := nowMS()
	for i, session := range sessions {
		events[i] = seatEvent(client, session, "", now)
	}
	return events
}

func seatEvent(client, session, conversation string, now model.Time) *model.Event {
	seat := &model.SeatTaken{ClientID: client, Session: session, ConversationID: conversation}
	data, err := json.Marshal(seat)
	if err != nil {
		panic("chat: " + err.Error()) // types of ours
	}
	return &model.Event{Kind: model.EventSeat, Audience: model.ToNobody, Seat: seat, Data: data, At: now}
}

// lapse gives up the seat of a session that comes back too late to have kept it.
func (s *Service) lapse(ctx context.Context, key sessionKey, away time.Duration) error {
	if away <= s.Config.SeatGrace {
		return nil
	}
	var lapsed bool
	err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
		left, err := tx.LeaveSeats(ctx, key.client, key.id, "")
		lapsed = len(left) > 0
		return seatsLeft(key.client, left), err
	})
	if err != nil || !lapsed {
		return err
	}
	return s.Hub.Await(ctx, s.Hub.Position()) // the stream must not sit down where it sat
}

// cleanSeats gives up the seats of sessions that have been away for too long.
func (s *Service) cleanSeats(ctx context.Context) error {
	for n := houseBatch; n >= houseBatch; {
		n = 0
		err := s.write(ctx, func(tx *repo.Store) ([]*model.Event, error) {
			got, err := tx.LockHouse(ctx)
			if err != nil || !got {
				return nil, err
			}
			lapsed, err := tx.LapseSeats(ctx, s.Config.SeatGrace, houseBatch)
			n = len(lapsed)
			events := make([]*model.Event, n)
			for i, r := range lapsed {
				events[i] = seatEvent(r.ClientID, r.Session, "", nowMS())
			}
			return events, err
		})
		if err != nil {
			return err
		}
		s.Removed.Seats.Add(int64(n))
	}
	return nil
}
