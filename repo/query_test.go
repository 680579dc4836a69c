package repo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"parley/model"
	"parley/repo"
	"parley/repo/repotest"
)

func parseWhere(t testing.TB, where string) *model.Condition {
	t.Helper()
	if err := model.CheckJSON("where", []byte(where), model.MaxNesting); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	c, err := model.ParseWhere(jsontext.Value(where))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return c
}

func parseOrder(t testing.TB, order []string) []model.SortKey {
	t.Helper()
	keys, err := model.ParseOrder(order, func(int) string { return "order" })
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func idsOf[T any](list []T, id func(T) string) []string {
	out := []string{}
	for _, c := range list {
		out = append(out, id(c))
	}
	return out
}

func find(t testing.TB, s *repo.Store, q repo.ConversationQuery) []*model.Conversation {
	t.Helper()
	found, err := s.FindConversations(context.WithoutCancel(t.Context()), q)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func pageIDs(list []*model.Conversation) []string {
	return idsOf(list, func(c *model.Conversation) string { return c.ID })
}

// TestQueriesAgree asks random queries of random conversations, and an oracle too.
func TestQueriesAgree(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := chance{rand.New(rand.NewPCG(seed, 1))}
	s := repotest.New(t)
	things := r.things(120)
	store(t, s, things)
	callers := []model.Caller{{Client: "Tom"}, {Client: "Nobody"}, {Server: true}, {Client: "Jerry", Server: true}}
	rounds, filled := 500, 0
	for range rounds {
		caller, where := one(r, callers...), r.where(0)
		order := r.some([]string{"name", "-id", "kind", "-creator", "memberCount", "-createdAt", "updatedAt", "lastMessageAt", "-lm", "unique",
			"-muted", "tr", "-sys", "attributes.o", "-attr.o", "attributes.d.e.x"}, 3)
		var document map[string]any
		if err := json.Unmarshal([]byte(where), &document); err != nil {
			t.Fatal(where, err)
		}
		var expected []*thing
		for _, c := range things {
			if c.found(caller, document) {
				expected = append(expected, c)
			}
		}
		if activity(expected); len(order) > 0 {
			ordered(caller, order, expected)
		}
		want := idsOf(expected, func(c *thing) string { return c.id })
		filled += min(len(want), 1)
		q := repo.ConversationQuery{Caller: caller, Where: parseWhere(t, where), Order: parseOrder(t, order), Limit: 1000, Members: true}
		found := find(t, s, q)
		if diff := cmp.Diff(want, pageIDs(found)); diff != "" {
			t.Fatalf("%+v asks %s ordered by %q (-want +got):\n%s", caller, where, order, diff)
		}
		if n, err := s.CountConversations(t.Context(), caller, q.Where); err != nil || n != int64(len(want)) {
			t.Fatalf("%+v counts %s: %d, %v, want %d", caller, where, n, err, len(want))
		}
		checkFaces(t, caller, found)
		if r.IntN(4) == 0 {
			checkPages(t, s, q, want, 1+r.IntN(7))
		}
	}
	if filled < rounds/4 {
		t.Errorf("only %d of %d queries found anything", filled, rounds)
	}
}

// checkFaces: who is no member sees no members.
func checkFaces(t *testing.T, caller model.Caller, found []*model.Conversation) {
	t.Helper()
	for _, c := range found {
		if c.Viewer == nil && !caller.Server && len(c.Members) > 0 {
			t.Fatalf("%q sees the members of %s", caller.Client, c.ID)
		}
	}
}

// checkPages reads the list page by page, by cursor and by skip.
func checkPages(t *testing.T, s *repo.Store, q repo.ConversationQuery, want []string, limit int) {
	t.Helper()
	q.Limit = limit
	var byCursor, bySkip []string
	for {
		page := find(t, s, q)
		byCursor = append(byCursor, pageIDs(page)...)
		if len(page) < limit {
			break
		}
		place, err := model.EncodeCursor("x", model.PlaceOf(q.Order, page[len(page)-1]))
		if err != nil {
			t.Fatal(err)
		}
		q.After = new(model.Place)
		if err := model.DecodeCursor("x", place, q.After); err != nil {
			t.Fatalf("%+v: %v", model.PlaceOf(q.Order, page[len(page)-1]), err)
		}
		if err := q.After.Check(q.Order); err != nil {
			t.Fatalf("%+v: %v", q.After, err)
		}
	}
	for q.After = nil; q.Skip < len(want)+limit; q.Skip += limit {
		bySkip = append(bySkip, pageIDs(find(t, s, q))...)
	}
	if !slices.Equal(byCursor, want) || !slices.Equal(bySkip, want) {
		t.Fatalf("ordered by %+v, in pages of %d:\nby cursor %q\nby skip   %q\nwant      %q", q.Order, limit, byCursor, bySkip, want)
	}
}

// Every send updates its conversation. It must go on doing so in place, whatever is indexed.
func TestSendsUpdateInPlace(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	conversation(t, s, "C")
	exec(t, s, `UPDATE conversations SET attributes = '{"a":[1,2,3]}', last_message_at = $1`, noon)
	tx, err := s.DB().BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for range 3 {
		if _, err := tx.Exec(`UPDATE conversations SET seq = seq + 1, last_sent_at = now(), last_message_at = last_message_at + interval '1 minute'`); err != nil {
			t.Fatal(err)
		}
	}
	var inPlace int
	if err := tx.QueryRow(`SELECT pg_stat_get_xact_tuples_hot_updated('conversations'::regclass)`).Scan(&inPlace); err != nil || inPlace != 3 {
		t.Errorf("%d of 3 updates in place, %v", inPlace, err)
	}
}

// Whatever JSON a client stores, it can be stored, and dates are what Go takes for dates.
func TestAttributesOfAnySort(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	for _, tt := range []struct {
		attributes, where string
		want              bool
	}{
		{`{"a":1e-20000}`, `{"attr.a":0}`, true},
		{`{"a":1e-20000}`, `{"attr.a":1e-30000}`, true},
		{`{"a":-2.5E-0099999,"b":"1e-99999\" \\","c":[1e-5]}`, `{"attr.a":0,"attr.b":"1e-99999\" \\","attr.c":0.00001}`, true},
		{`{"a":0.` + strings.Repeat("0", 16000) + `1e-600}`, `{"attr.a":{"$gte":0}}`, true},
		{`{"a":1e308,"b":5e-324,"c":123456789012345678901234567890}`, `{"attr.a":{"$gt":1e307},"attr.b":5e-324,"attr.c":123456789012345678901234567890}`, true},
		{`{"a":1.0}`, `{"attr.a":1}`, true},
		{`{"a":-0.0}`, `{"attr.a":0}`, true},
		{`{"a":{"__type":"Date","iso":"2026-02-29T00:00:00Z"}}`, `{"attr.a":{"$gt":{"__type":"Date","iso":"2000-01-01T00:00:00Z"}}}`, false},
		{`{"a":{"__type":"Date","iso":"2024-02-29T23:59:59.999999999-23:59"}}`, `{"attr.a":{"__type":"Date","iso":"2024-03-01T23:58:59.999999999Z"}}`, true},
		{`{"a":{"__type":"Date","iso":"0000-01-01T00:00:00Z"}}`, `{"attr.a":{"$lt":{"__type":"Date","iso":"2000-01-01T00:00:00Z"}}}`, false},
		{`{"a":{"__type":"Date","iso":"0001-01-01T00:00:00+23:59"}}`, `{"attr.a":{"$lt":{"__type":"Date","iso":"2000-01-01T00:00:00Z"}}}`, false},
		{`{"a":{"__type":"Date","iso":"9999-12-31T23:59:59-23:59"}}`, `{"attr.a":{"$exists":true}}`, true},
		{`{"a":{"__type":"Date","iso":"2024-02-30T00:00:00Z"}}`, `{"attr.a":{"$exists":true}}`, true},
		{`{"a":{"__type":"Date","iso":"2024-02-20T00:00:00Z","x":1}}`, `{"attr.a":{"$gt":{"__type":"Date","iso":"2000-01-01T00:00:00Z"}}}`, false},
		{`{"a":{"__type":"Date","iso":5}}`, `{"attr.a":{"$exists":true}}`, true},
		{`{"a":{"0":"x"}}`, `{"attr.a.0":"x"}`, true},
		{`{"a":["x"]}`, `{"attr.a.0":"x"}`, false},
		{`{"a'b\"c":{"$x":1}}`, `{"attr.a'b\"c":{"$eq":{"$x":1}}}`, true},
	} {
		exec(t, s, "DELETE FROM conversations")
		exec(t, s, "DELETE FROM members")
		conversation(t, s, "C")
		exec(t, s, `UPDATE conversations SET attributes = $1`, tt.attributes)
		q := repo.ConversationQuery{Caller: tom(), Where: parseWhere(t, tt.where), Order: parseOrder(t, []string{"attr.a"}), Limit: 10}
		found := find(t, s, q)
		if (len(found) == 1) != tt.want {
			t.Errorf("%.80s, asked for %s: found %d", tt.attributes, tt.where, len(found))
		}
		if len(found) == 1 {
			place := model.PlaceOf(q.Order, found[0])
			q.After = &place
			if left := find(t, s, q); len(left) > 0 || place.Check(q.Order) != nil {
				t.Errorf("%.80s comes after itself, or %v", tt.attributes, place.Check(q.Order))
			}
		}
	}
}

// A query that would run for ever is cut, and nobody else notices.
func TestExpensiveQuery(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	conversation(t, s, "C")
	exec(t, s, `UPDATE conversations SET attributes = json_build_object('a', repeat('a', 15999))::text`)
	where := parseWhere(t, `{"attr.a":{"$regex":"^(a+)(a+)(a+)\\1\\2\\3$"}}`)
	start := time.Now()
	_, err := s.FindConversations(t.Context(), repo.ConversationQuery{Caller: tom(), Where: where, Order: model.ByActivity(), Limit: 1})
	if !model.IsCode(err, model.QueryTooExpensive) {
		t.Errorf("FindConversations = %v", err)
	}
	if _, err := s.CountConversations(t.Context(), tom(), where); !model.IsCode(err, model.QueryTooExpensive) {
		t.Errorf("CountConversations = %v", err)
	}
	t.Logf("both cut after %s", time.Since(start))
	// Who may not see it must not learn from how long it takes.
	if _, err := s.CountConversations(t.Context(), model.Caller{Client: "Mary"}, where); err != nil {
		t.Errorf("a stranger's query: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.CountConversations(ctx, tom(), where); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a request that ends: %v", err)
	}
	var setting string
	if err := s.Get(t.Context(), &setting, `SELECT current_setting('statement_timeout')`); err != nil || setting == "2s" {
		t.Errorf("afterwards the limit is %s, %v", setting, err)
	}
}

// Sixty-four of anything is planned in time.
func TestManyConditions(t *testing.T) {
	t.Parallel()
	s := repotest.New(t)
	store(t, s, chance{rand.New(rand.NewPCG(1, 2))}.things(50))
	values := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"v%d"`, i))
		}
		return "[" + strings.Join(list, ",") + "]"
	}
	for _, condition := range []string{
		`{"m":"Tom"}`, `{"m":{"$all":["Tom","Jerry"]}}`, `{"m":{"$ne":"x"}}`, `{"attr.a":1}`, `{"attr.a":{"$nin":` + values(1000) + `}}`,
		`{"m":{"$in":` + values(1000) + `}}`, `{"attr.d.e":{"$all":` + values(1000) + `}}`, `{"name":{"$regex":"^.*[a-z]{3,9}$","$options":"i"}}`,
	} {
		list := strings.TrimSuffix(strings.Repeat(condition+",", 60), ",")
		for _, op := range []string{"$and", "$or", "$nor"} {
			for _, caller := range []model.Caller{tom(), {Server: true}} {
				where := parseWhere(t, fmt.Sprintf(`{%q:[%s]}`, op, list))
				start := time.Now()
				if _, err := s.CountConversations(t.Context(), caller, where); err != nil && !model.IsCode(err, model.QueryTooExpensive) {
					t.Errorf("sixty times %.50s in %s: %v", condition, op, err)
				}
				if took := time.Since(start); took > 15*time.Second {
					t.Errorf("sixty times %.50s in %s took %s", condition, op, took)
				}
			}
		}
	}
}

func FuzzCompile(f *testing.F) {
	s := repotest.New(f)
	store(f, s, chance{rand.New(rand.NewPCG(3, 4))}.things(30))
	f.Add(`{"name":{"$regex":"^((?!x).)*$","$options":"i"},"$or":[{"m":"Tom"},{"attr.a":{"$in":[1,"x",null,[1],{"z":1}]}}]}`, "-lm,attr.o")
	f.Add(`{"lm":{"$gt":{"__type":"Date","iso":"2026-11-20T10:52:31Z"}},"attributes.d.e":{"$not":{"$size":2}}}`, "name")
	f.Add(`{"$nor":[{"m":{"$all":["a","b"]}},{"attr.'; --":"'"}],"kind":{"$in":["chatroom"]},"muted":null}`, "attr.$1")
	f.Fuzz(func(t *testing.T, where, order string) {
		if model.CheckJSON("where", []byte(where), model.MaxNesting) != nil || model.CheckJSON("order", fmt.Appendf(nil, "%q", order), 1) != nil {
			return
		}
		c, err := model.ParseWhere(jsontext.Value(where))
		if err != nil {
			return
		}
		keys, err := model.ParseOrder(strings.Split(order, ","), func(int) string { return "order" })
		if err != nil {
			keys = model.ByActivity()
		}
		for _, caller := range []model.Caller{tom(), {Server: true}} {
			q := repo.ConversationQuery{Caller: caller, Where: c, Order: keys, Limit: 2}
			for range 3 {
				found, err := s.FindConversations(t.Context(), q)
				var refusal *model.Error
				if err != nil && (!errors.As(err, &refusal) || refusal.Code == model.Unavailable) {
					t.Fatalf("%s ordered by %s: %v", where, order, err)
				}
				if len(found) == 0 {
					break
				}
				place := model.PlaceOf(keys, found[len(found)-1])
				q.After = &place
			}
			if _, err := s.CountConversations(t.Context(), caller, c); err != nil && !errors.As(err, new(*model.Error)) {
				t.Fatalf("%s: %v", where, err)
			}
		}
	})
}
