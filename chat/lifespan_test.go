package chat

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/model"
	"parley/repo/repotest"
)

// keep is a service that keeps messages for an hour.
func keep(t *testing.T, dsn string) *Service {
	t.Helper()
	cfg := Config{DSN: dsn, EventRetention: 7 * 24 * time.Hour, MessageRetention: time.Hour, ConversationIdle: 24 * time.Hour}
	s := New(cfg, repotest.Open(t, dsn), slog.New(slog.DiscardHandler))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// outlive removes what was sent before a time.
func outlive(t *testing.T, s *Service, before time.Time) {
	t.Helper()
	if err := s.CleanUp(t.Context(), before.Add(s.Config.MessageRetention)); err != nil {
		t.Error(err)
	}
}

func number(t *testing.T, s *Service, query string, args ...any) int {
	t.Helper()
	var n int
	if err := s.Store.DB().QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func order(t *testing.T, s *Service, query string, args ...any) {
	t.Helper()
	if _, err := s.Store.DB().ExecContext(t.Context(), query, args...); err != nil {
		t.Fatal(err)
	}
}

func TestUnreadIsExactWithRetention(t *testing.T) {
	t.Parallel()
	s := keep(t, repotest.DSN(t))
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	clients := []string{"Tom", "Jerry", "Mary"}
	m := &imagined{said: make(map[string][]said), read: make(map[string]map[string]int)}
	sent := make(map[string][]time.Time)
	var conversations []string
	for range 3 {
		id := gather(t, s, clients...)
		conversations = append(conversations, id)
		m.said[id], m.read[id] = nil, make(map[string]int)
	}
	removed := 0
	for range 500 {
		id, client := conversations[rnd.IntN(len(conversations))], clients[rnd.IntN(len(clients))]
		switch n := len(m.said[id]); {
		case n == 0 || rnd.IntN(2) == 0:
			mentions := []string{clients[rnd.IntN(len(clients))]}[:rnd.IntN(2)]
			sent[id] = append(sent[id], say(t, s, id, client, mentions...).SentAt.Time)
			v := said{from: client, typ: model.TypeText}
			if len(mentions) > 0 {
				v.mentions = mentions[0]
			}
			m.said[id] = append(m.said[id], v)
		case rnd.IntN(4) == 0:
			seq := 1 + rnd.IntN(n)
			if v := &m.said[id][seq-1]; v.typ == model.TypeText {
				v.typ = []model.MessageType{model.TypeRecalled, model.TypeRemoved}[rnd.IntN(2)]
				void(t, s, id, int64(seq), v.typ)
			}
		case rnd.IntN(4) == 0:
			// Up to one of the last messages, which stays: reading up to what is gone is another matter.
			before := sent[id][max(0, n-1-rnd.IntN(5))]
			outlive(t, s, before)
			for id, times := range sent {
				for i, at := range times {
					if at.Before(before) && m.said[id][i].typ != gone {
						m.said[id][i] = said{typ: gone}
						removed++
					}
				}
			}
		default:
			if seq := rnd.IntN(n + 1); seq > 0 && m.said[id][seq-1].typ == model.TypeText {
				m.readUpTo(t, s, id, client, seq)
			}
		}
		for _, client := range clients {
			for _, id := range conversations {
				checkUnread(t, s, m, id, client)
			}
		}
	}
	if got := int(s.Removed.Messages.Load()); got != removed || removed < 50 {
		t.Errorf("counted %d messages as removed, want %d", got, removed)
	}
}

// gone is the type of messages in the model that were outlived.
const gone model.MessageType = 99

// checkUnread compares with the model.
func checkUnread(t *testing.T, s *Service, m *imagined, id, client string) {
	t.Helper()
	want, mentioned, stored := int64(0), false, 0
	for i, v := range m.said[id] {
		if v.typ == gone {
			continue
		}
		stored++
		if i >= m.read[id][client] && v.from != client && v.typ == model.TypeText {
			want++
			mentioned = mentioned || v.mentions == client
		}
	}
	c, err := s.Store.Conversation(t.Context(), model.Caller{Client: client}, id, false)
	if err != nil {
		t.Fatal(err)
	}
	if c.Viewer.UnreadMessagesCount != want || c.Viewer.UnreadMessagesMentioned != mentioned {
		t.Fatalf("%s in %s: %+v, want %d unread, mentioned: %v", client, id, c.Viewer, want, mentioned)
	}
	if got := number(t, s, `SELECT count(*) FROM messages WHERE conversation_id = $1`, id); got != stored {
		t.Fatalf("%d messages are stored, want %d", got, stored)
	}
}

// Sends, reads, recalls and the cleaners of two servers at once.
func TestRetentionRaces(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	s, other := keep(t, dsn), keep(t, dsn)
	clients := []string{"Tom", "Jerry", "Mary", "Spike"}
	conversations := []string{gather(t, s, clients...), gather(t, s, clients...), gather(t, s, clients...)}
	var group, cleaners sync.WaitGroup
	over := make(chan struct{})
	for _, s := range []*Service{s, other} {
		cleaners.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					outlive(t, s, time.Now().Add(-20*time.Millisecond))
				}
			}
		})
	}
	for n := range 8 {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			for range 80 {
				id := conversations[rnd.IntN(len(conversations))]
				m := say(t, s, id, clients[rnd.IntN(len(clients))], clients[0])
				if rnd.IntN(3) == 0 {
					_, err := s.RecallMessage(t.Context(), model.Caller{Server: true}, id, model.MessageID(id, m.Seq), nil)
					if err != nil && !model.IsCode(err, model.MessageNotFound) {
						t.Error(err)
					}
				}
				message := model.MessageID(id, max(1, m.Seq-rnd.Int64N(10)))
				_, err := s.MarkRead(t.Context(), model.Caller{Client: clients[rnd.IntN(len(clients))]}, id, message)
				if err != nil && !model.IsCode(err, model.MessageNotFound) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	close(over)
	cleaners.Wait()
	wrong := number(t, s, `
		SELECT count(*) FROM members m JOIN conversations c ON c.id = m.conversation_id
		WHERE c.seq - GREATEST(m.read_seq, c.trimmed_seq) - m.uncounted <> (
			SELECT count(*) FROM messages g WHERE g.conversation_id = c.id AND g.seq > m.read_seq AND g.sender <> m.client_id
			  AND g.type NOT IN (-127, 0))`)
	stray := number(t, s, `SELECT count(*) FROM messages g JOIN conversations c ON c.id = g.conversation_id WHERE g.seq <= c.trimmed_seq`) +
		number(t, s, `SELECT count(*) FROM mentions n JOIN conversations c ON c.id = n.conversation_id WHERE n.seq <= c.trimmed_seq`)
	left := number(t, s, `SELECT count(*) FROM messages`)
	if total := s.Removed.Messages.Load() + other.Removed.Messages.Load() + int64(left); wrong > 0 || stray > 0 || total != 8*80 || left == 8*80 {
		t.Errorf("%d counts are wrong, %d rows are left behind, %d messages of %d are accounted for, %d left", wrong, stray, total, 8*80, left)
	}
}

// What there is a lot of goes in many batches, and what stays is found again when its time comes.
func TestRetentionInBatches(t *testing.T) {
	t.Parallel()
	s := keep(t, repotest.DSN(t))
	now := time.Now()
	var ids []string
	for range 3*outliveAtOnceForTest + 7 {
		ids = append(ids, gather(t, s, "Tom"))
	}
	fill := func(id string, n int, age time.Duration) {
		t.Helper()
		order(t, s, `INSERT INTO messages (conversation_id, seq, sender, sent_at, type, content, mention_all)
			SELECT $1, c.seq + i, 'Tom', $3, -1, '{}', false FROM conversations c, generate_series(1, $2) AS i WHERE c.id = $1`, id, n, now.Add(-age))
		order(t, s, `UPDATE conversations SET seq = seq + $2, oldest_at = $3 WHERE id = $1`, id, n, now.Add(-100*time.Hour))
		order(t, s, `UPDATE members SET uncounted = uncounted + $2 WHERE conversation_id = $1`, id, n)
	}
	for i, id := range ids {
		fill(id, 1+i%3, 3*time.Hour)
		fill(id, 1, 30*time.Minute)
	}
	fill(ids[0], 0, 0)
	order(t, s, `DELETE FROM messages WHERE conversation_id = $1`, ids[1])
	order(t, s, `UPDATE conversations SET seq = 0 WHERE id = $1`, ids[1])
	order(t, s, `UPDATE members SET uncounted = 0 WHERE conversation_id = $1`, ids[1])
	fill(ids[1], 2*houseBatch+300, 3*time.Hour)
	for turn, want := range []int{len(ids) - 1, len(ids) - 1, 0} {
		at := []time.Time{now, now.Add(20 * time.Minute), now.Add(40 * time.Minute)}[turn]
		if err := s.CleanUp(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if got := number(t, s, `SELECT count(*) FROM messages`); got != want {
			t.Errorf("turn %d: %d messages are left, want %d", turn, got, want)
		}
		if got := number(t, s, `SELECT count(*) FROM conversations WHERE oldest_at < $1`, at.Add(-time.Hour)); got != 0 {
			t.Errorf("turn %d: %d conversations are still to be looked at", turn, got)
		}
		if got := number(t, s, `SELECT count(*) FROM members m JOIN conversations c ON c.id = m.conversation_id
			WHERE c.seq - c.trimmed_seq <> m.uncounted`); got != 0 {
			t.Errorf("turn %d: %d counts are wrong", turn, got)
		}
	}
}

const outliveAtOnceForTest = 50

func TestIdleConversations(t *testing.T) {
	t.Parallel()
	s := keep(t, repotest.DSN(t))
	now := time.Now()
	age := func(id string, messages, updated time.Duration) string {
		t.Helper()
		order(t, s, `UPDATE conversations SET created_at = $2, updated_at = $3, last_message_at = $4 WHERE id = $1`,
			id, now.Add(-1000*time.Hour), now.Add(-updated), now.Add(-messages))
		return id
	}
	day := 24 * time.Hour
	create := func(d model.ConversationDraft) string {
		t.Helper()
		c, _, err := s.CreateConversation(t.Context(), model.Caller{Client: "Tom", Server: true}, &d)
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	yes := true
	idle := []string{
		age(gather(t, s, "Tom", "Jerry"), day+time.Minute, day+time.Minute),
		age(create(model.ConversationDraft{Members: []string{"Jerry"}, Unique: &yes}), 900*time.Hour, 2*day),
	}
	for range 2 * idleBatch {
		idle = append(idle, age(gather(t, s, "Tom"), 2*day, 2*day))
	}
	say(t, s, idle[0], "Jerry", "Tom")
	age(idle[0], day+time.Minute, day+time.Minute)
	order(t, s, `INSERT INTO messages (conversation_id, seq, sender, sent_at, type, content, mention_all)
		SELECT $1, 1 + i, 'Tom', now(), -1, '{}', false FROM generate_series(1, $2) AS i`, idle[0], houseBatch+10)
	chatroom, service := "chatroom", "service"
	stay := []string{
		age(gather(t, s, "Tom"), 2*day, day-time.Minute),
		age(gather(t, s, "Tom"), day-time.Minute, 2*day),
		age(create(model.ConversationDraft{Kind: &chatroom}), 2*day, 2*day),
		age(create(model.ConversationDraft{Kind: &service}), 2*day, 2*day),
	}
	asOf, err := s.Store.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Config.MessageRetention = 0
	if err := s.CleanUp(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	for _, id := range idle {
		if _, err := s.Store.Conversation(t.Context(), model.Caller{Server: true}, id, false); !model.IsCode(err, model.ConversationNotFound) {
			t.Errorf("an idle conversation: %v", err)
		}
	}
	for _, id := range stay {
		if _, err := s.Store.Conversation(t.Context(), model.Caller{Server: true}, id, false); err != nil {
			t.Errorf("one that is not idle: %v", err)
		}
	}
	for _, what := range []string{"messages", "mentions", "removed_conversations", "members WHERE conversation_id NOT IN (SELECT id FROM conversations)"} {
		if n := number(t, s, `SELECT count(*) FROM `+what); n != 0 {
			t.Errorf("%d of %s are left", n, what)
		}
	}
	if got, want := s.Removed.Conversations.Load(), int64(len(idle)); got != want {
		t.Errorf("%d were counted, want %d", got, want)
	}
	for _, client := range []string{"Tom", "Jerry"} {
		heard, err := s.Store.ClientEvents(t.Context(), client, nil, asOf.Head, 1<<62, 100)
		if err != nil || len(heard) > 0 {
			t.Errorf("%s hears of it: %v, %v", client, heard, err)
		}
	}
	// The unique one's place is free, and nobody is in what is gone.
	again := create(model.ConversationDraft{Members: []string{"Jerry"}, Unique: &yes})
	if again == idle[1] {
		t.Error("the unique conversation is back")
	}
	if _, _, err := s.Send(t.Context(), model.Caller{Client: "Jerry"}, idle[0], &model.Draft{Type: model.TypeText, Text: new(string)}); !model.IsCode(err, model.ConversationNotFound) {
		t.Errorf("a message to it: %v", err)
	}
}

// The rest: each is there until its time is over, and is counted.
func TestCleanUpOfTheRest(t *testing.T) {
	t.Parallel()
	s := keep(t, repotest.DSN(t))
	s.Config.ConversationIdle = 0
	now := time.Now()
	gather(t, s, "Member")
	for _, query := range []string{
		`INSERT INTO tickets (hash, client_id, server, expires_at, issued_at, token_expires_at, session_id) VALUES
			('\x01', 'Tom', false, $1::timestamptz + interval '30 s', $1, $1::timestamptz + interval '1 h', NULL),
			('\x02', 'Tom', false, $1::timestamptz - interval '30 s', $1, $1::timestamptz + interval '1 h', 's'),
			('\x03', 'Tom', false, $1::timestamptz - interval '30 s', $1, $1::timestamptz + interval '10 h', 's')`,
		`INSERT INTO sessions (client_id, id, tag, anonymous, opened_at, last_seen_at, remote_addr, node, disconnected_at, spent_at) VALUES
			('Tom', 'untagged', NULL, false, $1, $1, '', NULL, $1, NULL),
			('Tom', 'default', 'default', false, $1, $1, '', NULL, $1, NULL),
			('Tom', 'tagged', 'phone', false, $1, $1, '', NULL, $1, NULL),
			('Tom', 'anonymous', NULL, true, $1, $1, '', NULL, $1, NULL),
			('Tom', 'spent', NULL, false, $1, $1, '', NULL, $1, $1),
			('Tom', 'open', NULL, false, $1, $1, '', 'here', NULL, NULL)`,
		`INSERT INTO presence_subscriptions SELECT client_id, id, '', false, '{}', '{}' FROM sessions WHERE $1::timestamptz IS NOT NULL`,
		`INSERT INTO grants_used (jti_hash, keep_until) VALUES ('\x01', $1)`,
		`INSERT INTO clients (id, first_seen_at, last_seen_at, tokens_void_through) VALUES
			('Seen', $1, $1, NULL), ('Kicked', $1, $1, $1), ('Member', $1, $1, NULL), ('Tom', $1, $1, NULL), ('Never', NULL, NULL, NULL)
			ON CONFLICT (id) DO UPDATE SET first_seen_at = excluded.first_seen_at, last_seen_at = excluded.last_seen_at`,
	} {
		order(t, s, query, now)
	}
	left := func() (out []string) {
		t.Helper()
		rows, err := s.Store.DB().Query(`
			SELECT 'ticket ' || right(hash::text, 1) FROM tickets UNION ALL SELECT 'session ' || id FROM sessions
			UNION ALL SELECT 'grant' FROM grants_used UNION ALL SELECT 'client ' || id FROM clients
			UNION ALL SELECT 'subscription ' || session_id FROM presence_subscriptions ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var what string
			if err := rows.Scan(&what); err != nil {
				t.Fatal(err)
			}
			out = append(out, what)
		}
		return out
	}
	want := left()
	day := 24 * time.Hour
	for _, step := range []struct {
		after time.Duration
		gone  []string
	}{
		{-time.Second, []string{"client Never"}},
		{time.Second, []string{"grant"}},
		{time.Minute, []string{"ticket 1"}},
		{time.Hour - time.Second, nil},
		{time.Hour + time.Second, []string{"session anonymous", "subscription anonymous", "ticket 2"}},
		{day - time.Second, []string{"ticket 3"}},
		{day + time.Second, []string{"session untagged", "session default", "subscription untagged", "subscription default"}},
		{30*day - time.Second, nil},
		{30*day + time.Second, []string{"session tagged", "session spent", "subscription tagged", "subscription spent"}},
		{365*day - time.Second, nil},
		{365*day + time.Second, []string{"client Seen"}},
	} {
		want = model.Without(want, step.gone)
		if err := s.CleanUp(t.Context(), now.Add(step.after)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, left()); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", step.after, diff)
		}
	}
	r := &s.Removed
	got := fmt.Sprint(r.Tickets.Load(), r.Sessions.Load(), r.Grants.Load(), r.Clients.Load())
	if got != "3 5 1 2" {
		t.Errorf("counted tickets, sessions, grants and clients: %s", got)
	}
}

// One cleaner at a time: whoever comes second does nothing, and does not wait.
func TestOneCleaner(t *testing.T) {
	t.Parallel()
	s := keep(t, repotest.DSN(t))
	id := gather(t, s, "Tom", "Jerry")
	say(t, s, id, "Tom")
	tx, err := s.Store.DB().Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SELECT pg_advisory_xact_lock($1)`, 0x7061726c6579); err != nil {
		t.Fatal(err)
	}
	outlive(t, s, time.Now().Add(time.Minute))
	if n := number(t, s, `SELECT count(*) FROM messages`); n != 1 {
		t.Errorf("%d messages are left", n)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	// Nor does it wait for a conversation that is busy, nor a reader for it.
	busy, err := s.Store.DB().Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Rollback()
	if _, err := busy.Exec(`SELECT 1 FROM conversations WHERE id = $1 FOR UPDATE`, id); err != nil {
		t.Fatal(err)
	}
	outlive(t, s, time.Now().Add(time.Minute))
	if n := number(t, s, `SELECT count(*) FROM messages`); n != 1 {
		t.Errorf("%d messages are left", n)
	}
	if err := busy.Rollback(); err != nil {
		t.Fatal(err)
	}
	outlive(t, s, time.Now().Add(time.Minute))
	if n := number(t, s, `SELECT count(*) FROM messages`); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	names := slices.Collect(func(yield func(string) bool) {
		for name := range s.Removed.All() {
			if !yield(name) {
				return
			}
		}
	})
	if len(names) != 10 {
		t.Errorf("counters: %v", names)
	}
}
