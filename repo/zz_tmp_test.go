package repo_test

import (
	"fmt"
	"testing"
	"time"

	"parley/repo/repotest"
)

func TestTmpSpeed(t *testing.T) {
	s := repotest.New(t)
	exec(t, s, `INSERT INTO conversations (id, kind, attributes, visibility, is_unique, member_count, seq, created_at, updated_at)
		SELECT 'C'||i, 1, '{}', 1, false, 20, 100, now(), now() FROM generate_series(1, 20000) i`)
	exec(t, s, `INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq)
		SELECT 'C'||i, 'u'||((i*7+j*131)%5000), 0, now(), 1, 0 FROM generate_series(1, 20000) i, generate_series(1,20) j ON CONFLICT DO NOTHING`)
	for _, analyzed := range []bool{false, true} {
		if analyzed {
			exec(t, s, `ANALYZE`)
		}
		for range 7 {
			var ids []string
			for i := range 1000 {
				ids = append(ids, fmt.Sprint("u", i*5))
			}
			a := time.Now()
			got, err := s.Acquainted(t.Context(), "u1", ids)
			t.Log(len(got), time.Since(a), err)
		}
	}
}
