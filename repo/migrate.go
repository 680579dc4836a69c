package repo

import (
	"context"
	"errors"
	"fmt"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"parley/migrations"
)

// Migrate brings the schema of a database up to date and returns how many
// migrations that took. Of several processes that start at once one applies them
// and the others wait. It uses connections of its own, whose statements may take
// as long as they need.
func Migrate(ctx context.Context, dsn string) (applied int, err error) {
	db, err := openDB(dsn, migrationLimits)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 600)) // every second for ten minutes
	if err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db.DB, migrations.FS,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, fmt.Errorf("migrate: %w", err)
	}
	results, err := provider.Up(ctx)
	if err != nil {
		return len(results), fmt.Errorf("migrate: %w", away(err))
	}
	return len(results), nil
}

// Migrated reports whether all migrations of this program have been applied.
func (s *Store) Migrated(ctx context.Context) (bool, error) {
	const query = `SELECT count(DISTINCT version_id) FROM goose_db_version WHERE is_applied AND version_id > 0`
	var applied int
	err := s.get(ctx, &applied, query)
	if pq.As(err, pqerror.UndefinedTable) != nil {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for migrations: %w", err)
	}
	files, err := migrations.FS.ReadDir(".")
	if err != nil {
		return false, fmt.Errorf("look for migrations: %w", err)
	}
	return applied >= len(files), nil
}
