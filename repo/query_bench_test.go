package repo_test

import (
	"os"
	"strings"
	"testing"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// benchData makes n conversations: every tenth public, the rest unlisted or private; Tom is in every hundredth.
func benchData(b testing.TB, s *repo.Store, n int) {
	b.Helper()
	exec(b, s, `
		INSERT INTO conversations (id, kind, name, creator, attributes, visibility, is_unique, member_count, last_message_at, created_at, updated_at)
		SELECT 'C' || i, CASE WHEN i % 20 = 0 THEN 2 ELSE 1 END, '群聊 ' || i || CASE WHEN i % 50 = 0 THEN ' LeanCloud' ELSE '' END, 'client' || i % 5000,
			json_build_object('type', (ARRAY['private', 'group', 'public'])[1 + i % 3], 'language', (ARRAY['english', '中文', 'français'])[1 + i % 3],
				'age', i % 80, 'keywords', CASE WHEN i % 200 = 0 THEN '在线教育' ELSE '数学 物理' END, 'order', 'N' || i,
				'tags', json_build_array('t' || i % 1000, 't' || i % 7))::text,
			CASE WHEN i % 10 = 0 THEN 1 WHEN i % 3 = 0 THEN 3 ELSE 2 END, false, CASE WHEN i % 20 = 0 THEN 0 ELSE 3 END,
			CASE WHEN i % 10 <> 3 THEN timestamptz '2026-11-20 12:00Z' - i * interval '13 seconds' END,
			timestamptz '2026-10-20 12:00Z' - i * interval '7 seconds', timestamptz '2026-10-20 12:00Z'
		FROM generate_series(1, $1::int) i`, n)
	exec(b, s, `
		INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq)
		SELECT 'C' || i, who, 0, now(), 0, 0 FROM generate_series(1, $1::int) i,
			LATERAL unnest(ARRAY['client' || i % 5000, 'client' || i * 7 % 9973 + 5000, CASE WHEN i % 100 = 1 THEN 'Tom' ELSE 'client' || i % 97 + 20000 END]) who
		WHERE i % 20 <> 0`, n)
	for _, table := range []string{"conversations", "members"} {
		exec(b, s, "VACUUM ANALYZE "+table)
	}
}

// BenchmarkQueries asks what applications ask, of 100,000 conversations. With PARLEY_EXPLAIN set it shows the plans.
func BenchmarkQueries(b *testing.B) {
	s := repotest.New(b)
	benchData(b, s, 100_000)
	tom, server := model.Caller{Client: "Tom"}, model.Caller{Server: true}
	for _, q := range []struct {
		name   string
		caller model.Caller
		where  string
		order  string
	}{
		{"own", tom, `{}`, ""},
		{"own by name", tom, `{}`, "name"},
		{"by id", tom, `{"id":"C101"}`, ""},
		{"with a member", tom, `{"m":"client101"}`, ""},
		{"with two members", tom, `{"m":{"$all":["Tom","client101"]}}`, "-lm"},
		{"server: with a member", server, `{"m":"client101"}`, ""},
		{"chatrooms", tom, `{"tr":true}`, ""},
		{"newest of all", tom, `{"id":{"$exists":true}}`, "-lastMessageAt"},
		{"server: newest of all", server, `{"id":{"$exists":true}}`, ""},
		{"no message yet", tom, `{"lm":{"$exists":false}}`, "-createdAt"},
		{"attribute", tom, `{"attr.order":"N5000"}`, ""},
		{"attribute of many", tom, `{"attr.type":"private"}`, ""},
		{"two attributes", server, `{"attr.order":{"$in":["N77","N78"]},"attr.age":{"$lt":79}}`, ""},
		{"element", tom, `{"attr.tags":"t500"}`, ""},
		{"name", tom, `{"name":"群聊 70"}`, ""},
		{"prefix", tom, `{"name":{"$startsWith":"群聊 700"}}`, ""},
		{"contains", tom, `{"name":{"$contains":"LeanCloud"}}`, ""},
		{"regex Chinese", tom, `{"attr.language":{"$regex":"[\\u4e00-\\u9fa5]"}}`, ""},
		{"regex without", tom, `{"attr.keywords":{"$regex":"^((?!教育).)*$"}}`, ""},
		{"keyword and age", tom, `{"attr.keywords":{"$contains":"教育"},"attr.age":{"$lt":18}}`, ""},
		{"by an attribute", tom, `{"attr.type":"private"}`, "attr.age,-name"},
		{"or", tom, `{"$or":[{"attr.order":"N5000"},{"m":"client101"},{"name":"群聊 70"}]}`, ""},
		{"server: regex over all", server, `{"name":{"$regex":"9{4}$"}}`, ""},
	} {
		query := repo.ConversationQuery{Caller: q.caller, Where: parseWhere(b, q.where), Members: true, Limit: 11}
		var order []string
		if q.order != "" {
			order = strings.Split(q.order, ",")
		}
		query.Order = parseOrder(b, order)
		if os.Getenv("PARLEY_EXPLAIN") != "" {
			explain(b, s, q.name, query)
		}
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				find(b, s, query)
			}
		})
		b.Run("count "+q.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.CountConversations(b.Context(), q.caller, query.Where); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func explain(b *testing.B, s *repo.Store, name string, q repo.ConversationQuery) {
	b.Helper()
	var plan []string
	query, args := repo.Compiled(q)
	rows, err := s.DB().Query("EXPLAIN (ANALYZE) "+query, args...)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			b.Fatal(err)
		}
		plan = append(plan, line)
	}
	b.Logf("%s\n%s\n%v", name, strings.Join(plan, "\n"), rows.Err())
}
