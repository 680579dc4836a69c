// Package repo runs the program's SQL, and nothing else: one file per noun, the log,
// and the query compiler. It knows no rules but those that a WHERE clause can say.
// A Store is safe for concurrent use; one that InTx hands out, by one goroutine.
package repo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

const (
	poolSize   = 24  // connections; the group-committed writers need few
	maxStmts   = 256 // texts kept prepared: those of this package are fewer, so only a mistake meets the bound
	txAttempts = 5
)

// Store runs the program's SQL. The Store from Open works on the pool; the one
// that InTx hands to its function works inside that transaction. Every method
// reads the same either way.
type Store struct {
	db    *sqlx.DB // nil inside a transaction
	tx    *sqlx.Tx // nil on the pool
	q     querier  // the pool or the transaction
	stmts *statements
}

type querier interface {
	sqlx.ExtContext
	sqlx.PreparerContext
}

// Open connects to the database that a DSN names, in the form of libpq or as a
// postgres:// URL, and checks that it answers. A database that is away is an error
// that IsUnavailable.
func Open(ctx context.Context, dsn string) (*Store, error) { return open(ctx, dsn, poolLimits) }

func open(ctx context.Context, dsn string, l limits) (*Store, error) {
	db, err := openDB(dsn, l)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, q: db, stmts: &statements{byText: make(map[string]*sqlx.Stmt)}}
	if err := s.Ping(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// openDB makes a pool without connecting.
func openDB(dsn string, l limits) (*sqlx.DB, error) {
	cfg, err := config(dsn, l)
	if err != nil {
		return nil, err
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	connector.Dialer(dialer{Dialer: net.Dialer{Timeout: l.connect}, silence: l.silence})
	db := sqlx.NewDb(sql.OpenDB(connector), "postgres")
	db.SetMaxOpenConns(poolSize)
	db.SetMaxIdleConns(poolSize)
	db.SetConnMaxIdleTime(10 * time.Minute)
	return db, nil
}

// Close ends all connections, once what runs on them has ended.
func (s *Store) Close() error {
	s.stmts.close()
	return s.db.Close()
}

// DB is the pool, for metrics and for tests.
func (s *Store) DB() *sql.DB { return s.db.DB }

// Ping checks that the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.get(ctx, &one, "SELECT 1"); err != nil {
		return fmt.Errorf("ping the database: %w", err)
	}
	return nil
}

// Conn takes a connection out of the pool, for what needs one of its own, such as
// session locks. The caller closes it, which gives it back.
func (s *Store) Conn(ctx context.Context) (*sqlx.Conn, error) {
	c, err := s.db.Connx(ctx)
	return c, away(err)
}

// InTx runs f in a transaction: it commits if f returns nil and otherwise leaves
// no trace. It does not nest. A transaction that lost against a concurrent one
// (deadlock, serialization failure) is run again as a whole, so f may be called up
// to five times and must start afresh each time. A commit whose answer never came
// fails although it may have been done.
func (s *Store) InTx(ctx context.Context, f func(tx *Store) error) error {
	if s.db == nil {
		return errors.New("repo: InTx inside a transaction")
	}
	for attempt := 1; ; attempt++ {
		err := s.inTx(ctx, f)
		if attempt == txAttempts || !repeatable(err) {
			return err
		}
		// Two that met would meet again.
		select {
		case <-time.After(rand.N(10 * time.Millisecond << attempt)):
		case <-ctx.Done():
			return err
		}
	}
}

func (s *Store) inTx(ctx context.Context, f func(tx *Store) error) error {
	conn, tx, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", away(err))
	}
	defer conn.Close()
	defer tx.Rollback() // does nothing once committed; also covers a panic in f

	var missed []string
	if err := f(&Store{tx: tx, q: tx, stmts: s.stmts.note(&missed)}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", away(err))
	}
	_ = conn.Close() // preparing may need it
	for _, query := range missed {
		s.stmts.prepare(ctx, s.db, query)
	}
	return nil
}

