package repo_test

import (
	"testing"

	"parley/repo"
	"parley/repo/repotest"
)

// BenchmarkConversations lists 1,000 conversations of two with unread counts, mentions and last messages.
func BenchmarkConversations(b *testing.B) {
	s := repotest.New(b)
	all := repo.OwnConversations{Client: "Tom", Members: true, LastMessage: true, Limit: 1001}
	for range 10 { // the plan is made while the tables are empty, which is when it goes wrong
		if _, err := s.Conversations(b.Context(), all); err != nil {
			b.Fatal(err)
		}
	}
	for _, query := range []string{
		`INSERT INTO conversations (id, kind, creator, attributes, visibility, is_unique, member_count, seq, last_sent_at,
		                            last_message_at, created_at, updated_at)
		 SELECT 'conversation-of-26-chars' || n, 1, 'Tom', '{"topic": "x"}', 2, false, 2, 40, now(), now() - n * interval '1 second', now(), now()
		 FROM generate_series(1, 10000) n`,
		`INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq)
		 SELECT 'conversation-of-26-chars' || n, CASE WHEN n % 10 = 0 THEN c ELSE c || n END, 0, now(), 0, n % 41
		 FROM generate_series(1, 10000) n, unnest(ARRAY['Tom', 'Jerry']) c`,
		`INSERT INTO messages (conversation_id, seq, sender, sent_at, type, content, mention_all)
		 SELECT 'conversation-of-26-chars' || n, m, 'Jerry', now(), -1, '{"type":"text","text":"hello, how are you?"}', m = 7
		 FROM generate_series(1, 10000) n, generate_series(1, 40) m`,
		`INSERT INTO mentions SELECT 'conversation-of-26-chars' || n, 'Tom', 30 FROM generate_series(1, 10000, 3) n`,
	} {
		if _, err := s.DB().Exec(query); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		found, err := s.Conversations(b.Context(), all)
		if err != nil || len(found) != 1000 {
			b.Fatal(len(found), err)
		}
		var out []byte
		for _, c := range found {
			out = c.AppendJSON(out)
		}
	}
}
