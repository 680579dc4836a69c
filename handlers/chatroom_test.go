package handlers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"parley/openapi/openapitest"
)

// listener reads one event stream of a site.
type listener struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	events []heard
}

type heard struct {
	id, event string
	data      map[string]any
}

// listen opens a stream; query begins with "session=...".
func (s *site) listen(who, query string, headers ...string) *listener {
	s.t.Helper()
	srv := httptest.NewServer(s.handler)
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/v1/events?"+query, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	as(s.t, r, who)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := openapitest.Client(s.t).Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	l := &listener{t: s.t, cancel: cancel, done: make(chan struct{})}
	s.t.Cleanup(func() { l.cut(); srv.Close() })
	if res.StatusCode != http.StatusOK {
		close(l.done)
		s.t.Fatalf("the stream of %s answered %d", who, res.StatusCode)
	}
	go func() {
		defer close(l.done)
		defer res.Body.Close()
		var h heard
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				h.id = value
			case "event":
				h.event = value
			case "data":
				_ = json.Unmarshal([]byte(value), &h.data)
			case "":
				if h.event != "" {
					l.mu.Lock()
					l.events = append(l.events, h)
					l.mu.Unlock()
				}
				h = heard{}
			}
		}
	}()
	l.await("ready", func(h heard) bool { return h.event == "ready" })
	return l
}

// cut ends the stream as a broken network would.
func (l *listener) cut() {
	l.cancel()
	<-l.done
}

func (l *listener) all() []heard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// lastID is the position that the stream has reached.
func (l *listener) lastID() string {
	var id string
	for _, h := range l.all() {
		if h.id != "" {
			id = h.id
		}
	}
	return id
}

func (l *listener) await(what string, ok func(heard) bool) heard {
	l.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if i := slices.IndexFunc(l.all(), ok); i >= 0 {
			return l.all()[i]
		}
	}
	l.t.Fatalf("waited in vain for %s; heard %v", what, l.all())
	return heard{}
}

// texts are those of the messages heard, in order.
func (l *listener) texts() []string {
	var out []string
	for _, h := range l.all() {
		if m, ok := h.data["message"].(map[string]any); ok && h.event == "message" {
			out = append(out, fmt.Sprint(m["text"]))
		}
	}
	return out
}

func says(text string) func(heard) bool {
	return func(h heard) bool {
		m, _ := h.data["message"].(map[string]any)
		return h.event == "message" && m["text"] == text
	}
}

func (s *site) say(who, id, text, more string, headers ...string) reply {
	s.t.Helper()
	r := s.do(who, "POST", "/v1/conversations/"+id+"/messages", `{"type":"text","text":"`+text+`"`+more+`}`, headers...)
	if r.StatusCode >= 300 {
		s.t.Fatalf("%s could not say %q: %s", who, text, r.raw)
	}
	return r
}

func (s *site) count(id string) float64 {
	s.t.Helper()
	return s.do("Tom", "GET", "/v1/conversations/"+id+"/members/count", "").body["count"].(float64)
}