// begin waits for a connection as long as ctx allows. The transaction itself is
// beyond its reach: a context that ends must not leave a COMMIT undecided, and a
// ROLLBACK has to be done all the more. Statements inside still obey it.
func (s *Store) begin(ctx context.Context) (*sqlx.Conn, *sqlx.Tx, error) {
	for attempt := 0; ; attempt++ {
		conn, err := s.db.Connx(ctx)
		if err != nil {
			return nil, nil, err
		}
		tx, err := conn.BeginTxx(context.WithoutCancel(ctx), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		if err == nil {
			return conn, tx, nil
		}
		_ = conn.Close()
		// One that was ended while it lay idle: the pool may be full of such, and BEGIN does no harm twice.
		if !broken(err) || attempt == poolSize {
			return nil, nil, err
		}
	}
}

// get reads one row into dest; sql.ErrNoRows when there is none.
func (s *Store) get(ctx context.Context, dest any, query string, args ...any) error {
	if st := s.prepared(ctx, query, args); st != nil {
		return away(ended(ctx, st.GetContext(ctx, dest, args...)))
	}
	return away(ended(ctx, sqlx.GetContext(ctx, s.q, dest, query, args...)))
}

// selectAll reads all rows into the slice that dest points to.
func (s *Store) selectAll(ctx context.Context, dest any, query string, args ...any) error {
	if st := s.prepared(ctx, query, args); st != nil {
		return away(ended(ctx, st.SelectContext(ctx, dest, args...)))
	}
	return away(ended(ctx, sqlx.SelectContext(ctx, s.q, dest, query, args...)))
}

// selectOnce is selectAll for a text that was put together for this one call: it
// is not prepared, and not remembered.
func (s *Store) selectOnce(ctx context.Context, dest any, query string, args ...any) error {
	return away(ended(ctx, sqlx.SelectContext(ctx, s.q, dest, query, args...)))
}

// query is for the rare row loop of our own. The caller closes the rows and checks their Err.
func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if st := s.prepared(ctx, query, args); st != nil {
		rows, err := st.QueryContext(ctx, args...)
		return rows, away(ended(ctx, err))
	}
	rows, err := s.q.QueryContext(ctx, query, args...)
	return rows, away(ended(ctx, err))
}

// exec runs a statement and says how many rows it touched.
func (s *Store) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var res sql.Result
	var err error
	if st := s.prepared(ctx, query, args); st != nil {
		res, err = st.ExecContext(ctx, args...)
	} else {
		res, err = s.q.ExecContext(ctx, query, args...)
	}
	if err != nil {
		return 0, away(ended(ctx, err))
	}
	return res.RowsAffected()
}

// prepared returns the prepared statement for a text; nil when it is to run
// unprepared. Without arguments that is one round trip anyway; with, it is one
// instead of two when prepared.
func (s *Store) prepared(ctx context.Context, query string, args []any) *sqlx.Stmt {
	if len(args) == 0 {
		return nil
	}
	st := s.stmts.lookup(query)
	switch {
	case s.tx == nil && st == nil:
		return s.stmts.prepare(ctx, s.db, query)
	case s.tx == nil:
		return st
	case st == nil:
		// To prepare it for the pool takes a connection, and we hold one: when all do, nobody gets another.
		s.stmts.miss(query)
		return nil
	}
	return s.tx.StmtxContext(ctx, st)
}

// statements are the prepared statements of a pool, by their text.
type statements struct {
	parent *statements // a transaction's: those of its pool
	missed *[]string   // a transaction's: what it found unprepared

	mu     sync.RWMutex
	byText map[string]*sqlx.Stmt
}

// note returns the view of a transaction.
func (c *statements) note(missed *[]string) *statements {
	return &statements{parent: c, missed: missed}
}

func (c *statements) miss(query string) { *c.missed = append(*c.missed, query) }

func (c *statements) lookup(query string) *sqlx.Stmt {
	if c.parent != nil {
		c = c.parent
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.byText[query]
}

// prepare remembers a statement; nil when it cannot be prepared, which running it will explain.
func (c *statements) prepare(ctx context.Context, db *sqlx.DB, query string) *sqlx.Stmt {
	c.mu.RLock()
	st, full := c.byText[query], len(c.byText) >= maxStmts
	c.mu.RUnlock()
	if st != nil || full {
		return st
	}
	st, err := db.PreparexContext(ctx, query)
	if err != nil {
		return nil
	}
	c.mu.Lock()
	first, over := c.byText[query], c.byText == nil
	if first == nil && !over {
		c.byText[query] = st
		first = st
	}
	c.mu.Unlock()
	if first != st {
		// Somebody was faster, or the store is closed. Closing waits for the connection, which may be busy with a
		// statement that waits for a lock of ours: nobody may wait for it.
		go st.Close()
	}
	return first
}

func (c *statements) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, st := range c.byText {
		_ = st.Close()
	}
	c.byText = nil
}
