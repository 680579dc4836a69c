package repo

import (
	"context"
	"database/sql"
	"fmt"

	"parley/model"
)

// Revoke refuses the tokens of a client that were issued up to a second.
func (s *Store) Revoke(ctx context.Context, client string, through model.Time) error {
	const query = `UPDATE clients SET tokens_void_through = $2 WHERE id = $1`
	_, err := s.exec(ctx, query, client, through)
	return err
}

// Revoked lists the clients whose tokens are refused up to some second.
func (s *Store) Revoked(ctx context.Context) (map[string]model.Time, error) {
	out, err := s.kicks(ctx, `SELECT id, tokens_void_through FROM clients WHERE tokens_void_through IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("list revocations: %w", err)
	}
	return out, nil
}

// kicks runs a statement that returns clients and when they were kicked, null for never.
func (s *Store) kicks(ctx context.Context, query string, args ...any) (map[string]model.Time, error) {
	var rows []struct {
		ID string      `db:"id"`
		At *model.Time `db:"tokens_void_through"`
	}
	if err := s.selectAll(ctx, &rows, query, args...); err != nil {
		return nil, err
	}
	out := make(map[string]model.Time)
	for _, r := range rows {
		if r.At != nil {
			out[r.ID] = *r.At
		}
	}
	return out, nil
}

// Ticket is what a ticket stands for.
type Ticket struct {
	ClientID       string         `db:"client_id"`
	Server         bool           `db:"server"`
	IssuedAt       model.Time     `db:"issued_at"`
	TokenExpiresAt model.Time     `db:"token_expires_at"`
	Session        sql.NullString `db:"session_id"`
}

// InsertTicket stores a ticket under the hash of its text.
func (s *Store) InsertTicket(ctx context.Context, hash []byte, t Ticket, firstUseBefore model.Time) error {
	const query = `
		INSERT INTO tickets (hash, client_id, server, expires_at, issued_at, token_expires_at)
		VALUES ($1, $2, $3, $4, $5, $6)`
	_, err := s.exec(ctx, query, hash, t.ClientID, t.Server, firstUseBefore, t.IssuedAt, t.TokenExpiresAt)
	if err != nil {
		return fmt.Errorf("store a ticket: %w", err)
	}
	return nil
}

// UseTicket ties a ticket to a session at its first use, and returns it when it
// opens that session; sql.ErrNoRows when it opens nothing (any more).
func (s *Store) UseTicket(ctx context.Context, hash []byte, session string, now model.Time) (Ticket, error) {
	const columns = `client_id, server, issued_at, token_expires_at, session_id`
	const again = `SELECT ` + columns + ` FROM tickets WHERE hash = $1 AND session_id = $2 AND token_expires_at > $3`
	var t Ticket
	if err := s.get(ctx, &t, again, hash, session, now); err != sql.ErrNoRows {
		return t, err
	}
	// The condition is checked again under the row's lock: of two first uses one wins.
	const first = `
		UPDATE tickets SET session_id = $2
		WHERE hash = $1 AND session_id IS NULL AND expires_at > $3 AND token_expires_at > $3
		RETURNING ` + columns
	err := s.get(ctx, &t, first, hash, session, now)
	return t, err
}
