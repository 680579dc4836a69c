package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"parley/repo"
	"parley/repo/cluster"
)

// database is the DSN of a migrated database, and what runs it if that is us.
type database struct {
	dsn     string
	cluster *cluster.Cluster // nil: somebody else's
	applied int              // migrations just applied
}

// patience is how long a database that is away may take to come at the start:
// machines that boot together are up in any order.
const patience = 30 * time.Second

// openDatabase starts the private PostgreSQL if no other is configured, and
// applies the migrations that are missing.
func openDatabase(ctx context.Context, c config, log *slog.Logger) (*database, error) {
	db := &database{dsn: c.databaseURL}
	if db.dsn == "" {
		private, err := cluster.Start(ctx, cluster.Options{Dir: filepath.Join(c.dataDir, "postgres"), Log: log})
		if err != nil {
			return nil, err
		}
		db.cluster, db.dsn = private, private.DSN()
	}
	var err error
	for end := time.Now().Add(patience); ; {
		db.applied, err = repo.Migrate(ctx, db.dsn)
		if err == nil {
			return db, nil
		}
		if !repo.IsUnavailable(err) || time.Now().After(end) || ctx.Err() != nil {
			break
		}
		log.Warn("the database cannot be reached, trying again", "err", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	db.close(log)
	if repo.IsUnavailable(err) {
		return nil, fmt.Errorf("the database of DATABASE_URL cannot be reached: check that it runs and that the address is right: %w", err)
	}
	return nil, err
}

func (db *database) close(log *slog.Logger) {
	if db.cluster == nil {
		return
	}
	if err := db.cluster.Stop(); err != nil {
		log.Warn("stopping PostgreSQL", "err", err)
	}
}

// migrate is the command: it applies migrations and exits.
func migrate(ctx context.Context, c config, stdout, stderr io.Writer) error {
	log := c.logger(stderr)
	db, err := openDatabase(ctx, c, log)
	if err != nil {
		return err
	}
	defer db.close(log)
	fmt.Fprintf(stdout, "%d migrations applied: the database is up to date\n", db.applied)
	return nil
}
