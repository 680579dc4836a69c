package repotest_test

import (
	"testing"
	"time"

	"parley/repo/repotest"
)

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	a, b := repotest.New(t), repotest.New(t)
	if _, err := a.DB().Exec("CREATE TABLE only_here ()"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.DB().Exec("SELECT FROM only_here"); err == nil {
		t.Error("a table of one database is seen in the other")
	}
	if ok, err := a.Migrated(t.Context()); err != nil || !ok {
		t.Errorf("Migrated = %v, %v", ok, err)
	}
}

func TestClusterSurvivesKill(t *testing.T) {
	t.Parallel()
	srv := repotest.Cluster(t)
	s := repotest.Open(t, srv.DSN())
	if _, err := s.DB().Exec("CREATE TABLE kept ()"); err != nil {
		t.Fatal(err)
	}
	srv.Kill()
	// A backend may answer once more before it finds its parent gone.
	for deadline := time.Now().Add(10 * time.Second); s.Ping(t.Context()) == nil; {
		if time.Now().After(deadline) {
			t.Fatal("a killed server answers")
		}
	}
	srv.Start()
	if _, err := s.DB().Exec("SELECT FROM kept"); err != nil {
		t.Error(err)
	}
}
