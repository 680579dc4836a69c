package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// runQueries asks what applications ask, one request at a time, of many
// conversations; then how long a quick query takes while another client's
// hostile ones run into the limit.
func runQueries(ctx context.Context, b *bench) error {
	s, err := b.server(ctx)
	if err != nil {
		return err
	}
	if err := b.fillQueried(ctx, s); err != nil {
		return err
	}
	w, err := dialWire(ctx, s.addr, 0)
	if err != nil {
		return err
	}
	defer w.close()
	for range b.count {
		err := b.during("sample queries", time.Duration(len(samples))*b.window/2, func() error { return b.askSamples(ctx, s, w) })
		if err != nil {
			return err
		}
		if err := b.askDeep(ctx, s, w); err != nil {
			return fmt.Errorf("pages by cursor: %w", err)
		}
		if err := b.askHostile(ctx, s, w); err != nil {
			return fmt.Errorf("hostile query: %w", err)
		}
	}
	return nil
}

// asker is an ordinary client: in every hundredth conversation, with every public one to find.
const asker = "Tom"

// queriedRows writes the conversations into the tables, as if they had come to be over
// weeks: the last messages are 13 seconds apart. Every tenth is public, every twentieth a
// chatroom, the others have three members; one in seven has no message yet.
const queriedRows = `
	INSERT INTO conversations (id, kind, name, creator, attributes, visibility, is_unique, member_count, last_message_at, created_at, updated_at)
	SELECT md5('C' || i), CASE WHEN i %% 20 = 0 THEN 2 ELSE 1 END, '群聊 ' || i || CASE WHEN i %% 50 = 0 THEN ' LeanCloud' ELSE '' END, 'client' || i %% 5000,
		json_build_object('type', (ARRAY['private', 'group', 'public'])[1 + i %% 3], 'language', (ARRAY['english', '中文', 'français'])[1 + i %% 3],
			'age', i %% 80, 'keywords', CASE WHEN i %% 200 = 0 THEN '在线教育' ELSE '数学 物理' END, 'order', 'N' || i, 'topic', 'topic ' || i %% 997,
			'tags', json_build_array('t' || i %% 1000, 't' || i %% 7))::text,
		CASE WHEN i %% 10 = 0 THEN 1 WHEN i %% 3 = 0 THEN 3 ELSE 2 END, false, CASE WHEN i %% 20 = 0 THEN 0 ELSE 3 END,
		CASE WHEN i %% 7 <> 3 THEN now() - i * interval '13 seconds' END, now() - interval '30 days' - i * interval '7 seconds', now() - interval '30 days'
	FROM generate_series(1, %[1]d) i;
	INSERT INTO members (conversation_id, client_id, joined_position, joined_at, role, read_seq)
	SELECT md5('C' || i), who, 0, now(), 0, 0 FROM generate_series(1, %[1]d) i,
		LATERAL unnest(ARRAY['client' || i %% 5000, 'client' || i * 7 %% 9973 + 5000, CASE WHEN i %% 100 = 1 THEN 'Tom' ELSE 'client' || i %% 97 + 20000 END]) who
	WHERE i %% 20 <> 0`

// fillQueried makes the conversations of the scene, and that of the hostile client. Through
// the API they would all be of the same few minutes, and take as many to make.
func (b *bench) fillQueried(ctx context.Context, s *server) error {
	db, err := s.cluster()
	if err != nil {
		return err
	}
	n := b.sizes.queried
	_, done := b.step(fmt.Sprintf("making %s conversations", thousands(int64(n))), 1)
	defer done()
	// What autovacuum would do at a moment of its own choosing comes last.
	if err := db.exec(ctx, serverDatabase, fmt.Sprintf(queriedRows, n), "VACUUM (ANALYZE)"); err != nil {
		return err
	}
	a := newAPI(s)
	defer a.close()
	bait := map[string]any{"attributes": map[string]any{"a": strings.Repeat("a", 15_999)}}
	return a.call(ctx, hostile, "POST", "/v1/conversations", bait, nil)
}

// sample is a query as an application's client, or with all set its server, asks it.
type sample struct {
	name   string
	caller string
	where  string
	order  []string
}

