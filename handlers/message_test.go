package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parley/chat"
	"parley/model"
	"parley/repo/repotest"
)

// messaging serves the endpoints on a database of its own.
func messaging(t testing.TB) *Handlers {
	t.Helper()
	dsn := repotest.DSN(t)
	store := repotest.Open(t, dsn)
	service := chat.New(chat.Config{DSN: dsn}, store, slog.New(slog.DiscardHandler))
	if err := service.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { service.Close(context.Background()) })
	return &Handlers{Chat: service, Store: store, Config: Config{MessageMaxBytes: 5120}}
}

func groupOf(t testing.TB, h *Handlers, clients ...string) string {
	t.Helper()
	c, _, err := h.Chat.CreateConversation(t.Context(), model.Caller{Client: clients[0]}, &model.ConversationDraft{Members: clients})
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

type endpoint = func(http.ResponseWriter, *http.Request, model.Caller) error

// ask calls one endpoint of a conversation as a client; "server" is a server token.
func ask(t testing.TB, f endpoint, client, method, conversation, query, body string, headers ...string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	r := httptest.NewRequest(method, "/"+query, strings.NewReader(body))
	r.SetPathValue("id", conversation)
	r.Header.Set("Content-Type", "application/json")
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		if name == "mid" {
			r.SetPathValue(name, value)
			continue
		}
		r.Header.Add(name, value)
	}
	caller := model.Caller{Client: client}
	if client == "server" {
		caller = model.Caller{Server: true}
	}
	w := httptest.NewRecorder()
	err := f(w, r, caller)
	return w, err
}

// field is what an invalid_request names, or the code of another failure; empty for success.
func field(err error) string {
	var e *model.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &e):
		return "internal: " + err.Error()
	case len(e.Fields) > 0:
		return e.Fields[0].Field
	}
	return string(e.Code)
}

func answer[T any](t testing.TB, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return v
}

type wireMessage struct {
	ID     string `json:"id"`
	Seq    int64  `json:"seq"`
	From   string `json:"from"`
	SentAt string `json:"sentAt"`
	Text   string `json:"text"`
}

type wirePage struct {
	Items []wireMessage `json:"items"`
	Next  *string       `json:"next"`
}

func TestSendMessage(t *testing.T) {
	t.Parallel()
	h := messaging(t)
	id := groupOf(t, h, "Tom", "Jerry")
	w, err := ask(t, h.SendMessage, "Tom", "POST", id, "", `{"type":"text","text":"hi \u00e9","attributes":{"a": 1.50},
		"mentionAll":false,"mentionList":["Jerry","Jerry","Spike"],"receipt":true,"file":null,"priority":"high","pushData":{"alert":"x"}}`)
	if err != nil || w.Code != http.StatusCreated {
		t.Fatalf("%d, %v", w.Code, err)
	}
	m := answer[wireMessage](t, w)
	want := `{"id":"` + id + `.1","conversationId":"` + id + `","seq":1,"from":"Tom","sentAt":"` + m.SentAt +
		`","type":"text","text":"hi é","attributes":{"a":1.50},"mentionList":["Jerry"],"receipt":true}`
	if diff := cmp.Diff(want, w.Body.String()); diff != "" {
		t.Errorf("sent (-want +got):\n%s", diff)
	}
	if got := w.Header().Get("Location"); got != "/v1/conversations/"+id+"/messages/"+id+".1" {
		t.Errorf("Location %q", got)
	}
	w, err = ask(t, h.Message, "Jerry", "GET", id, "", "", "mid: "+m.ID)
	if err != nil || w.Body.String() != want || w.Header().Get("Parley-Position") == "" {
		t.Errorf("read again: %v %v %s", err, w.Header(), w.Body)
	}
	w, err = ask(t, h.SendMessage, "Tom", "POST", id, "", `{"type":"raw","text":"","transient":true}`)
	if err != nil || w.Code != http.StatusAccepted || strings.Contains(w.Body.String(), "seq") || w.Header().Get("Location") != "" {
		t.Errorf("transient: %d, %v, %s", w.Code, err, w.Body)
	}
}

