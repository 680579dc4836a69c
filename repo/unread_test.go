package repo_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// unreadChats makes n conversations with one unread message for Tom, the first of them the oldest.
func unreadChats(t *testing.T, s *repo.Store, n int) {
	t.Helper()
	for i := range n {
		id := fmt.Sprintf("C%02d", i)
		conversation(t, s, id, row{1, "Jerry", noon, model.TypeText, 0})
		exec(t, s, `UPDATE conversations SET last_message_at = $2 WHERE id = $1`, id, noon.Add(time.Duration(i/2)*time.Minute))
	}
}

func ids(items []model.Unread) []string {
	out := []string{}
	for _, u := range items {
		out = append(out, u.ConversationID)
	}
	return out
}

func unreadPage(t *testing.T, s *repo.Store, after repo.UnreadPlace, limit int) ([]string, *repo.UnreadPlace) {
	t.Helper()
	items, next, err := s.UnreadPage(t.Context(), "Tom", after, limit)
	if err != nil {
		t.Fatal(err)
	}
	return ids(items), next
}

func TestUnreadPage(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	if got, next := unreadPage(t, s, repo.UnreadPlace{}, 10); len(got) > 0 || next != nil {
		t.Errorf("nothing is unread, but listed are %v, %v", got, next)
	}
	unreadChats(t, s, 5)
	want := []string{"C04", "C02", "C03", "C00", "C01"} // C02 and C03, C00 and C01 have one time
	for limit := 1; limit <= 6; limit++ {
		var got []string
		for place := new(repo.UnreadPlace); place != nil; {
			var page []string
			page, place = unreadPage(t, s, *place, limit)
			if len(page) == 0 || len(page) > limit {
				t.Errorf("a page of %d, limit %d", len(page), limit)
			}
			got = append(got, page...)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("in pages of %d (-want +got):\n%s", limit, diff)
		}
	}
}

