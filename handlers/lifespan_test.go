package handlers_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/repo/repotest"
)

// What was outlived is in no history and no replay: not from the memory of the server
// that removed it, nor from that of another, nor from the log.
func TestReplayAfterRetention(t *testing.T) {
	t.Parallel()
	for _, edited := range []bool{false, true} { // which alone has a server ask the log
		t.Run(fmt.Sprint("edited ", edited), func(t *testing.T) {
			t.Parallel()
			replayAfterRetention(t, edited)
		})
	}
}

func replayAfterRetention(t *testing.T, edited bool) {
	dsn := repotest.DSN(t)
	a, b := newNode(t, dsn), newNode(t, dsn)
	id := a.create("Tom", `{"members":["Jerry"]}`)
	path := "/v1/conversations/" + id
	jerry := a.listen("Jerry", "session=s")
	jerry.await("the start", func(h heard) bool { return h.event == "unread_messages_count_update" })
	start := url.QueryEscape(jerry.lastID())
	jerry.cut()
	send := func(i int) reply {
		t.Helper()
		return a.do("Tom", "POST", path+"/messages", fmt.Sprintf(`{"type":"text","text":"%d","mentionAll":%v}`, i, i == 1), "Idempotency-Key", fmt.Sprint(i))
	}
	for i := range 5 {
		send(i + 1)
	}
	if edited {
		if got := a.do("Tom", "PATCH", path+"/messages/"+id+".2", `{"type":"text","text":"two"}`).outcome(); got != "200" {
			t.Fatalf("edit: %s", got)
		}
	}
	db := a.svc.Store.DB()
	if _, err := db.Exec(`UPDATE messages SET sent_at = sent_at - interval '2 hours' WHERE seq <= 3`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`UPDATE conversations SET oldest_at = oldest_at - interval '2 hours'`); err != nil {
		t.Fatal(err)
	}
	if err := a.svc.CleanUp(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	log, err := a.svc.Store.Log(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := newNode(t, dsn)
	for i, n := range []*node{a, b, c} {
		if err := n.svc.Hub.Await(t.Context(), log.Head); err != nil {
			t.Fatal(err)
		}
		l := n.listen("Jerry", "session=s&lastEventId="+start)
		l.await("the last one", says("5"))
		if diff := cmp.Diff([]string{"4", "5"}, l.texts()); diff != "" {
			t.Errorf("server %d replays (-want +got):\n%s", i, diff)
		}
		for _, h := range l.all() {
			if h.event == "message_update" {
				t.Errorf("server %d replays %v", i, h.data)
			}
		}
		l.cut()
	}
	if got := a.do("Jerry", "GET", path, "").body; got["unreadMessagesCount"] != 2.0 || got["unreadMessagesMentioned"] != false {
		t.Errorf("unread: %v, mentioned: %v", got["unreadMessagesCount"], got["unreadMessagesMentioned"])
	}
	if got := a.do("Jerry", "GET", path+"/messages", "").body["items"].([]any); len(got) != 2 {
		t.Errorf("the history has %v", got)
	}
	if got := a.do("Jerry", "GET", path+"/messages/"+id+".2", "").outcome(); got != "404 message_not_found 4404" {
		t.Errorf("an outlived message: %s", got)
	}
	if r := send(1); r.StatusCode != 201 || r.body["seq"] != 6.0 { // its key is free again
		t.Errorf("sent again: %s", r.raw)
	}
	if got := a.do("server", "GET", "/v1/stats", "").body["messages"]; got != 3.0 {
		t.Errorf("%v messages are counted", got)
	}
}
