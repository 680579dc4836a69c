package repo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"
)

// UseGrant uses up the grant of a jti, and reports whether it was still good: of two
// at once one is told so, after the other's transaction has ended. It is remembered
// until keepUntil.
func (s *Store) UseGrant(ctx context.Context, jti string, keepUntil time.Time) (bool, error) {
	const query = `INSERT INTO grants_used (jti_hash, keep_until) VALUES ($1, $2) ON CONFLICT DO NOTHING`
	hash := sha256.Sum256([]byte(jti))
	n, err := s.exec(ctx, query, hash[:], keepUntil)
	if err != nil {
		return false, fmt.Errorf("use a grant: %w", err)
	}
	return n == 1, nil
}

// GrantUsed reports whether the grant of a jti has been used up.
func (s *Store) GrantUsed(ctx context.Context, jti string) (used bool, err error) {
	const query = `SELECT EXISTS (SELECT 1 FROM grants_used WHERE jti_hash = $1)`
	hash := sha256.Sum256([]byte(jti))
	if err := s.get(ctx, &used, query, hash[:]); err != nil {
		return false, fmt.Errorf("look for a used grant: %w", err)
	}
	return used, nil
}

// ForgetGrants removes up to limit used grants that nobody can use any more, and returns how many.
func (s *Store) ForgetGrants(ctx context.Context, now time.Time, limit int) (int64, error) {
	const query = `
		DELETE FROM grants_used WHERE jti_hash IN (
			SELECT jti_hash FROM grants_used WHERE keep_until < $1 ORDER BY keep_until LIMIT $2)`
	n, err := s.exec(ctx, query, now, limit)
	if err != nil {
		return 0, fmt.Errorf("forget used grants: %w", err)
	}
	return n, nil
}
