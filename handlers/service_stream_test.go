package handlers_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/repo/repotest"
)

// TestServiceStreams is who hears of what, on two servers, live and resumed.
func TestServiceStreams(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	here, there := nodeOn(t, dsn), nodeOn(t, dsn)
	id := here.newService("Tom")
	path := "/v1/conversations/" + id
	group := here.create("Tom", `{"members":["Jerry","Mary","desk"]}`)
	listeners := map[string]*listener{
		"Tom": here.listen("Tom", "session=t1"), "Tom2": there.listen("Tom", "session=t2"), "Jerry": there.listen("Jerry", "session=j1"),
		"Mary": here.listen("Mary", "session=m1"), "desk": there.listen("desk", "session=d1"),
	}
	start := listeners["Jerry"].lastID()
	there.subscribe(id, "Jerry")
	post := func(s *site, who, to, body string, headers ...string) string {
		t.Helper()
		r := s.must(who, "POST", to, body, headers...)
		m, _ := r.body["id"].(string)
		return m
	}
	up := post(here, "Tom", path+"/messages", text("up")+`}`, "Parley-Session", "t1")
	post(there, "Mary", path+"/messages", text("quiet")+`,"noSync":true}`)
	some := post(there, "server/desk", path+"/messages", text("some")+`,"to":["Mary","Jerry"]}`)
	sub := post(here, "server/desk", path+"/broadcasts", text("sub")+`}`)
	all := post(there, "server/desk", "/v1/broadcasts", text("all")+`,"conversationId":"`+id+`"}`)
	post(here, "Mary", path+"/messages", text("up again")+`}`)
	here.must("Tom", "DELETE", path+"/members?clientId=Tom", "")
	post(there, "server/desk", path+"/broadcasts", text("sub again")+`}`)
	// Whoever hears of a message only after its recall is told that one instead.
	post(here, "Tom", "/v1/conversations/"+group+"/messages", text("said")+`}`)
	for _, l := range listeners {
		l.await("what was said", says("said"))
	}
	for _, m := range []string{up, some, sub, all} {
		there.must("server", "PATCH", path+"/messages/"+m, text("edited "+m)+`}`)
		here.must("server", "POST", path+"/messages/"+m+"/recall", "")
	}
	post(here, "Tom", "/v1/conversations/"+group+"/messages", text("end")+`}`)
	gist := func(l *listener) (out []string) {
		for _, h := range l.all() {
			m, ok := h.data["message"].(map[string]any)
			if !ok || h.id == "" {
				continue
			}
			switch h.event {
			case "message":
				out = append(out, fmt.Sprint(m["text"]))
			case "message_update":
				out = append(out, "update "+fmt.Sprint(m["seq"]))
			case "message_recall":
				out = append(out, "recall "+fmt.Sprint(m["seq"]))
			}
		}
		return out
	}
	changes := func(seqs ...int) (out []string) {
		for _, n := range seqs {
			out = append(out, "update "+strconv.Itoa(n), "recall "+strconv.Itoa(n))
		}
		return out
	}
	want := map[string][]string{
		"Tom": slices.Concat([]string{"sub", "all", "said"}, changes(1, 5), []string{"end"}), "Tom2": slices.Concat([]string{"up", "sub", "all", "said"}, changes(1, 5), []string{"end"}),
		"Jerry": slices.Concat([]string{"some", "sub", "all", "sub again", "said"}, changes(3, 4, 5), []string{"end"}),
		"Mary":  slices.Concat([]string{"some", "all", "up again", "said"}, changes(3, 5), []string{"end"}),
		"desk":  slices.Concat([]string{"all", "said"}, changes(3, 4, 5), []string{"end"}),
	}
	for name, l := range listeners {
		l.await("the end", says("end"))
		if diff := cmp.Diff(want[name], gist(l)); diff != "" {
			t.Errorf("%s hears (-want +got):\n%s", name, diff)
		}
		for _, h := range l.all() {
			if h.event == "members_joined" || h.event == "members_left" || h.event == "invited" {
				t.Errorf("%s hears %v", name, h)
			}
		}
	}
	// Resumed from the log, what was recalled since is shown as it is.
	fresh := nodeOn(t, dsn)
	again := fresh.listen("Jerry", "session=j1", "Last-Event-ID", start)
	again.await("the end", says("end"))
	wantAgain := slices.Concat([]string{"<nil>", "<nil>", "<nil>", "sub again", "said"}, changes(3, 4, 5), []string{"end"})
	if diff := cmp.Diff(wantAgain, gist(again)); diff != "" {
		t.Errorf("resumed (-want +got):\n%s", diff)
	}
}

