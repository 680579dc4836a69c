package handlers_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parley/api"
	"parley/chat"
	"parley/handlers"
	"parley/repo/repotest"
)

// nodeOn is one of several servers on a database.
func nodeOn(t *testing.T, dsn string) *site {
	t.Helper()
	store := repotest.Open(t, dsn)
	svc := chat.New(chat.Config{DSN: dsn, ReconnectGrace: 10 * time.Second, SeatGrace: 30 * time.Minute}, store, slog.New(slog.DiscardHandler))
	if err := svc.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { svc.Close(context.Background()) })
	keys, err := api.NewKeys(api.KeyConfig{Secrets: []api.Secret{{Value: secret}}})
	if err != nil {
		t.Fatal(err)
	}
	h := &handlers.Handlers{Chat: svc, Store: store, Config: handlers.Config{MessageMaxBytes: 5120}}
	return &site{t, api.New(api.Config{Keys: keys, RedeemTicket: svc.RedeemTicket}, h)}
}

// must is do for a request that succeeds.
func (s *site) must(who, method, path, body string, headers ...string) reply {
	s.t.Helper()
	r := s.do(who, method, path, body, headers...)
	if r.StatusCode >= 300 {
		s.t.Fatalf("%s: %s %s %s: %d %s", who, method, path, body, r.StatusCode, r.raw)
	}
	return r
}

func text(s string) string { return `{"type":"text","text":"` + s + `"` }

// newService makes a service with subscribers.
func (s *site) newService(subscribers ...string) string {
	s.t.Helper()
	id := s.create("server", `{"kind":"service"}`)
	for _, c := range subscribers {
		s.subscribe(id, c)
	}
	return id
}

func (s *site) subscribe(id, client string) {
	s.t.Helper()
	s.must(client, "POST", "/v1/conversations/"+id+"/members", `{"clientIds":["`+client+`"]}`)
}

// view is the texts of a client's history, oldest first, read in pages of a size.
func (s *site) view(who, id string, limit int, more ...string) []string {
	s.t.Helper()
	out := []string{}
	for _, m := range s.items(who, "/v1/conversations/"+id+"/messages?direction=old_to_new&limit="+strconv.Itoa(limit)+strings.Join(more, "")) {
		out = append(out, fmt.Sprint(m["text"]))
	}
	return out
}

// items reads a list to its end.
func (s *site) items(who, path string) []map[string]any {
	s.t.Helper()
	var out []map[string]any
	for cursor := ""; ; {
		r := s.must(who, "GET", path+cursor, "")
		for _, item := range r.body["items"].([]any) {
			out = append(out, item.(map[string]any))
		}
		next, _ := r.body["next"].(string)
		if next == "" {
			return out
		}
		cursor = "&cursor=" + next
	}
}

