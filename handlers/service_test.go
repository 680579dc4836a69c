package handlers_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

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
			`{"succeeded":["Mary"],"failed":[{"clientId":"Nobody","code":"not_a_member","legacyCode":4317,"detail":"this client is not a member of the conversation"}],"memberCount":2}`},
		{"Mary", "DELETE", members + "?clientId=Mary", "", "200", ""},
		{"Tom", "GET", members + "/count", "", "200", `{"count":2}`},
		{"Mary", "GET", members + "/count", "", "200", `{"count":2}`},
		{"Tom", "GET", members, "", "403 server_scope_required", ""},
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
		{"Tom", at(service, "messages"), text("x") + `,"to":["Jerry"]}`, "403 server_scope_required"},
		{"Tom", at("nowhere", "messages"), `{"to":[]}`, "403 server_scope_required"}, // scope comes before all else
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
