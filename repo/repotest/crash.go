package repotest

import (
	"context"
	"os"
	"testing"

	"parley/repo"
	"parley/repo/cluster"
)

// Server is a private PostgreSQL of one test, which may crash it. Unlike the one
// that New uses it is durable: what it has committed survives.
type Server struct {
	t   testing.TB
	dir string
	c   *cluster.Cluster
}

// Cluster starts a durable server with a migrated database. It ends with the test.
func Cluster(t testing.TB) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "parley-crash-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, dir: dir}
	s.Start()
	t.Cleanup(func() { s.c.Stop() })
	if _, err := repo.Migrate(context.Background(), s.DSN()); err != nil {
		t.Fatal(err)
	}
	return s
}

// DSN is the address of its database; it stays the same over crashes.
func (s *Server) DSN() string { return s.c.DSN() }

// Kill kills the server, kill -9, and leaves it dead.
func (s *Server) Kill() {
	s.t.Helper()
	if err := s.c.Kill(); err != nil {
		s.t.Fatal(err)
	}
}

// Start starts it again after Kill; it returns when it has recovered.
func (s *Server) Start() {
	s.t.Helper()
	c, err := cluster.Start(context.Background(), cluster.Options{Dir: s.dir})
	if err != nil {
		s.t.Fatal(err)
	}
	s.c = c
}