func TestSendMessageRefusals(t *testing.T) {
	t.Parallel()
	h := messaging(t)
	id := groupOf(t, h, "Tom")
	deep := strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33)
	tests := []struct{ body, want string }{
		{``, "body"},
		{`[]`, "body"},
		{`{}`, "type"},
		{`{"type":"sticker","text":"x"}`, "type"},
		{`{"type":null,"text":"x"}`, "type"},
		{`{"Type":"text","text":"x"}`, "Type"},
		{`{"type":"text","text":null}`, "text"},
		{`{"type":"text","text":1}`, "text"},
		{`{"type":"text","text":"a\u0000"}`, "text"},
		{`{"type":"text","text":"x","text":"y"}`, "text"},
		{`{"type":"text","text":"x","attributes":[]}`, "attributes"},
		{`{"type":"text","text":"x","attributes":{"n":1e999}}`, "attributes.n"},
		{`{"type":"text","text":"x","attributes":` + deep + `}`, "attributes" + strings.Repeat(".a", 32)},
		{`{"type":"text","text":"x","location":{"latitude":1,"longitude":2}}`, "location"},
		{`{"type":"location","location":{"latitude":1}}`, "location.longitude"},
		{`{"type":"location","location":{"latitude":91,"longitude":2}}`, "location.latitude"},
		{`{"type":"location","location":{"latitude":"1","longitude":2}}`, "location.latitude"},
		{`{"type":"location","location":{"latitude":1,"longitude":2,"altitude":3}}`, "location.altitude"},
		{`{"type":"image","file":{"url":"x"}}`, "file.url"},
		{`{"type":"image","file":{"id":"x"}}`, "file.id"},
		{`{"type":"image","file":{"url":"http://h/","size":-1}}`, "file.size"},
		{`{"type":"image","file":{"url":"http://h/","size":1.5}}`, "file.size"},
		{`{"type":"image","file":{"url":"http://h/","x":1}}`, "file.x"},
		{`{"type":"custom","customType":0}`, "customType"},
		{`{"type":"text","text":"x","customType":0}`, "customType"},
		{`{"type":"custom","customType":99999999999999999999}`, "customType"},
		{`{"type":"binary","data":"AQ"}`, "data"},
		{`{"type":"binary","data":null}`, "data"},
		{`{"type":"text","text":"x","mentionList":["a",""]}`, "mentionList[1]"},
		{`{"type":"text","text":"x","mentionAll":"yes"}`, "mentionAll"},
		{`{"type":"text","text":"x","priority":"urgent"}`, "priority"},
		{`{"type":"text","text":"x","pushData":1}`, "pushData"},
		{`{"type":"text","text":"x","will":true}`, "session_required"},
		{`{"type":"text","text":"x","to":["Jerry"]}`, "server_scope_required"},
		{`{"type":"text","text":"` + strings.Repeat("x", 5120) + `"}`, "message_too_large"},
	}
	for _, tt := range tests {
		if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", tt.body); field(err) != tt.want {
			t.Errorf("%.100s: %v, want %s", tt.body, err, tt.want)
		}
	}
	const fine = `{"type":"text","text":"x"}`
	if _, err := ask(t, h.SendMessage, "Jerry", "POST", id, "", fine); field(err) != "not_a_member" {
		t.Errorf("a stranger: %v", err)
	}
	if _, err := ask(t, h.SendMessage, "server", "POST", id, "", fine); field(err) != "acting_client_required" {
		t.Errorf("the system: %v", err)
	}
	if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "?x=1", fine); field(err) != "x" {
		t.Errorf("a parameter: %v", err)
	}
	for _, headers := range [][]string{
		{"Idempotency-Key: "}, {"Idempotency-Key: a b"}, {"Idempotency-Key: " + strings.Repeat("k", 129)},
		{"Idempotency-Key: a", "Idempotency-Key: a"},
	} {
		if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", fine, headers...); field(err) != "Idempotency-Key" {
			t.Errorf("%q: %v", headers, err)
		}
	}
	if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", `{"type":"text","text":"x","transient":true}`, "Idempotency-Key: a"); field(err) != "Idempotency-Key" {
		t.Errorf("a key for what is not stored: %v", err)
	}
	if w, err := ask(t, h.History, "Tom", "GET", id, "", ""); err != nil || w.Body.String() != `{"items":[],"next":null}` {
		t.Errorf("what was refused left something behind: %v, %s", err, w.Body)
	}
}

