package api_test

import (
	"fmt"
	"strings"
	"testing"

	"parley/model"
	"parley/repo/repotest"
)

// Edits, recalls, receipts and wills of API.md section 5 over HTTP.

func TestMessageRequests(t *testing.T) {
	t.Parallel()
	s := newStack(t, repotest.DSN(t))
	id := s.group("Tom", "Jerry")
	of := "/v1/conversations/" + id
	message := of + "/messages/" + s.said("Tom", id)
	big := strings.Repeat("x", 5200)
	for _, tt := range []struct {
		client, method, path, body string
		want                       any
	}{
		{"Tom", "PATCH", message, ``, model.InvalidRequest},
		{"Tom", "PATCH", message, `{}`, model.InvalidRequest},
		{"Tom", "PATCH", message, `{"text":"x"}`, model.InvalidRequest},
		{"Tom", "PATCH", message, `{"type":"recalled"}`, model.InvalidRequest},
		{"Tom", "PATCH", message, `{"type":"text","text":"x","receipt":true}`, model.InvalidRequest},
		{"Tom", "PATCH", message, `{"type":"text","text":"x","transient":true}`, model.InvalidRequest},
		{"Tom", "PATCH", message, `{"type":"text","text":"x","reason":{"code":1}}`, model.ServerScopeRequired},
		{"Tom", "PATCH", of + "/messages/none", `{"reason":{}}`, model.ServerScopeRequired}, // scope comes before all else
		{"Tom", "PATCH", message, `{"reason":1}`, model.InvalidRequest},
		{"", "PATCH", message, `{"type":"text","text":"x","reason":{"detail":"y"}}`, model.InvalidRequest},
		{"", "PATCH", message, `{"type":"text","text":"x","reason":{"code":1.5}}`, model.InvalidRequest},
		{"", "PATCH", message, `{"type":"text","text":"x","reason":{"code":3000000000}}`, model.InvalidRequest},
		{"Tom", "PATCH", message + "?a=b", `{"type":"text","text":"x"}`, model.InvalidRequest},
		{"Tom", "PATCH", message, `{"type":"text","text":"` + big + `"}`, model.MessageTooLarge},
		{"Tom", "PATCH", message, `{"type":"text","text":"x","mentionList":["Jerry"],"mentionAll":true}`, 200},
		{"", "PATCH", message, `{"type":"text","text":"x","reason":{"code":-2147483648}}`, 200},
		{"Jerry", "PATCH", message, `{"type":"text","text":"x"}`, model.MessageOwnershipRequired},
		{"Tom", "POST", message + "/recall", `{"reason":{"code":1}}`, model.ServerScopeRequired},
		{"Tom", "POST", "/v1/conversations/none/messages/none/recall", `{"reason":{}}`, model.ServerScopeRequired},
		{"Tom", "POST", message + "/recall", `{"why":1}`, model.InvalidRequest},
		{"", "POST", message + "/recall", `{"reason":{"code":1,"detail":"` + strings.Repeat("x", 1<<20) + `"}}`, model.RequestTooLarge},
		{"Jerry", "POST", message + "/recall", ``, model.MessageOwnershipRequired},
		{"Tom", "GET", message + "/receipts?limit=501", ``, model.InvalidRequest},
		{"Tom", "GET", message + "/receipts?cursor=x", ``, model.InvalidCursor},
		{"Jerry", "GET", message + "/receipts", ``, model.MessageOwnershipRequired},
		{"Tom", "POST", message + "/recall", ``, 200},
		{"Tom", "POST", message + "/recall", `{}`, 200},
		{"", "POST", message + "/recall", `{"reason":null}`, 200},
		{"Tom", "PATCH", message, `{"type":"text","text":"x"}`, model.MessageRecalled},
		{"Tom", "GET", of + "/messages?type=recalled", ``, 200},
		{"Tom", "DELETE", message, ``, model.ServerScopeRequired},
		{"", "DELETE", message + "?a=b", ``, model.InvalidRequest},
		{"", "DELETE", message, ``, 204},
		{"", "DELETE", message, ``, model.MessageNotFound},
		{"Tom", "GET", message, ``, model.MessageNotFound},
		{"Tom", "PATCH", message, `{"type":"text","text":"x"}`, model.MessageNotFound},
		{"Tom", "POST", message + "/recall", ``, model.MessageNotFound},
		{"Tom", "GET", message + "/receipts", ``, model.MessageNotFound},
		{"Tom", "DELETE", "/v1/sessions/none/will", ``, model.SessionNotFound},
		{"", "DELETE", "/v1/sessions/none/will", ``, model.ActingClientRequired},
		{"Tom", "POST", of + "/messages", `{"type":"text","text":"x","will":true}`, model.SessionRequired},
		{"Tom", "POST", "/v1/conversations/none/messages", `{"type":"text","text":"x","will":true}`, model.SessionRequired},
	} {
		s.want(fmt.Sprintf("%q %s %s %.60s", tt.client, tt.method, tt.path, tt.body), s.ask(tt.client, tt.method, tt.path, tt.body), tt.want)
	}
	s.want("a will with a key", s.ask("Tom", "POST", of+"/messages", `{"type":"text","text":"x","will":true}`, "Idempotency-Key", "k"), model.InvalidRequest)
}

// Pages of receipts are one list whatever their size.
func TestReceiptPages(t *testing.T) {
	t.Parallel()
	s := newStack(t, repotest.DSN(t))
	id := s.group("Tom", "Bob", "Eve", "Jerry", "Mary", "小明")
	path := "/v1/conversations/" + id + "/messages/" + s.said("Tom", id) + "/receipts"
	s.want("read", s.ask("Mary", "POST", "/v1/conversations/"+id+"/read", ""), 200)
	want := `{"clientId":"Bob","delivered":false,"read":false}{"clientId":"Eve","delivered":false,"read":false}` +
		`{"clientId":"Jerry","delivered":false,"read":false}{"clientId":"Mary","delivered":true,"read":true}{"clientId":"小明","delivered":false,"read":false}`
	for _, limit := range []string{"1", "2", "5", "500"} {
		got, next := "", "limit="+limit
		for next != "" {
			a := s.ask("Tom", "GET", path+"?"+next, "")
			items, rest, ok := strings.Cut(strings.TrimPrefix(a.body, `{"items":[`), `],"next":`)
			if !ok {
				t.Fatal(a)
			}
			got += strings.ReplaceAll(items, "},{", "}{")
			if next = ""; rest != "null}" {
				next = "limit=" + limit + "&cursor=" + strings.Trim(rest, `"}`)
			}
		}
		if got != want {
			t.Errorf("in pages of %s: %s", limit, got)
		}
	}
}