// TestServiceTransient: for whoever is online now, on every server, and nowhere kept.
func TestServiceTransient(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	here, there := nodeOn(t, dsn), nodeOn(t, dsn)
	id := here.newService("Tom")
	path := "/v1/conversations/" + id
	tom, jerry, desk := there.listen("Tom", "session=t"), there.listen("Jerry", "session=j"), here.listen("desk", "session=d")
	heard := func(who, to, body string, ls ...*listener) {
		t.Helper()
		for n := 0; ; n++ { // between nodes it may be lost, so long as they do not know of one another
			said := body + strconv.Itoa(n)
			if r := here.must(who, "POST", to, said+`","transient":true`+map[bool]string{true: `,"conversationId":"` + id + `"`}[to == "/v1/broadcasts"]+
				map[bool]string{true: `,"to":["Jerry"]`}[strings.Contains(body, "some")]+`}`, "Parley-Session", "d"); r.StatusCode != 202 || r.body["seq"] != nil {
				t.Fatalf("%s: %d %s", body, r.StatusCode, r.raw)
			}
			want := said[strings.LastIndex(said, `"`)+1:]
			got := func() bool {
				return !slices.ContainsFunc(ls, func(l *listener) bool { return !slices.Contains(l.texts(), want) })
			}
			for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				if got() {
					return
				}
			}
			if n > 50 {
				t.Fatalf("%s is never heard", body)
			}
		}
	}
	heard("server/desk", path+"/messages", `{"type":"text","text":"some`, jerry)
	heard("server/desk", path+"/broadcasts", `{"type":"text","text":"sub`, tom)
	heard("server/desk", "/v1/broadcasts", `{"type":"text","text":"all`, tom, jerry)
	heard("Tom", path+"/messages", `{"type":"text","text":"up`, tom)
	only := func(l *listener, prefixes ...string) {
		t.Helper()
		for _, text := range l.texts() {
			if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(text, p) }) {
				t.Errorf("heard %q, want only %q", text, prefixes)
			}
		}
	}
	only(tom, "sub", "all", "up")
	only(jerry, "some", "all")
	only(desk) // it is the acting session
	if got := here.view("server", id, 10); len(got) != 0 {
		t.Errorf("kept: %q", got)
	}
}

// TestBroadcastsAtStart is what a fresh start of a stream brings.
func TestBroadcastsAtStart(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	s := nodeOn(t, dsn)
	store := repotest.Open(t, dsn)
	id := s.newService("Tom")
	everyone := func(what, more string) string {
		t.Helper()
		return s.must("server/desk", "POST", "/v1/broadcasts", text(what)+`,"conversationId":"`+id+`"`+more+`}`).body["id"].(string)
	}
	// begins is what a stream brings before it goes live, which an own message shows.
	ends := 0
	group := s.create("Tom", `{"members":["Jerry","Mary","Late","Never"]}`)
	begins := func(who, query string, headers ...string) (*listener, []string) {
		t.Helper()
		l := s.listen(who, query, headers...)
		ends++
		mark := "mark" + strconv.Itoa(ends)
		s.must("server/desk", "POST", "/v1/conversations/"+group+"/messages", text(mark)+`}`)
		l.await(mark, says(mark))
		var out []string
		for _, h := range l.all() {
			m, _ := h.data["message"].(map[string]any)
			switch {
			case h.event != "message":
				continue
			case h.id != "" && m["conversationId"] == id:
				out = append(out, "replayed "+fmt.Sprint(m["text"]))
			case m["conversationId"] == id:
				out = append(out, fmt.Sprint(m["text"]))
			}
		}
		return l, out
	}
	expect := func(what string, got []string, want ...string) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	l, got := begins("Jerry", "session=j")
	expect("nothing yet", got)
	l.cut()
	everyone("one", "")
	recalled := everyone("recalled", "")
	everyone("expired", "")
	if _, err := store.DB().Exec(`UPDATE broadcasts SET valid_until = now() - interval '1 second' WHERE seq = 3`); err != nil {
		t.Fatal(err)
	}
	everyone("two", "")
	newest := everyone("gone", "")
	s.must("server", "DELETE", "/v1/conversations/"+id+"/messages/"+newest, "")
	s.must("server", "POST", "/v1/conversations/"+id+"/messages/"+recalled+"/recall", "")
	s.must("server/desk", "POST", "/v1/conversations/"+id+"/broadcasts", text("sub")+`}`)

	l, got = begins("Jerry", "session=j")
	expect("behind what was acknowledged", got, "one", "two")
	var kinds []string
	for _, h := range l.all() {
		kinds = append(kinds, h.event)
	}
	expect("in this order", kinds[:4], "ready", "unread_messages_count_update", "message", "message")
	l.cut()
	_, got = begins("Jerry", "session=j")
	expect("again, by the same session", got)
	l, got = begins("Jerry", "")
	expect("by another", got)
	everyone("three", "")
	l.await("three", says("three"))
	l.cut()
	_, got = begins("Jerry", "session=other")
	expect("heard live by a session without a name, that is gone", got)

	l, got = begins("Mary", "ack=client&session=m")
	expect("a client never seen before", got, "three")
	l.cut()
	everyone("four", "")
	l, got = begins("Mary", "ack=client&session=m")
	expect("what was not acknowledged comes again", got, "three", "four")
	s.must("Mary", "POST", "/v1/acks", `{"position":"`+l.lastID()+`"}`, "Parley-Session", "m")
	l.cut()
	_, got = begins("Mary", "ack=client&session=m")
	expect("acknowledged", got)

	_, got = begins("Tom", "offline=messages")
	expect("a subscriber, once each", got, "one", "expired", "two", "sub", "three", "four")
	for n := range 25 {
		everyone("n"+strconv.Itoa(n), "")
	}
	_, got = begins("Never", "")
	expect("never seen before", got, "n24")
}

