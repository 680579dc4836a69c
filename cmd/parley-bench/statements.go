package main

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// countStatements has PostgreSQL count what the server asks it. It restarts the server once.
func countStatements(ctx context.Context, s *server) error {
	c, err := s.cluster()
	if err != nil {
		return err
	}
	if err := c.exec(ctx, serverDatabase, "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"); err != nil {
		return err
	}
	s.stop()
	if err := s.start(ctx); err != nil {
		return fmt.Errorf("%w (counting statements needs pg_stat_statements: on Debian and Ubuntu apt install postgresql-contrib)", err)
	}
	if c, err = s.cluster(); err != nil {
		return err
	}
	// It counts for all databases; in one of its own it does not count itself.
	if err := c.exec(ctx, serverDatabase, "CREATE DATABASE "+yardstickDatabase); err != nil {
		return err
	}
	return c.exec(ctx, yardstickDatabase, "CREATE EXTENSION pg_stat_statements")
}

// statementCounts is how often each statement ran.
type statementCounts map[string]int64

// statements reads what the server's database was asked so far, but for the
// statements that only begin and end transactions.
func statements(ctx context.Context, s *server) (statementCounts, error) {
	c, err := s.cluster()
	if err != nil {
		return nil, err
	}
	counts := statementCounts{}
	return counts, c.with(yardstickDatabase, func(db *sql.DB) error {
		rows, err := db.QueryContext(ctx, `SELECT query, calls FROM pg_stat_statements
			WHERE dbid = (SELECT oid FROM pg_database WHERE datname = $1) AND query !~* '^\s*(begin|commit|rollback|start transaction|deallocate|discard)'`, serverDatabase)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var query string
			var calls int64
			if err := rows.Scan(&query, &calls); err != nil {
				return err
			}
			counts[query] += calls
		}
		return rows.Err()
	})
}

// since is what ran after before was taken.
func (c statementCounts) since(before statementCounts) statementCounts {
	d := statementCounts{}
	for query, calls := range c {
		if n := calls - before[query]; n > 0 {
			d[query] = n
		}
	}
	return d
}

func (c statementCounts) total() (n int64) {
	for _, calls := range c {
		n += calls
	}
	return n
}

// String lists the most frequent statements, shortened.
func (c statementCounts) String() string {
	if len(c) == 0 {
		return "no statement"
	}
	queries := slices.SortedFunc(maps.Keys(c), func(a, b string) int { return cmp.Compare(c[b], c[a]) })
	var lines []string
	for _, q := range queries[:min(6, len(queries))] {
		text := strings.Join(strings.Fields(q), " ")
		if len(text) > 100 {
			text = text[:100] + "…"
		}
		lines = append(lines, fmt.Sprintf("%d × %s", c[q], text))
	}
	return strings.Join(lines, "; ")
}