func TestChatroom(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	room := s.create("Tom", `{"kind":"chatroom","name":"lobby"}`)
	other := s.create("Tom", `{"kind":"chatroom"}`)
	seat := "/v1/conversations/" + room + "/members"
	jerry := s.listen("Jerry", "session=j1")
	phone := s.listen("Jerry", "session=j2")
	mary := s.listen("Mary", "session=m1")

	for _, c := range []struct{ name, who, body, session, want string }{
		{"no session", "Jerry", `{"clientIds":["Jerry"]}`, "", "400 session_required 4105"},
		{"unknown session", "Jerry", `{"clientIds":["Jerry"]}`, "nope", "400 session_required 4105"},
		{"somebody else", "Jerry", `{"clientIds":["Mary"]}`, "j1", "403 not_allowed_in_chatroom 4314"},
		{"with somebody else", "Jerry", `{"clientIds":["Jerry","Mary"]}`, "j1", "403 not_allowed_in_chatroom 4314"},
		{"oneself", "Jerry", `{"clientIds":["Jerry"]}`, "j1", "200 "},
		{"again", "Jerry", `{"clientIds":["Jerry"]}`, "j1", "200 "},
		{"another device", "Jerry", `{"clientIds":["Jerry"]}`, "j2", "200 "},
		{"another client", "Mary", `{"clientIds":["Mary"]}`, "m1", "200 "},
	} {
		var headers []string
		if c.session != "" {
			headers = []string{"Parley-Session", c.session}
		}
		r := s.do(c.who, "POST", seat, c.body, headers...)
		if got := strings.TrimSpace(r.outcome()); got != strings.TrimSpace(c.want) {
			t.Fatalf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if n := s.count(room); n != 2 {
		t.Errorf("%v clients are present, want 2", n)
	}
	for _, c := range []struct{ who, method, path, body, want string }{
		{"Jerry", "PUT", "/mute", "", "403 not_allowed_in_chatroom 4314"},
		{"Jerry", "POST", "/read", "", "403 not_allowed_in_chatroom 4314"},
		{"Tom", "DELETE", "/members?clientId=Jerry", "", "403 not_allowed_in_chatroom 4314"},
		{"server", "POST", "/members", `{"clientIds":["Mary"]}`, "403 not_allowed_in_chatroom 4314"}, // nor can the application
		{"server", "DELETE", "/members?clientId=Jerry", "", "403 not_allowed_in_chatroom 4314"},
		{"Jerry", "GET", "/members", "", "403 server_scope_required"},
		{"server", "GET", "/members", "", "200"},
	} {
		if got := s.do(c.who, c.method, "/v1/conversations/"+room+c.path, c.body).outcome(); got != c.want {
			t.Errorf("%s: %s %s answered %s, want %s", c.who, c.method, c.path, got, c.want)
		}
	}

	// Tom has no seat: he may speak, and hears nothing. Jerry's acting session does not hear itself, his phone does.
	s.say("Tom", room, "welcome", "")
	s.say("Jerry", room, "thanks", `,"priority":"high","mentionList":["Nobody"]`, "Parley-Session", "j1")
	s.say("Tom", room, "typing", `,"transient":true`)
	for _, l := range []*listener{jerry, phone, mary} {
		l.await("typing", says("typing"))
	}
	if got := jerry.texts(); !slices.Equal(got, []string{"welcome", "typing"}) {
		t.Errorf("Jerry's acting session heard %v", got)
	}
	if got := phone.texts(); !slices.Equal(got, []string{"welcome", "thanks", "typing"}) {
		t.Errorf("Jerry's phone heard %v", got)
	}
	m := mary.await("thanks", says("thanks")).data["message"].(map[string]any)
	if m["priority"] != "high" || m["seq"] != 2.0 || fmt.Sprint(m["mentionList"]) != "[Nobody]" {
		t.Errorf("Mary got %v", m)
	}
	if slices.ContainsFunc(mary.all(), func(h heard) bool { return strings.HasPrefix(h.event, "member") }) {
		t.Error("a chatroom has no events of members")
	}

	// One seat a session: taking another leaves the first.
	s.do("Mary", "POST", "/v1/conversations/"+other+"/members", `{"clientIds":["Mary"]}`, "Parley-Session", "m1")
	s.say("Tom", room, "is Mary there", "")
	s.say("Tom", other, "she is here", "")
	mary.await("the other room", says("she is here"))
	jerry.await("the room", says("is Mary there"))
	if slices.Contains(mary.texts(), "is Mary there") {
		t.Error("Mary hears the room she has left")
	}
	if r := s.do("Jerry", "DELETE", seat+"?clientId=Jerry", "", "Parley-Session", "j1"); r.outcome() != "200" {
		t.Errorf("leaving answered %s", r.outcome())
	}
	s.say("Tom", room, "only the phone", "")
	phone.await("the phone", says("only the phone"))
	s.do("Jerry", "POST", "/v1/conversations", `{"members":["Mary"]}`)
	if slices.Contains(jerry.texts(), "only the phone") {
		t.Error("a session hears the room it has left")
	}
}

// TestChatroomResume: a stream that was away gets every high message and of the others the newest hundred.
func TestChatroomResume(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	room := s.create("Tom", `{"kind":"chatroom"}`)
	jerry := s.listen("Jerry", "session=j1")
	s.do("Jerry", "POST", "/v1/conversations/"+room+"/members", `{"clientIds":["Jerry"]}`, "Parley-Session", "j1")
	s.say("Tom", room, "before", "")
	jerry.await("before", says("before"))
	at := jerry.lastID()
	jerry.cut()
	var want []string
	for i := range 120 {
		text := fmt.Sprint("m", i)
		switch {
		case i%10 == 0:
			s.say("server/Tom", room, text, `,"priority":"high"`)
			want = append(want, text)
		default:
			s.say("server/Tom", room, text, `,"priority":"low"`)
			if i >= 120-111 { // of the last 111 messages 11 are high
				want = append(want, text)
			}
		}
	}
	again := s.listen("Jerry", "session=j1", "Last-Event-ID", at)
	again.await("the last", says("m119"))
	if got := again.texts(); !slices.Equal(got, want) {
		t.Errorf("resumed with %d messages %v, want %d", len(got), got, len(want))
	}
	again.cut()
	// A fresh start keeps the seat, and hears what comes from now on.
	fresh := s.listen("Jerry", "session=j1")
	s.say("Tom", room, "after", "")
	fresh.await("after", says("after"))
	if got := fresh.texts(); !slices.Equal(got, []string{"after"}) {
		t.Errorf("a fresh start heard %v", got)
	}
}