// samples are those of the old system's documents, and what is near them. Each finds something.
var samples = []sample{
	{"own, by activity", asker, `{}`, nil},
	{"own, by name and age", asker, `{}`, []string{"name", "-createdAt"}},
	{"with a member", asker, `{"m":"client101"}`, nil},
	{"with two members", asker, `{"m":{"$all":["Tom","client101"]}}`, []string{"-lm"}},
	{"server: with a member", anyServer, `{"m":"client101"}`, nil},
	{"chatrooms of a topic", asker, `{"tr":true,"attr.topic":"topic 20"}`, nil},
	{"all that is seen, newest activity", asker, `{"id":{"$exists":true}}`, []string{"-lastMessageAt"}},
	{"server: all, newest activity", anyServer, `{"id":{"$exists":true}}`, nil},
	{"active of late", asker, `{"lm":{"$gt":"` + time.Now().Add(-24*time.Hour).UTC().Format(time.RFC3339) + `"}}`, nil},
	{"no message yet", asker, `{"lm":{"$exists":false}}`, []string{"-createdAt"}},
	{"attribute of one", asker, `{"attr.order":"N500"}`, nil},
	{"attribute of many", asker, `{"attr.type":"private"}`, nil},
	{"attribute unlike", asker, `{"attr.type":{"$ne":"private"}}`, nil},
	{"attribute greater", asker, `{"attr.age":{"$gt":18}}`, nil},
	{"element of an array", asker, `{"attr.tags":"t500"}`, nil},
	{"name", asker, `{"name":"群聊 70"}`, nil},
	{"name begins with", asker, `{"name":{"$startsWith":"群聊 70"}}`, nil},
	{"name contains", asker, `{"name":{"$contains":"LeanCloud"}}`, nil},
	{"regex, Chinese characters", asker, `{"attr.language":{"$regex":"[\\u4e00-\\u9fa5]"}}`, nil},
	{"regex, without a word", asker, `{"attr.keywords":{"$regex":"^((?!教育).)*$"}}`, nil},
	{"keyword and age", asker, `{"attr.keywords":{"$contains":"教育"},"attr.age":{"$lt":18}}`, nil},
	{"$and", asker, `{"$and":[{"attr.type":"private"},{"attr.age":{"$gte":10,"$lt":20}},{"name":{"$regex":"0$"}}]}`, nil},
	{"$or", asker, `{"$or":[{"attr.order":"N500"},{"m":"client101"},{"name":"群聊 70"}]}`, nil},
	{"by an attribute", asker, `{"attr.type":"private"}`, []string{"attr.age", "-name"}},
	{"server: regex over all names", anyServer, `{"name":{"$regex":"9{3}$"}}`, nil},
}

// counted are the samples that are asked for their count as well.
var counted = []string{
	"attribute of many", "regex, without a word", "name contains", "$or", "server: all, newest activity", "server: regex over all names",
}

func (b *bench) askSamples(ctx context.Context, s *server, w *wire) error {
	for _, q := range samples {
		body := map[string]any{"where": json.RawMessage(q.where), "order": q.order, "limit": 10}
		if err := b.ask(ctx, s, w, q.name, q.caller, "/v1/queries", body, 0); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		if slices.Contains(counted, q.name) {
			if err := b.ask(ctx, s, w, "count: "+q.name, q.caller, "/v1/queries/count", map[string]any{"where": json.RawMessage(q.where)}, 0); err != nil {
				return fmt.Errorf("count of %s: %w", q.name, err)
			}
		}
	}
	return nil
}

// ask asks one query again and again, until half a window is over, and notes how long
// it takes. found is how many it must find; 0: at least one.
func (b *bench) ask(ctx context.Context, s *server, w *wire, name, caller, path string, body map[string]any, found int) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request := s.keys.post(s.addr, caller, path, string(text))
	h := newHistogram()
	deadline := time.Now().Add(b.window / 2)
	for k := 0; k < b.sizes.asked && (k < 5 || time.Now().Before(deadline)) && ctx.Err() == nil; k++ {
		start := time.Now()
		got, err := w.do(request)
		took := time.Since(start)
		if err == nil {
			err = got.found(found)
		}
		if err != nil {
			return err
		}
		if k >= 2 { // the first few warm up
			_ = h.RecordValue(took.Microseconds())
		}
	}
	b.note(name+", p50", "ms", float64(h.ValueAtQuantile(50))/1000, nil)
	b.note(name+", p99", "ms", float64(h.ValueAtQuantile(99))/1000, nil)
	return ctx.Err()
}

