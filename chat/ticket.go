package chat

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"parley/model"
	"parley/repo"
)

// ticketFirstUse is how soon a ticket must be used.
const ticketFirstUse = 30 * time.Second

// Ticket opens one session's stream where no header can carry a token.
type Ticket struct {
	Ticket    string     `json:"ticket"`
	ExpiresAt model.Time `json:"expiresAt"` // of its first use
}

// NewTicket makes a ticket bound to the caller.
func (s *Service) NewTicket(ctx context.Context, caller model.Caller) (Ticket, error) {
	if err := caller.NeedClient(); err != nil {
		return Ticket{}, err
	}
	now := nowMS()
	t := Ticket{Ticket: rand.Text(), ExpiresAt: model.At(now.Add(ticketFirstUse))}
	hash := sha256.Sum256([]byte(t.Ticket))
	row := repo.Ticket{ClientID: caller.Client, Server: caller.Server, IssuedAt: now, TokenExpiresAt: model.At(caller.ExpiresAt)}
	return t, s.Store.InsertTicket(ctx, hash[:], row, t.ExpiresAt)
}

// RedeemTicket returns who may open a session's stream with a ticket. The first use
// ties the ticket to the session. It fails with unauthenticated.
func (s *Service) RedeemTicket(ctx context.Context, ticket, session string) (model.Caller, error) {
	refused := model.NewError(model.Unauthenticated, "the ticket is unknown, expired, or tied to another session; its first use, within 30 s, must name a session")
	if !model.ValidSessionID(session) {
		return model.Caller{}, refused
	}
	hash := sha256.Sum256([]byte(ticket))
	t, err := s.Store.UseTicket(ctx, hash[:], session, nowMS())
	if errors.Is(err, sql.ErrNoRows) {
		return model.Caller{}, refused
	}
	if err != nil {
		return model.Caller{}, err
	}
	if at, kicked := s.Revoked(t.ClientID); kicked && model.Revoked(t.IssuedAt.Time, at) {
		return model.Caller{}, refused
	}
	return model.Caller{Client: t.ClientID, Server: t.Server, Own: true, IssuedAt: t.IssuedAt.Time, ExpiresAt: t.TokenExpiresAt.Time}, nil
}
