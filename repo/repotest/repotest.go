// Package repotest gives tests databases of their own on a real PostgreSQL: on the
// server that TEST_DATABASE_URL names, or on a private one that each test process
// starts when it first needs it. A test that cannot have one fails; none skips.
package repotest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lib/pq"

	"parley/migrations"
	"parley/repo"
	"parley/repo/cluster"
)

// New returns a Store on a migrated database of its own; both go when the test ends.
func New(t testing.TB) *repo.Store {
	t.Helper()
	return Open(t, DSN(t))
}

// Open opens a store that is closed when the test ends: several on one DSN are
// several servers on one database.
func Open(t testing.TB, dsn string) *repo.Store {
	t.Helper()
	s, err := repo.Open(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// DSN returns the address of a migrated database that nobody else uses. It is
// dropped when the test ends, whoever is still connected. It is cloned from a
// template that is migrated once per set of migrations.
func DSN(t testing.TB) string {
	t.Helper()
	srv, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return srv.clone(t, srv.template)
}

// EmptyDSN is DSN for a database without any migration.
func EmptyDSN(t testing.TB) string {
	t.Helper()
	srv, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return srv.clone(t, "template0")
}

// server is where the databases of this process are made.
type server struct {
	dsn      string // of an existing database, to give orders from
	admin    *sql.DB
	template string
	strategy string // how to clone, if there is a choice
}

var shared = sync.OnceValues(func() (*server, error) {
	dsn := os.Getenv("TEST_DATABASE_URL")
	if dsn == "" {
		c, err := startShared()
		if err != nil {
			return nil, err
		}
		dsn = c.DSN()
	}
	admin, err := sql.Open("postgres", dsn)
	if err != nil {
		return nil, err
	}
	admin.SetMaxOpenConns(4)
	s := &server{dsn: dsn, admin: admin}
	var version int
	if err := admin.QueryRow("SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		return nil, fmt.Errorf("the test database: %w", err)
	}
	if version >= 150000 {
		s.strategy = " STRATEGY file_copy" // the other way is for large servers: it takes longer here
	}
	return s, s.makeTemplate()
})

// startShared starts the server of this process. It ends with the process, and its
// folder is swept away by the next process that comes this way.
func startShared() (*cluster.Cluster, error) {
	prefix := fmt.Sprintf("parley-test-%d-", os.Getuid())
	sweep(filepath.Join("/tmp", prefix+"*"))
	sweep(filepath.Join(memory, prefix+"*"))
	dir, err := os.MkdirTemp(folder(), prefix) // short enough for a socket's path
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	return cluster.Start(context.Background(), cluster.Options{Dir: dir, Fast: true})
}

// memory is where files cost no disk. A database is about a thousand small ones, and
// tests make and drop databases all the time.
const memory = "/dev/shm"

// folder is where the server of the tests lies: in memory where there is room.
func folder() string {
	var room syscall.Statfs_t
	if syscall.Statfs(memory, &room) == nil && room.Bavail*uint64(room.Bsize) > 4<<30 {
		return memory
	}
	return "/tmp"
}

// sweep removes the folders whose process has ended: it held their lock.
func sweep(pattern string) {
	dirs, _ := filepath.Glob(pattern)
	for _, dir := range dirs {
		path := filepath.Join(dir, "lock")
		info, err := os.Stat(path)
		if err != nil || time.Since(info.ModTime()) < time.Minute {
			continue // another process may be just about to lock it
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			if pid := postmaster(dir); pid == 0 || syscall.Kill(pid, syscall.SIGQUIT) == syscall.ESRCH {
				_ = os.RemoveAll(dir)
			} // else it has just been told to end: next time
		}
		_ = f.Close()
	}
}

// postmaster is the process id in a cluster's pid file; 0 without one.
func postmaster(dir string) int {
	var pid int
	b, err := os.ReadFile(filepath.Join(dir, "pg", "postmaster.pid"))
	if err != nil {
		return 0
	}
	_, _ = fmt.Sscan(string(b), &pid)
	return pid
}

// makeTemplate makes the template unless somebody has: several processes may share one server.
func (s *server) makeTemplate() error {
	ctx := context.Background()
	name, err := templateName()
	if err != nil {
		return err
	}
	s.template = name
	conn, err := s.admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	const lock = 7_275_391 // any number, the same for all
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", lock); err != nil {
		return err
	}
	defer conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", lock)

	var exists bool
	err = conn.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&exists)
	if err != nil || exists {
		return err
	}
	// Under its final name it is complete: a process that dies half-way leaves another name.
	making := name + "_new"
	for _, order := range []string{"DROP DATABASE IF EXISTS " + making, "CREATE DATABASE " + making + " TEMPLATE template0"} {
		if _, err := conn.ExecContext(ctx, order); err != nil {
			return err
		}
	}
	if _, err := repo.Migrate(ctx, s.named(making)); err != nil {
		return err
	}
	// Its connections are closed, but the server may not have noticed; renaming needs it alone.
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, err := conn.ExecContext(ctx, "ALTER DATABASE "+making+" RENAME TO "+name)
		if pq.As(err, "55006") == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// templateName changes with every migration.
func templateName() (string, error) {
	h := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(migrations.FS, path)
		fmt.Fprintf(h, "%s\n%d\n%s", path, len(b), b)
		return err
	})
	return "parley_template_" + hex.EncodeToString(h.Sum(nil)[:8]), err
}

func (s *server) clone(t testing.TB, template string) string {
	t.Helper()
	name := "parley_test_" + strings.ToLower(rand.Text())
	strategy := s.strategy
	if template == "template0" {
		strategy = ""
	}
	if _, err := s.admin.Exec("CREATE DATABASE " + name + " TEMPLATE " + template + strategy); err != nil {
		t.Fatalf("clone a test database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := s.admin.Exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the test database: %v", err)
		}
	})
	return s.named(name)
}

// named is the DSN with another database.
func (s *server) named(database string) string { return withDatabase(s.dsn, database) }