func TestBroadcastList(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	s := nodeOn(t, dsn)
	store := repotest.Open(t, dsn)
	id := s.newService()
	for n := range 5 {
		s.must("server/desk", "POST", "/v1/broadcasts", text(strconv.Itoa(n))+`,"conversationId":"`+id+`"}`)
	}
	s.must("server/desk", "POST", "/v1/conversations/"+id+"/broadcasts", text("sub")+`}`)
	s.must("server", "POST", "/v1/conversations/"+id+"/messages/"+id+".2/recall", "")
	if _, err := store.DB().Exec(`UPDATE broadcasts SET valid_until = now() - interval '2 minutes' WHERE seq = 4`); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range s.items("server", "/v1/broadcasts?conversationId="+id+"&limit=2") {
		got = append(got, m["text"].(string))
		until, err := time.Parse(time.RFC3339, m["validUntil"].(string))
		if ahead := time.Until(until); err != nil || ahead < 29*24*time.Hour || ahead > 30*24*time.Hour {
			t.Errorf("valid until %v", m["validUntil"])
		}
	}
	if !slices.Equal(got, []string{"4", "2", "0"}) {
		t.Errorf("listed: %q", got)
	}
	n, err := store.ForgetBroadcasts(t.Context(), 100)
	if err != nil || n != 1 {
		t.Errorf("forgotten: %d, %v", n, err)
	}
	if got := s.view("Tom", id, 10); !slices.Equal(got, []string{"0", "<nil>", "2", "3", "4"}) {
		t.Errorf("the history: %q", got)
	}
	s.must("server", "DELETE", "/v1/conversations/"+id, "")
	for _, table := range []string{"messages", "message_readers", "broadcasts"} {
		var left int
		if err := store.DB().QueryRow(`SELECT count(*) FROM ` + table + ` WHERE conversation_id = '` + id + `'`).Scan(&left); err != nil || left != 0 {
			t.Errorf("%d rows left in %s, %v", left, table, err)
		}
	}
}

// TestBroadcastCost: however many hear of it, a broadcast is one message and one event.
func TestBroadcastCost(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	s := nodeOn(t, dsn)
	store := repotest.Open(t, dsn)
	id := s.newService()
	ids := manyIDs(1000)
	for crowd := range slices.Chunk(ids, 500) {
		s.must("server", "POST", "/v1/conversations/"+id+"/members", `{"clientIds":`+quoted(crowd)+`}`)
	}
	rows := func() (n int) {
		t.Helper()
		const query = `SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM events) + (SELECT count(*) FROM message_readers)
			+ (SELECT count(*) FROM mentions) + (SELECT count(*) FROM broadcasts)`
		if err := store.DB().QueryRow(query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rows()
	s.must("server/desk", "POST", "/v1/conversations/"+id+"/broadcasts", text("sub")+`,"mentionAll":true}`)
	if got := rows() - before; got != 3 { // message, event, and that its sender may read it
		t.Errorf("a broadcast to the subscribers made %d rows", got)
	}
	before = rows()
	s.must("server/desk", "POST", "/v1/broadcasts", text("all")+`,"conversationId":"`+id+`"}`)
	if got := rows() - before; got != 3 { // message, event, and until when it is valid
		t.Errorf("a broadcast to everyone made %d rows", got)
	}
	if items := s.items("c999", "/v1/unread?limit=1"); items[0]["unreadMessagesCount"] != 2.0 || items[0]["unreadMessagesMentioned"] != true {
		t.Errorf("a subscriber has unread %v", items)
	}
}

// TestBroadcastsBeforeARestart: what a stream has written before its server stopped is not told again.
func TestBroadcastsBeforeARestart(t *testing.T) {
	t.Parallel()
	dsn := repotest.DSN(t)
	var all string
	t.Run("before", func(t *testing.T) { // its node stops with it
		n := newNode(t, dsn)
		all = `,"conversationId":"` + n.newService() + `"}`
		jerry := n.listen("Jerry", "session=j")
		n.must("server/desk", "POST", "/v1/broadcasts", text("heard")+all)
		jerry.await("the broadcast", says("heard"))
	})
	n := newNode(t, dsn)
	n.must("server/desk", "POST", "/v1/broadcasts", text("missed")+all)
	jerry := n.listen("Jerry", "session=j")
	jerry.await("what was missed", says("missed"))
	if got := jerry.texts(); !slices.Equal(got, []string{"missed"}) {
		t.Errorf("after the restart Jerry hears %v", got)
	}
}