// found checks that a query or a count has found n, or anything for 0.
func (a answer) found(n int) error {
	if a.status != 200 {
		return a.failure()
	}
	var list struct {
		Items []json.RawMessage
		Count int
	}
	if err := json.Unmarshal(a.body, &list); err != nil {
		return err
	}
	if got := max(len(list.Items), list.Count); got == 0 || n != 0 && got != n {
		return fmt.Errorf("found %d instead of %d: %.200s", got, n, a.body)
	}
	return nil
}

// askDeep goes through a list by its cursors and reads a page far behind the first.
func (b *bench) askDeep(ctx context.Context, s *server, w *wire) error {
	a := newAPI(s)
	defer a.close()
	body := map[string]any{"where": json.RawMessage(`{"id":{"$exists":true}}`), "order": []string{"name"}, "limit": min(1000, b.sizes.queried/4)}
	depth := 0
	for depth < b.sizes.queried/2 {
		var page struct {
			Items []json.RawMessage
			Next  *string
		}
		if err := a.call(ctx, anyServer, "POST", "/v1/queries", body, &page); err != nil {
			return err
		}
		if page.Next == nil {
			return fmt.Errorf("no more after %d", depth+len(page.Items))
		}
		depth += len(page.Items)
		body["cursor"] = *page.Next
	}
	first := map[string]any{"where": body["where"], "order": body["order"], "limit": 10}
	if err := b.ask(ctx, s, w, "server: all by name, first page of 10", anyServer, "/v1/queries", first, 10); err != nil {
		return err
	}
	body["limit"] = 10
	return b.ask(ctx, s, w, fmt.Sprintf("server: all by name, page by cursor behind %s", thousands(int64(depth))), anyServer, "/v1/queries", body, 10)
}

// hostile is the client that asks what cannot be answered in time.
const hostile = "Mallory"

// hostileBody takes years: back-references make the pattern try every way to part
// the 15,999 letters of an attribute.
const hostileBody = `{"where":{"attr.a":{"$regex":"^(a+)(a+)(a+)\\1\\2\\3$"}}}`

// askHostile has one client ask hostile queries, one after the other, and another client a
// quick one meanwhile.
func (b *bench) askHostile(ctx context.Context, s *server, w *wire) error {
	const quick = "quick query of another client"
	body := map[string]any{"where": json.RawMessage(`{"m":{"$all":["Tom","client101"]}}`)}
	if err := b.ask(ctx, s, w, quick+", alone", asker, "/v1/queries", body, 0); err != nil {
		return err
	}
	cut, stop := make(chan time.Duration, 1), make(chan struct{})
	var g errgroup.Group
	g.Go(func() error { return askHostiles(ctx, s, cut, stop) })
	var err error
	select {
	case took := <-cut: // the next one runs
		b.note("hostile regex, cut after", "ms", millis(took), nil)
		err = b.ask(ctx, s, w, quick+", beside hostile ones", asker, "/v1/queries", body, 0)
	case <-time.After(10 * time.Second):
		err = errors.New("none was cut within 10 s")
	}
	close(stop)
	return errors.Join(err, g.Wait())
}

// askHostiles asks hostile queries until told to stop, and says how long the first ran
// before it was cut, as all must be.
func askHostiles(ctx context.Context, s *server, cut chan<- time.Duration, stop <-chan struct{}) error {
	w, err := dialWire(ctx, s.addr, 0)
	if err != nil {
		return err
	}
	defer w.close()
	request := s.keys.post(s.addr, hostile, "/v1/queries", hostileBody)
	for {
		start := time.Now()
		got, err := w.do(request)
		if err != nil {
			return err
		}
		if got.status != 422 {
			return fmt.Errorf("not cut: %w", got.failure())
		}
		select {
		case cut <- time.Since(start):
		default:
		}
		select {
		case <-stop:
			return nil
		default:
		}
	}
}
