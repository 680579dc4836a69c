package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

// serve starts a service on a database of its own.
func serve(t *testing.T) *Service {
	t.Helper()
	dsn := repotest.DSN(t)
	s := New(Config{DSN: dsn}, repotest.Open(t, dsn), slog.New(slog.DiscardHandler))
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

// gather makes a conversation of these clients, the first of whom makes it.
func gather(t *testing.T, s *Service, clients ...string) string {
	t.Helper()
	c, _, err := s.CreateConversation(t.Context(), model.Caller{Client: clients[0]}, &model.ConversationDraft{Members: clients})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// say sends a text, mentioning some.
func say(t *testing.T, s *Service, conversation, from string, mentions ...string) model.Message {
	t.Helper()
	text := "hello"
	d := &model.Draft{Type: model.TypeText, Text: &text, MentionList: mentions}
	m, _, err := s.Send(t.Context(), model.Caller{Client: from}, conversation, d)
	if err != nil {
		t.Error(err)
	}
	return m
}

// void recalls or removes a message, which does not count then.
func void(t *testing.T, s *Service, conversation string, seq int64, typ model.MessageType) {
	t.Helper()
	server, id := model.Caller{Server: true}, model.MessageID(conversation, seq)
	var err error
	if typ == model.TypeRecalled {
		_, err = s.RecallMessage(t.Context(), server, conversation, id, nil)
	} else {
		err = s.RemoveMessage(t.Context(), server, conversation, id)
	}
	if err != nil {
		t.Error(err)
	}
}

// edit gives a message another text, mentioning some.
func edit(t *testing.T, s *Service, conversation string, seq int64, mentions ...string) {
	t.Helper()
	text := "goodbye"
	d := &model.Draft{Type: model.TypeText, Text: &text, MentionList: mentions}
	_, err := s.EditMessage(t.Context(), model.Caller{Server: true}, conversation, model.MessageID(conversation, seq), d, nil)
	if err != nil && !model.IsCode(err, model.MessageRecalled) && !model.IsCode(err, model.MessageNotFound) {
		t.Error(err)
	}
}

func unreadOf(t *testing.T, s *Service, client string, limit int) map[string]model.Unread {
	t.Helper()
	out := make(map[string]model.Unread)
	for place := new(repo.UnreadPlace); place != nil; {
		items, next, err := s.Store.UnreadPage(t.Context(), client, *place, limit)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range items {
			if _, twice := out[u.ConversationID]; twice {
				t.Errorf("%s is listed twice", u.ConversationID)
			}
			out[u.ConversationID] = u
		}
		place = next
	}
	return out
}

// said is a message as the model remembers it.
type said struct {
	from     string
	mentions string
	typ      model.MessageType
}

// imagined is what ought to be: all that was said, and how far everybody has read.
type imagined struct {
	said map[string][]said
	read map[string]map[string]int // by conversation and client: seq
}

func (m *imagined) unread(conversation, client string) (count int64, mentioned bool, last int64) {
	for i, v := range m.said[conversation] {
		if v.typ != model.TypeRemoved {
			last = int64(i + 1)
		}
		if i >= m.read[conversation][client] && v.from != client && v.typ == model.TypeText {
			count++
			mentioned = mentioned || v.mentions == client
		}
	}
	return count, mentioned, last
}

func (m *imagined) check(t *testing.T, s *Service, client string, limit int) {
	t.Helper()
	got := unreadOf(t, s, client, limit)
	for conversation := range m.said {
		count, mentioned, last := m.unread(conversation, client)
		u, listed := got[conversation]
		delete(got, conversation)
		if count == 0 && !listed {
			continue
		}
		if u.Count != count || u.Mentioned != mentioned || u.LastMessage == nil || u.LastMessage.Seq != last {
			t.Fatalf("%s in %s: %+v, want %d unread, mentioned: %v, last message %d", client, conversation, u, count, mentioned, last)
		}
	}
	if len(got) > 0 {
		t.Fatalf("%s: more is listed: %v", client, got)
	}
}

func TestUnreadIsExact(t *testing.T) {
	t.Parallel()
	s := serve(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	clients := []string{"Tom", "Jerry", "Mary"}
	m := &imagined{said: make(map[string][]said), read: make(map[string]map[string]int)}
	var conversations []string
	for range 4 {
		id := gather(t, s, clients...)
		conversations = append(conversations, id)
		m.said[id], m.read[id] = nil, make(map[string]int)
	}
	for range 400 {
		id, client := conversations[rnd.IntN(len(conversations))], clients[rnd.IntN(len(clients))]
		switch n := len(m.said[id]); {
		case n == 0 || rnd.IntN(2) == 0:
			v := said{from: client, mentions: clients[rnd.IntN(len(clients))], typ: model.TypeText}
			if rnd.IntN(3) > 0 {
				v.mentions = ""
				say(t, s, id, client)
			} else {
				say(t, s, id, client, v.mentions)
			}
			m.said[id] = append(m.said[id], v)
		case rnd.IntN(3) == 0:
			seq := 1 + rnd.IntN(n)
			v := &m.said[id][seq-1]
			typ := []model.MessageType{model.TypeRecalled, model.TypeRemoved, model.TypeText}[rnd.IntN(3)]
			switch {
			case typ == model.TypeText && v.typ == model.TypeText:
				v.mentions = client
				edit(t, s, id, int64(seq), client)
			case v.typ == model.TypeText, v.typ == model.TypeRecalled && typ == model.TypeRemoved:
				void(t, s, id, int64(seq), typ)
				v.typ = typ
			}
		default:
			m.readUpTo(t, s, id, client, rnd.IntN(n+1))
		}
		m.check(t, s, clients[rnd.IntN(len(clients))], 1+rnd.IntN(4))
	}
}

// readUpTo reads up to a message, or all of it when seq is 0.
func (m *imagined) readUpTo(t *testing.T, s *Service, conversation, client string, seq int) {
	t.Helper()
	message := ""
	if seq == 0 {
		seq = len(m.said[conversation])
	} else if message = model.MessageID(conversation, int64(seq)); m.said[conversation][seq-1].typ == model.TypeRemoved {
		if _, err := s.MarkRead(t.Context(), model.Caller{Client: client}, conversation, message); !model.IsCode(err, model.MessageNotFound) {
			t.Fatalf("reading up to a deleted message: %v", err)
		}
		return
	}
	m.read[conversation][client] = max(m.read[conversation][client], seq)
	state, err := s.MarkRead(t.Context(), model.Caller{Client: client}, conversation, message)
	if err != nil {
		t.Fatal(err)
	}
	if count, _, _ := m.unread(conversation, client); state.Count != count || state.ConversationID != conversation || state.LastReadAt == nil {
		t.Fatalf("MarkRead = %+v, want %d unread", state, count)
	}
}

// Sends, reads, edits, recalls and removals in the same conversations race; what is
// left must be what can be counted.
func TestUnreadIsExactAfterRaces(t *testing.T) {
	t.Parallel()
	s := serve(t)
	clients := []string{"Tom", "Jerry", "Mary", "Spike"}
	conversations := []string{gather(t, s, clients...), gather(t, s, clients...), gather(t, s, clients...)}
	var group sync.WaitGroup
	for n := range 16 {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			for range 60 {
				id, client := conversations[rnd.IntN(len(conversations))], clients[rnd.IntN(len(clients))]
				m := say(t, s, id, client)
				some := max(1, m.Seq-rnd.Int64N(4))
				switch rnd.IntN(8) {
				case 0:
					edit(t, s, id, some, clients...)
				case 1, 2, 3:
					void(t, s, id, m.Seq, []model.MessageType{model.TypeRecalled, model.TypeRemoved}[rnd.IntN(2)])
				case 4:
					continue
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
	const query = `
		SELECT count(*) FILTER (WHERE c.seq - m.read_seq - m.uncounted <> (
			SELECT count(*) FROM messages g WHERE g.conversation_id = c.id AND g.seq > m.read_seq AND g.sender <> m.client_id
			  AND g.type NOT IN (-127, 0))),
			count(*) FILTER (WHERE m.read_seq > 0) + (SELECT count(*) FROM mentions n JOIN messages g
				ON g.conversation_id = n.conversation_id AND g.seq = n.seq AND g.type IN (-127, 0)) * 1000
		FROM members m JOIN conversations c ON c.id = m.conversation_id`
	var wrong, read int
	if err := s.Store.DB().QueryRowContext(t.Context(), query).Scan(&wrong, &read); err != nil {
		t.Fatal(err)
	}
	if wrong != 0 || read == 0 || read > 1000 { // a thousand for each mention that a recalled message has left
		t.Errorf("%d counts are wrong; %d have read", wrong, read)
	}
}

// Steps of every length count what they pass or what they leave, whichever is less.
func TestUnreadAfterEveryStep(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const last = 9
	counts := "C.rC.Cx.C" // of each message, for Tom: C counts, his own does not, nor one recalled or removed
	for from := 0; from < last; from++ {
		for to := from + 1; to <= last; to++ {
			id := gather(t, s, "Tom", "Jerry")
			for i := range last {
				say(t, s, id, map[bool]string{true: "Tom", false: "Jerry"}[counts[i] == '.'])
			}
			void(t, s, id, 3, model.TypeRecalled)
			void(t, s, id, 7, model.TypeRemoved)
			for _, seq := range []int{from, to} {
				if seq == 0 || counts[seq-1] == 'x' {
					continue // nothing yet, or nothing to point at
				}
				got, err := s.MarkRead(t.Context(), model.Caller{Client: "Tom"}, id, model.MessageID(id, int64(seq)))
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.Count(counts[seq:], "C"); got.Count != int64(want) {
					t.Errorf("from %d to %d: %d unread behind %d, want %d", from, to, got.Count, seq, want)
				}
			}
		}
	}
}

func TestReadsOfABatch(t *testing.T) {
	t.Parallel()
	s := serve(t)
	a, private := gather(t, s, "Tom", "Jerry"), gather(t, s, "Tom", "Mary")
	if _, err := s.Store.DB().Exec(`UPDATE conversations SET visibility = 3 WHERE id = $1`, private); err != nil {
		t.Fatal(err)
	}
	first := say(t, s, a, "Tom")
	say(t, s, a, "Jerry")
	say(t, s, a, "Tom", "Jerry")
	log, err := s.Store.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wish := func(client, conversation string, seq int64, session string) reading {
		return reading{
			Reading: repo.Reading{Caller: model.Caller{Client: client}, ConversationID: conversation, Seq: seq},
			session: session,
		}
	}
	last := wish("Tom", a, 0, "")
	last.last = true
	unknown := wish("Jerry", a, 0, "")
	unknown.unknown = true
	server := wish("Spike", private, 0, "")
	server.Caller.Server, server.last = true, true
	answers := s.storeReads([]reading{
		wish("Jerry", a, 1, "phone"), wish("Jerry", a, 99, ""), wish("Spike", a, 1, ""), wish("Jerry", private, 1, ""),
		wish("Jerry", "nowhere", 1, ""), wish("Jerry", "\x00", 1, ""), unknown, server, last,
		wish("Jerry", a, 2, "laptop"), wish("Jerry", a, 1, "desktop"),
	})
	wants := []struct {
		code   model.Code
		legacy int
		count  int64
	}{
		{count: 1}, {code: model.MessageNotFound, legacy: 4404}, {code: model.NotAMember, legacy: 4317},
		{code: model.ConversationNotFound, legacy: 4303}, {code: model.ConversationNotFound, legacy: 4303},
		{code: model.ConversationNotFound, legacy: 4303}, {code: model.MessageNotFound, legacy: 4404},
		{code: model.NotAMember, legacy: 4317}, {count: 0}, {count: 1}, {count: 1},
	}
	for i, want := range wants {
		e := new(model.Error)
		if errors.As(answers[i].Err, &e); e.Code != want.code || e.LegacyCode() != want.legacy || answers[i].Value.Count != want.count {
			t.Errorf("read %d: %+v, want %+v", i, answers[i], want)
		}
	}
	if at := answers[0].Value.LastReadAt; at == nil || at.Before(first.SentAt.Time) {
		t.Errorf("last read at %v", at)
	}
	events, err := s.Store.Events(t.Context(), log.Head, 10)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(events, func(x, y model.Event) int { return len(x.Clients[0]) - len(y.Clients[0]) })
	var got []string
	for _, e := range events {
		var data struct {
			Conversations json.RawMessage
			More          *bool
			At            string
		}
		if err := json.Unmarshal(e.Data, &data); err != nil || data.More == nil || *data.More || data.At == "" {
			t.Errorf("%s: %v", e.Data, err)
		}
		got = append(got, fmt.Sprint(e.Kind.Name(), e.Audience == model.ToClients, e.Clients, e.ExceptClient, e.ExceptSession, string(data.Conversations)))
	}
	item := `[{"conversationId":"` + a + `","unreadMessagesCount":%d,"unreadMessagesMentioned":%v,"lastMessage":null}]`
	want := []string{
		fmt.Sprint("unread_messages_count_update", true, []string{"Tom"}, "", "", fmt.Sprintf(item, 0, false)),
		fmt.Sprint("unread_messages_count_update", true, []string{"Jerry"}, "Jerry", "laptop", fmt.Sprintf(item, 1, true)),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	// What moves nothing tells nobody.
	if again := s.storeReads([]reading{wish("Jerry", a, 1, "phone")}); again[0].Err != nil || again[0].Value.Count != 1 {
		t.Errorf("reading backwards: %+v", again[0])
	}
	if more, err := s.Store.Events(t.Context(), log.Head+2, 10); err != nil || len(more) > 0 {
		t.Errorf("%d more events, %v", len(more), err)
	}
}

func TestMarkReadNeedsAClient(t *testing.T) {
	t.Parallel()
	s := serve(t)
	if _, err := s.MarkRead(t.Context(), model.Caller{Server: true}, gather(t, s, "Tom"), ""); !model.IsCode(err, model.ActingClientRequired) {
		t.Errorf("%v, want acting_client_required", err)
	}
}