// A conversation that moves to the top between two pages would be missed there.
func TestUnreadPageMissesNoneThatMoves(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	unreadChats(t, s, 5)
	got, next := unreadPage(t, s, repo.UnreadPlace{}, 2)
	for i, id := range []string{"C00", "C02"} { // one not listed yet, and one that was
		exec(t, s, `UPDATE log_head SET position = position + 1`)
		exec(t, s, `INSERT INTO events (position, kind, audience, conversation_id, seq, at) VALUES ($1, 1, 1, $2, 2, now())`, i+1, id)
		insert(t, s, id, row{2, "Jerry", noon.Add(time.Hour), model.TypeText, 0})
		exec(t, s, `UPDATE conversations SET seq = 2, last_message_at = $2 WHERE id = $1`, id, noon.Add(time.Hour))
	}
	for next != nil {
		var page []string
		page, next = unreadPage(t, s, *next, 1)
		got = append(got, page...)
	}
	if diff := cmp.Diff([]string{"C04", "C02", "C03", "C01", "C00", "C02"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestUnreadLastMessage(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	conversation(t, s, "C", row{1, "Jerry", noon, model.TypeText, 0}, row{2, "Tom", noon, model.TypeText, 0},
		row{3, "Jerry", noon, model.TypeRemoved, 0}, row{4, "Jerry", noon, model.TypeRemoved, 0})
	exec(t, s, `UPDATE members SET uncounted = 3 WHERE client_id = 'Tom'`)
	items, _, err := s.UnreadPage(t.Context(), "Tom", repo.UnreadPlace{}, 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 1 || items[0].Count != 1 || items[0].LastMessage.Seq != 2 || items[0].LastMessage.From != "Tom" {
		t.Errorf("unread: %+v", items)
	}
}

func TestUnreadMentioned(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		do   string
		want bool
	}{
		{"nobody", `SELECT 1`, false},
		{"the viewer", `INSERT INTO mentions VALUES ('C', 'Tom', 2)`, true},
		{"another", `INSERT INTO mentions VALUES ('C', 'Jerry', 2)`, false},
		{"read already", `INSERT INTO mentions VALUES ('C', 'Tom', 1)`, false},
		{"in one's own", `INSERT INTO mentions VALUES ('C', 'Tom', 3)`, false},
		{"recalled", `WITH n AS (INSERT INTO mentions VALUES ('C', 'Tom', 2)) UPDATE messages SET type = -127 WHERE seq = 2`, false},
		{"all", `UPDATE messages SET mention_all = true WHERE seq = 2`, true},
		{"all, in one's own", `UPDATE messages SET mention_all = true WHERE seq = 3`, false},
		{"all, read already", `UPDATE messages SET mention_all = true WHERE seq = 1`, false},
		{"all, recalled", `UPDATE messages SET mention_all = true, type = -127 WHERE seq = 2`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := repotest.New(t)
			conversation(t, s, "C", row{1, "Jerry", noon, model.TypeText, 0}, row{2, "Jerry", noon, model.TypeText, 0},
				row{3, "Tom", noon, model.TypeText, 0}, row{4, "Jerry", noon, model.TypeText, 0})
			exec(t, s, `UPDATE members SET read_seq = 1, uncounted = 1 WHERE client_id = 'Tom'`)
			exec(t, s, tt.do)
			items, _, err := s.UnreadPage(t.Context(), "Tom", repo.UnreadPlace{}, 10)
			if err != nil || len(items) != 1 || items[0].Mentioned != tt.want {
				t.Errorf("unread: %+v, %v; want mentioned: %v", items, err, tt.want)
			}
		})
	}
}

func TestOfflineMessages(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	for i, id := range []string{"A", "B", "C"} {
		var rows []row
		for seq := range int64(6) {
			rows = append(rows, row{seq + 1, "Jerry", noon, model.TypeText, 0})
		}
		rows[1].typ, rows[2].sender, rows[3].typ = model.TypeRecalled, "Tom", model.TypeRemoved // 1, 5 and 6 are left
		conversation(t, s, id, rows...)
		exec(t, s, `UPDATE conversations SET last_message_at = $2 WHERE id = $1`, id, noon.Add(time.Duration(i)*time.Minute))
	}
	exec(t, s, `UPDATE members SET uncounted = 3 WHERE client_id = 'Tom'`)
	exec(t, s, `UPDATE members SET read_seq = 5, uncounted = 0 WHERE client_id = 'Tom' AND conversation_id = 'B'`)
	tests := []struct {
		per, total int
		want       []string
	}{
		{20, 1000, []string{"C.1", "C.5", "C.6", "B.6", "A.1", "A.5", "A.6"}},
		{2, 1000, []string{"C.5", "C.6", "B.6", "A.5", "A.6"}},
		{20, 5, []string{"C.1", "C.5", "C.6", "B.6", "A.6"}},
		{20, 1, []string{"C.6"}},
	}
	for _, tt := range tests {
		found, err := s.OfflineMessages(t.Context(), "Tom", tt.per, tt.total)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range found {
			got = append(got, model.MessageID(m.ConversationID, m.Seq))
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%d of each, %d in all (-want +got):\n%s", tt.per, tt.total, diff)
		}
	}
	if none, err := s.OfflineMessages(t.Context(), "Spike", 20, 1000); err != nil || len(none) > 0 {
		t.Errorf("a stranger's: %v, %v", none, err)
	}
}

// Reads lock conversations in one order, however they are named.
func TestLockReadingsAtOnce(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	unreadChats(t, s, 8)
	var forth []repo.Reading
	for i := range 8 {
		forth = append(forth, repo.Reading{Caller: tom(), ConversationID: fmt.Sprintf("C%02d", i), Seq: 1})
	}
	back := slices.Clone(forth)
	slices.Reverse(back)
	failed := make(chan error, 2)
	for _, asks := range [][]repo.Reading{forth, back} {
		go func() {
			var err error
			for n := 0; n < 40 && err == nil; n++ {
				attempts := 0
				err = s.InTx(t.Context(), func(tx *repo.Store) error {
					if attempts++; attempts > 1 {
						return fmt.Errorf("had to be run again")
					}
					_, err := tx.LockReadings(t.Context(), asks)
					return err
				})
			}
			failed <- err
		}()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

// Where most conversations are short the planner believes that all are.
func TestOneMessageAmongMany(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	const long, short = 3000, 30_000
	conversation(t, s, "C")
	exec(t, s, `UPDATE conversations SET seq = $1`, long)
	exec(t, s, `INSERT INTO messages (conversation_id, seq, sender, sent_at, type, content, mention_all)
		SELECT 'C', i, 'Jerry', now(), -1, '{}', false FROM generate_series(1, $1) i
		UNION ALL SELECT 'short' || i, 1, 'Jerry', now(), -1, '{}', false FROM generate_series(1, $2) i`, long, short)
	exec(t, s, `VACUUM ANALYZE messages`)
	err := s.InTx(t.Context(), func(tx *repo.Store) error {
		var before, after int // pages of the indexes that this connection has read; planning reads one of each
		const pages = `SELECT pg_stat_get_xact_blocks_fetched('messages_pkey'::regclass) + pg_stat_get_xact_blocks_fetched('messages_type'::regclass)`
		if err := tx.Get(t.Context(), &before, pages); err != nil {
			return err
		}
		states, err := tx.LockReadings(t.Context(), []repo.Reading{{Caller: tom(), ConversationID: "C", Seq: long - 7}})
		if err != nil {
			return err
		}
		if len(states) != 1 || !states[0].Known {
			t.Errorf("a message that is there is not found: %+v", states)
		}
		if err := tx.Get(t.Context(), &after, pages); err != nil {
			return err
		}
		if read := after - before; read < 1 || read > 10 {
			t.Errorf("to find one message, %d pages of indexes were read", read)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
