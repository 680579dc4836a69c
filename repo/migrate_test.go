package repo_test

import (
	"sync"
	"testing"

	"parley/migrations"
	"parley/repo"
	"parley/repo/repotest"
)

// Servers that start at once on an empty database: one migrates, all find it done.
func TestMigrateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := repotest.EmptyDSN(t)
	s := repotest.Open(t, dsn)
	if ok, err := s.Migrated(t.Context()); err != nil || ok {
		t.Errorf("before: Migrated = %v, %v", ok, err)
	}
	var applied [3]int
	var wg sync.WaitGroup
	for i := range applied {
		wg.Go(func() {
			var err error
			if applied[i], err = repo.Migrate(t.Context(), dsn); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	files, err := migrations.FS.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if total := applied[0] + applied[1] + applied[2]; total != len(files) {
		t.Errorf("applied %v, want %d in all", applied, len(files))
	}
	if ok, err := s.Migrated(t.Context()); err != nil || !ok {
		t.Errorf("after: Migrated = %v, %v", ok, err)
	}
	if n, err := repo.Migrate(t.Context(), dsn); err != nil || n != 0 {
		t.Errorf("again: %d, %v", n, err)
	}
}
