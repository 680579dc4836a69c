package handlers_test

import (
	"strings"
	"testing"
	"time"
)

// TestTemporary follows a temporary conversation through its life and past its end.
func TestTemporary(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct{ body, want string }{
		{`{"kind":"temporary"}`, "400 invalid_request members"},
		{`{"kind":"temporary","members":["b","c","d","e","f","g","h","i","j","k"]}`, "400 invalid_request members"},
		{`{"kind":"temporary","members":["Jerry"],"ttlSeconds":0}`, "400 invalid_request ttlSeconds"},
		{`{"kind":"temporary","members":["Jerry"],"ttlSeconds":2592001}`, "400 invalid_request ttlSeconds"},
		{`{"kind":"temporary","members":["Jerry"],"unique":true}`, "400 invalid_request unique"},
		{`{"kind":"temporary","members":["Jerry"],"visibility":"public"}`, "400 invalid_request visibility"},
		{`{"members":["Jerry"],"ttlSeconds":60}`, "400 invalid_request ttlSeconds"},
	} {
		if got := s.do("Tom", "POST", "/v1/conversations", c.body).outcome(); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
	jerry := s.listen("Jerry", "session=j1")
	const body = `{"kind":"temporary","members":["Jerry"],"ttlSeconds":3}`
	made := s.do("Tom", "POST", "/v1/conversations", body)
	id, _ := made.body["id"].(string)
	if made.StatusCode != 201 || !strings.HasPrefix(id, "_tmp:") || made.body["visibility"] != "private" || made.body["expiresAt"] == nil {
		t.Fatalf("made %s", made.raw)
	}
	path := "/v1/conversations/" + id
	jerry.await("the invitation", func(h heard) bool { return h.event == "invited" })
	if again := s.do("Jerry", "POST", "/v1/conversations", `{"kind":"temporary","members":["Tom"]}`); again.StatusCode != 200 || again.body["id"] != id {
		t.Errorf("the same members made %s", again.raw)
	}
	s.say("Tom", id, "soon gone", "")
	jerry.await("the message", says("soon gone"))
	for _, c := range []struct{ who, method, path, body, want string }{
		{"Tom", "POST", "/members", `{"clientIds":["Mary"]}`, "403 not_allowed_in_temporary 4314"},
		{"Tom", "DELETE", "/members?clientId=Tom", "", "403 not_allowed_in_temporary 4314"},
		{"Tom", "PATCH", "", `{"name":"x"}`, "403 not_allowed_in_temporary 4314"},
		{"Tom", "PUT", "/mute", "", "403 not_allowed_in_temporary 4314"},
		{"Jerry", "POST", "/read", "", "200"},
		{"Mary", "GET", "", "", "404 conversation_not_found 4303"},
	} {
		if got := s.do(c.who, c.method, path+c.path, c.body).outcome(); got != c.want {
			t.Errorf("%s %s%s: %s, want %s", c.who, c.method, c.path, got, c.want)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); s.do("Tom", "GET", path, "").StatusCode != 410; {
		if time.Now().After(deadline) {
			t.Fatal("it does not expire")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, c := range []struct{ who, method, path, body, want string }{
		{"Jerry", "GET", "", "", "410 conversation_expired 4323"},
		{"Jerry", "GET", "/messages", "", "410 conversation_expired 4323"},
		{"Jerry", "GET", "/members", "", "410 conversation_expired 4323"},
		{"Jerry", "POST", "/read", "", "410 conversation_expired 4323"},
		{"Tom", "POST", "/messages", `{"type":"text","text":"hi"}`, "410 conversation_expired 4323"},
		{"Tom", "POST", "/messages", `{"type":"text","text":"hi","transient":true}`, "410 conversation_expired 4323"},
		{"Mary", "GET", "", "", "404 conversation_not_found 4303"},
		{"Mary", "POST", "/messages", `{"type":"text","text":"hi"}`, "404 conversation_not_found 4401"},
	} {
		if got := s.do(c.who, c.method, path+c.path, c.body).outcome(); got != c.want {
			t.Errorf("expired, %s %s%s: %s, want %s", c.who, c.method, c.path, got, c.want)
		}
	}
	if list := s.do("Jerry", "GET", "/v1/conversations", ""); strings.Contains(list.raw, id) {
		t.Error("an expired conversation is still listed")
	}
	if unread := s.do("Jerry", "GET", "/v1/unread", ""); strings.Contains(unread.raw, id) {
		t.Error("an expired conversation still has something unread")
	}
	if next := s.do("Tom", "POST", "/v1/conversations", body); next.StatusCode != 201 || next.body["id"] == id {
		t.Errorf("the same members then made %s", next.raw)
	}
}

// TestExpiredIsNotReplayed: from the moment that a temporary conversation is over no stream is
// told anything of it, though what cleans it away may come only later.
func TestExpiredIsNotReplayed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	other := s.create("Tom", `{"members":["Jerry"]}`)
	jerry := s.listen("Jerry", "session=j1")
	at := jerry.lastID()
	jerry.cut()
	id := s.create("Tom", `{"kind":"temporary","members":["Jerry"],"ttlSeconds":1}`)
	s.say("Tom", id, "soon gone", "")
	s.say("Tom", other, "stays", "")
	for deadline := time.Now().Add(10 * time.Second); s.do("Tom", "GET", "/v1/conversations/"+id, "").StatusCode != 410; {
		if time.Now().After(deadline) {
			t.Fatal("it does not expire")
		}
	}
	again := s.listen("Jerry", "session=j1", "Last-Event-ID", at)
	again.await("the rest", says("stays"))
	for _, h := range again.all() {
		if h.data["conversationId"] == id {
			t.Errorf("of an expired conversation %v is replayed", h)
		}
	}
}