func TestServiceSubscriptions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.newService()
	hidden := s.create("server/editor", `{"kind":"service","visibility":"private"}`)
	members, private := "/v1/conversations/"+id+"/members", "/v1/conversations/"+hidden+"/members"
	crowd := make([]string, 500)
	for i := range crowd {
		crowd[i] = `"c` + strconv.Itoa(i) + `"`
	}
	for _, tt := range []struct{ who, method, path, body, want, answer string }{
		{"Tom", "POST", "/v1/conversations", `{"kind":"service"}`, "403 server_scope_required", ""},
		{"Tom", "POST", members, `{"clientIds":["Tom"]}`, "200", `{"succeeded":["Tom"],"failed":[],"memberCount":1}`},
		{"Tom", "POST", members, `{"clientIds":["Tom"]}`, "200", `{"succeeded":["Tom"],"failed":[],"memberCount":1}`},
		{"Tom", "POST", members, `{"clientIds":["Jerry"]}`, "403 not_allowed_in_service 4314", ""},
		{"Tom", "POST", members, `{"clientIds":["Tom","Jerry"]}`, "403 not_allowed_in_service 4314", ""},
		{"Jerry", "DELETE", members + "?clientId=Tom", "", "403 not_allowed_in_service 4314", ""},
		{"server", "POST", members, `{"clientIds":["Jerry","Tom","Mary"]}`, "200", `{"succeeded":["Jerry","Tom","Mary"],"failed":[],"memberCount":3}`},
		{"server", "DELETE", members + "?clientId=Mary&clientId=Nobody", "", "200",
			`{"succeeded":["Mary"],"failed":[{"clientId":"Nobody","code":"not_a_member","legacyCode":4317,"detail":"this client does not subscribe to the service"}],"memberCount":2}`},
		{"Mary", "DELETE", members + "?clientId=Mary", "", "200", ""},
		{"Tom", "GET", members + "/count", "", "200", `{"count":2}`},
		{"Mary", "GET", members + "/count", "", "200", `{"count":2}`},
		{"Tom", "GET", members, "", "403 not_allowed_in_service 4314", ""},
		{"server", "GET", members, "", "200", ""},
		{"Tom", "PUT", "/v1/conversations/" + id + "/mute", "", "204", ""},
		{"Mary", "PUT", "/v1/conversations/" + id + "/mute", "", "403 not_a_member 4317", ""},
		{"Tom", "PATCH", "/v1/conversations/" + id, `{"name":"x"}`, "403 not_allowed_in_service 4314", ""},
		{"Tom", "POST", private, `{"clientIds":["Tom"]}`, "404 conversation_not_found 4303", ""},
		{"server", "POST", private, `{"clientIds":["Tom"]}`, "200", ""},
		{"Tom", "DELETE", private + "?clientId=Tom", "", "200", `{"succeeded":["Tom"],"failed":[],"memberCount":0}`},
		{"server", "POST", members, `{"clientIds":[` + strings.Join(crowd, ",") + `]}`, "200", ""}, // more than an ordinary conversation holds
	} {
		r := s.do(tt.who, tt.method, tt.path, tt.body)
		if got := r.outcome(); got != tt.want || tt.answer != "" && r.raw != tt.answer {
			t.Errorf("%s: %s %s %.60s: %s %.300s, want %s %s", tt.who, tt.method, tt.path, tt.body, got, r.raw, tt.want, tt.answer)
		}
	}
	c := s.must("Tom", "GET", "/v1/conversations/"+id, "").body
	if c["memberCount"] != 502.0 || len(c["members"].([]any)) != 0 || c["visibility"] != "public" || c["muted"] != true {
		t.Errorf("Tom sees %v", c)
	}
	if list := s.items("server", members+"?limit=500"); len(list) != 502 || list[0]["clientId"] != "Jerry" {
		t.Errorf("the server sees %d, first %v", len(list), list[0])
	}
}

