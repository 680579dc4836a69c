package repo_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// scratch is a store with a table t (k, v) to play with.
func scratch(t *testing.T, dsn string) *repo.Store {
	t.Helper()
	s := repotest.Open(t, dsn)
	must(t, s, "CREATE TABLE IF NOT EXISTS t (k int PRIMARY KEY, v int NOT NULL)")
	return s
}

func must(t *testing.T, s *repo.Store, query string, args ...any) {
	t.Helper()
	if _, err := s.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func count(t *testing.T, s *repo.Store) int {
	t.Helper()
	var n int
	if err := s.Get(t.Context(), &n, "SELECT count(*) FROM t"); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestStatementsReadTheSameInAndOutOfTransactions(t *testing.T) {
	t.Parallel()
	s := scratch(t, repotest.EmptyDSN(t))
	use := func(s *repo.Store, k int) {
		t.Helper()
		if n, err := s.Exec(t.Context(), "INSERT INTO t VALUES ($1, $2)", k, k*k); err != nil || n != 1 {
			t.Fatalf("insert: %d rows, %v", n, err)
		}
		var v int
		if err := s.Get(t.Context(), &v, "SELECT v FROM t WHERE k = $1", k); err != nil || v != k*k {
			t.Fatalf("get: %d, %v", v, err)
		}
		var all []int
		if err := s.SelectAll(t.Context(), &all, "SELECT v FROM t WHERE k >= $1 ORDER BY k", k); err != nil || len(all) != 1 {
			t.Fatalf("select: %v, %v", all, err)
		}
		if err := s.Get(t.Context(), &v, "SELECT v FROM t WHERE k = $1", -1); !errors.Is(err, sql.ErrNoRows) {
			t.Fatalf("get nothing: %v", err)
		}
	}
	inTx := func(k int) {
		t.Helper()
		if err := s.InTx(t.Context(), func(tx *repo.Store) error { use(tx, k); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	inTx(1)
	if got := s.Prepared(); got != 3 {
		t.Errorf("%d statements prepared after the first transaction, want 3", got)
	}
	inTx(2)
	use(s, 3)
	use(s, 4)
	if got := s.Prepared(); got != 3 {
		t.Errorf("%d statements prepared, want 3", got)
	}
}

// More transactions than connections, all with a statement that nobody has prepared: none may wait for another's connection.
func TestTransactionsDoNotWaitForEachOthersConnections(t *testing.T) {
	t.Parallel()
	s := scratch(t, repotest.EmptyDSN(t))
	var wg sync.WaitGroup
	for k := range 60 {
		wg.Go(func() {
			err := s.InTx(t.Context(), func(tx *repo.Store) error {
				_, err := tx.Exec(t.Context(), "INSERT INTO t VALUES ($1, 0) -- "+strings.Repeat("x", k%7), k)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := count(t, s); got != 60 {
		t.Errorf("%d rows, want 60", got)
	}
}

func TestInTxLeavesNoTraceOfFailures(t *testing.T) {
	t.Parallel()
	s := scratch(t, repotest.EmptyDSN(t))
	fail := errors.New("no")
	insert := func(tx *repo.Store) {
		t.Helper()
		if _, err := tx.Exec(context.Background(), "INSERT INTO t VALUES (1, 1)"); err != nil {
			t.Error(err)
		}
	}
	t.Run("error", func(t *testing.T) {
		if err := s.InTx(t.Context(), func(tx *repo.Store) error { insert(tx); return fail }); !errors.Is(err, fail) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("panic", func(t *testing.T) {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.InTx(t.Context(), func(tx *repo.Store) error { insert(tx); panic("no") })
	})
	t.Run("context ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.InTx(ctx, func(tx *repo.Store) error { insert(tx); cancel(); return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("nested", func(t *testing.T) {
		err := s.InTx(t.Context(), func(tx *repo.Store) error {
			insert(tx)
			return tx.InTx(t.Context(), func(*repo.Store) error { return nil })
		})
		if err == nil {
			t.Error("a transaction in a transaction")
		}
	})
	if got := count(t, s); got != 0 {
		t.Errorf("%d rows, want none", got)
	}
	if busy := s.DB().Stats().InUse; busy != 0 {
		t.Errorf("%d connections still in use", busy)
	}
}

// Two transactions lock two rows crosswise: one loses, and is run again.
func TestInTxRunsAgainAfterDeadlock(t *testing.T) {
	t.Parallel()
	s := scratch(t, repotest.EmptyDSN(t))
	must(t, s, "INSERT INTO t VALUES (1, 0), (2, 0)")
	var met sync.WaitGroup
	met.Add(2)
	var runs sync.Map
	var wg sync.WaitGroup
	for who, order := range [][2]int{{1, 2}, {2, 1}} {
		wg.Go(func() {
			n := 0
			err := s.InTx(t.Context(), func(tx *repo.Store) error {
				n++
				if _, err := tx.Exec(t.Context(), "UPDATE t SET v = v + 1 WHERE k = $1", order[0]); err != nil {
					return err
				}
				if n == 1 {
					met.Done()
					met.Wait()
				}
				_, err := tx.Exec(t.Context(), "UPDATE t SET v = v + 1 WHERE k = $1", order[1])
				return err
			})
			runs.Store(who, n)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var sum int
	if err := s.Get(t.Context(), &sum, "SELECT sum(v) FROM t"); err != nil || sum != 4 {
		t.Errorf("sum = %d, %v; want 4", sum, err)
	}
	a, _ := runs.Load(0)
	b, _ := runs.Load(1)
	if a.(int)+b.(int) < 3 {
		t.Errorf("runs: %v and %v, so nothing was run again", a, b)
	}
}

func TestCancelledStatementSaysSo(t *testing.T) {
	t.Parallel()
	s := scratch(t, repotest.EmptyDSN(t))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := s.Exec(ctx, "SELECT pg_sleep($1)", 30)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the context's error", err)
	}
	if repo.IsUnavailable(err) {
		t.Error("a caller who gave up does not mean that the database is away")
	}
}

// A network that swallows everything: the context alone would not end the wait.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	dsn := repotest.EmptyDSN(t)
	p, through := newProxy(t, dsn)
	scratch(t, dsn)
	s, err := repo.OpenSilent(t.Context(), through, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	p.swallow()
	for _, what := range []struct {
		name string
		do   func() error
	}{
		{"statement", func() error { return s.Ping(t.Context()) }},
		{"transaction", func() error {
			return s.InTx(t.Context(), func(tx *repo.Store) error { return tx.Ping(t.Context()) })
		}},
		{"new connection", func() error {
			fresh, err := repo.OpenSilent(t.Context(), through, time.Second)
			if err == nil {
				fresh.Close()
			}
			return err
		}},
	} {
		begun := time.Now()
		err := what.do()
		if !repo.IsUnavailable(err) || !model.IsCode(err, model.Unavailable) {
			t.Errorf("%s: got %v, want unavailable", what.name, err)
		}
		if took := time.Since(begun); took > 8*time.Second {
			t.Errorf("%s took %s", what.name, took)
		}
	}
	p.heal()
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("after the network is back: %v", err)
	}
}

// What was under way when the connection broke is not repeated behind our back: it
// may have been done. What finds its connection dead before it began is.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	dsn := repotest.EmptyDSN(t)
	p, through := newProxy(t, dsn)
	direct := scratch(t, dsn)
	direct.DB().SetMaxOpenConns(1) // which is then the one that gives the orders below
	s := repotest.Open(t, through)
	must(t, direct, "CREATE SEQUENCE tries")

	failed := make(chan error)
	go func() {
		_, err := s.Exec(t.Context(), "INSERT INTO t SELECT nextval('tries'), 0 FROM pg_sleep($1)", 0.5)
		failed <- err
	}()
	for active := 0; active == 0; { // until it runs
		if err := direct.Get(t.Context(), &active,
			"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t%' AND wait_event = 'PgSleep'"); err != nil {
			t.Fatal(err)
		}
	}
	p.cut()
	if err := <-failed; !repo.IsUnavailable(err) {
		t.Errorf("got %v, want unavailable", err)
	}

	// Fill the pool, then let every connection of it die while idle.
	s = repotest.Open(t, dsn)
	for range 3 {
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() { _, _ = s.Exec(t.Context(), "SELECT pg_sleep($1)", 0.02) })
		}
		wg.Wait()
		if _, err := direct.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		for alive := 1; alive > 0; {
			if err := direct.Get(t.Context(), &alive, `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.InTx(t.Context(), func(tx *repo.Store) error { return tx.Ping(t.Context()) }); err != nil {
			t.Errorf("a transaction behind dead connections: %v", err)
		}
		if _, err := s.Exec(t.Context(), "SELECT $1::int", 1); err != nil {
			t.Errorf("a statement behind dead connections: %v", err)
		}
	}
	var tries int
	if err := direct.Get(t.Context(), &tries, "SELECT last_value FROM tries"); err != nil || tries != 1 {
		t.Errorf("the statement ran %d times, %v", tries, err)
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{context.DeadlineExceeded, false},
		{sql.ErrNoRows, false},
		{&pq.Error{Code: "23505"}, false},
		{&pq.Error{Code: "57014"}, false},
		{&pq.Error{Code: "57P01"}, true},
		{&pq.Error{Code: "57P03"}, true},
		{&pq.Error{Code: "53300"}, true},
		{&pq.Error{Code: "08006"}, true},
	} {
		if got := repo.IsUnavailable(tt.err); got != tt.want {
			t.Errorf("IsUnavailable(%v) = %v", tt.err, got)
		}
	}
	_, err := repo.Open(t.Context(), "host=127.0.0.1 port=1 user=x dbname=x sslmode=disable")
	if !repo.IsUnavailable(err) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestConnectionStrings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ dsn, host, sslmode, timeout string }{
		{"host=/run/pg user=u dbname=d", "/run/pg", "disable", "10000"},
		{"host='/odd path' user=u dbname=d", "/odd path", "disable", "10000"},
		{"host=db user=u dbname=d sslmode=disable", "db", "disable", "10000"},
		{"host=db user=u dbname=d", "db", "require", "10000"},
		{"postgres://u:p@db:5433/d?sslmode=verify-full&statement_timeout=60000", "db", "verify-full", "60000"},
		{"postgresql://u@db/d", "db", "require", "10000"},
	} {
		cfg, err := repo.DSNConfig(tt.dsn)
		if err != nil {
			t.Errorf("%s: %v", tt.dsn, err)
			continue
		}
		if cfg.Host != tt.host || string(cfg.SSLMode) != tt.sslmode || cfg.Runtime["statement_timeout"] != tt.timeout ||
			cfg.ApplicationName != "parley" || cfg.Runtime["lock_timeout"] == "" {
			t.Errorf("%s: host %q, sslmode %q, name %q, %v", tt.dsn, cfg.Host, cfg.SSLMode, cfg.ApplicationName, cfg.Runtime)
		}
	}
	if _, err := repo.DSNConfig("postgres://u@%zz"); err == nil {
		t.Error("nonsense is accepted")
	}
}

func TestListenerSurvives(t *testing.T) {
	t.Parallel()
	dsn := repotest.EmptyDSN(t)
	p, through := newProxy(t, dsn)
	s := scratch(t, dsn)
	l := repo.NewListenerSilent(through, 600*time.Millisecond, nil)
	if err := l.Listen("bell"); err != nil {
		t.Fatal(err)
	}
	next := func() *pq.Notification {
		t.Helper()
		select {
		case n := <-l.Notify:
			return n
		case <-time.After(20 * time.Second):
			t.Fatal("nothing came")
			return nil
		}
	}
	ring := func(s *repo.Store, with string) {
		t.Helper()
		must(t, s, "SELECT pg_notify('bell', $1)", with)
	}
	ring(s, "one")
	if n := next(); n == nil || n.Extra != "one" {
		t.Fatalf("got %v", n)
	}

	p.cut()
	if n := next(); n != nil {
		t.Fatalf("got %v, want nil for what may have been missed", n)
	}
	p.swallow()
	dead := time.After(time.Second)
	<-dead // the silence must have passed for the network to count as dead, whatever is heard later
	p.heal()
	ring(s, "two")
	for n := next(); n == nil || n.Extra != "two"; n = next() {
		if n == nil {
			ring(s, "two") // the first may have been lost, as nil says
		}
	}

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for range l.Notify { // closed at last
	}
}
