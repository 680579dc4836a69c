package repo

import ("testing";"fmt";"os";"time";"strings")

func Explain(t testing.TB, s *Store) {
	run := func(name, q string, args ...any) {
		best := time.Hour
		st, err := s.db.Prepare(q)
		if err != nil { t.Fatal(name, err) }
		for range 25 {
			from := time.Now()
			rows, err := st.Query(args...)
			if err != nil { t.Fatal(name, err) }
			n := 0
			for rows.Next() { n++ }
			rows.Close()
			best = min(best, time.Since(from))
		}
		fmt.Fprintln(os.Stderr, name, best)
	}
	base := []any{"Tom", false, true, true, false, nil, "", 1001, 0}
	cnt := func(q string) string { return "SELECT count(*) FROM (" + q + " OFFSET 0) z" }
	run("all, no scan", ownQuery, base...)
	run("all, hash in db", strings.Replace(ownQuery, "SELECT \n", "SELECT ", 1), base...)
	run("no members", ownQuery, "Tom", false, false, true, false, nil, "", 1001, 0)
	run("no last", ownQuery, "Tom", false, true, false, false, nil, "", 1001, 0)
	run("no both", ownQuery, "Tom", false, false, false, false, nil, "", 1001, 0)
	run("count all", cnt(ownQuery), base...)
	run("without mentioned", strings.Replace(ownQuery, "AND "+mentioned, "", 1), base...)
	run("without read_at", strings.Replace(ownQuery, "u.member_count = 2", "u.member_count = -2", 1), base...)
	from := time.Now()
	for range 20 { s.Conversations(t.Context(), OwnConversations{Client: "Tom", Members: true, LastMessage: true, Limit: 1001}) }
	fmt.Fprintln(os.Stderr, "Conversations", time.Since(from)/20)
}