func TestServiceMessages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.newService("Tom", "Jerry")
	path := "/v1/conversations/" + id
	s.must("Tom", "POST", path+"/messages", text("up1")+`}`)
	s.must("Stranger", "POST", path+"/messages", text("up2")+`}`)
	if c := s.must("Tom", "GET", path, "").body; c["lastMessageAt"] != nil || c["unreadMessagesCount"] != 0.0 {
		t.Errorf("after what went up: %v", c)
	}
	s.must("server/desk", "POST", path+"/messages", text("some")+`,"to":["Tom","Stranger","Tom"]}`)
	if c := s.must("Tom", "GET", path, "").body; c["lastMessageAt"] != nil || c["unreadMessagesCount"] != 1.0 {
		t.Errorf("after what was for some: %v", c)
	}
	sub := s.must("server/desk", "POST", path+"/broadcasts", text("subscribers")+`,"mentionList":["Jerry","Stranger"]}`)
	if c := s.must("Tom", "GET", path, "").body; c["lastMessageAt"] != sub.body["sentAt"] {
		t.Errorf("after a broadcast: %v", c)
	}
	all := s.must("server/desk", "POST", "/v1/broadcasts", text("everyone")+`,"conversationId":"`+id+`"}`)
	if all.StatusCode != 201 || all.Header.Get("Location") != path+"/messages/"+id+".5" || sub.body["mentionList"] == nil {
		t.Errorf("broadcast: %v %s", all.Header, all.raw)
	}
	if c := s.must("Tom", "GET", path+"?include=lastMessage", "").body; c["lastMessageAt"] != all.body["sentAt"] || c["lastMessage"].(map[string]any)["seq"] != 5.0 {
		t.Errorf("after a broadcast to everyone: %v", c)
	}
	s.must("Jerry", "POST", path+"/messages", text("up3")+`}`)
	for who, want := range map[string][]string{
		"Tom": {"up1", "some", "subscribers", "everyone"}, "Jerry": {"subscribers", "everyone", "up3"}, "Stranger": {"up2", "some", "everyone"},
		"desk": {"some", "subscribers", "everyone"}, "Mary": {"everyone"}, "server/Tom": {"up1", "some", "subscribers", "everyone"},
		"server": {"up1", "up2", "some", "subscribers", "everyone", "up3"},
	} {
		for limit := 1; limit < 5; limit++ {
			if diff := cmp.Diff(want, s.view(who, id, limit)); diff != "" {
				t.Errorf("the view of %s by %d (-want +got):\n%s", who, limit, diff)
			}
		}
	}
	for who, want := range map[string]string{"Tom": "5", "Jerry": "6", "server/Tom": "5", "server": "6", "Mary": "<nil>"} {
		c := s.must(who, "GET", path+"?include=lastMessage", "").body
		got := fmt.Sprint(c["lastMessage"])
		if m, ok := c["lastMessage"].(map[string]any); ok {
			got = fmt.Sprint(m["seq"])
		}
		if got != want {
			t.Errorf("the last message of %s: %s, want %s", who, got, want)
		}
	}
	for who, want := range map[string]string{"Tom": "3 false everyone", "Jerry": "2 true up3"} {
		items := s.items(who, "/v1/unread?limit=1")
		if len(items) != 1 {
			t.Fatalf("%s has unread %v", who, items)
		}
		got := fmt.Sprint(items[0]["unreadMessagesCount"], items[0]["unreadMessagesMentioned"], " ", items[0]["lastMessage"].(map[string]any)["text"])
		if got = strings.ReplaceAll(got, "  ", " "); got != want {
			t.Errorf("%s has unread %q, want %q", who, got, want)
		}
	}
	s.t.Run("inbox", func(t *testing.T) {
		inbox := func(more string) (out []string) {
			for _, m := range s.items("server", path+"/inbox?limit=1"+more) {
				out = append(out, m["text"].(string))
			}
			return out
		}
		if got := inbox(""); !slices.Equal(got, []string{"up3", "up2", "up1"}) {
			t.Errorf("the inbox: %q", got)
		}
		if got := inbox("&direction=old_to_new&type=text&startMessageId=" + id + ".1"); !slices.Equal(got, []string{"up2", "up3"}) {
			t.Errorf("behind the first: %q", got)
		}
		if got := inbox("&type=image"); got != nil {
			t.Errorf("images: %q", got)
		}
		cursor := s.must("server", "GET", path+"/inbox?limit=1", "").body["next"].(string)
		for target, want := range map[string]string{
			path + "/messages?cursor=" + cursor: "400 invalid_cursor",
			path + "/inbox?limit=0":             "400 invalid_request limit",
			path + "/inbox?startMessageId=x":    "404 message_not_found 4404",
			"/v1/conversations/nowhere/inbox":   "404 conversation_not_found 4303",
		} {
			if got := s.do("server", "GET", target, "").outcome(); got != want {
				t.Errorf("%s: %s, want %s", target, got, want)
			}
		}
		if got := s.do("Tom", "GET", path+"/inbox", "").outcome(); got != "403 server_scope_required" {
			t.Errorf("a client: %s", got)
		}
	})
	s.t.Run("single", func(t *testing.T) {
		for who, want := range map[string]string{"Tom": "200 404 200 200 200 404", "Stranger": "404 200 200 404 200 404", "server": "200 200 200 200 200 200"} {
			var got []string
			for seq := 1; seq <= 6; seq++ {
				got = append(got, strconv.Itoa(s.do(who, "GET", path+"/messages/"+id+"."+strconv.Itoa(seq), "").StatusCode))
			}
			if strings.Join(got, " ") != want {
				t.Errorf("%s: %s, want %s", who, got, want)
			}
		}
		if got := s.do("Tom", "GET", path+"/messages?startMessageId="+id+".2", "").outcome(); got != "404 message_not_found 4404" {
			t.Errorf("a bound that another wrote: %s", got)
		}
		if got := s.do("Tom", "POST", path+"/read", `{"messageId":"`+id+`.2"}`).outcome(); got != "404 message_not_found 4404" {
			t.Errorf("reading what another wrote: %s", got)
		}
		if got := s.do("Stranger", "POST", path+"/read", ``).outcome(); got != "403 not_a_member 4317" {
			t.Errorf("reading without a subscription: %s", got)
		}
		for method, want := range map[string]string{"PATCH": "404 message_not_found 4404", "POST": "404 message_not_found 4404"} {
			target, body := path+"/messages/"+id+".2", text("x")+`}`
			if method == "POST" {
				target, body = target+"/recall", ""
			}
			if got := s.do("Tom", method, target, body).outcome(); got != want {
				t.Errorf("%s of what another wrote: %s", method, got)
			}
		}
		if got := s.do("Tom", "POST", path+"/messages/"+id+".5/recall", "").outcome(); got != "403 message_ownership_required 4403" {
			t.Errorf("recalling a broadcast: %s", got)
		}
	})
	r := s.must("Jerry", "POST", path+"/read", "")
	up3 := s.must("Jerry", "GET", path+"/messages/"+id+".6", "").body["sentAt"]
	if r.body["unreadMessagesCount"] != 0.0 || r.body["lastReadAt"] != up3 {
		t.Errorf("Jerry has read: %s", r.raw)
	}
	r = s.must("Tom", "POST", path+"/read", `{"messageId":"`+id+`.3"}`)
	if r.body["unreadMessagesCount"] != 2.0 {
		t.Errorf("Tom has read: %s", r.raw)
	}
}

func TestServiceRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	service, group := s.newService(), s.create("Tom", `{}`)
	room, hidden := s.create("Tom", `{"kind":"chatroom"}`), s.create("server", `{"kind":"service","visibility":"private"}`)
	at := func(id, what string) string { return "/v1/conversations/" + id + "/" + what }
	many := `"to":["` + strings.Join(manyIDs(21), `","`) + `"]}`
	day := func(n int) string { return time.Now().AddDate(0, 0, n).UTC().Format(time.RFC3339) }
	for _, tt := range []struct{ who, path, body, want string }{
		{"Tom", at(service, "messages"), text("x") + `,"to":["Jerry"]}`, "400 invalid_request to"},
		{"server/Tom", at(group, "messages"), text("x") + `,"to":["Tom"]}`, "400 invalid_request to"},
		{"server/Tom", at("nowhere", "messages"), text("x") + `,"to":["Tom"]}`, "404 conversation_not_found 4401"},
		{"server/Tom", at(service, "messages"), text("x") + `,"to":[]}`, "400 invalid_request to"},
		{"server/Tom", at(service, "messages"), text("x") + `,"to":["a",""]}`, "400 invalid_request to[1]"},
		{"server/Tom", at(service, "messages"), text("x") + `,` + many, "400 invalid_request to"},
		{"server/Tom", at(service, "messages"), text("x") + `,"to":["` + strings.Join(manyIDs(20), `","`) + `","c0"]}`, "201"},
		{"server", at(service, "messages"), text("x") + `,"to":["a"]}`, "400 acting_client_required"},
		{"Tom", at(hidden, "messages"), text("x") + `}`, "404 conversation_not_found 4401"},
		{"server/Tom", at(hidden, "messages"), text("x") + `}`, "201"},
		{"Tom", at(service, "messages"), text(strings.Repeat("x", 5200)) + `}`, "413 message_too_large 4109"},

		{"Tom", at(service, "broadcasts"), text("x") + `}`, "403 server_scope_required"},
		{"server", at(service, "broadcasts"), text("x") + `}`, "400 acting_client_required"},
		{"server/Tom", at("nowhere", "broadcasts"), text("x") + `}`, "404 conversation_not_found 4401"},
		{"server/Tom", at(group, "broadcasts"), text("x") + `}`, "400 invalid_request id"},
		{"server/Tom", at(room, "broadcasts"), text("x") + `}`, "403 not_allowed_in_chatroom 4314"},
		{"server/Tom", at(service, "broadcasts"), text("x") + `,"to":["a"]}`, "400 invalid_request to"},
		{"server/Tom", at(service, "broadcasts"), text("x") + `,"will":true}`, "400 invalid_request will"},
		{"server/Tom", at(service, "broadcasts"), text("x") + `,"validUntil":"` + day(1) + `"}`, "400 invalid_request validUntil"},
		{"server/Tom", at(service, "broadcasts"), text("x") + `,"transient":true}`, "202"},
		{"server/Tom", at(service, "broadcasts"), text(strings.Repeat("x", 5200)) + `}`, "413 message_too_large 4109"},

		{"Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `"}`, "403 server_scope_required"},
		{"server", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `"}`, "400 acting_client_required"},
		{"server/Tom", "/v1/broadcasts", text("x") + `}`, "400 invalid_request conversationId"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":null}`, "400 invalid_request conversationId"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"nowhere"}`, "404 conversation_not_found 4401"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + group + `"}`, "400 invalid_request conversationId"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + room + `"}`, "400 invalid_request conversationId"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `","validUntil":"` + day(-1) + `"}`, "400 invalid_request validUntil"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `","validUntil":"` + day(32) + `"}`, "400 invalid_request validUntil"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `","validUntil":"soon"}`, "400 invalid_request validUntil"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `","validUntil":"` + day(29) + `"}`, "201"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `","transient":true}`, "202"},
		{"server/Tom", "/v1/broadcasts", text("x") + `,"conversationId":"` + service + `","x":1}`, "400 invalid_request x"},
		{"server/Tom", "/v1/broadcasts", `{"type":"text","conversationId":"` + service + `"}`, "400 invalid_request text"},
	} {
		if got := s.do(tt.who, "POST", tt.path, tt.body).outcome(); got != tt.want {
			t.Errorf("%s: %s %.120s: %s, want %s", tt.who, tt.path, tt.body, got, tt.want)
		}
	}
	for _, tt := range []struct{ who, path, want string }{
		{"Tom", "/v1/broadcasts?conversationId=" + service, "403 server_scope_required"},
		{"server", "/v1/broadcasts", "400 invalid_request conversationId"},
		{"server", "/v1/broadcasts?conversationId=nowhere", "404 conversation_not_found 4303"},
		{"server", "/v1/broadcasts?conversationId=" + group, "400 invalid_request conversationId"},
		{"server", "/v1/broadcasts?conversationId=" + service + "&cursor=x", "400 invalid_cursor"},
		{"server", "/v1/broadcasts?conversationId=" + service, "200"},
		{"server", "/v1/conversations/" + group + "/inbox", "400 invalid_request id"},
		{"server", "/v1/conversations/" + room + "/inbox", "403 not_allowed_in_chatroom 4314"},
	} {
		if got := s.do(tt.who, "GET", tt.path, "").outcome(); got != tt.want {
			t.Errorf("%s: %s: %s, want %s", tt.who, tt.path, got, tt.want)
		}
	}
}

// TestServiceOnce is a key's promise, in whatever direction a message goes.
func TestServiceOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.newService("Tom")
	messages, broadcasts := "/v1/conversations/"+id+"/messages", "/v1/conversations/"+id+"/broadcasts"
	for i, tt := range []struct{ who, path, body string }{
		{"Tom", messages, text("up") + `}`},
		{"server/desk", messages, text("some") + `,"to":["Tom"]}`},
		{"server/desk", broadcasts, text("sub") + `}`},
		{"server/desk", "/v1/broadcasts", text("all") + `,"conversationId":"` + id + `"}`},
	} {
		key := "k" + strconv.Itoa(i)
		var group sync.WaitGroup
		codes, raws := make([]int, 6), make([]string, 6)
		for n := range codes {
			group.Go(func() {
				r := s.do(tt.who, "POST", tt.path, tt.body, "Idempotency-Key", key)
				codes[n], raws[n] = r.StatusCode, r.raw
				if (r.Header.Get("Idempotent-Replayed") == "true") != (r.StatusCode == http.StatusOK) {
					t.Errorf("%d with %v", r.StatusCode, r.Header)
				}
			})
		}
		group.Wait()
		slices.Sort(codes)
		if !slices.Equal(codes, []int{200, 200, 200, 200, 200, 201}) {
			t.Errorf("%s: %v", tt.body, codes)
		}
		for _, raw := range raws {
			if raw != raws[0] {
				t.Errorf("answered %s and %s", raws[0], raw)
			}
		}
		if got := s.do(tt.who, "POST", tt.path, strings.Replace(tt.body, `"text":"`, `"text":"other `, 1), "Idempotency-Key", key).outcome(); got != "409 idempotency_key_reused" {
			t.Errorf("another body: %s", got)
		}
	}
	body := text("sub") + `}`
	if got := s.do("server/desk", "POST", messages, body, "Idempotency-Key", "k2").outcome(); got != "409 idempotency_key_reused" {
		t.Errorf("the key of a broadcast for a message: %s", got)
	}
	if got := s.view("server", id, 10); !slices.Equal(got, []string{"up", "some", "sub", "all"}) {
		t.Errorf("stored: %q", got)
	}
}

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
		"Tom": slices.Concat([]string{"sub", "all"}, changes(1, 5), []string{"end"}), "Tom2": slices.Concat([]string{"up", "sub", "all"}, changes(1, 5), []string{"end"}),
		"Jerry": slices.Concat([]string{"some", "sub", "all", "sub again"}, changes(3, 4, 5), []string{"end"}),
		"Mary":  slices.Concat([]string{"some", "all", "up again"}, changes(3, 5), []string{"end"}),
		"desk":  slices.Concat([]string{"all"}, changes(3, 4, 5), []string{"end"}),
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
	wantAgain := slices.Concat([]string{"<nil>", "<nil>", "<nil>", "sub again"}, changes(3, 4, 5), []string{"end"})
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