func TestSendMessageOnce(t *testing.T) {
	t.Parallel()
	h := messaging(t)
	id := groupOf(t, h, "Tom", "Jerry")
	bodies := []string{`{"type":"text","text":"x","attributes":{"a":1,"b":"A"}}`, ` { "attributes" : {"b":"\u0041","a":1.0}, "text":"x", "type":"text" } `}
	var group sync.WaitGroup
	codes := make([]int, 8)
	answers := make([]string, 8)
	for n := range codes {
		group.Go(func() {
			w, err := ask(t, h.SendMessage, "Tom", "POST", id, "", bodies[n%2], "Idempotency-Key: k")
			if err != nil {
				t.Error(err)
				return
			}
			codes[n], answers[n] = w.Code, w.Body.String()
			if replayed := w.Header().Get("Idempotent-Replayed"); (replayed == "true") != (w.Code == http.StatusOK) {
				t.Errorf("%d with Idempotent-Replayed: %q", w.Code, replayed)
			}
		})
	}
	group.Wait()
	made := 0
	for n := range codes {
		if codes[n] == http.StatusCreated {
			made++
		}
		if answers[n] != answers[0] || !strings.Contains(answers[n], `"idempotencyKey":"k"`) {
			t.Errorf("answered %s and %s", answers[n], answers[0])
		}
	}
	if made != 1 {
		t.Errorf("%d messages were made", made)
	}
	if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", `{"type":"text","text":"y"}`, "Idempotency-Key: k"); field(err) != "idempotency_key_reused" {
		t.Errorf("another body: %v", err)
	}
	if w, err := ask(t, h.SendMessage, "Jerry", "POST", id, "", `{"type":"text","text":"y"}`, "Idempotency-Key: k"); err != nil || w.Code != http.StatusCreated {
		t.Errorf("another sender's key: %v", err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	h := messaging(t)
	id := groupOf(t, h, "Tom", "Jerry")
	for n := 1; n <= 25; n++ {
		if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", fmt.Sprintf(`{"type":"text","text":"%d"}`, n)); err != nil {
			t.Fatal(err)
		}
	}
	pages := func(query string) (seqs []int64) {
		t.Helper()
		for {
			w, err := ask(t, h.History, "Jerry", "GET", id, query, "")
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			page := answer[wirePage](t, w)
			for _, m := range page.Items {
				seqs = append(seqs, m.Seq)
			}
			if page.Next == nil {
				return seqs
			}
			query = "?cursor=" + *page.Next // all that the next page needs
		}
	}
	down := []int64{25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}
	for query, want := range map[string][]int64{
		"":                        down,
		"?limit=7":                down,
		"?limit=1000":             down,
		"?type=text":              down,
		"?type=image":             nil,
		"?customType=1":           nil,
		"?customType=1&type=text": nil,
		"?direction=old_to_new&limit=1&endMessageId=" + id + ".3":                                                              {1, 2},
		"?direction=old_to_new&limit=2&startClosed=true&startMessageId=" + id + ".22":                                          {22, 23, 24, 25},
		"?limit=1&startMessageId=" + id + ".3&endTime=2000-01-01T00:00:00Z":                                                    {2, 1},
		"?startTime=2000-01-01T00:00:00Z":                                                                                      nil,
		"?direction=old_to_new&limit=24&startTime=2000-01-01T00:00:00Z&endTime=2999-01-01T00:00:00Z&endMessageId=" + id + ".2": {1},
	} {
		if diff := cmp.Diff(want, pages(query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
}

func TestHistoryParameters(t *testing.T) {
	t.Parallel()
	h := messaging(t)
	id, other := groupOf(t, h, "Tom", "Jerry"), groupOf(t, h, "Tom", "Jerry")
	for range 3 {
		if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", `{"type":"text","text":"x"}`); err != nil {
			t.Fatal(err)
		}
	}
	first := "?limit=1&startTime=2999-01-01T00:00:00Z&type=text"
	w, err := ask(t, h.History, "Tom", "GET", id, first, "")
	if err != nil {
		t.Fatal(err)
	}
	cursor := *answer[wirePage](t, w).Next
	tests := []struct{ conversation, query, want string }{
		{id, "?limit=0", "limit"},
		{id, "?limit=1001", "limit"},
		{id, "?limit=x", "limit"},
		{id, "?direction=up", "direction"},
		{id, "?startTime=yesterday", "startTime"},
		{id, "?endTime=2026-01-01", "endTime"},
		{id, "?startClosed=1", "startClosed"},
		{id, "?type=sticker", "type"},
		{id, "?customType=0", "customType"},
		{id, "?customType=01", "customType"},
		{id, "?before=1", "before"},
		{id, "?limit=1&limit=1", "limit"},
		{id, "?startMessageId=", "startMessageId"},
		{id, "?startMessageId=x", "message_not_found"},
		{id, "?endMessageId=" + id + ".4", "message_not_found"},
		{id, "?cursor=", "invalid_cursor"},
		{id, "?cursor=" + cursor[1:], "invalid_cursor"},
		{other, "?cursor=" + cursor, "invalid_cursor"},
		{id, first + "&cursor=" + cursor, ""},
		{id, "?cursor=" + cursor + "&limit=2&direction=new_to_old&endClosed=false", ""},
		{id, "?cursor=" + cursor + "&direction=old_to_new", "invalid_cursor"},
		{id, "?cursor=" + cursor + "&type=image", "invalid_cursor"},
		{id, "?cursor=" + cursor + "&startClosed=true", "invalid_cursor"},
		{id, "?cursor=" + cursor + "&startTime=2999-01-02T00:00:00Z", "invalid_cursor"},
	}
	for _, tt := range tests {
		if _, err := ask(t, h.History, "Tom", "GET", tt.conversation, tt.query, ""); field(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.query, err, tt.want)
		}
	}
	if w, err := ask(t, h.History, "server", "GET", id, "", ""); err != nil || w.Header().Get("Parley-Position") == "" {
		t.Errorf("a server token: %v, %v", err, w.Header())
	}
}

func TestUnreadAndRead(t *testing.T) {
	t.Parallel()
	h := messaging(t)
	var ids []string
	for range 3 {
		id := groupOf(t, h, "Tom", "Jerry")
		ids = append(ids, id)
		for range 2 {
			if _, err := ask(t, h.SendMessage, "Tom", "POST", id, "", `{"type":"text","text":"x","mentionList":["Jerry"]}`); err != nil {
				t.Fatal(err)
			}
		}
	}
	type item struct {
		ConversationID string      `json:"conversationId"`
		Count          int64       `json:"unreadMessagesCount"`
		Mentioned      bool        `json:"unreadMessagesMentioned"`
		LastMessage    wireMessage `json:"lastMessage"`
	}
	seen := make(map[string]item)
	for query, next := "?limit=1", ""; ; {
		w, err := ask(t, h.Unread, "Jerry", "GET", "", query, "")
		if err != nil || w.Header().Get("Parley-Position") == "" {
			t.Fatal(err, w.Header())
		}
		page := answer[struct {
			Items []item
			Next  *string
		}](t, w)
		for _, it := range page.Items {
			seen[it.ConversationID] = it
		}
		if page.Next == nil {
			break
		}
		next = *page.Next
		query = "?limit=1&cursor=" + next
		if _, err := ask(t, h.Unread, "Tom", "GET", "", query, ""); field(err) != "invalid_cursor" {
			t.Errorf("another's cursor: %v", err)
		}
	}
	for _, id := range ids {
		if it := seen[id]; it.Count != 2 || !it.Mentioned || it.LastMessage.Seq != 2 {
			t.Errorf("unread: %+v", it)
		}
	}
	reads := []struct{ client, conversation, body, want string }{
		{"Jerry", ids[0], `{"messageId":"` + ids[0] + `.1"}`, ""},
		{"Jerry", ids[0], `{"messageId":null}`, ""},
		{"Jerry", ids[1], ``, ""},
		{"Jerry", ids[0], `{"messageId":"` + ids[0] + `.3"}`, "message_not_found"},
		{"Jerry", ids[0], `{"messageId":"` + ids[1] + `.1"}`, "message_not_found"},
		{"Jerry", ids[0], `{"messageId":""}`, "messageId"},
		{"Jerry", ids[0], `{"upTo":1}`, "upTo"},
		{"Jerry", "nowhere", ``, "conversation_not_found"},
		{"Spike", ids[0], ``, "not_a_member"},
		{"server", ids[0], ``, "acting_client_required"},
	}
	for i, tt := range reads {
		w, err := ask(t, h.MarkRead, tt.client, "POST", tt.conversation, "", tt.body)
		if field(err) != tt.want {
			t.Errorf("read %s: %v, want %s", tt.body, err, tt.want)
		}
		if count := []int{1, 0, 0}; i < len(count) {
			want := fmt.Sprintf(`{"conversationId":"%s","unreadMessagesCount":%d,"lastReadAt":"`, tt.conversation, count[i])
			if !strings.HasPrefix(w.Body.String(), want) {
				t.Errorf("read %s: %s, want %s…", tt.body, w.Body, want)
			}
		}
	}
	if _, err := ask(t, h.Unread, "server", "GET", "", "", ""); field(err) != "acting_client_required" {
		t.Errorf("the system's: %v", err)
	}
	w, err := ask(t, h.Unread, "Jerry", "GET", "", "", "")
	if err != nil || strings.Count(w.Body.String(), "conversationId\":\""+ids[2]) != 2 || strings.Contains(w.Body.String(), ids[0]) {
		t.Errorf("left: %v, %s", err, w.Body)
	}
}

// Whatever bytes come, a draft is refused as invalid_request or is JSON on one line that says what was sent.
func FuzzDraft(f *testing.F) {
	for _, body := range []string{
		`{"type":"text","text":"hi","attributes":{"a":[1,"\u2028"]},"mentionList":["Tom"],"receipt":true}`,
		`{"type":"image","file":{"url":"https://h/x","size":1,"duration":1e-7}}`,
		`{"type":"location","location":{"latitude":-0,"longitude":1e2}}`,
		`{"type":"custom","customType":1,"data":[12345678901234567890, "\ud83d\ude00"]}`,
		`{"type":"binary","data":"AQI="}`, `{"type":"raw","text":"\\\"\u0001"}`, `{"type":"text","text":"\ud800"}`, "[", "",
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Idempotency-Key", "k")
		d, err := readDraft(r, 5120, model.Caller{Client: "Tom"}, new(sendMessageRequest))
		if err != nil {
			if !model.IsCode(err, model.InvalidRequest) && !model.IsCode(err, model.MessageTooLarge) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if len(d.Digest) != 32 {
			t.Fatalf("%q: a digest of %d bytes", body, len(d.Digest))
		}
		content := d.Encode(model.Ordinary, d.MentionList)
		if strings.ContainsAny(string(content), "\r\n") || model.CheckJSON("", content, model.MaxNesting+1) != nil {
			t.Fatalf("%q became %q", body, content)
		}
		type wire struct {
			Type, Text       string
			Attributes, Data any
			CustomType       int64
		}
		var sent, kept wire
		if json.Unmarshal(body, &sent) != nil || json.Unmarshal(content, &kept) != nil {
			t.Fatalf("%q became %q", body, content)
		}
		if m, ok := sent.Attributes.(map[string]any); ok && len(m) == 0 {
			sent.Attributes = nil
		}
		if diff := cmp.Diff(sent, kept); diff != "" {
			t.Fatalf("%q (-sent +kept):\n%s", body, diff)
		}
	})
}

func BenchmarkReadDraft(b *testing.B) {
	const body = `{"type":"text","text":"hello, how are you today?","attributes":{"tone":"kind"},"receipt":true}`
	b.ReportAllocs()
	for b.Loop() {
		r := &http.Request{Header: http.Header{"Content-Type": {"application/json"}}, Body: http.NoBody, ContentLength: int64(len(body))}
		r.Body = readCloser{strings.NewReader(body)}
		d, err := readDraft(r, 5120, model.Caller{Client: "Tom"}, new(sendMessageRequest))
		if err != nil {
			b.Fatal(err)
		}
		d.Encode(model.Ordinary, nil)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
