package openapitest_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"parley/openapi/openapitest"
)

// listener is a test that only takes note of complaints.
type listener struct {
	testing.TB
	said []string
}

func (l *listener) Errorf(format string, args ...any) {
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

const (
	message = `{"id":"c.1","conversationId":"c","seq":1,"from":"Tom","sentAt":"2026-11-20T10:53:02.117Z","type":"text","text":"hello"}`
	problem = `{"type":"/problems/not_a_member","title":"Not a member","status":403,"detail":"no","code":"not_a_member","legacyCode":4401,"requestId":"r1"}`
)

// answer is what a server of no sense says.
type answer struct {
	status  int
	headers string // "Name: value" each on a line
	body    string
}

func (a answer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("X-Request-Id", "r1")
	for line := range strings.Lines(a.headers) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if w.Header().Set(name, value); value == "" {
			w.Header().Del(name)
		}
	}
	w.WriteHeader(a.status)
	_, _ = io.WriteString(w, a.body)
}

const (
	isJSON    = "Content-Type: application/json\n"
	isProblem = "Content-Type: application/problem+json\n"
	made      = isJSON + "Location: /v1/conversations/c/messages/c.1\n"
	read      = isJSON + "Parley-Position: log-1\n"
)

func TestComplaints(t *testing.T) {
	const send, get, hello = "POST /v1/conversations/c/messages", "GET /v1/conversations/c/messages/c.1", `{"type":"text","text":"hello"}`
	for _, c := range []struct {
		name, request, body string
		answer              answer
		want                string // part of the complaint; empty: none
	}{
		{"all well", send, hello, answer{201, made, message}, ""},
		{"all well without body", get, "", answer{200, read, message}, ""},
		{"a refusal", send, hello, answer{403, isProblem, problem}, ""},
		{"a HEAD", "HEAD /v1/conversations/c/messages/c.1", "", answer{200, read, ""}, ""},
		{"a path that is none", "GET /v1/nowhere", "", answer{404, isProblem, strings.NewReplacer("not_a_member", "not_found", "403", "404").Replace(problem)}, ""},
		{"a list", "GET /v1/conversations/c/messages?limit=3", "", answer{200, read, `{"items":[` + message + `],"next":null}`}, ""},
		{"an encoded path", "GET /v1/conversations/a%2Fb/messages/c.1", "", answer{200, read, message}, ""},

		{"undescribed status", send, hello, answer{203, made, message}, "no such answer"},
		{"undescribed path", "GET /v1/nowhere", "", answer{200, isJSON, "{}"}, "not described"},
		{"missing member", get, "", answer{200, read, strings.Replace(message, `"from":"Tom",`, "", 1)}, "from"},
		{"unknown member", get, "", answer{200, read, strings.Replace(message, `"from"`, `"more":1,"from"`, 1)}, "more"},
		{"wrong type", get, "", answer{200, read, strings.Replace(message, `"seq":1`, `"seq":"1"`, 1)}, "integer"},
		{"null where none may be", get, "", answer{200, read, strings.Replace(message, `"hello"`, `null`, 1)}, "nullable"},
		{"a time without milliseconds", get, "", answer{200, read, strings.Replace(message, ".117Z", "Z", 1)}, "sentAt"},
		{"media type", get, "", answer{200, read + "Content-Type: text/plain\n", message}, "Content-Type"},
		{"no position", get, "", answer{200, isJSON, message}, "Parley-Position"},
		{"no location", send, hello, answer{201, isJSON, message}, "Location"},
		{"no request id", get, "", answer{200, read + "X-Request-Id: \n", message}, "X-Request-Id"},
		{"a body with 204", "PUT /v1/conversations/c/mute", "", answer{200, isJSON, "{}"}, "no such answer"},
		{"a problem as JSON", send, hello, answer{403, isJSON, problem}, "application/json"},
		{"a code of another operation", get, "", answer{403, isProblem, strings.ReplaceAll(problem, "not_a_member", "message_edit_disabled")}, "message_edit_disabled is not among"},
		{"a code that is none", get, "", answer{403, isProblem, strings.ReplaceAll(problem, "not_a_member", "nonsense")}, "allowed values"},
		{"another status in the body", get, "", answer{403, isProblem, strings.Replace(problem, "403", "404", 1)}, "contradicts"},
		{"no word on when to retry", get, "", answer{429, isProblem, strings.NewReplacer("not_a_member", "rate_limited", "403", "429").Replace(problem)}, "Retry-After"},
		{"not a problem", get, "", answer{403, isProblem, "no"}, "not a problem"},
		{"an accepted bad request", send, `{"type":"text","txt":"hello"}`, answer{201, made, message}, "accepted although"},
		{"an accepted unknown parameter", get + "?x=1", "", answer{200, read, message}, `parameter "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &listener{TB: t}
			srv := httptest.NewServer(c.answer)
			defer srv.Close()
			client := openapitest.Client(l)
			wantComplaint(t, l, c.want, c.request, c.body, func(r *http.Request) {
				r.URL.Scheme, r.URL.Host, r.RequestURI = "http", strings.TrimPrefix(srv.URL, "http://"), ""
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				if err != nil || string(got) != c.answer.body {
					t.Errorf("the body became %q, %v", got, err)
				}
			})
			h := openapitest.Handler(l, c.answer)
			wantComplaint(t, l, c.want, c.request, c.body, func(r *http.Request) { h.ServeHTTP(httptest.NewRecorder(), r) })
		})
	}
}

func wantComplaint(t *testing.T, l *listener, want, request, body string, do func(*http.Request)) {
	t.Helper()
	l.said = nil
	method, target, _ := strings.Cut(request, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	do(r)
	switch all := strings.Join(l.said, "\n"); {
	case want == "" && all != "":
		t.Errorf("complained: %s", all)
	case want != "" && !strings.Contains(all, want):
		t.Errorf("complained %q, want a word of %q", all, want)
	}
}

func TestStreams(t *testing.T) {
	const (
		retry = "retry: 2000\n\n"
		ping  = "id: log-1\nevent: ping\ndata: {\"at\":\"2026-11-20T10:53:02.117Z\"}\n\n"
		sent  = "id: log-2\nevent: message\ndata: {\"message\":" + message + `,"conversationId":"c","at":"2026-11-20T10:53:02.117Z"}` + "\n\n"
	)
	for _, c := range []struct{ name, stream, want string }{
		{"all well", retry + ping + sent, ""},
		{"an unfinished frame", retry + ping + "event: x", ""},
		{"come back later", retry, ""},
		{"no retry", ping, "first frame"},
		{"unknown event", retry + strings.Replace(ping, "ping", "pong", 1), `"pong" is not described`},
		{"no id", retry + strings.Replace(ping, "id: log-1\n", "", 1), "id"},
		{"an id too many", retry + "id: log-1\nevent: conflict\ndata: {}\n\n", "id"},
		{"missing member", retry + strings.Replace(sent, `"conversationId":"c","at"`, `"at"`, 1), "conversationId"},
		{"unknown member", retry + strings.Replace(ping, `"at"`, `"x":1,"at"`, 1), `"x"`},
		{"two lines of data", retry + strings.Replace(ping, "event:", "data: 1\nevent:", 1), "no place"},
		{"a comment", retry + ": ping\n\n", "no place"},
		{"not JSON", retry + "id: log-1\nevent: ping\ndata: {\n\n", "not JSON"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &listener{TB: t}
			srv := httptest.NewServer(answer{200, "Content-Type: text/event-stream\n", c.stream})
			defer srv.Close()
			client := openapitest.Client(l)
			wantComplaint(t, l, c.want, "GET /v1/events?session=laptop", "", func(r *http.Request) {
				r.URL.Scheme, r.URL.Host, r.RequestURI = "http", strings.TrimPrefix(srv.URL, "http://"), ""
				res, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(res.Body); err != nil || string(got) != c.stream {
					t.Errorf("the stream became %q, %v", got, err)
				}
			})
		})
	}
}
